"""The command line that runs a command with certain arguments, as it is typed in a shell."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping
from typing import Any

from async_commander.text.redactor import no_credentials
from async_commander.text.values import redacted_value

from .arguments import Argument, arguments_of

PROGRAM = "manage.py arun"
LEFT_OUT = "…"
"""Stands in a line for what is not to be shown."""


def line_of(cls: type[Any], name: str, values: Mapping[str, Any]) -> str:
    """`manage.py arun rosters_load --region eu ACME`: with these values, as JSON keeps them, and no credentials.

    A required argument without a value stands there in capitals. None, which no line can say, is left out.
    """
    shown = redacted_value(dict(values), no_credentials, shown=list(values))
    options: list[str] = []
    positionals: list[str] = []
    for argument in arguments_of(cls).values():
        if argument.positional:
            value = shown.get(argument.name, argument.name.upper())
            positionals += map(_text, value if isinstance(value, list) else [value])
        elif shown.get(argument.name) is not None:
            options += _option(argument, shown[argument.name])
        elif argument.required:
            options += [argument.spellings[-1], argument.name.upper()]
    dashes = ["--"] if any(text.startswith("-") for text in positionals) else []
    return " ".join([PROGRAM, *map(typed, [name, *options, *dashes, *positionals])])


def _option(argument: Argument, value: Any) -> Iterator[str]:
    if argument.is_flag:
        yield argument.spellings[-2 if value else -1]
        return
    spelling = argument.spellings[-1]
    if isinstance(value, list) and value and not any(_text(member).startswith("-") for member in value):
        yield from (spelling, *map(_text, value))
        return
    for member in value if isinstance(value, list) else [value]:
        text = _text(member)
        yield from [f"{spelling}={text}"] if text.startswith("-") or not text else [spelling, text]


def _text(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


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
