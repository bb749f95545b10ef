"""A management command as it is typed: colours as they are wanted, streams that may be gone, Ctrl-C at any time."""

from __future__ import annotations

import errno
import io
import os
import sys
from contextlib import contextmanager, redirect_stdout, suppress
from pathlib import Path, PurePath
from typing import TYPE_CHECKING, Any, TextIO, cast

from django.core.management.base import BaseCommand, CommandError, OutputWrapper
from django.core.management.color import no_style
from django.utils.termcolors import parse_color_setting

from async_commander.results import EXIT_FAILED, EXIT_SIGNAL_BASE, EXIT_USAGE

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

EXIT_INTERRUPTED = EXIT_SIGNAL_BASE + 2


class TerminalCommand(BaseCommand):
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


def agreed(question: str, stderr: OutputWrapper, *, yes: bool) -> bool:
    """Whether a person agrees, or `--yes` does. CommandError where nobody is there to be asked."""
    from async_commander.runner.threads import a_person_is_there, is_yes

    if yes:
        return True
    if not a_person_is_there():
        told = f"“{question}” cannot be asked without a terminal. Give --yes to agree."
        raise CommandError(told, returncode=EXIT_USAGE)
    stderr.write(f"{question} [y/N] ", str, ending="")
    stderr.flush()
    return is_yes(sys.stdin.readline())


STDOUT, STDERR = 1, 2


class TolerantOutput(OutputWrapper):
    """Django's wrapper around a standard stream; what the stream does not take is dropped, and `lost` says why.

    What the stream's encoding lacks is written as an escape sequence.
    """

    def __init__(self, stream: TextIO | None) -> None:
        super().__init__(cast("TextIO", stream))
        self._stream = stream
        self.lost: OSError | ValueError | None = None
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")

    def write(  # type: ignore[override]  # as Django's own
        self, msg: str = "", style_func: Callable[[str], str] | None = None, ending: str | None = None
    ) -> None:
        """As Django's; never fails for the stream's sake."""
        if self._stream is None:
            self.lost = OSError(errno.EBADF, "the stream is closed")
        self._safely(lambda: super(TolerantOutput, self).write(msg, style_func, ending))

    def flush(self) -> None:
        """As Django's; never fails for the stream's sake."""
        self._safely(super().flush)

    def _safely(self, act: Callable[[], object]) -> None:
        if self.lost is not None:
            return
        try:
            act()
        except OSError as error:
            self._give_up(error)
        except ValueError as error:
            if not getattr(self._stream, "closed", False):
                raise
            self._give_up(error)

    def _give_up(self, error: OSError | ValueError) -> None:
        """Python flushes its streams once more at its end, and would complain there."""
        self.lost = error
        with suppress(OSError, ValueError, AttributeError), Path(os.devnull).open("wb") as nowhere:
            os.dup2(nowhere.fileno(), self._stream.fileno())  # type: ignore[union-attr]  # suppressed


def reserve_standard_files() -> None:
    """See to it that no file of ours gets the number of a standard stream that was closed, and with it its writers."""
    while (number := os.open(os.devnull, os.O_RDWR)) <= STDERR:
        os.set_inheritable(number, True)
    os.close(number)


@contextmanager
def stdout_on_stderr() -> Iterator[None]:
    """For the block, whatever this process and its children write to stdout goes to stderr, `print()` included."""
    stdout = sys.stdout
    _flush(stdout)
    kept = os.dup(STDOUT)
    os.dup2(STDERR, STDOUT)
    try:
        with redirect_stdout(sys.stderr):
            yield
    finally:
        _flush(stdout)
        os.dup2(kept, STDOUT)
        os.close(kept)


def _flush(stream: TextIO | None) -> None:
    with suppress(OSError, ValueError):
        if stream is not None:
            stream.flush()


def program(path: str) -> str:
    """What to type to begin this program again: its file's name, as Django says it of itself."""
    name = PurePath(path).name
    return "python -m django" if name == "__main__.py" else name


def colours_refused(options: Mapping[str, Any]) -> bool:
    """Whether `--no-color`, `DJANGO_COLORS=nocolor` or NO_COLOR asks for none; `--force-color` beats the last one."""
    palette = os.environ.get("DJANGO_COLORS", "")
    if options.get("no_color") or (palette and parse_color_setting(palette) is None):
        return True
    return bool(os.environ.get("NO_COLOR")) and not options.get("force_color")
