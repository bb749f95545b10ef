"""Text without what could repaint a terminal, forge a line of a log, or be refused by a database."""

from __future__ import annotations

import re

_ESCAPES = re.compile(
    r"(?:\x1b\[|\x9b)[0-?]*+[ -/]*+[@-~]"  # colours and cursor movement
    r"|(?:\x1b[\]PX^_]|[\x90\x98\x9d-\x9f])[^\x07\x1b\x9c]*+(?:\x07|\x1b\\|\x9c)?"  # titles, links, device strings
    r"|\x1b[ -/]*+[0-~]"  # the two-character kind
)
_BREAKS = re.compile(r"\r\n|[\r\v\f\x85\u2028\u2029]")
_UNSEEN = re.compile(r"[\x01-\x08\x0e-\x1f\x7f-\x9f\u061c\u200b\u200e\u200f\u202a-\u202e\u2060-\u2069\ufeff]")
"""Control characters, overrides of the writing direction, and blanks without width. The two joiners are no harm: some
scripts, and emoji, are written with them."""
UNSEEN = re.compile(f"{_ESCAPES.pattern}|{_UNSEEN.pattern}")
_UNKEPT = re.compile("[\x00\ud800-\udfff]")
"""PostgreSQL keeps no NUL, and UTF-8 has no lone surrogates."""
_UNFIT = re.compile(f"{_BREAKS.pattern}|{_UNSEEN.pattern}|{_UNKEPT.pattern}")
_BLANKS = re.compile(r"[\t\n]+ *+")
REPLACEMENT = "\ufffd"


def storable(text: str) -> str:
    """The same text, fit for every database, terminal and log: its lines and tabs stay, invisible characters do not.

    Escape sequences, control characters and overrides of the writing direction go; NUL and lone surrogates become
    U+FFFD; every kind of line break becomes a newline. Takes time in proportion to the text.
    """
    if text.isprintable() or not _UNFIT.search(text):
        return text
    return keepable(_UNSEEN.sub("", _BREAKS.sub("\n", _ESCAPES.sub("", text))))


def keepable(text: str) -> str:
    """The same text, fit for every database: NUL and lone surrogates become U+FFFD."""
    return _UNKEPT.sub(REPLACEMENT, text)


def plain(text: object, limit: int | None = None) -> str:
    """One line of `text` without escape sequences, control characters or bidirectional overrides.

    Everything that came from outside the project (URLs, server messages, item labels) goes through here before a
    terminal or a log handler has it. With `limit`, longer text is cut to that many characters, the last of which is
    then an ellipsis.
    """
    line = storable(str(text).replace("\x00", ""))
    return shorten(_BLANKS.sub(" ", line).strip(), limit)


def plain_block(text: object) -> list[str]:
    """The lines of `text`, each of them plain; indentation is kept."""
    return [line.rstrip() for line in storable(str(text).replace("\x00", "")).expandtabs(4).splitlines()]


def shorten(line: str, limit: int | None) -> str:
    """`line` in at most `limit` characters."""
    if limit is None or len(line) <= limit:
        return line
    return line[: max(limit - 1, 0)].rstrip() + "…"


def last_lines(text: str, bound: int, margin: int = 2_000) -> str:
    """The end of a text, in at most `bound` characters, where nobody knows the secrets that may be in it.

    It begins with a whole line, for a part of a secret would not be found afterwards; or, where a line is longer than
    that, `margin` characters after the cut.
    """
    if len(text) <= bound:
        return text
    kept = text[-bound:]
    line = kept.find("\n") + 1
    return kept[line:] if 0 < line <= bound - margin else kept[margin:]
