"""The same command as plain Django has it: `manage.py delete_old_comments`."""

from comments.commands.delete_old_comments import Command as DeleteOldComments

import async_commander as ac

Command = ac.as_management_command(DeleteOldComments)
