"""Updates of rows by their primary key, in as few statements as their values allow."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING, Any

from django.db import connections
from django.db.models import Case, ForeignKey, Value, When
from django.db.models import Field as ModelField
from django.db.models.expressions import DatabaseDefault
from django.db.models.functions import Cast

from .chunks import chunks
from .keys import UNKNOWN, in_order, is_expression, keys_of
from .layout import concrete, fields_of, layout_of, parents_first, quoted
from .write_order import Rounds

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from django.db.backends.base.base import BaseDatabaseWrapper
    from django.db.models import Field, Model

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
        self.computed = any(is_expression(value) for value in self.values)
        """Whether the database computes a value."""
        self.prepared = [] if self.computed else prepared(connection, fields, self.values)
        """The values as the database takes them, where it computes none."""
        key = obj._meta.pk_fields
        self.key = prepared(connection, key, [getattr(obj, field.attname) for field in key])


def default_of(field: Field[Any, Any], value: Any) -> Any:
    """The value, or what the database would put in the place of one that was not given."""
    return field.db_default if isinstance(value, DatabaseDefault) else value


def prepared(connection: BaseDatabaseWrapper, fields: Iterable[Field[Any, Any]], values: Iterable[Any]) -> list[Any]:
    """The values as the database takes them."""
    return [field.get_db_prep_save(value, connection) for field, value in zip(fields, values, strict=True)]


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
            last = {change.mark: change for change in parts[model, names]}
            write_changes(connection, model, fields_of(model, names), [change for _, change in in_order(last.items())])


def write_changes(
    connection: BaseDatabaseWrapper, model: type[Model], fields: Sequence[Field[Any, Any]], changes: Sequence[Change]
) -> None:
    """Write changes of different rows, sorted by key; what it costs grows in proportion to their number."""
    columns = [*layout_of(model).key, *fields]
    inherited = any(field not in model._meta.local_concrete_fields for field in fields)
    if inherited or any(change.computed for change in changes) or any(map(has_placeholder, columns)):
        _compute(connection, model, fields, changes)
    elif (
        len(changes) > 1 and connection.vendor == "postgresql" and all(_fits_array(connection, one) for one in columns)
    ):
        _unnest(connection, model, fields, changes)
    else:
        values, key = ([f"{quoted(connection, one)} = %s" for one in some] for some in (fields, layout_of(model).key))
        with connection.cursor() as cursor:
            cursor.executemany(
                f"UPDATE {quoted(connection, model)} SET {', '.join(values)} WHERE {' AND '.join(key)}",  # noqa: S608  names
                [(*change.prepared, *change.key) for change in changes],
            )


def _fits_array(connection: BaseDatabaseWrapper, field: Field[Any, Any]) -> bool:
    kind = field.target_field if isinstance(field, ForeignKey) else field
    return kind.get_internal_type() in connection.data_types and type(kind).db_type is ModelField.db_type


def _unnest(
    connection: BaseDatabaseWrapper, model: type[Model], fields: Sequence[Field[Any, Any]], changes: Sequence[Change]
) -> None:
    """PostgreSQL: the values as one array for each column, whatever their number."""
    key, table = layout_of(model).key, quoted(connection, model)
    columns = [*key, *fields]
    names = [f"given_{position}" for position in range(len(columns))]
    # Without its length, so that nothing is cut; a text that is too long for the column is an error, as elsewhere.
    arrays = [f"%s::{str(field.db_type(connection)).partition('(')[0]}[]" for field in columns]
    places = [f"{table}.{quoted(connection, field)}" for field in key]
    same = " AND ".join(f"{place} = {name}" for place, name in zip(places, names, strict=False))
    values = [f"{quoted(connection, one)} = {name}" for one, name in zip(fields, names[len(key) :], strict=True)]
    # Two writers lock the same rows in the same order; the join of the UPDATE itself has none.
    sql = (
        f"WITH given AS (SELECT * FROM unnest({', '.join(arrays)}) AS given({', '.join(names)})), "  # noqa: S608  names
        f"locked AS MATERIALIZED (SELECT 1 FROM {table} JOIN given ON {same} "
        f"ORDER BY {', '.join(places)} FOR NO KEY UPDATE OF {table}) "
        f"UPDATE {table} SET {', '.join(values)} FROM given WHERE {same} AND (SELECT count(*) FROM locked) >= 0"
    )
    with connection.cursor() as cursor:
        for some in chunks(changes, UNNESTED):
            rows = [(*change.key, *change.prepared) for change in some]
            cursor.execute(sql, [list(column) for column in zip(*rows, strict=True)])


def _compute(
    connection: BaseDatabaseWrapper, model: type[Model], fields: Sequence[Field[Any, Any]], changes: Sequence[Change]
) -> None:
    """By Django's own UPDATE, which knows expressions and columns of several tables."""
    objects, features = model._base_manager.using(connection.alias), connection.features
    size = connection.ops.bulk_batch_size([model._meta.pk, model._meta.pk, *fields], changes)
    for some in chunks(changes, max(1, min(CASES, size))):
        if len(some) == 1:
            values: dict[str, Any] = dict(zip([field.attname for field in fields], some[0].values, strict=True))
            objects.filter(pk=some[0].obj.pk).update(**values)
            continue
        rows = objects.filter(pk__in=[change.obj.pk for change in some])
        if features.has_select_for_update:  # in one order, as above
            list(rows.order_by("pk").select_for_update(no_key=features.has_select_for_no_key_update).values_list("pk"))
        cases = {}
        for position, field in enumerate(fields):
            given = [(change.obj.pk, change.values[position]) for change in some]
            whens = [When(pk=key, then=one if is_expression(one) else Value(one, field)) for key, one in given]
            case = Case(*whens, output_field=field)
            cases[field.attname] = Cast(case, field) if features.requires_casted_case_in_updates else case
        rows.update(**cases)
