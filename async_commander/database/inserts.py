"""Inserts and upserts of one model: equal keys merged, rows sorted, few statements, and what these bring back."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import chain, compress, repeat
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from django.db import IntegrityError, connections, transaction
from django.db.models import (
    AutoField,
    BigAutoField,
    BigIntegerField,
    CharField,
    EmailField,
    IntegerField,
    JSONField,
    PositiveBigIntegerField,
    PositiveIntegerField,
    PositiveSmallIntegerField,
    Q,
    SlugField,
    SmallAutoField,
    SmallIntegerField,
    TextField,
    URLField,
)
from django.db.models.expressions import DatabaseDefault
from django.db.models.sql import InsertQuery

from async_commander.results import ObjectAction

from .chunks import PARAMETERS, SERVER_PARAMETERS, chunks
from .keys import PLAIN, UNKNOWN, fitting, in_order, is_expression, is_known, keys_of, rounded
from .layout import fields_of, layout_of, quoted
from .rows import Verb
from .touched import recording_of
from .updates import Change, default_of, has_placeholder, prepared, write_changes
from .write_order import Rounds
from .written import counted_as_upserts

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Sequence

    from django.db.backends.base.base import BaseDatabaseWrapper
    from django.db.models import Field, Model

    from .keys import Key
    from .layout import Layout


@dataclass(frozen=True, slots=True, eq=False)
class Group:
    """What objects were queued for; one for all that were queued for the same."""

    model: type[Model]
    verb: Verb
    unique: tuple[str, ...]
    fields: tuple[str, ...]


class Shape(NamedTuple):
    """Rows that one statement can take."""

    group: Group
    columns: tuple[int, ...]
    """Positions in the layout's fields; the database fills in the others."""


class Row:
    """One object on its way into the table."""

    __slots__ = ("computed", "group", "key", "obj", "prepared", "shape", "twins", "values")

    values: Any
    """After `pre_save()`, one for each of the layout's fields."""
    prepared: list[Any]
    """As the database takes them."""
    shape: Shape
    key: Key
    """In the fields of the constraint that an upsert names."""

    def __init__(self, group: Group, obj: Model) -> None:
        self.group = group
        self.obj = obj
        self.computed = False
        """Whether an expression is among the values, which the database computes."""
        self.twins: list[Model] = []
        """Other objects that stand for the same row."""


def insert(alias: str, model: type[Model], rows: Sequence[Row]) -> None:
    """Write rows whose references are known. Raises the database's errors.

    One statement for each shape of a round. Two writers that have the same rows write them in the same order, so that
    they cannot deadlock.
    """
    connection, layout = connections[alias], layout_of(model)
    order = [layout.positions[name] for name in layout.order]
    _prepare(connection, layout, rows)
    for parts in _rounds(connection, layout, rows):
        shapes = list(parts)
        if not any(layout.unique_fields.intersection(group.fields).difference(group.unique) for group, _ in shapes):
            # Always in one order; but as queued where one statement may set free what the next one needs.
            shapes.sort(key=lambda shape: (shape.group.verb, shape.group.unique, shape.group.fields, shape.columns))
        for shape in shapes:
            some = parts[shape]
            if shape.group.verb is Verb.UPSERT:
                _Upsert(connection, layout, shape).write(_merged(layout, shape, some))
            else:
                keyed = [(tuple(row.prepared[one] for one in order), row) for row in some]
                _Insert(connection, layout, shape).write([row for _, row in in_order(keyed)] if order else some)


