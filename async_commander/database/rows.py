"""Rows in waiting, and the checks that make a wrong request fail where it is made."""

from __future__ import annotations

from collections.abc import AsyncIterable, Awaitable, Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final, Literal

from django.db import models, router

from .layout import concrete, fields_of, has_key, is_saved, layout_of, shown

if TYPE_CHECKING:
    from collections.abc import Sequence

    from django.db.models import Field, Model


class Verb(StrEnum):
    """What is to be done with a row."""

    ADD = "add"
    UPSERT = "upsert"
    UPDATE = "update"
    DELETE = "delete"
    LINK = "link"
    """Nothing: the run only has to do with it."""


ALL: Final = "__all__"


class NotGiven:
    """In the place of an argument that has no default: its error names the model's fields."""


Names = Iterable[str] | NotGiven
Update = Iterable[str] | Literal["__all__"] | NotGiven
NOT_GIVEN: Final = NotGiven()


@dataclass(slots=True)
class Request:
    """What one call queues for one database: the objects are read when they are written, not before."""

    verb: Verb
    alias: str
    """The database that they are written to."""
    objects: Sequence[Model]
    unique: tuple[str, ...] = ()
    fields: tuple[str, ...] = ()
    """For an upsert what is overwritten where the row exists, for an update what is written."""


def add(alias: str, objects: Sequence[Model]) -> list[Request]:
    """New rows. Whether their parents are saved is known when they are written: these may be queued later."""
    for obj in objects:
        _check_object(Verb.ADD, obj)
        if is_saved(obj):
            raise ValueError(f"{shown(obj)} is in the database already: use update() or upsert() for it.")
    return _requests(alias, Verb.ADD, objects)


def upsert(alias: str, objects: Sequence[Model], unique: Names, update: Update) -> list[Request]:
    """Rows that are inserted, or that overwrite the one with the same values in `unique`."""
    for obj in objects:
        _check_object(Verb.UPSERT, obj)
    if unique is None or isinstance(unique, NotGiven):
        known = f" {objects[0]._meta.label} has: {_constraints(concrete(objects[0]))}." if objects else ""
        raise TypeError(f"upsert() needs unique=[...], the fields of the unique constraint that finds the row.{known}")
    named = _names("unique", unique)
    if update is None or isinstance(update, NotGiven):
        fields = _overwritten(concrete(objects[0]), named) if objects else ()
        known = f" {objects[0]._meta.label} has: {', '.join(fields)}." if objects else ""
        raise TypeError(
            f"upsert(unique={list(named)}) needs update=[...], the fields to overwrite where the row exists.{known} "
            f'update=[] leaves such a row as it is; update="{ALL}" overwrites all these fields, those that were not '
            "given a value with their defaults."
        )
    overwritten = None if update == ALL else _names("update", update)
    if not objects:
        return []
    if len(objects) > 1:
        _check_one_model(Verb.UPSERT, objects)
    return _requests(alias, Verb.UPSERT, objects, *_found_and_overwritten(type(objects[0]), named, overwritten))


