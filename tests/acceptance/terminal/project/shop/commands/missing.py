"""Needs what is not there."""

import nothing_of_that_name

Command = nothing_of_that_name.Command
