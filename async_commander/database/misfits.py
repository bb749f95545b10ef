"""Which value it was that a database did not take: its own error names a type, or nothing, of all that a unit wrote."""

from __future__ import annotations

from contextlib import contextmanager, suppress
from decimal import Decimal, InvalidOperation
from typing import TYPE_CHECKING, Any

from django.db import DataError, connections
from django.db.models import DecimalField, ForeignKey, IntegerField

from .layout import layout_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from django.db.backends.base.base import BaseDatabaseWrapper
    from django.db.models import Field

    from .unit import Unit

_KINDS = (DataError, OverflowError, InvalidOperation, ValueError)
_MOST_TOLD = 3


def with_misfits(error: BaseException, unit: Unit) -> BaseException:
    """The error of a unit that was written alone; where values do not fit their fields, one that names these."""
    if not issubclass(type(error), _KINDS):  # isinstance() would ask the error itself, which may not be looked at
        return error
    found: list[str] = []
    for request in unit.requests:
        connection = connections[request.alias]
        for obj in request.objects:
            for field in layout_of(type(obj)).fields:
                value = vars(obj).get(field.attname)  # what the object lacks is not loaded for it
                with suppress(Exception):  # a value of the project's own type that cannot be looked at
                    if problem := _problem(connection, field, value):
                        found.append(f"{obj._meta.label}.{field.name}: {problem}")
    if not found:
        return error
    more = f"; and {len(found) - _MOST_TOLD} more" if len(found) > _MOST_TOLD else ""
    known = "" if isinstance(error, InvalidOperation) else f" ({str(error).strip()})"  # which has no words
    told = (DataError if isinstance(error, InvalidOperation) else type(error))(
        f"{'; '.join(found[:_MOST_TOLD])}{more}{known}"
    )
    told.__cause__ = error
    return told


@contextmanager
def written_now(unit: Unit) -> Iterator[None]:
    """For the block a unit is written alone. It has its rows again where that fails, and the error names misfits."""
    try:
        yield
    except Exception as error:
        unit.restore()
        told = with_misfits(error, unit)
        if told is error:
            raise
        raise told from error
    unit.forget()


def _problem(connection: BaseDatabaseWrapper, field: Field[Any, Any], value: Any) -> str:
    target = field.target_field if isinstance(field, ForeignKey) else field
    if isinstance(value, str):
        longest = getattr(target, "max_length", None)
        if longest is not None and len(value) > longest and connection.vendor != "sqlite":
            return f"a text of {len(value)} characters, where its max_length is {longest}"
        if "\0" in value and connection.vendor == "postgresql":
            return "a text with a NUL character, which PostgreSQL does not take"
    if isinstance(target, IntegerField) and isinstance(value, int):
        least, most = connection.ops.integer_field_range(target.get_internal_type())
        if (least is not None and value < least) or (most is not None and value > most):
            shown = str(value) if value.bit_length() < 100 else f"an integer of {value.bit_length()} bits"
            return f"{shown}, where {least} to {most} are allowed"
    if isinstance(target, DecimalField) and isinstance(value, Decimal | int | float):
        digits, places = target.max_digits or 0, target.decimal_places or 0
        if digits and abs(Decimal(value)) >= Decimal(10) ** (digits - places):
            return f"{value}, where max_digits={digits} and decimal_places={places} are allowed"
    return ""
