"""Tracebacks as texts, in which no message can pretend to be a line of its own."""

from __future__ import annotations

import traceback
from collections.abc import Iterator
from contextlib import suppress

from .clean import storable

TRACEBACK_CAP = 100_000
"""Characters of a traceback that are kept: its end, where the error is."""
MOST = 100
"""Errors of a chain or a group whose messages are looked at."""


def traceback_text(error: BaseException, formatted: str = "") -> str:
    """The traceback of an error. Further lines of a message, which a server may have said, are indented.

    `formatted`: as Python formats it, where that is known.
    """
    try:
        text = storable((formatted or "".join(traceback.format_exception(error))).rstrip())
        said = set[str]()
        for one in chain(error):
            if type(one).__name__ != "RemoteTraceback":  # a traceback that came from another process is no message
                with suppress(Exception):  # it has no text
                    said.add(str(one))
                said.update(map(str, getattr(one, "__notes__", ())))
        for message in {storable(one).rstrip() for one in said}:
            if "\n" in message:
                text = text.replace(message, message.replace("\n", "\n    "))
    except Exception:  # noqa: BLE001 - an error that cannot be shown is an error all the same
        return f"{type(error).__name__}, whose traceback cannot be shown"
    return text


def causes(error: BaseException | None) -> Iterator[BaseException]:
    """The error and what it was raised from; each once, for `raise error from error` makes a circle."""
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        yield error
        error = error.__cause__


def chain(error: BaseException) -> Iterator[BaseException]:
    """The error, those that led to it, and those that it is made of; each once."""
    seen: set[int] = set()
    rest = [error]
    while rest and len(seen) < MOST:
        one = rest.pop()
        if id(one) in seen:
            continue
        seen.add(id(one))
        yield one
        rest += [other for other in (one.__cause__, one.__context__) if other is not None]
        rest += one.exceptions if isinstance(one, BaseExceptionGroup) else ()