def _prepare(connection: BaseDatabaseWrapper, layout: Layout, rows: Sequence[Row]) -> None:
    """Let each object's fields do what they do before they are saved, once; find the statement that it fits."""
    calls_pre_save = layout.has_pre_save or layout.rounded or layout.is_patched
    for row in rows:
        obj = row.obj
        if layout.makes_key and ((key := obj.pk) is None or (isinstance(key, tuple) and None in key)):
            obj.pk = layout.model._meta.pk.get_pk_value_on_save(obj)
        if not calls_pre_save:
            row.values = layout.take(obj)
            continue
        row.values = [field.pre_save(obj, True) for field in layout.fields]
        for position in layout.rounded:
            row.values[position] = rounded(layout.fields[position], row.values[position])
        for field in layout.key:
            if getattr(obj, field.attname) is None:  # pre_save() may return what it does not set
                setattr(obj, field.attname, row.values[layout.positions[field.name]])
    columns = [
        _prepared(connection, field, column, rows)
        for field, column in zip(layout.fields, zip(*(row.values for row in rows), strict=True), strict=False)
    ]
    optional = [layout.positions[field.name] for field in layout.made if not field.generated]
    made_values = []
    for one in optional:
        is_auto = isinstance(layout.fields[one], AutoField)  # NULL stands for a key that was not given
        made_values.append(
            [isinstance(value, DatabaseDefault) or (is_auto and value is None) for value in columns[one]]
        )
    shapes: dict[tuple[Group, tuple[bool, ...]], Shape] = {}
    for row, values, absent in zip(
        rows, zip(*columns, strict=True), zip(*made_values, strict=True) if optional else repeat(()), strict=False
    ):
        row.prepared = list(values)
        shape = shapes.get((row.group, absent))
        if shape is None:
            left_out = set(compress(optional, absent))
            columns_written = tuple(one for one in range(len(values)) if one not in left_out)
            shape = shapes[row.group, absent] = Shape(row.group, columns_written)
        row.shape = shape


def _prepared(
    connection: BaseDatabaseWrapper, field: Field[Any, Any], column: Sequence[Any], rows: Sequence[Row]
) -> Sequence[Any]:
    """The values of one field as the database takes them."""
    types, kind = set(map(type, column)), type(field)
    if kind in _AS_THEY_ARE and types <= _AS_THEY_ARE[kind]:
        return column
    if kind in _INTEGERS and types <= _INTEGER:
        name, adapt = field.get_internal_type(), connection.ops.adapt_integerfield_value
        return [adapt(value, name) for value in column]
    if types <= PLAIN:
        return [fitting(connection, field, field.get_db_prep_save(value, connection)) for value in column]
    compiler: Any = InsertQuery(field.model).get_compiler(using=connection.alias)
    values = []
    if field.primary_key and connection.vendor == "sqlite":  # it has numbers of its own for a key that is left out
        column = [default_of(field, value) for value in column]
    for row, value in zip(rows, column, strict=True):
        if not is_expression(value):
            values.append(fitting(connection, field, field.get_db_prep_save(value, connection)))
        elif isinstance(value, DatabaseDefault):
            values.append(value)
        else:
            row.computed = True
            values.append(compiler.prepare_value(field, value))
    return values


_NONE: Final[frozenset[type]] = frozenset({type(None)})
_INTEGER: Final = _NONE | {int}
_INTEGERS: Final = {
    IntegerField, BigIntegerField, SmallIntegerField, PositiveIntegerField, PositiveBigIntegerField,
    PositiveSmallIntegerField,
}  # fmt: skip
"""Fields whose values Django only wraps for the driver."""
_AS_THEY_ARE: Final[dict[type, frozenset[type]]] = {
    **dict.fromkeys((CharField, EmailField, TextField, SlugField, URLField), _NONE | {str}),
    **dict.fromkeys((AutoField, BigAutoField, SmallAutoField), _NONE),
}
"""Values that Django gives to the database as they are: most of all that is written."""


# --- which rows share a statement


def _rounds(connection: BaseDatabaseWrapper, layout: Layout, rows: Sequence[Row]) -> list[dict[Shape, list[Row]]]:
    """Inserts and upserts of the same row keep their order. One that only the database can tell has its own round."""
    shapes = dict.fromkeys(row.shape for row in rows)
    uniques = tuple(dict.fromkeys(shape.group.unique for shape in shapes if shape.group.unique))
    if len(rows) == 1 or not uniques:
        return [{shape: [row for row in rows if row.shape is shape] for shape in shapes}]
    columns = []
    for unique in uniques:
        positions = [layout.positions.get(name) for name in unique]  # none: the database generates it
        fields = [None if position is None else layout.fields[position] for position in positions]
        values = [[None if position is None else row.prepared[position] for position in positions] for row in rows]
        columns.append(keys_of(connection, layout.model, fields, values))
    for row, *known in zip(rows, *columns, strict=True):
        row.key = known[uniques.index(row.group.unique)] if row.group.unique else ()
    if len(shapes) == 1 and not any(row.computed or UNKNOWN in row.key for row in rows):
        return [{shape: list(rows) for shape in shapes}]
    rounds: Rounds[Shape, Row] = Rounds()
    for row, *known in zip(rows, *columns, strict=True):
        if any(UNKNOWN in key for key in known):
            rounds.put_alone(row.shape, row)
        else:
            pairs = zip(uniques, known, strict=True)
            rounds.put(row.shape, row, [pair for pair in pairs if _can_meet(layout, *pair)])
    return rounds.rounds


