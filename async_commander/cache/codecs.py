"""What can be kept, and how it is written: texts, bytes, what JSON can say, data frames. Nothing that runs code."""

from __future__ import annotations

import io
import json
import math
import sys
from base64 import b64decode, b64encode
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from importlib.util import find_spec
from typing import Any

from async_commander.exceptions import InvalidCommand
from async_commander.text.values import MOST_BITS

from .pandas_frames import frame_from_json, frame_to_json, is_frame

ALLOWED = (
    "text, bytes, what JSON can say (None, numbers, lists, dicts with texts as keys), tuples, data frames of polars "
    "and pandas"
)
_NEEDED = {"arrow": "polars", "arrow in json": "polars", "pandas": "pandas"}
"""What a codec cannot do without."""


@dataclass(frozen=True, slots=True)
class Packed:
    """A value as it is kept: the name of its codec and its bytes."""

    codec: str
    body: bytes

    @property
    def is_readable(self) -> bool:
        """Whether it can be unpacked here."""
        needed = _NEEDED.get(self.codec)
        return self.codec in _CODECS and (needed is None or find_spec(needed) is not None)

    def value(self) -> Any:
        """A new copy of the value."""
        return _CODECS[self.codec](self.body)


def pack(value: Any) -> Packed:
    """The value to be kept. TypeError says what was found, what is allowed and what to do."""
    if isinstance(value, str) and not isinstance(value, Enum):
        return Packed("text", value.encode("utf-8", "surrogatepass"))
    if isinstance(value, bytes):
        return Packed("bytes", bytes(value))
    if _is_polars(value):
        return Packed("arrow", _arrow(value))
    try:
        plain = _plain(value)
    except RecursionError:
        raise TypeError("found lists or dicts nested too deep, or one that contains itself") from None
    text = json.dumps(plain, separators=(",", ":"), allow_nan=False)
    # No text inside of JSON has these signs in this order: a quotation mark has a backslash there.
    codec = "pandas" if f'{{"{_PANDAS}":' in text else "arrow in json" if f'{{"{_ARROW}":' in text else "json"
    return Packed(codec, text.encode())


def pack_result(function: str, value: Any) -> Packed:
    """The same for what a function returned. InvalidCommand."""
    try:
        return pack(value)
    except TypeError as error:
        raise InvalidCommand(f"{function}() is cached, and what it returned cannot be kept: {error}") from None


# -- JSON, and tuples --------------------------------------------------------------------------------------------------

_TUPLE, _DICT, _PANDAS, _ARROW = "$tuple", "$dict", "$pandas", "$arrow"
"""What stands for a tuple; for a dict with a key that could be taken for one of these; for data frames in a list."""


def _plain(value: Any) -> Any:
    if isinstance(value, list):
        return [_plain(each) for each in value]
    if type(value) is tuple:
        return {_TUPLE: [_plain(each) for each in value]}
    if isinstance(value, dict):
        return _plain_dict(value)
    if is_frame(value):
        return {_PANDAS: frame_to_json(value)}
    if _is_polars(value):
        return {_ARROW: b64encode(_arrow(value)).decode()}
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
    if _PANDAS in found:
        return frame_from_json(found[_PANDAS])
    if _ARROW in found:
        return _frame(b64decode(found[_ARROW]))
    return dict(found[_DICT]) if _DICT in found else found


_REMEDIES: tuple[tuple[Callable[[Any], bool], str], ...] = (
    (lambda value: isinstance(value, Enum), "return its value"),
    (lambda value: hasattr(value, "content") and hasattr(value, "headers"), "return its text, or what its JSON says"),
    (lambda value: hasattr(value, "_meta"), "return its primary key, or a dict of its values"),
    (lambda value: hasattr(value, "collect"), "return a DataFrame: .collect() makes one"),
    (lambda value: hasattr(value, "to_frame"), "return a DataFrame: .to_frame() makes one"),
    (lambda value: isinstance(value, set | frozenset), "return a sorted list"),
    (lambda value: isinstance(value, bytearray | memoryview), "return bytes(…) of it"),
    (lambda value: True, "return its text, or a dict of what it says"),  # noqa: ARG005 - of anything else
)


def _refused(value: Any) -> str:
    remedy = next(text for fits, text in _REMEDIES if fits(value))
    return f"found {type(value).__module__}.{type(value).__qualname__}, allowed: {ALLOWED}; {remedy}"


# -- data frames -------------------------------------------------------------------------------------------------------


def _is_polars(value: Any) -> bool:
    polars = sys.modules.get("polars")
    return polars is not None and isinstance(value, polars.DataFrame)


def _arrow(frame: Any) -> bytes:
    import polars as pl

    objects = [name for name, kind in frame.schema.items() if kind == pl.Object]
    if objects:
        raise TypeError(f"found a data frame with Python objects in {', '.join(objects)}; give these columns a type")
    frame.write_ipc(file := io.BytesIO())
    return file.getvalue()


def _frame(body: bytes) -> Any:
    import polars as pl

    return pl.read_ipc(io.BytesIO(body))


_CODECS: dict[str, Callable[[bytes], Any]] = {
    "text": lambda body: body.decode("utf-8", "surrogatepass"),
    "bytes": bytes,
    **dict.fromkeys(("json", "pandas", "arrow in json"), lambda body: json.loads(body, object_hook=_restored)),
    "arrow": _frame,
}
