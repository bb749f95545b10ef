"""A command's own output: passed on as it comes, and kept for the run row."""

from __future__ import annotations

import io
import sys
from typing import TYPE_CHECKING, TextIO, cast

from django.core.management.base import OutputWrapper
from django.core.management.color import color_style, no_style

from async_commander.text.redactor import Tail

if TYPE_CHECKING:
    from async_commander.text.redactor import Redactor

    from .request import RunRequest

OUTPUT_CAP = 100_000
"""Characters of output that are kept; the newest win."""


class Kept(io.TextIOBase):
    """A stream that passes everything on to `target`, without secrets, and remembers the end of it."""

    def __init__(self, target: TextIO, memory: Tail) -> None:
        self._target = target
        self._memory = memory
        self._held = ""
        """The end of what was written, where it may be the beginning of a secret that comes in parts."""

    def write(self, text: str) -> int:
        """Pass on, and remember."""
        self._memory.append(text)
        redact, whole = self._memory.redact, self._held + text
        begun = redact.begun_in(whole)
        self._held = whole[len(whole) - begun :]
        self._target.write(redact.within(whole[: len(whole) - begun]))
        return len(text)

    def release(self) -> None:
        """Pass on what is held: nothing comes that would make a secret of it."""
        held, self._held = self._held, ""
        if held:
            self._target.write(self._memory.redact.within(held))

    def flush(self) -> None:
        """Pass on all there is, and flush the target."""
        self.release()
        self._target.flush()

    def close(self) -> None:
        """Leave the target open: it is somebody else's, who may have closed it by now."""

    def isatty(self) -> bool:
        """Whether the target is a terminal."""
        return self._target.isatty()


class Output:
    """`stdout`, `stderr` and `style` of one run, as Django's commands have them."""

    def __init__(self, request: RunRequest, redact: Redactor) -> None:
        self._memory = Tail(OUTPUT_CAP, redact)
        stderr = request.stderr or sys.stderr
        stdout = stderr if request.json else request.stdout or sys.stdout
        self.style = no_style() if request.no_color else color_style(force_color=request.force_color)
        self._streams = Kept(stdout, self._memory), Kept(stderr, self._memory)
        self.stdout, self.stderr = (OutputWrapper(cast("TextIO", stream)) for stream in self._streams)
        if not request.no_color:
            self.stderr.style_func = self.style.ERROR

    @property
    def kept(self) -> str:
        """What was written, at most the last `OUTPUT_CAP` characters, redacted. Asked for when all is written."""
        for stream in self._streams:
            stream.release()
        return self._memory.text()
