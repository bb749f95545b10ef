"""The standard streams of a process: the reader may leave, the disk may be full, a character may be unknown there."""

from __future__ import annotations

import errno
import io
import os
import sys
from contextlib import contextmanager, redirect_stdout, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO, cast

from django.core.management.base import OutputWrapper

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

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

    def _safely(self, act: Callable[[], Any]) -> None:
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
