"""How one secret may be written: the texts to look for, once a text is decoded."""

from __future__ import annotations

import json
import re
import shlex
from base64 import a85encode, b32encode, b64encode, b85encode
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from itertools import groupby
from os.path import commonprefix
from urllib.parse import quote, unquote, urlsplit

from .clean import storable
from .decoding import GAPS, views

SHORT = 4
"""A secret of fewer characters is hidden where it stands alone: it would be found inside of ordinary words."""
LINE = 8
"""So many characters at least has a line of a secret of several ones that is a secret by itself."""
WIDEST = 16
"""So many characters may stand for one of a secret: `\\\\u00fc`, or four bytes in per cent."""


def texts_of(secrets: Iterable[object]) -> list[str]:
    """The secrets as texts: those of lists, the lines of long ones, and the password of a URL by itself as well."""
    return sorted({text for secret in secrets for text in _texts(secret) if text}, key=len, reverse=True)


def patterns_of(texts: Sequence[str]) -> tuple[re.Pattern[str] | None, re.Pattern[str] | None]:
    """What finds these secrets, the longest at each place, and what finds those that were broken into lines.

    The one is for a text that is decoded and `folded`, the other one for a text without `GAPS`; None for no secrets.
    """
    long, short = set[str](), set[str]()
    for text in texts:
        (short if len(text) < SHORT else long).update(map(folded, _spellings(text)))
    alternatives = [f"(?:{_tree(sorted(long))})"] if long else []
    # Others cut texts before they get here (a library's message, `{value!r:.80}`): most of a secret is hidden as well.
    if beginnings := {folded(text[: 3 * len(text) // 5]) for text in texts if len(text) >= 2 * LINE}:
        alternatives.append(f"(?:{_tree(sorted(beginnings))})[^\\s\"'<>…]*+")
    if short:
        alternatives.append(rf"(?<!\w)(?:{_tree(sorted(short))})(?!\w)")
    broken = sorted({one for text in long if len(one := GAPS.sub("", text)) >= LINE})
    return (
        re.compile("|".join(alternatives)) if alternatives else None,
        re.compile(_tree(broken)) if broken else None,
    )


def folded(text: str) -> str:
    """A blank may be written as a plus: here they are one."""
    return text.replace("+", " ")


def _texts(secret: object) -> Iterator[str]:
    if isinstance(secret, dict):
        secret = list(secret.values())
    if isinstance(secret, list | tuple | set | frozenset):
        for member in secret:
            yield from _texts(member)
        return
    if secret is None or isinstance(secret, bool):
        return
    text = storable(secret.decode("utf-8", "replace") if isinstance(secret, bytes) else str(secret))
    yield from (text, text.strip(), " ".join(text.split()))
    if "\n" in text:
        yield from (line for line in map(str.strip, text.splitlines()) if len(line) >= LINE)
    if "://" in text:
        with suppress(ValueError):  # it is no URL
            password = urlsplit(text).password or ""
            if len(password) >= SHORT:
                yield from (password, unquote(password))


def _spellings(text: str) -> Iterator[str]:
    """The text, as it is when it is decoded once more than it was encoded, and in the encodings of bytes."""
    yield from (view.text for view in views(text) if len(view.text) >= min(SHORT, len(text)))
    yield shlex.quote(text).strip("'")
    forms = {text, json.dumps(text)[1:-1], json.dumps(text, ensure_ascii=False)[1:-1], quote(text, safe="")}
    encoded = {form.encode("utf-8", "replace") for form in forms}
    if not text.isascii():
        encoded |= {text.encode("latin-1", "replace"), text.encode("utf-16-le", "replace")}
    for one in encoded:
        yield from (one.hex(), one.hex().upper())
        yield from _base64(one)
    if len(text) >= LINE:
        plain = text.encode("utf-8", "replace")
        for dump in map(plain.hex, " :-"):
            yield from (dump, dump.upper())
        yield from _base64(b64encode(plain))
        yield from (text.lower(), text.upper(), b32encode(plain).decode().rstrip("=")[:-1])
        yield from (dump[: len(plain) // 4 * 5].decode() for dump in (b85encode(plain), a85encode(plain)))


def _base64(text: bytes) -> Iterator[str]:
    """The digits that the bytes alone decide, at each of the three places where they may begin."""
    for before in range(3):
        digits = b64encode(b"\0" * before + text).decode()
        core = digits[(before * 8 + 5) // 6 : (before + len(text)) * 8 // 6]
        if len(core) >= SHORT:
            yield from (core, core.replace("+", "-").replace("/", "_"))


def _tree(words: list[str]) -> str:
    """A pattern for sorted words that looks at each character once; of two that begin alike, the longer one is found.

    One pattern for each word would be tried one after another.
    """
    parts = []
    for _, group in groupby(words, key=lambda word: word[:1]):
        members = list(group)
        start = commonprefix(members)  # noqa: RUF071 - of texts, not of paths
        rest = [member[len(start) :] for member in members if len(member) > len(start)]
        if not rest:
            parts.append(re.escape(start))
        else:
            parts.append(f"{re.escape(start)}(?:{_tree(rest)}){'?' if start in members else ''}")
    return "|".join(parts)
