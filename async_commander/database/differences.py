"""What two bulks of one model have in common, by a natural key."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from django.db import connections, models, router

from .keys import rounded
from .layout import concrete, fields_of, layout_of

if TYPE_CHECKING:
    from collections.abc import Hashable, Iterable, Sequence

    from django.db.backends.base.base import BaseDatabaseWrapper

M = TypeVar("M", bound=models.Model)


@dataclass(frozen=True, slots=True)
class Changed(Generic[M]):
    """One row that both bulks have, with other values."""

    old: M
    new: M
    fields: tuple[str, ...]
    """Those that differ."""

    def applied(self) -> M:
        """The old object with the new values of these fields: ready for `bulk.update()`."""
        for field in fields_of(type(self.old), self.fields):
            setattr(self.old, field.attname, getattr(self.new, field.attname))
        return self.old


@dataclass(frozen=True, slots=True)
class Diff(Generic[M]):
    """Two bulks, compared. The objects are those that were given, in their order."""

    added: list[M]
    """Only in the new one."""
    removed: list[M]
    """Only in the old one."""
    changed: list[Changed[M]]
    same: list[M]
    """In both, with equal values; the old objects."""


def diff(old: Iterable[M], new: Iterable[M], *, key: Iterable[str], fields: Iterable[str] | None = None) -> Diff[M]:
    """Compare rows with the same values in `key`, whether or not they are saved.

    `fields` are compared; without them all columns are, but for the key, the primary key, and what the database or
    `auto_now` and `auto_now_add` make. Values are compared as they are stored: the text "1.50" equals the decimal
    number 1.5. A key with None in it equals no other one, as in the database. Both bulks are read into memory.

    ValueError for bulks of several models, an unknown field, and for a key that a bulk has twice.
    """
    olds, news = list(old), list(new)
    some = [*olds, *news]
    for obj in some:
        if not isinstance(obj, models.Model):
            raise TypeError(f"{obj!r:.80} is a {type(obj).__name__}; diff() compares model instances")
    if not some:
        return Diff([], [], [], [])
    model = concrete(some[0])
    if others := {concrete(obj)._meta.label for obj in some} - {model._meta.label}:
        raise ValueError(f"diff() of several models: {model._meta.label} and {', '.join(sorted(others))}")
    connection = connections[some[0]._state.db or router.db_for_read(model)]
    named = _columns(model, key)
    compared = _compared(model, named) if fields is None else _columns(model, fields)
    by_key = {its: obj for its, obj in _keyed(connection, named, olds, "old") if None not in its}
    found: Diff[M] = Diff([], [], [], [])
    met: set[int] = set()
    for its, obj in _keyed(connection, named, news, "new"):
        before = by_key.get(its)
        if before is None:
            found.added.append(obj)
            continue
        met.add(id(before))
        differing = tuple(
            field.name for field in compared if _stored(connection, field, before) != _stored(connection, field, obj)
        )
        if differing:
            found.changed.append(Changed(before, obj, differing))
        else:
            found.same.append(before)
    found.removed.extend(obj for obj in olds if id(obj) not in met)
    return found


def _keyed(
    connection: BaseDatabaseWrapper, key: Sequence[models.Field[Any, Any]], objects: Sequence[M], which: str
) -> list[tuple[tuple[Hashable, ...], M]]:
    keyed = [(tuple(_stored(connection, field, obj) for field in key), obj) for obj in objects]
    seen: set[tuple[Hashable, ...]] = set()
    for its, obj in keyed:
        if its in seen:
            names = ", ".join(f"{field.name}={value!r}" for field, value in zip(key, its, strict=True))
            raise ValueError(
                f"The {which} bulk has {obj._meta.label} twice with {names}: a row of the other one would stand for "
                "both. Name more fields in `key`, or merge them before."
            )
        if None not in its:
            seen.add(its)
    return keyed


def _stored(connection: BaseDatabaseWrapper, field: models.Field[Any, Any], obj: models.Model) -> Hashable:
    """A value as the database would give it back, made hashable."""
    value = getattr(obj, field.attname)
    if value is None or hasattr(value, "resolve_expression"):
        return value  # type: ignore[no-any-return]  # an expression equals itself only
    if isinstance(field, models.DecimalField):
        return rounded(field, value)  # type: ignore[no-any-return]
    while isinstance(field, models.ForeignKey):
        field = field.target_field
    value = field.to_python(value)
    if isinstance(field, models.JSONField):
        # Read again, keys are the texts that are stored; their order says nothing, and true is not 1.
        return json.dumps(json.loads(json.dumps(value, cls=field.encoder)), sort_keys=True)
    try:
        hash(value)
    except TypeError:
        return repr(field.get_db_prep_value(value, connection))
    return value  # type: ignore[no-any-return]


def _compared(model: type[models.Model], key: Sequence[models.Field[Any, Any]]) -> tuple[models.Field[Any, Any], ...]:
    return tuple(
        field
        for field in layout_of(model).fields
        if field not in key
        and not field.primary_key
        and field not in model._meta.pk_fields
        and not getattr(field, "auto_now", False)
        and not getattr(field, "auto_now_add", False)
    )


def _columns(model: type[models.Model], names: Iterable[str]) -> tuple[models.Field[Any, Any], ...]:
    if isinstance(names, str):
        raise TypeError(f"{names!r}: a list of field names is needed: [{names!r}]")
    known = {field.name: field for field in model._meta.concrete_fields}
    named = tuple(names)
    for name in named:
        if name not in known:
            raise ValueError(f"{model._meta.label} has no field {name!r} that is a column. It has: {', '.join(known)}.")
    if not named:
        raise ValueError(f"diff() of {model._meta.label} needs at least one field")
    return tuple(known[name] for name in named)
