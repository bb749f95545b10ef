"""A management command as it is typed: colours as they are wanted, streams that may be gone, Ctrl-C at any time."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

from django.core.management.base import BaseCommand, CommandError
from django.core.management.color import no_style

from async_commander.engine.results import EXIT_FAILED, EXIT_SIGNAL_BASE, EXIT_USAGE

from .pipes import TolerantOutput, reserve_standard_files
from .text import colours_refused

if TYPE_CHECKING:
    from collections.abc import Iterable

EXIT_INTERRUPTED = EXIT_SIGNAL_BASE + 2


class TypedCommand(BaseCommand):
    """What `arun` and `aruns` have in common at the terminal."""

    def run_from_argv(self, argv: list[str]) -> None:
        """As Django's; Ctrl-C ends without a traceback, and output that nobody takes is no error of the command's.

        Where a command only shows something, a full disk is one: it ends with exit code 1.
        """
        reserve_standard_files()
        self.stdout, self.stderr = stdout, _ = TolerantOutput(sys.stdout), TolerantOutput(sys.stderr)
        if colours_refused({"no_color": "--no-color" in argv, "force_color": "--force-color" in argv}):
            self.style = no_style()
        self.stderr.style_func = self.style.ERROR
        try:
            self._run_line(argv)
        except KeyboardInterrupt:
            sys.exit(EXIT_INTERRUPTED)
        finally:
            written = self._is_written(stdout)
            self.stderr.flush()
        if not written:
            sys.exit(EXIT_FAILED)

    def _run_line(self, argv: list[str]) -> None:
        super().run_from_argv(argv)

    def execute(self, *args: Any, **options: Any) -> str | None:
        """As Django's; the environment's wish for no colours is honoured."""
        if options["no_color"] and options["force_color"]:
            raise CommandError("--no-color and --force-color contradict each other.", returncode=EXIT_USAGE)
        if colours_refused(options):
            options |= {"no_color": True, "force_color": False}
        return super().execute(*args, **options)

    def tell_loss(self, error: Exception) -> bool:
        """Say that the output could not be written. Returns whether that is a failure: a reader who left is none."""
        if isinstance(error, BrokenPipeError):
            return False
        self.stderr.write(f"The output could not be written: {error}")
        return True

    def write_lines(self, lines: Iterable[str]) -> None:
        """Write `lines` to stdout."""
        for line in lines:
            self.stdout.write(line)

    def _is_written(self, stdout: TolerantOutput) -> bool:
        stdout.flush()
        return stdout.lost is None or not self.tell_loss(stdout.lost)
