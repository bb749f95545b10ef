"""The types that an argument may have: how each is read from a text, checked, and kept as JSON."""

from __future__ import annotations

import json
import math
import re
import types
from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta
from decimal import Decimal
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, NewType, TypeVar, Union, get_args, get_origin
from uuid import UUID

from django.core.serializers.json import DjangoJSONEncoder

from async_commander.engine.limits import LONGEST
from async_commander.text.durations import duration_as_text, duration_in
from async_commander.text.values import MOST_BITS, text_of_value

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

T = TypeVar("T")

SUPPORTED = (
    "str, int, float, bool, date, datetime, timedelta, Path, Decimal, UUID, an Enum, Literal[…], "
    "any of these `| None`, and list[…] of them"
)
_SEVERAL = re.compile(r"(typing\.|collections\.abc\.)?(list|tuple|set|frozenset|Sequence|Iterable|Collection)\b")

UNSTORABLE = re.compile("[\x00\ud800-\udfff]")
"""No JSON column takes these."""


class UnstorableTextError(ValueError):
    """A text, or a path, that no database keeps."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """One type of value.

    `check` returns a value of Python code, of the command line or of JSON as it is kept, or raises ValueError; `dump`
    makes JSON of it. `members` is the kind of a list's members.
    """

    name: str
    allowed: str
    check: Callable[[Any], Any]
    dump: Callable[[Any], Any] = lambda value: value
    optional: bool = False
    choices: tuple[str, ...] = ()
    members: Kind | None = None

    def accept(self, value: Any) -> Any:
        """The value as it is kept. ValueError says what was found and what is allowed."""
        if value is None and self.optional:
            return None
        check_storable(value)
        try:
            return self.check(value)
        except UnstorableTextError:
            raise
        except (TypeError, ValueError, LookupError, ArithmeticError):
            found = f"{text_of_value(value):.80}" + ("" if isinstance(value, str) else f" ({type(value).__name__})")
            raise ValueError(f"found {found}, allowed: {self.allowed}{' or None' if self.optional else ''}") from None

    def to_json(self, value: Any) -> Any:
        """What JSON keeps; `accept` takes it back."""
        return None if value is None else self.dump(value)


def check_storable(value: Any) -> None:
    """UnstorableTextError for a text, or a path, that no database keeps; any other value passes."""
    if isinstance(value, str | Path) and UNSTORABLE.search(str(value)):
        raise UnstorableTextError(
            f"found {str(value)!r:.80}, allowed: a text that a database can keep, without NUL characters and lone "
            f"surrogates (bytes that are no UTF-8); leave these out, or give the text in another form"
        )


def is_whole(value: object, least: int = 1) -> bool:
    """Whether this is a whole number, no less than that, and one that a database has room for."""
    return isinstance(value, int) and not isinstance(value, bool) and least <= value < 2**63


def is_seconds(value: object) -> bool:
    """Whether this is a time in seconds, not below 0, that a calendar has room for."""
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value <= LONGEST


def plain_json(value: Any) -> Any:
    """Any value as JSON keeps it; one that JSON has no form for becomes its text."""
    text = json.dumps(value, cls=DjangoJSONEncoder, default=str, skipkeys=True)
    return json.loads(text, parse_constant=str)


def kind_of(annotation: Any) -> Kind:
    """The kind of an annotation. TypeError says what was found and what is supported."""
    # A NewType, and a name made by `type`, stand for what they name.
    while isinstance(annotation, NewType) or type(annotation).__name__ == "TypeAliasType":
        annotation = annotation.__supertype__ if isinstance(annotation, NewType) else annotation.__value__
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is list:
        return _list(kind_of(arguments[0]))
    present = [each for each in arguments if each not in (None, types.NoneType)]
    optional = len(present) < len(arguments)
    if origin is Literal and present:
        return replace(_literal(present), optional=optional)
    if origin in {Union, types.UnionType} and optional and len(present) == 1:
        return replace(kind_of(present[0]), optional=True)
    if origin is Annotated:
        raise TypeError(
            "found Annotated[…] inside of another type; it goes around all, as in `Annotated[int | None, …]`"
        )
    if isinstance(annotation, type) and origin is None:
        if annotation in PLAIN:
            return PLAIN[annotation]
        if issubclass(annotation, Enum):
            return _enum(annotation)
        annotation = annotation.__name__
    several = "; several values are a list[…]" if _SEVERAL.match(str(annotation)) else ""
    raise TypeError(f"found {annotation}, allowed: {SUPPORTED}{several}")


# -- plain types -------------------------------------------------------------------------------------------------------

_WORDS = {"true": True, "yes": True, "on": True, "1": True, "false": False, "no": False, "off": False, "0": False}


def _finite_float(value: float) -> float:
    return _require(float(value), math.isfinite(value))


def _finite_decimal(value: str | int | Decimal) -> Decimal:
    number = Decimal(value)
    return _require(number, number.is_finite())


def _require(value: T, condition: object) -> T:
    if not condition:
        raise ValueError
    return value


def _same(value: Any) -> Any:
    return value


def _iso(value: date) -> str:
    return value.isoformat()


def _kind(
    cls: type,
    allowed: str,
    read: Callable[[str], Any],
    *,
    types: tuple[type, ...] = (),
    never: tuple[type, ...] = (),
    make: Callable[[Any], Any] = _same,
    dump: Callable[[Any], Any] = _same,
) -> Kind:
    """A kind that takes instances of `types` (else of `cls`) but not of `never`, and texts for any type but `str`."""

    def check(value: Any) -> Any:
        if _is_text(value):
            return read(value)
        return make(_require(value, isinstance(value, types or cls) and not isinstance(value, never)))

    return Kind(name=cls.__name__, allowed=allowed, check=check, dump=dump)


def _is_text(value: Any) -> bool:
    return isinstance(value, str) and not isinstance(value, Enum)


PLAIN: dict[Any, Kind] = {
    str: _kind(str, "a text", _same, never=(Enum,)),
    int: _kind(
        int,
        "a whole number",
        int,
        never=(bool, Enum),
        make=lambda value: _require(value, value.bit_length() <= MOST_BITS),
    ),
    float: _kind(
        float,
        "a finite number",
        lambda text: _finite_float(float(text)),
        types=(int, float),
        never=(bool,),
        make=_finite_float,
    ),
    bool: _kind(bool, "true or false", lambda text: _WORDS[text.strip().lower()]),
    date: _kind(date, "a date like 2026-01-31", date.fromisoformat, never=(datetime,), dump=_iso),
    datetime: _kind(datetime, "a time like 2026-01-31T12:30:00+01:00", datetime.fromisoformat, dump=_iso),
    timedelta: _kind(
        timedelta, "a stretch of time like 1d 2h, 90s, 1:30:00 or P1DT2H", duration_in, dump=duration_as_text
    ),
    Path: _kind(Path, "a path", lambda text: Path(_require(text, text)), dump=str),
    Decimal: _kind(
        Decimal,
        "an exact number like 12.50",
        _finite_decimal,
        types=(int, Decimal),
        never=(bool,),
        make=_finite_decimal,
        dump=str,
    ),
    UUID: _kind(UUID, "a UUID like 12345678-1234-5678-1234-567812345678", UUID, dump=str),
}


# -- made of others ----------------------------------------------------------------------------------------------------


def _enum(cls: type[Enum]) -> Kind:
    names = tuple(cls.__members__)

    def check(value: Any) -> Enum:
        if isinstance(value, cls):
            return _require(value, value.name in names)  # a Flag of several members has no name to be kept by
        matches = _members(cls, value) if _is_text(value) else [each for each in cls if _is_exactly(each.value, value)]
        return _require(matches, matches)[0]

    return Kind(name=cls.__name__, allowed=", ".join(names), check=check, dump=lambda value: value.name, choices=names)


def _members(cls: type[Enum], text: str) -> list[Enum]:
    """Members by name, then by the text of the value, then by name in any case."""
    by_name = [each for name, each in cls.__members__.items() if name == text]
    by_value = [each for each in cls if str(each.value) == text]
    return by_name + by_value + [each for name, each in cls.__members__.items() if name.lower() == text.lower()]


def _literal(values: Sequence[Any]) -> Kind:
    texts = [str(_name_of(value)) for value in values]

    def check(value: Any) -> Any:
        exact = [each for each in values if _is_exactly(each, value)]
        return exact[0] if exact else values[texts.index(value)]

    return Kind(name="Literal[…]", allowed=", ".join(texts), check=check, dump=_name_of, choices=tuple(texts))


def _is_exactly(one: Any, other: Any) -> bool:
    return type(one) is type(other) and bool(one == other)


def _name_of(value: Any) -> Any:
    return value.name if isinstance(value, Enum) else value


def _list(members: Kind) -> Kind:
    if members.members is not None:
        raise TypeError(f"found a list of lists, allowed: {SUPPORTED}")

    def check(value: Any) -> list[Any]:
        return [members.accept(each) for each in _require(value, isinstance(value, list | tuple))]

    return Kind(
        name=f"list[{members.name}]",
        allowed=f"a list, each member {members.allowed}",
        check=check,
        dump=lambda value: [members.to_json(each) for each in value],
        choices=members.choices,
        members=members,
    )
