"""Text as it is typed in a shell."""

from __future__ import annotations

import shlex

LEFT_OUT = "…"
"""Stands in a line for what is not to be shown."""


def typed(token: str) -> str:
    """A token as it is typed in a shell. What could move the terminal is written with escapes, as bash reads them."""
    if token.isprintable():
        shown = token.replace(LEFT_OUT, "x")
        return token if shlex.quote(shown) == shown else shlex.quote(token)
    written = ""
    for character in token:
        code = ord(character)
        if character.isprintable():
            written += f"\\{character}" if character in "\\'" else character
        elif 0xDC80 <= code <= 0xDCFF:  # a byte of the command line that is no UTF-8
            written += f"\\x{code - 0xDC00:02x}"
        else:
            written += f"\\x{code:02x}" if code < 0x80 else f"\\U{code:08x}"
    return f"$'{written}'"
