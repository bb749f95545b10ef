"""What can be kept, and how it is written: texts, bytes, what JSON can say, data frames. Nothing that runs code."""

from __future__ import annotations

import io
import json
import math
import sys
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from importlib.util import find_spec
from typing import Any

from async_commander.exceptions import InvalidCommand
from async_commander.text.values import MOST_BITS

ALLOWED = "text, bytes, what JSON can say (None, numbers, lists, dicts with texts as keys), tuples, polars data frames"


@dataclass(frozen=True, slots=True)
class Packed:
    """A value as it is kept: the name of its codec and its bytes."""

    codec: str
    body: bytes

    @property
    def is_readable(self) -> bool:
        """Whether it can be unpacked here."""
        return self.codec in _CODECS and (self.codec != "arrow" or find_spec("polars") is not None)

    def value(self) -> Any:
        """A new copy of the value."""
        return _CODECS[self.codec](self.body)


def pack(value: Any) -> Packed:
    """The value to be kept. TypeError says what was found, what is allowed and what to do."""
    if isinstance(value, str) and not isinstance(value, Enum):
        return Packed("text", value.encode("utf-8", "surrogatepass"))
    if isinstance(value, bytes):
        return Packed("bytes", bytes(value))
    polars = sys.modules.get("polars")
    if polars is not None and isinstance(value, polars.DataFrame):
        objects = [name for name, kind in value.schema.items() if kind == polars.Object]
        if objects:
            raise TypeError(
                f"found a data frame with Python objects in {', '.join(objects)}; give these columns a type"
            )
        value.write_ipc(file := io.BytesIO())
        return Packed("arrow", file.getvalue())
    try:
        plain = _plain(value)
    except RecursionError:
        raise TypeError("found lists or dicts nested too deep, or one that contains itself") from None
    return Packed("json", json.dumps(plain, separators=(",", ":"), allow_nan=False).encode())


def pack_result(function: str, value: Any) -> Packed:
    """The same for what a function returned. InvalidCommand."""
    try:
        return pack(value)
    except TypeError as error:
        raise InvalidCommand(f"{function}() is cached, and what it returned cannot be kept: {error}") from None


# -- JSON, and tuples --------------------------------------------------------------------------------------------------

_TUPLE, _DICT = "$tuple", "$dict"
"""What stands for a tuple; and for a dict with a key that could be taken for one of these."""


def _plain(value: Any) -> Any:
    if isinstance(value, list):
        return [_plain(each) for each in value]
    if type(value) is tuple:
        return {_TUPLE: [_plain(each) for each in value]}
    if isinstance(value, dict):
        return _plain_dict(value)
    if not (value is None or isinstance(value, str | int | float)) or isinstance(value, Enum):
        raise TypeError(_refused(value))
    if isinstance(value, int) and value.bit_length() > MOST_BITS:
        raise TypeError("found a whole number of more digits than are read again; return it as a text")
    if isinstance(value, float) and not math.isfinite(value):
        raise TypeError(f"found {value}, which JSON cannot say; return None in its place")
    return value


def _plain_dict(value: dict[Any, Any]) -> Any:
    for key in value:
        if not isinstance(key, str) or isinstance(key, Enum):
            raise TypeError(f"found a dict with the key {key!r:.80}; return one whose keys are texts")
    if any(key.startswith("$") for key in value):
        return {_DICT: [[str(key), _plain(each)] for key, each in value.items()]}
    return {str(key): _plain(each) for key, each in value.items()}


def _restored(found: dict[str, Any]) -> Any:
    if _TUPLE in found:
        return tuple(found[_TUPLE])
    return dict(found[_DICT]) if _DICT in found else found


_REMEDIES: tuple[tuple[Callable[[Any], bool], str], ...] = (
    (lambda value: isinstance(value, Enum), "return its value"),
    (lambda value: hasattr(value, "content") and hasattr(value, "headers"), "return its text, or what its JSON says"),
    (lambda value: hasattr(value, "_meta"), "return its primary key, or a dict of its values"),
    (lambda value: hasattr(value, "collect"), "return a DataFrame: .collect() makes one"),
    (lambda value: hasattr(value, "to_frame"), "return a DataFrame: .to_frame() makes one"),
    (lambda value: hasattr(value, "iloc"), "return polars.from_pandas(…) of it"),
    (lambda value: isinstance(value, set | frozenset), "return a sorted list"),
    (lambda value: isinstance(value, bytearray | memoryview), "return bytes(…) of it"),
    (lambda value: True, "return its text, or a dict of what it says"),  # noqa: ARG005 - of anything else
)


def _refused(value: Any) -> str:
    remedy = next(text for fits, text in _REMEDIES if fits(value))
    return f"found {type(value).__module__}.{type(value).__qualname__}, allowed: {ALLOWED}; {remedy}"


# -- data frames -------------------------------------------------------------------------------------------------------


def _frame(body: bytes) -> Any:
    import polars as pl

    return pl.read_ipc(io.BytesIO(body))


_CODECS: dict[str, Callable[[bytes], Any]] = {
    "text": lambda body: body.decode("utf-8", "surrogatepass"),
    "bytes": bytes,
    "json": lambda body: json.loads(body, object_hook=_restored),
    "arrow": _frame,
}
