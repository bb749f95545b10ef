"""`manage.py create_managed_command APP NAME [--run-once] [--force]`: `manage.py acreate … --shape managed`."""

from __future__ import annotations

from django.core.management.base import CommandParser

from async_commander.management.commands import acreate


class Command(acreate.Command):
    """Writes an `ac.ManagedCommand` with its test."""

    help = "Begin a plain Django command whose runs are kept, and a test of it that passes: acreate --shape managed."

    def add_arguments(self, parser: CommandParser) -> None:
        """See BaseCommand."""
        super().add_arguments(parser)
        parser.set_defaults(shape="managed")