def _can_meet(layout: Layout, unique: tuple[str, ...], key: Key) -> bool:
    return is_known(key, nulls_equal=unique in layout.nulls_equal)


def _merged(layout: Layout, shape: Shape, rows: list[Row]) -> list[Row]:
    """One row for each key, as if all were written in turn: the first one, with what the last one overwrites."""
    if len(rows) == 1:
        return rows
    if len({row.key for row in rows}) == len(rows):
        return [row for _, row in in_order([(row.key, row) for row in rows])]
    overwritten = [layout.positions[name] for name in shape.group.fields]
    first: dict[Key, Row] = {}
    keyed: list[tuple[Key, Row]] = []
    for row in rows:
        kept = first.setdefault(row.key, row) if _can_meet(layout, shape.group.unique, row.key) else row
        if kept is row:
            keyed.append((row.key, row))
        else:
            kept.twins.append(row.obj)
            kept.values = list(kept.values)
            for position in overwritten:
                kept.values[position], kept.prepared[position] = row.values[position], row.prepared[position]
    return [row for _, row in in_order(keyed)]


# --- the statements


class _Insert:
    """INSERT of rows of one shape, in their order."""

    def __init__(self, connection: BaseDatabaseWrapper, layout: Layout, shape: Shape) -> None:
        self.connection = connection
        self.layout = layout
        self.shape = shape
        self.fields: list[Any] = [layout.fields[position] for position in shape.columns]
        columns = ", ".join(quoted(connection, field) for field in self.fields or [layout.model._meta.pk])
        self._head = f"INSERT INTO {quoted(connection, layout.model)} ({columns})"
        self.by_value = any(map(has_placeholder, self.fields))
        self.compiler: Any = InsertQuery(layout.model).get_compiler(using=connection.alias)
        self.returned = list(layout.made)
        self.conflict = ""
        self.tells: Sequence[str] = ()
        """SQL for what is to be known of each row beside its values: RETURNING has it behind them."""
        self.recording = recording_of(layout.model)

    def write(self, rows: Sequence[Row]) -> None:
        """Write them, and let their objects know what the database made of them."""
        features, size = self.connection.features, self.connection.ops.bulk_batch_size(self.fields, rows)
        size = max(1, min(size, SERVER_PARAMETERS // max(1, len(self.fields))))
        if self.returned and not features.can_return_rows_from_bulk_insert:
            size = 1  # then the key can be asked for
        for some in chunks(rows, size):
            self._learn(some, self._execute(some))

    def _execute(self, rows: Sequence[Row]) -> Sequence[Sequence[Any]]:
        connection, meta = self.connection, self.layout.model._meta
        values, params = self._values(rows)
        parts = [self._head, values, self.conflict]
        returns = self.returned and connection.features.can_return_columns_from_insert
        if returns:
            columns = [*(quoted(connection, field) for field in self.returned), *self.tells]
            parts.append(f"RETURNING {', '.join(columns)}")
        with connection.cursor() as cursor:
            cursor.execute(" ".join(filter(None, parts)), params)
            if returns:
                found = cursor.fetchall()
                converters = self.compiler.get_converters([field.get_col(meta.db_table) for field in self.returned])
                return list(self.compiler.apply_converters(found, converters)) if converters else found
            if isinstance(meta.pk, AutoField) and meta.pk not in self.fields:
                self.returned = [meta.pk]
                return [[connection.ops.last_insert_id(cursor, meta.db_table, str(meta.pk.column))]]
        return [()] * len(rows)

    def _values(self, rows: Sequence[Row]) -> tuple[str, list[Any]]:
        if not self.fields:  # the database makes them all
            is_auto = isinstance(self.layout.model._meta.pk, AutoField)
            made = self.connection.ops.pk_default_value() if is_auto else "DEFAULT"
            return f"VALUES {', '.join([f'({made})'] * len(rows))}", []
        given = [[row.prepared[position] for position in self.shape.columns] for row in rows]
        if self.connection.vendor != "postgresql" and not self.by_value and not any(row.computed for row in rows):
            row = f"({', '.join(['%s'] * len(self.fields))})"
            return f"VALUES {', '.join([row] * len(rows))}", list(chain.from_iterable(given))
        placeholders, params = self.compiler.assemble_as_sql(self.fields, given)
        return self.connection.ops.bulk_insert_sql(self.fields, placeholders), list(chain.from_iterable(params))

    def _learn(self, rows: Sequence[Row], returned: Sequence[Sequence[Any]]) -> None:
        names, alias = [field.attname for field in self.returned], self.connection.alias
        for row, values in zip(rows, returned, strict=True):
            for obj in (row.obj, *row.twins):
                for name, value in zip(names, values, strict=False):
                    setattr(obj, name, value)
                obj._state.adding, obj._state.db = False, alias
        if self.recording is not None:
            self._record(rows, returned)

    def _record(self, rows: Sequence[Row], returned: Sequence[Sequence[Any]]) -> None:
        del returned
        self._touch(ObjectAction.CREATED, rows)

    def _touch(self, action: ObjectAction, rows: Iterable[Row]) -> None:
        if self.recording is not None:
            self.recording.touch(self.connection.alias, action, (row.obj for row in rows))


class _Upsert(_Insert):
    """INSERT, or UPDATE where the unique constraint says that the row is there."""

    def __init__(self, connection: BaseDatabaseWrapper, layout: Layout, shape: Shape) -> None:
        super().__init__(connection, layout, shape)
        self.returned = list(dict.fromkeys((*layout.key, *layout.made)))
        features = connection.features
        self.targets = features.supports_update_conflicts_with_target and features.can_return_rows_from_bulk_insert
        if self.targets:
            unique = [quoted(connection, field) for field in fields_of(layout.model, shape.group.unique)]
            columns = [quoted(connection, field) for field in fields_of(layout.model, shape.group.fields)]
            changes = [f"{column} = EXCLUDED.{column}" for column in columns]
            if not changes:  # a field is overwritten by itself: so the row's key comes back
                some = next((field for field in layout.fields if field not in layout.key), layout.key[0])
                column = quoted(connection, some)
                changes = [f"{column} = {quoted(connection, layout.model)}.{column}"]
            self.conflict = f"ON CONFLICT ({', '.join(unique)}) DO UPDATE SET {', '.join(changes)}"
        self._there: Collection[Any] = ()
        if self.recording is not None and self.targets and _has_row_versions(connection, layout.model):
            self.tells = ["(xmax = 0)"]  # in a row that was there, xmax is the transaction that locked it to update it

    def write(self, rows: Sequence[Row]) -> None:
        """Write them, and let their objects know the key of the row that was there, or is there now.

        A database that cannot name the constraint (MariaDB) would overwrite a row that conflicts by another one, which
        is somebody else's. There rows are looked up and locked first.
        """
        if self.targets:
            if self.recording is not None and not self.tells:
                self._there = self._keys_of_those_there(rows)
            super().write(rows)
            return
        generated = [name for name in self.shape.group.unique if name not in self.layout.positions]
        if generated:
            raise ValueError(
                f"upsert(unique={list(self.shape.group.unique)}): {generated[0]!r} of {self.layout.label} is computed "
                f"by the database, and {self.connection.display_name} cannot look for it before the row is there. "
                "Name a unique constraint of columns that are written, or use `await obj.asave()`."
            )
        for some in chunks(rows, 50):
            with counted_as_upserts():
                missing = self._overwrite_existing(some)
                while missing:
                    try:
                        with transaction.atomic(using=self.connection.alias):
                            super().write(missing)
                        break
                    except IntegrityError:
                        rest = self._overwrite_existing(missing)
                        if len(rest) == len(missing):
                            raise
                        missing = rest  # others were quicker

    def _overwrite_existing(self, rows: Sequence[Row]) -> list[Row]:
        """Update those that are there; returns the others."""
        layout, objects = self.layout, self.layout.model._base_manager.using(self.connection.alias)
        unique = fields_of(layout.model, self.shape.group.unique)
        condition = self._condition(rows, unique)
        if condition is None:
            return list(rows)
        names = [field.attname for field in (*layout.key, *unique)]
        locked = list(objects.filter(condition).order_by("pk").select_for_update().values_list(*names))
        found = self._matched(rows, unique, locked)
        self._there = {one[0] if len(layout.key) == 1 else tuple(one[: len(layout.key)]) for one in found.values()}
        for row, one in found.items():
            self._learn([row], [one[: len(layout.key)]])
        fields = fields_of(layout.model, self.shape.group.fields)
        places = [layout.positions[field.name] for field in fields]
        changes = [Change(self.connection, row.obj, fields, [row.values[one] for one in places]) for row in found]
        if fields:
            write_changes(self.connection, layout.model, fields, changes)
        made = [field.attname for field in layout.made if field not in layout.key]
        if made:
            values_of = {
                pk: values
                for pk, *values in objects.filter(pk__in=[row.obj.pk for row in found]).values_list("pk", *made)
            }
            for row in found:
                for obj in (row.obj, *row.twins):
                    for name, value in zip(made, values_of[obj.pk], strict=True):
                        setattr(obj, name, value)
        return [row for row in rows if row not in found]

    def _record(self, rows: Sequence[Row], returned: Sequence[Sequence[Any]]) -> None:
        new = [bool(one[-1]) for one in returned] if self.tells else [row.obj.pk not in self._there for row in rows]
        self._touch(ObjectAction.CREATED, compress(rows, new))
        if self.shape.group.fields:  # else a row that is there is left as it is
            self._touch(ObjectAction.UPDATED, (row for row, is_new in zip(rows, new, strict=True) if not is_new))

    def _keys_of_those_there(self, rows: Sequence[Row]) -> set[Any]:
        """The keys of the rows that this upsert will find: asked before it where its answer does not tell them apart.

        That is exact on SQLite, which has one writer; a constraint of a generated column cannot be asked for.
        """
        unique = fields_of(self.layout.model, self.shape.group.unique)
        objects = self.layout.model._base_manager.using(self.connection.alias)
        found: set[Any] = set()
        for some in chunks(rows, PARAMETERS if len(unique) == 1 else 50):
            if (condition := self._condition(some, unique)) is not None:
                found.update(objects.filter(condition).values_list("pk", flat=True))
        return found

    def _condition(self, rows: Sequence[Row], unique: Sequence[Field[Any, Any]]) -> Q | None:
        """What finds the rows that have these values in the unique fields; None where none can be there."""
        if any(field.name not in self.layout.positions for field in unique):
            return None
        names, positions = [field.attname for field in unique], [self.layout.positions[field.name] for field in unique]
        keys = [
            [default_of(field, row.values[position]) for field, position in zip(unique, positions, strict=True)]
            for row in rows
        ]
        keys = [key for key in keys if None not in key]
        if not keys:
            return None
        if len(names) == 1 and not isinstance(unique[0], JSONField) and all(type(key[0]) in PLAIN for key in keys):
            return Q(**{f"{names[0]}__in": [key[0] for key in keys]})
        condition = Q()
        for key in keys:
            condition |= Q(**dict(zip(names, key, strict=True)))
        return condition

    def _matched(
        self, rows: Sequence[Row], unique: Sequence[Field[Any, Any]], found: Sequence[Sequence[Any]]
    ) -> dict[Row, Sequence[Any]]:
        """Which row was found for which of ours: the database finds other spellings, too."""
        if len(rows) == 1:
            return dict(zip(rows, found, strict=False))
        ours = [[row.prepared[self.layout.positions[field.name]] for field in unique] for row in rows]
        theirs: list[Any] = [prepared(self.connection, unique, one[len(self.layout.key) :]) for one in found]
        marks = keys_of(self.connection, self.layout.model, unique, [*ours, *theirs])
        by_mark = dict(zip(marks[len(rows) :], found, strict=True))
        return {row: by_mark[mark] for row, mark in zip(rows, marks, strict=False) if mark in by_mark}


_row_versions: dict[tuple[str, str, type[Model]], bool] = {}


def _has_row_versions(connection: BaseDatabaseWrapper, model: type[Model]) -> bool:
    """Whether RETURNING can be asked for `xmax`: on PostgreSQL, of a table that is no view, and has no partitions."""
    if connection.vendor != "postgresql":
        return False
    place = connection.alias, str(connection.settings_dict["NAME"]), model
    if place not in _row_versions:  # asked once for each table
        with connection.cursor() as cursor:
            cursor.execute("SELECT relkind = 'r' FROM pg_class WHERE oid = %s::regclass", [quoted(connection, model)])
            _row_versions[place] = cursor.fetchone()[0]
    return _row_versions[place]
