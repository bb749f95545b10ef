"""The same command as plain Django has it: `manage.py comment_bot`."""

from comments.commands.comment_bot import Command as CommentBot

import async_commander as ac

Command = ac.as_management_command(CommentBot)
