"""Under which key a result is kept: the SHA-256 of one exact text of all that decides it."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from dataclasses import fields, is_dataclass
from enum import Enum
from typing import TYPE_CHECKING, Any

from async_commander.command.arguments import to_json
from async_commander.command.identity import canonical_json
from async_commander.exceptions import InvalidCommand

if TYPE_CHECKING:
    from async_commander.command.cached import CachedCall

FORMAT = 1
"""Of keys: another one finds nothing that was kept under this one."""


def key_of(command: str, call: CachedCall) -> str:
    """64 hexadecimal digits for a call of a method of the command of this name.

    InvalidCommand for a kind of value that has no stable text; ValueError for one that has none (NaN, a model instance
    that is not saved). Both say what to do.
    """
    caching = call.caching
    parts = {
        "arguments": call.arguments(),
        "identity": to_json(type(call.command), call.command.parameters),
        "vary": call.varied(),
    }
    try:
        told = {name: exact(value) for name, value in parts.items()}
        text = canonical_json([FORMAT, command, caching.name, exact(caching.version), told])
    except TypeError as error:
        raise InvalidCommand(_refusal(call, error)) from None
    except ValueError as error:
        raise ValueError(_refusal(call, error)) from None
    except RecursionError:
        raise ValueError(_refusal(call, "it is nested too deep, or contains itself")) from None
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def exact(value: Any) -> Any:
    """The value as JSON that no value of another type has: a date is not its text, nor a tuple a list.

    TypeError and ValueError as `canonical_json`.
    """
    if value is None or type(value) in (bool, int, str):
        return value
    if isinstance(value, Mapping):
        pairs = [[exact(name), exact(each)] for name, each in value.items()]
        return ["dict", sorted(pairs, key=canonical_json)]
    if isinstance(value, AbstractSet):
        return ["set", sorted((exact(each) for each in value), key=canonical_json)]
    if isinstance(value, list | tuple):
        return [type(value).__name__, [exact(each) for each in value]]
    if isinstance(value, Enum):
        content = exact(value.value)
    elif is_dataclass(value) and not isinstance(value, type):
        content = {each.name: exact(getattr(value, each.name)) for each in fields(value)}
    else:
        content = canonical_json(value)
    return [f"{type(value).__module__}.{type(value).__qualname__}", content]


def _refusal(call: CachedCall, problem: object) -> str:
    return (
        f"{call.caching.name}() is cached, and what it was called with has no stable key: {problem}. Pass what decides "
        "the result (a URL, a date, a saved model instance), or say what stands for it: "
        "@ac.cached(key=lambda self, …: …)"
    )
