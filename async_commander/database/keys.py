"""Values of unique fields as the database will keep and compare them."""

from __future__ import annotations

import json
from decimal import ROUND_HALF_UP, Context, Decimal
from operator import itemgetter
from typing import TYPE_CHECKING, Any, Final, cast

from django.db.models import BinaryField, ForeignKey, JSONField

if TYPE_CHECKING:
    from collections.abc import Hashable, Iterable, Sequence

    from django.db.backends.base.base import BaseDatabaseWrapper
    from django.db.models import Field, Model

Key = tuple[Any, ...]
Keyed = tuple[Key, "Model"]


class _Computed:
    """In the place of a value that only the database knows: an expression, or an unset field with `db_default`."""

    def __repr__(self) -> str:
        return "computed"


COMPUTED: Final = _Computed()
LONGEST_WHOLE_NUMBER: Final = 400
"""Digits; JSON numbers beyond are compared as floats."""


def keys_of(objects: Sequence[Model], fields: Sequence[Field[Any, Any]], connection: BaseDatabaseWrapper) -> list[Key]:
    """The objects' values in these fields: hashable, and equal where the database takes them for equal.

    None stands for NULL, COMPUTED for what the database makes of it.
    """
    columns = [[kept(field, getattr(obj, field.attname), connection) for obj in objects] for field in fields]
    return list(zip(*columns, strict=True))


def is_computed(value: object) -> bool:
    """Whether the database computes the value when it is written."""
    return hasattr(value, "resolve_expression")


def is_known(key: Key) -> bool:
    """Whether a key can be equal to another one, and is known before it is written: NULL equals nothing."""
    return None not in key and COMPUTED not in key


def in_order(keyed: Iterable[Keyed]) -> list[Keyed]:
    """By key, the same order in every process and whatever is beside it; what is not known comes last."""
    keyed = list(keyed)
    for rank in (_by_value, _known_first):
        try:
            return sorted(keyed, key=rank)
        except TypeError:  # NULL among them, or values that only the database can compare
            continue
    return sorted(keyed, key=_by_text)


_by_value = itemgetter(0)


def _known_first(pair: Keyed) -> Any:
    return [(1, "") if value is None or value is COMPUTED else (0, value) for value in pair[0]]


def _by_text(pair: Keyed) -> str:
    return repr(pair[0])


def kept(field: Field[Any, Any], value: Any, connection: BaseDatabaseWrapper) -> Hashable:
    """One value as this field's column will keep it."""
    if value is None:
        return None
    if is_computed(value):
        return COMPUTED
    while isinstance(field, ForeignKey):
        field = field.target_field
    if isinstance(field, JSONField) and connection.features.has_native_json_field:
        return _canonical_json(value, field)
    return _comparable(field, value, connection)


def _comparable(field: Field[Any, Any], value: Any, connection: BaseDatabaseWrapper) -> Hashable:
    prepared = field.get_db_prep_save(value, connection)
    if isinstance(field, BinaryField) and isinstance(value, (bytes, bytearray, memoryview)):
        return bytes(value)
    if isinstance(prepared, list) and hasattr(field, "base_field"):
        return repr([kept(field.base_field, element, connection) for element in value])
    return _hashable(rounded(field, prepared))


def rounded(field: Field[Any, Any], value: Any) -> Any:
    """A Decimal with as many places as its column has; the servers round half away from zero. Others as they are."""
    places = getattr(field, "decimal_places", None)
    if places is None or not isinstance(value, Decimal) or not value.is_finite():
        return value
    digits = max(value.adjusted(), 0) + places + 2
    return value.quantize(Decimal(1).scaleb(-places), context=Context(prec=digits, rounding=ROUND_HALF_UP))


def _canonical_json(value: Any, field: JSONField[Any, Any]) -> str:
    parsed = json.loads(json.dumps(value, cls=field.encoder), parse_float=_number)
    return json.dumps(parsed, sort_keys=True)


def _number(text: str) -> int | float:
    number = Decimal(text)
    whole = number.adjusted() < LONGEST_WHOLE_NUMBER and number == number.to_integral_value()
    return int(number) if whole else float(text)


def _hashable(value: Any) -> Hashable:
    if isinstance(value, dict):
        return repr(sorted(value.items()))
    try:
        hash(value)
    except TypeError:
        return repr(value)
    return cast("Hashable", value)
