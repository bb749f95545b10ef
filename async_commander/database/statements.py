"""What of an SQL text is code, neither quoted nor a comment: each kind of database quotes in ways of its own."""

from __future__ import annotations

import re
from typing import Any

_LETTER, _SIGN = r"A-Za-z_\x80-\U0010ffff", r"\w$\x80-\U0010ffff"
_TAG = rf"(?:[{_LETTER}][\w\x80-\U0010ffff]*+)?+\$"
_GAP = r"(?:[ \t\f\v]|--[^\n\r]*+)*+[\n\r](?:\s|--[^\n\r]*+[\n\r])*+"
"""Between the halves of one string on PostgreSQL: the second one has the escapes of the first."""
_BOUNDS = re.compile(r"/\*|\*/")


def _pieces(*, code: str, quoted: str, comment: str) -> re.Pattern[str]:
    """For one piece at a time; nothing matches what is open to the end of the text. `nests`: to be closed by us."""
    return re.compile(rf"(?P<code>(?:{code})++)|(?P<quoted>{quoted})|(?P<comment>{comment})", re.DOTALL)


# A doubled quote ends one string and begins the next one: together they end where the one string does.
_PIECES = {
    "postgresql": _pieces(
        code=rf"(?![eE]')[{_LETTER}][{_SIGN}]*+|[^{_LETTER}'\"$/-]++|-(?!-)|/(?!\*)|\$(?!{_TAG})",
        quoted=rf"[eE]'(?:[^'\\]|\\.|'(?:{_GAP})?+')*+'|'[^']*+'|\"[^\"]*+\"|(?P<tag>\${_TAG}).*?(?P=tag)",
        comment=r"--[^\n\r]*+|(?P<nests>/\*)",
    ),
    "mysql": _pieces(
        code=r"[^'\"`#/-]++|-(?!-(?:[\x00-\x20\x7f]|\Z))|/(?!\*)",
        quoted=r"'(?:[^'\\]|\\.)*+'|\"(?:[^\"\\]|\\.)*+\"|`[^`]*+`",
        comment=r"(?:#|--)[^\n]*+|/\*(?!M?!).*?\*/",  # what is in /*! … */ is executed, by some versions
    ),
    "sqlite": _pieces(
        code=r"[^'\"`\[/-]++|-(?!-)|/(?!\*)",
        quoted=r"'[^']*+'|\"[^\"]*+\"|`[^`]*+`|\[[^\]]*+\]",
        comment=r"--[^\n]*+|/\*.*?(?:\*/|\Z)",
    ),
}


def text_of(sql: Any, connection: Any) -> str:
    """A statement in whatever form a driver takes it: psycopg has composed ones, and bytes."""
    if isinstance(sql, str):
        return sql
    return sql.decode(errors="replace") if isinstance(sql, bytes) else str(sql.as_string(connection))


def bare(text: str, vendor: str) -> str | None:
    """The code in its places, blanks for comments, and as many quotation marks as there was quoted text.

    None where that cannot be known: a quotation or a comment has no end, or a comment might be executed. Takes time in
    proportion to the length.
    """
    pieces, found, at = _PIECES.get(vendor, _PIECES["postgresql"]), [], 0
    while at < len(text):
        piece = pieces.match(text, at)
        if piece is None:
            return None
        end = piece.end()
        if "nests" in pieces.groupindex and piece["nests"]:
            end = _end_of_comment(text, at)
            if not end:
                return None
        found.append(piece["code"] or ("'" if piece["quoted"] else " ") * (end - at))
        at = end
    return "".join(found)


def _end_of_comment(text: str, start: int) -> int:
    """Where the comment ends that begins there, and those within it; 0 where it does not."""
    depth = 0
    for bound in _BOUNDS.finditer(text, start):
        depth += 1 if bound[0] == "/*" else -1
        if not depth:
            return bound.end()
    return 0
