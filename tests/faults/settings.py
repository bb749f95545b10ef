"""Settings of the processes that are to be killed: the test's database, and commands that only they know."""

from __future__ import annotations

import os

from tests.settings import *  # noqa: F403
from tests.settings import ASYNC_COMMANDER as OURS
from tests.settings import DATABASES

if "FAULTS_DATABASE" in os.environ:
    DATABASES["default"]["NAME"] = os.environ["FAULTS_DATABASE"]

ASYNC_COMMANDER = {**OURS, "COMMAND_PACKAGES": ["tests.faults.commands"]}
