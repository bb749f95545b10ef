"""Where the terminal's output goes: one console on stderr, and streams that do not tear what it keeps moving."""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import Protocol, TextIO, cast

from rich.console import Console


class Writable(Protocol):
    """A stream as Django hands it out."""

    def write(self, msg: str = "", style_func: Callable[[str], str] | None = None, ending: str | None = None) -> object:
        """Write a message, styled, with an ending."""

    def flush(self) -> object:
        """Write out what is buffered."""

    def isatty(self) -> bool:
        """Whether a person sees it at once."""


class Mover(Protocol):
    """Whoever keeps something moving at the bottom of the terminal."""

    def above(self, text: str) -> None:
        """Show whole lines over it."""

    def make_way(self) -> None:
        """Stand still, out of the way, until the run has moved on."""


class Verbatim(io.TextIOBase):
    """One of Django's wrapped streams as a plain file: nothing is coloured or ended on the way.

    While something is kept moving at the bottom of the terminal, `mover` shows what is written.
    """

    def __init__(self, stream: Writable) -> None:
        super().__init__()
        self.stream = stream
        self.mover: Mover | None = None
        self._begun = ""

    @property
    def file(self) -> TextIO:
        """Itself, under the type that callers ask for."""
        return cast("TextIO", self)

    @property
    def encoding(self) -> str:  # type: ignore[override]  # the base class has a plain attribute
        """Of the stream behind it."""
        return getattr(self.stream, "encoding", None) or "utf-8"

    def write(self, text: str, /) -> int:
        """Write `text` as it is."""
        if self.mover is None or not self.isatty():
            self.out(self._take() + text)
            return len(text)
        whole, newline, self._begun = (self._begun + text).rpartition("\n")
        if newline:
            self.mover.above(whole)
        return len(text)

    def flush(self) -> None:
        """Write out what is buffered: a line that is not ended is a question, and whoever moves makes way for it."""
        if self._begun:
            if self.mover is not None:
                self.mover.make_way()
            self.out(self._take())
        self.stream.flush()

    def isatty(self) -> bool:
        """Whether a person sees it at once."""
        return bool(self.stream.isatty())

    def writable(self) -> bool:
        """Always."""
        return True

    def _take(self) -> str:
        begun, self._begun = self._begun, ""
        return begun

    def out(self, text: str) -> None:
        """Write past whatever moves."""
        self.stream.write(text, str, "")


class Bystander(Console):
    """A console whose reader may leave: rich would end the process then, and the run with it."""

    def on_broken_pipe(self) -> None:
        """Leave it to the caller."""
        raise BrokenPipeError


def open_console(stream: Verbatim, *, no_color: bool = False, force_color: bool = False) -> Console:
    """The console that everything of ours is shown on. It interprets no markup, no emoji codes, no numbers."""
    return Bystander(
        file=stream.file,
        force_terminal=stream.isatty() or force_color,
        no_color=no_color,
        markup=False,
        emoji=False,
        highlight=False,
        soft_wrap=not stream.isatty(),
        legacy_windows=False,
    )


def moves(console: Console, stream: Verbatim) -> bool:
    """Whether something may be kept moving there."""
    return stream.isatty() and not console.is_dumb_terminal