@lru_cache(maxsize=1024)
def _found_and_overwritten(
    kind: type[Model], named: tuple[str, ...], overwritten: tuple[str, ...] | None
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The constraint that finds the row of an upsert, and the fields that are overwritten where it is there."""
    model = concrete(kind)
    names = {_field(model, "unique", name).name for name in named}
    found = next((its for its in layout_of(model).uniques if names == set(its)), ())
    if not found:
        others = [one for one in model._meta.constraints if names == set(getattr(one, "fields", ()))]
        besides = "".join(f" An upsert cannot use {one.name!r}: it is deferrable or has a condition." for one in others)
        raise ValueError(
            f"unique={list(named)}: {model._meta.label} has no unique constraint on exactly these fields, so that the "
            f"database cannot find the row to overwrite. It has: {_constraints(model)}.{besides} Add a "
            "UniqueConstraint, or use one of them."
        )
    return found, _overwritten(model, found) if overwritten is None else _updatable(model, overwritten, "update")


def update(alias: str, objects: Sequence[Model], fields: Names) -> list[Request]:
    """Values of rows that exist when they are written: adds and upserts come before."""
    model = concrete(objects[0]) if objects and isinstance(objects[0], models.Model) else None
    if fields is None or isinstance(fields, NotGiven) or fields == ALL:
        known = "" if model is None else f" {model._meta.label} has: {', '.join(_overwritten(model, ()))}."
        raise TypeError(f"update() needs fields=[...], the names of the fields to write.{known}")
    named = _names("fields", fields)
    for obj in objects:
        _check_object(Verb.UPDATE, obj)
    if model is None:
        return []
    if len(objects) > 1:
        _check_one_model(Verb.UPDATE, objects)
    return _requests(alias, Verb.UPDATE, objects, (), _updatable(model, named))


def delete(alias: str, objects: Sequence[Model]) -> list[Request]:
    """Rows to remove."""
    for obj in objects:
        _check_object(Verb.DELETE, obj)
        if not has_key(obj):
            raise ValueError(f"{shown(obj)} was never saved, so that there is no row to delete.")
    return _requests(alias, Verb.DELETE, objects)


def _requests(
    alias: str, verb: Verb, objects: Sequence[Model], unique: tuple[str, ...] = (), fields: tuple[str, ...] = ()
) -> list[Request]:
    """One for each database that the objects are written to; `alias` is that of who has no other one."""
    targets = [
        router.db_for_write(type(obj), instance=obj) if router.routers else obj._state.db or alias for obj in objects
    ]
    if len(targets) == 1:  # most of all: one row of one item
        return [Request(verb, targets[0], objects, unique, fields)]
    by_alias: dict[str, list[Model]] = {}
    for target, obj in zip(targets, objects, strict=True):
        by_alias.setdefault(target, []).append(obj)
    return [Request(verb, target, some, unique, fields) for target, some in by_alias.items()]


@lru_cache(maxsize=1024)
def _has_several_tables(kind: type[Model]) -> bool:
    return bool(concrete(kind)._meta.parents)


def _check_object(verb: Verb, obj: Any) -> None:
    if isinstance(obj, models.Model):
        if verb in (Verb.ADD, Verb.UPSERT) and _has_several_tables(type(obj)):
            raise ValueError(
                f"{verb}({shown(obj)}): {obj._meta.label} is stored in several tables (it inherits from another "
                "model), which cannot be written in bulk: use `await obj.asave()`."
            )
        return
    what, remedy = f"a {type(obj).__name__}", ""
    if isinstance(obj, type):
        what = f"the class {obj.__name__}"
        if issubclass(obj, models.Model):
            remedy = f" Make one: {verb}({obj.__name__}(...))."
    elif isinstance(obj, Awaitable):
        remedy = " Await it first."
    elif isinstance(obj, Iterable) and not isinstance(obj, (str, bytes, Mapping)):
        remedy = f" Unpack it: {verb}(*objects)."
    elif isinstance(obj, AsyncIterable):
        remedy = f" Unpack it: {verb}(*[obj async for obj in objects])."
    raise TypeError(f"{verb}({shown(obj)}): {what} is not a model instance.{remedy}")


def _check_one_model(verb: Verb, objects: Sequence[Model]) -> None:
    labels = {concrete(obj)._meta.label for obj in objects}
    if len(labels) > 1:
        raise ValueError(f"{verb}() of several models at once ({', '.join(sorted(labels))}): one call for each.")


def _names(argument: str, value: Iterable[str]) -> tuple[str, ...]:
    if isinstance(value, str):
        raise TypeError(f"{argument}={value!r}: a list of field names is needed: {argument}=[{value!r}].")
    names = tuple(value) if isinstance(value, Iterable) else (value,)
    for name in names:
        if not isinstance(name, str):
            raise TypeError(f"{argument}: {name!r} is no field name. A list of them is needed: {argument}=['name'].")
    return names


def _constraints(model: type[Model]) -> str:
    return ", ".join(str(list(names)) for names in layout_of(model).uniques)


@lru_cache(maxsize=1024)
def _overwritten(model: type[Model], unique: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(
        field.name
        for field in model._meta.concrete_fields
        if field.name not in unique
        and field not in model._meta.pk_fields
        and not field.generated
        and not getattr(field, "auto_now_add", False)
    )


@lru_cache(maxsize=1024)
def _updatable(model: type[Model], names: tuple[str, ...], argument: str = "fields") -> tuple[str, ...]:
    if not names and argument == "fields":
        raise ValueError(f"fields=[]: name the fields of {model._meta.label} to write.")
    fields = [_field(model, argument, name) for name in names]
    for field in fields:
        if field.primary_key or field in model._meta.pk_fields:
            raise ValueError(f"{argument}: {field.name!r} is the primary key of {model._meta.label}; it never changes.")
        if field.generated:
            raise ValueError(f"{argument}: {field.name!r} of {model._meta.label} is computed by the database.")
    return tuple(sorted({field.name for field in fields}))


@lru_cache(maxsize=1024)
def _field(model: type[Model], argument: str, name: str) -> Field[Any, Any]:
    columns = {field.name: field for field in model._meta.concrete_fields}
    columns |= {field.attname: field for field in model._meta.concrete_fields}
    if name == "pk":
        return fields_of(model, [model._meta.pk.name])[0]
    if name not in columns:
        known = ", ".join(field.name for field in model._meta.concrete_fields)
        raise ValueError(f"{argument}: {model._meta.label} has no field {name!r} that is a column. It has: {known}.")
    return columns[name]
