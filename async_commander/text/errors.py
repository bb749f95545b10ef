"""Errors that cannot be looked at: reading them raises, or never ends, and nobody around expects that."""

from __future__ import annotations

from contextlib import suppress
from typing import Any


class UnreadableError(Exception):
    """Stands for an error that cannot be looked at: reading it raises, or never ends."""


def readable(error: BaseException) -> BaseException:
    """The error, or UnreadableError in its place where its class gives something else than Python keeps of an error.

    An `isinstance()`, a log handler and the rules of failing read an error and expect to survive it. What such an error
    was raised from, or while it was handled, is replaced in it. SystemExit stands for one that ends the run.
    """
    known, rest = set[int](), [error]
    while rest:
        one = rest.pop()
        if id(one) in known:
            continue
        known.add(id(one))
        for slot in _LINKS:
            other = slot.__get__(one)
            if other is not None and not _is_readable(other):
                slot.__set__(one, _stand_in(other))
            elif other is not None:
                rest.append(other)
    return error if _is_readable(error) else _stand_in(error)


_LINKS: Any = (BaseException.__cause__, BaseException.__context__)
_KEPT: Any = {name: getattr(BaseException, name) for name in ("__cause__", "__context__", "__traceback__")}
"""What Python itself keeps of an error, past what its class says: to read these runs nobody's code."""


def _is_readable(error: BaseException) -> bool:
    rest: list[Any] = [error]
    try:
        while rest:
            one = rest.pop()
            kept = all(getattr(one, name) is slot.__get__(one) for name, slot in _KEPT.items())
            told = isinstance(one.args, tuple) and isinstance(getattr(one, "__notes__", []), list)
            if not (kept and told and one.__class__ is type(one) and isinstance(type(one).__name__, str)):
                return False
            if isinstance(one, BaseExceptionGroup):
                members: Any = BaseExceptionGroup.exceptions
                if one.exceptions is not members.__get__(one):
                    return False
                rest.extend(one.exceptions)
            with suppress(Exception):  # an error without a text is an error all the same
                str(one)
    except BaseException:  # noqa: BLE001 - whatever reading it raises, it is the same answer
        return False
    return True


def _stand_in(error: BaseException) -> BaseException:
    name = type.__dict__["__name__"].__get__(type(error))
    text = f"{name} was raised, which cannot be looked at: its class hides what Python keeps of an error."
    fatal = not issubclass(type(error), Exception) or issubclass(type(error), MemoryError)
    stand_in = SystemExit(text) if fatal else UnreadableError(text)
    return stand_in.with_traceback(_KEPT["__traceback__"].__get__(error))
