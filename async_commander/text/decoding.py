"""One text as its readers decode it: per cent, JSON, Python, HTML; one inside of the other, too."""

from __future__ import annotations

import re
from bisect import bisect_right
from html import unescape
from typing import TYPE_CHECKING

from .clean import UNSEEN

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    Meaning = Callable[[re.Match[str]], Iterable[tuple[str, int]]]

DEPTH = 4
"""So often one encoding may be inside of another one."""
_ESCAPED = re.compile(
    r"(?P<percent>(?:%[0-9A-Fa-f]{2})++)"
    r"|(?P<bytes>(?:\\x[0-9A-Fa-f]{2})++)"
    r"|(?P<units>(?:\\u[0-9A-Fa-f]{4})++)"
    r"|(?P<point>\\U[0-9A-Fa-f]{8}|\\u\{[0-9A-Fa-f]{1,6}\})"
    r"|(?P<octal>(?:\\[0-3][0-7]{2})++)"
    r"|(?P<sign>\\[^xuU\s])"
    r"|(?P<entity>&(?:#[0-9]{1,7}|#[xX][0-9A-Fa-f]{1,6}|[A-Za-z][A-Za-z0-9]{1,31});)"
)
_QUOTED = re.compile(r"(?P<quoted>(?:=[0-9A-F]{2})++)")
_IS_QUOTED = re.compile(r"=(?:3D|[89A-F][0-9A-F])")
GAPS = re.compile(r"""["']\n[ \t]*+[bBrRuU]{0,2}+["']|[=\\]?\n|[ \t+]++""")
"""What line wraps put into a text: breaks, indentation, quotes around each line, and what marks a line that goes on."""
_SIGNS = {"n": "\n", "r": "\r", "t": "\t", "b": "\b", "f": "\f", "v": "\v", "a": "\a", "0": "\0"}


class View:
    """A text, decoded once more than the one that it was made of, and where in that one each character comes from."""

    def __init__(self, text: str, below: View | None = None) -> None:
        self.text = text
        self._below = below
        self._starts: list[int] = []
        """Where each stretch begins here, where it begins below, and how wide one of its characters is there."""
        self._origins: list[int] = []
        self._widths: list[int] = []

    def span(self, begin: int, end: int) -> tuple[int, int]:
        """Where something that is between two places here is in the text that all this began with."""
        if self._below is None:
            return begin, end
        return self._below.span(self._there(begin, begin), self._there(end, end - 1))

    def _there(self, place: int, stretch_of: int) -> int:
        """A place in the text below: the beginning of a character, or the end of the one before."""
        stretch = bisect_right(self._starts, stretch_of) - 1
        return self._origins[stretch] + (place - self._starts[stretch]) * self._widths[stretch]

    def decoded(self) -> View | None:
        """What a reader makes of it; None where there is nothing to decode."""
        return self._read(_ESCAPED, _meaning)

    def seen(self) -> View | None:
        """What is left of it on a terminal; None where that is all of it."""
        return self._read(UNSEEN, _nothing)

    def joined(self) -> View | None:
        """The text in one piece, without lines and blanks; None where it is that already."""
        return self._read(GAPS, _nothing)

    def unquoted(self) -> View | None:
        """What a mail's reader makes of it (quoted-printable); None where it does not look like that."""
        return self._read(_QUOTED, _meaning) if _IS_QUOTED.search(self.text) else None

    def _read(self, pattern: re.Pattern[str], meaning: Meaning) -> View | None:
        pieces: list[str] = []
        view, here, there = View("", self), 0, 0
        for found in pattern.finditer(self.text):
            begin, end = found.span()
            if begin > there:
                pieces.append(self.text[there:begin])
                view._stretch(here, there, 1)
                here += begin - there
            for characters, width in meaning(found):
                view._stretch(here, begin, width)
                pieces.append(characters)
                here += len(characters)
                begin += len(characters) * width
            there = end
        if not there:
            return None
        view._stretch(here, there, 1)
        view.text = "".join([*pieces, self.text[there:]])
        return view

    def _stretch(self, here: int, there: int, width: int) -> None:
        self._starts.append(here)
        self._origins.append(there)
        self._widths.append(width)


def views(text: str, *, seen: bool = False) -> Iterator[View]:
    """The text itself, and what it is when it is decoded once, twice, up to `DEPTH` times.

    With `seen` it may have escape sequences of a terminal, and what is seen of it there is decoded.
    """
    view: View | None = View(text)
    if seen and not text.isprintable() and (left := View(text).seen()):
        yield View(text)
        view = left
    for _ in range(DEPTH + 1):
        if view is None:
            return
        yield view
        view = view.decoded() if "%" in view.text or "\\" in view.text or "&" in view.text else None


def _meaning(found: re.Match[str]) -> Iterator[tuple[str, int]]:
    """Characters, and how many of the escaped text stand for each of them."""
    kind, text = found.lastgroup, found[0]
    if kind == "percent":
        yield from _of_bytes(bytes.fromhex(text.replace("%", "")), 3)
    elif kind == "quoted":
        yield from _of_bytes(bytes.fromhex(text.replace("=", "")), 3)
    elif kind == "bytes":
        yield from _of_bytes(bytes.fromhex(text.replace("\\x", "")), 4)
    elif kind == "octal":
        yield from _of_bytes(bytes(int(one, 8) for one in text[1:].split("\\")), 4)
    elif kind == "units":
        units = bytes.fromhex(text.replace("\\u", "")).decode("utf-16-be", "surrogatepass")
        for character in units:
            yield character, 12 if ord(character) > 0xFFFF else 6
    elif kind == "point":
        code = int(text[2:].strip("{}"), 16)
        yield chr(code) if code < 0x110000 else "\ufffd", len(text)
    elif kind == "sign":
        yield _SIGNS.get(text[1], text[1]), len(text)
    else:
        character = unescape(text)
        yield (character, len(text)) if len(character) == 1 else (text, 1)


def _nothing(found: re.Match[str]) -> Iterable[tuple[str, int]]:
    del found
    return ()


def _of_bytes(found: bytes, width: int) -> Iterator[tuple[str, int]]:
    """UTF-8, and Latin-1 where it is none."""
    if found.isascii():
        yield found.decode("ascii"), width
        return
    for character in found.decode("utf-8", "surrogateescape"):
        code = ord(character)
        if 0xDC80 <= code <= 0xDCFF:
            yield chr(code - 0xDC00), width
        else:
            yield character, width * len(character.encode())
