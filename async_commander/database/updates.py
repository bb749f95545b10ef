"""Updates of rows by their primary key, in as few statements as their values allow."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING, Any

from django.db import IntegrityError, connections, transaction
from django.db.models import Case, ForeignKey, JSONField, TextField, Value, When
from django.db.models import Field as ModelField
from django.db.models.expressions import DatabaseDefault
from django.db.models.functions import Cast

from async_commander.results import ObjectAction

from .chunks import chunks
from .keys import UNKNOWN, fitting, in_order, is_expression, keys_of
from .layout import concrete, fields_of, layout_of, parents_first, quoted
from .touched import recording_of
from .write_order import Rounds

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from django.db.backends.base.base import BaseDatabaseWrapper
    from django.db.models import Field, Model, QuerySet

    from .keys import Key
    from .rows import Request

CASES = 100
"""Rows of one statement with expressions: what it costs grows with the square of their number."""

UNNESTED = 5_000
"""Rows of one statement whose values are arrays."""


class Change:
    """New values for one row that exists."""

    __slots__ = ("computed", "key", "mark", "obj", "prepared", "values")

    mark: Key
    """Equal for changes of one row."""

    def __init__(
        self, connection: BaseDatabaseWrapper, obj: Model, fields: Sequence[Field[Any, Any]], values: Sequence[Any]
    ) -> None:
        self.obj = obj
        self.values = [default_of(field, value) for field, value in zip(fields, values, strict=True)]
        self.computed = any(
            is_expression(value) and not is_json_null(field, value)
            for field, value in zip(fields, self.values, strict=True)
        )
        """Whether the database computes a value."""
        self.prepared = [] if self.computed else prepared(connection, fields, self.values)
        """The values as the database takes them, where it computes none."""
        key = obj._meta.pk_fields
        self.key = prepared(connection, key, [getattr(obj, field.attname) for field in key])


def default_of(field: Field[Any, Any], value: Any) -> Any:
    """The value, or what the database would put in the place of one that was not given."""
    return field.db_default if isinstance(value, DatabaseDefault) else value


def prepared(connection: BaseDatabaseWrapper, fields: Iterable[Field[Any, Any]], values: Iterable[Any]) -> list[Any]:
    """The values as the database takes them. Raises ValueError for a number that SQLite could not give back."""
    return [
        fitting(connection, field, field.get_db_prep_save(value, connection))
        for field, value in zip(fields, values, strict=True)
    ]


def is_json_null(field: Field[Any, Any], value: Any) -> bool:
    """Whether this is JSON's null, where None is SQL's NULL."""
    return isinstance(value, Value) and value.value is None and isinstance(field, JSONField)


def has_placeholder(field: Field[Any, Any]) -> bool:
    """Whether the SQL for a value of the field depends on the value."""
    return hasattr(field, "get_placeholder") or hasattr(field, "get_placeholder_sql")


def update(alias: str, requests: Sequence[Request]) -> None:
    """Write the named fields of objects whose rows are there and whose references are known.

    Updates of the same row keep their order: of the same fields the last one wins, unless one is an expression; other
    fields come in a later round. `pre_save()` of these fields is called, as `save(update_fields=[...])` does.
    """
    connection = connections[alias]
    by_model: dict[type[Model], list[tuple[tuple[str, ...], Change]]] = defaultdict(list)
    for request in requests:
        model = concrete(request.objects[0])
        fields = fields_of(model, request.fields)
        for obj in request.objects:
            change = Change(connection, obj, fields, [field.pre_save(obj, False) for field in fields])
            by_model[model].append((request.fields, change))
    rounds: Rounds[tuple[type[Model], tuple[str, ...]], Change] = Rounds()
    for model, changes in by_model.items():
        marks = keys_of(connection, model, layout_of(model).key, [change.key for _, change in changes])
        for (names, change), change.mark in zip(changes, marks, strict=True):
            if UNKNOWN in change.mark:
                rounds.put_alone((model, names), change)
            else:
                rounds.put((model, names), change, [(model, change.mark)])
    for parts in rounds.rounds:
        models = parents_first(frozenset(model for model, _ in parts))
        for model, names in sorted(parts, key=lambda part: (models.index(part[0]), part[1])):
            _write_last(connection, model, names, parts[model, names])


def _write_last(
    connection: BaseDatabaseWrapper, model: type[Model], names: tuple[str, ...], changes: Sequence[Change]
) -> None:
    """Of each row the last change, all in one go where the database allows it."""
    last: dict[Key, Change] = {}
    for change in changes:
        last.pop(change.mark, None)  # the last one wins, so the last place counts
        last[change.mark] = change
    fields, by_key = fields_of(model, names), [change for _, change in in_order(last.items())]
    if len(by_key) < 2 or layout_of(model).unique_fields.isdisjoint(names):
        found = write_changes(connection, model, fields, by_key)
    else:
        try:
            with transaction.atomic(using=connection.alias):
                found = write_changes(connection, model, fields, by_key)
        except IntegrityError:  # one may set a unique value free that the next one takes: in turn, as queued
            for some in chunks([change.obj.pk for change in by_key]):
                _lock(connection, model._base_manager.using(connection.alias).filter(pk__in=some))
            found = sum(write_changes(connection, model, fields, [change]) for change in last.values())
    _record(connection, model, names, by_key, found)


def _record(
    connection: BaseDatabaseWrapper, model: type[Model], names: Sequence[str], changes: Sequence[Change], found: int
) -> None:
    """The rows that were there are updated. Mostly all are, and nobody has to ask which."""
    recording = recording_of(model)
    if recording is None:
        return
    objects = [change.obj for change in changes]
    if found != len(objects):
        there = model._base_manager.using(connection.alias)
        keys = {
            key
            for some in chunks([obj.pk for obj in objects])
            for key in there.filter(pk__in=some).values_list("pk", flat=True)
        }
        objects = [obj for obj in objects if model._meta.pk.to_python(obj.pk) in keys]
    recording.touch(connection.alias, ObjectAction.UPDATED, objects, names)


def write_changes(
    connection: BaseDatabaseWrapper, model: type[Model], fields: Sequence[Field[Any, Any]], changes: Sequence[Change]
) -> int:
    """Write changes of different rows, sorted by key; what it costs grows in proportion to their number.

    Returns how many of the rows were there.
    """
    key, table = layout_of(model).key, quoted(connection, model)
    columns = [*key, *fields]
    inherited = any(field not in model._meta.local_concrete_fields for field in fields)
    if inherited or any(change.computed for change in changes) or any(map(has_placeholder, columns)):
        return _compute(connection, model, fields, changes)
    # Types of Django's own, without a type in the database of their own: PostgreSQL knows an array of these.
    kinds = [one.target_field if isinstance(one, ForeignKey) else one for one in columns]
    if (
        connection.vendor != "postgresql"
        or len(changes) < 2
        or any(kind.get_internal_type() not in connection.data_types for kind in kinds)
        or any(type(kind).db_type is not ModelField.db_type for kind in kinds)
    ):
        values, same = ([f"{quoted(connection, one)} = %s" for one in some] for some in (fields, key))
        sql = f"UPDATE {table} SET {', '.join(values)} WHERE {' AND '.join(same)}"  # noqa: S608  names
        with connection.cursor() as cursor:
            cursor.executemany(sql, [(*change.prepared, *change.key) for change in changes])
            return int(cursor.rowcount)
    # The values as one array for each column, whatever their number. Each without its length, so that nothing is cut;
    # a text that is too long for the column is an error, as elsewhere.
    arrays = [f"%s::{str(field.db_type(connection)).partition('(')[0]}[]" for field in columns]
    names = [f"given_{position}" for position in range(len(columns))]
    # Under another name: that of a table may say its schema, too, and FOR UPDATE takes no such name.
    places = [f"there.{quoted(connection, field)}" for field in key]
    same_row = " AND ".join(f"{place} = {name}" for place, name in zip(places, names, strict=False))
    values = [f"{quoted(connection, one)} = {name}" for one, name in zip(fields, names[len(key) :], strict=True)]
    # Two writers lock the same rows in the same order; the join of the UPDATE itself has none.
    sql = (
        f"WITH given AS (SELECT * FROM unnest({', '.join(arrays)}) AS given({', '.join(names)})), "  # noqa: S608  names
        f"locked AS MATERIALIZED (SELECT 1 FROM {table} AS there JOIN given ON {same_row} "
        f"ORDER BY {', '.join(places)} FOR NO KEY UPDATE OF there) "
        f"UPDATE {table} AS there SET {', '.join(values)} FROM given "
        f"WHERE {same_row} AND (SELECT count(*) FROM locked) >= 0"
    )
    found = 0
    with connection.cursor() as cursor:
        for some in chunks(changes, UNNESTED):
            rows = [(*change.key, *change.prepared) for change in some]
            cursor.execute(sql, [list(column) for column in zip(*rows, strict=True)])
            found += cursor.rowcount
    return found


def _lock(connection: BaseDatabaseWrapper, rows: QuerySet[Model]) -> None:
    """In one order, so that two writers cannot deadlock. SQLite has one writer at a time, and no such locks."""
    if connection.vendor != "sqlite" and connection.features.has_select_for_update:
        no_key = connection.features.has_select_for_no_key_update
        list(rows.order_by("pk").select_for_update(no_key=no_key).values_list("pk"))


def _as_expression(field: Field[Any, Any], value: Any) -> Any:
    if is_json_null(field, value):
        return Cast(Value("null", TextField()), field)
    if value is None and isinstance(field, JSONField):
        return Value(None)  # a Case of Django before 5.2.3 would make JSON's null of one that knows its field
    return value if is_expression(value) else Value(value, field)


def _compute(
    connection: BaseDatabaseWrapper, model: type[Model], fields: Sequence[Field[Any, Any]], changes: Sequence[Change]
) -> int:
    """By Django's own UPDATE, which knows expressions and columns of several tables."""
    found, objects = 0, model._base_manager.using(connection.alias)
    size = connection.ops.bulk_batch_size([model._meta.pk, model._meta.pk, *fields], changes)
    for some in chunks(changes, max(1, min(CASES, size))):
        if len(some) == 1:
            values = {
                field.attname: _as_expression(field, value) for field, value in zip(fields, some[0].values, strict=True)
            }
            found += objects.filter(pk=some[0].obj.pk).update(**values)
            continue
        rows = objects.filter(pk__in=[change.obj.pk for change in some])
        _lock(connection, rows)
        cases = {}
        for position, field in enumerate(fields):
            given = [(change.obj.pk, change.values[position]) for change in some]
            whens = [When(pk=key, then=_as_expression(field, one)) for key, one in given]
            case = Case(*whens, output_field=field)
            cases[field.attname] = Cast(case, field) if connection.features.requires_casted_case_in_updates else case
        found += rows.update(**cases)
    return found
