"""`manage.py run_command NAME …`: `manage.py arun NAME …`."""

from __future__ import annotations

from async_commander.management.commands import arun


class Command(arun.Command):
    """Runs a command by its name."""

    help = "Run a command, or list them all: arun under the name that django_commander has for it."
