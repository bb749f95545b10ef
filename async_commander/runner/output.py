"""A command's own output: passed on as it comes, and kept for the run row."""

from __future__ import annotations

import io
import sys
from typing import TYPE_CHECKING, TextIO, cast

from django.core.management.base import OutputWrapper
from django.core.management.color import Style, color_style, no_style

if TYPE_CHECKING:
    from collections.abc import Callable

    from .request import RunRequest

OUTPUT_CAP = 100_000
"""Characters of output that are kept; the newest win."""


class Memory:
    """The end of a text that is written bit by bit: at least `OUTPUT_CAP` characters, at most twice as many."""

    def __init__(self) -> None:
        self._parts: list[str] = []
        self._length = 0

    def append(self, text: str) -> None:
        """Remember this too, and forget the beginning where it has become too much."""
        self._parts.append(text)
        self._length += len(text)
        if self._length > 2 * OUTPUT_CAP:
            self._parts = [self.text()]
            self._length = len(self._parts[0])

    def text(self) -> str:
        """The last `OUTPUT_CAP` characters."""
        return "".join(self._parts)[-OUTPUT_CAP:]


class Kept(io.TextIOBase):
    """A stream that passes everything on to `target`, without secrets, and remembers the end of it."""

    def __init__(self, target: TextIO, memory: Memory, redact: Callable[[str], str]) -> None:
        self._target = target
        self._memory = memory
        self._redact = redact

    def write(self, text: str) -> int:
        """Pass on and remember: as it is, for a secret may come in parts; it is redacted as a whole at the end."""
        self._memory.append(text)
        self._target.write(self._redact(text))
        return len(text)

    def flush(self) -> None:
        """Flush the target."""
        self._target.flush()

    def close(self) -> None:
        """Leave the target open: it is somebody else's, who may have closed it by now."""

    def isatty(self) -> bool:
        """Whether the target is a terminal."""
        return self._target.isatty()


class Output:
    """`stdout`, `stderr` and `style` of one run, as Django's commands have them."""

    def __init__(self, request: RunRequest, redact: Callable[[str], str]) -> None:
        self._memory = Memory()
        stderr = request.stderr or sys.stderr
        stdout = stderr if request.json else request.stdout or sys.stdout
        self.style = _style(request)
        self.stdout = OutputWrapper(cast("TextIO", Kept(stdout, self._memory, redact)))
        self.stderr = OutputWrapper(cast("TextIO", Kept(stderr, self._memory, redact)))
        if not request.no_color:
            self.stderr.style_func = self.style.ERROR

    @property
    def kept(self) -> str:
        """What was written, at most the last `OUTPUT_CAP` characters; not redacted yet."""
        return self._memory.text()


def _style(request: RunRequest) -> Style:
    return no_style() if request.no_color else color_style(force_color=request.force_color)
