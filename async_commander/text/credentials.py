"""What looks like a credential, though nobody said that it is one: found by what stands around it.

Each pattern begins where it may begin only, and goes on without going back: the time is in proportion to the text.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from .names import is_secret_in_a_query, is_secret_in_text

if TYPE_CHECKING:
    from collections.abc import Iterator

Span = tuple[int, int]
"""Where something begins and ends in a text."""

_STEMS = ("key", "tok", "pass", "pwd", "secret", "auth", "cook", "dsn", "cred", "sess", "sig", "bearer", "basic", "jwt")
"""One of them is in every name below: most texts have none, and need no closer look."""
_USER_INFO = re.compile(r'(?<=://)[^/?#\s"<>]+(?=@)')
_SCHEME = re.compile(
    r"(?<![\w\-])(?:(?i:bearer)[ \t]{1,4}+(?!(?:tokens?|auth|authentication|authorization|realm|scheme|error|scope)\b)"
    r"|(?i:basic|apikey|negotiate)[ \t]{1,4}+(?![A-Za-z]?[a-z]*+(?![\w+/=])))"
    r"(?P<value>[^\s\"'<>,;)\]}]++)"
)
"""What follows `basic` is no word of a sentence."""
_NAME = re.compile(
    r"""(?<![\w\-.])(?P<name>[\w\-.]++)(?P<end>["'\])]{0,2}+[ \t]{0,4}+(?:=>|:=|[=:])\s{0,4}+|["'],\s?+)"""
)
_QUOTED = re.compile(r"""[bBfFrRuU]{0,2}+(?:"(?P<double>(?:[^"\\\n]|\\.)*+)|'(?P<single>(?:[^'\\\n]|\\.)*+))""")
_ENCLOSED = re.compile(r"\{[^{}\n]++|\[[^\[\]\n]++|\([^()\n]++")
_CODE = re.compile(r"(?:None|True|False|null|true|false)\b|(?:self|cls)\.|await\s|[A-Za-z_.]++\(")
"""A line of a traceback shows code: it says where a secret comes from."""
_IN_A_QUERY = re.compile(r"[^&;#\s\"'<>]++")
_WORD = re.compile(r"[^\s&;\"'<>]++")
_LINE = re.compile(r"[^\r\n]++")
_HEADERS = ("authorization", "cookie")
"""Their value is the rest of the line."""


def may_hold_credentials(text: str) -> bool:
    """False for most texts, at once."""
    if text.isascii() and text.isalnum():
        return False  # nothing in it parts a name from a value, however it is decoded
    lowered = text.lower()
    return "@" in text or "%40" in text or any(stem in lowered for stem in _STEMS)


def credentials(text: str) -> Iterator[Span]:
    """The places of user parts and secret parameters of URLs, of secret headers, and of values with a secret's name."""
    if not may_hold_credentials(text):
        return
    yield from (found.span() for found in _USER_INFO.finditer(text))
    yield from (found.span("value") for found in _SCHEME.finditer(text))
    place = 0
    while found := _NAME.search(text, place):
        place = found.end()
        if span := _value_of(text, found):
            yield span
            place = max(place, span[1])


def _value_of(text: str, found: re.Match[str]) -> Span | None:
    """Where the value after a name is, if the name is that of a secret."""
    name, start, at = found["name"], found.start(), found.end()
    if start and text[start - 1] in "?&;":
        return _span(_IN_A_QUERY.match(text, at)) if is_secret_in_a_query(name) else None
    is_pair = found["end"][1:2] == ","  # ('name', 'value'), not one of a list of names
    is_listed = is_pair and not text[max(0, start - 3) : start - 1].endswith(("(", "(b"))
    if is_listed or not is_secret_in_text(name, text[max(0, start - 24) : start]):
        return None
    if value := _QUOTED.match(text, at):
        return value.span("single" if value["double"] is None else "double")
    if is_pair or _CODE.match(text, at):
        return None
    if name.lower().endswith(_HEADERS) or name.lower().startswith("x-"):
        return _span(_LINE.match(text, at))
    enclosed = _ENCLOSED.match(text, at)
    return (at + 1, enclosed.end()) if enclosed else _span(_WORD.match(text, at))


def _span(found: re.Match[str] | None) -> Span | None:
    return found.span() if found else None
