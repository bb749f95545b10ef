"""What has to be known of a model to write its rows in bulk: columns, keys, references, what a write changes."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from operator import attrgetter
from typing import TYPE_CHECKING, Any

from django.db.models import (
    AutoField,
    CheckConstraint,
    DateField,
    DateTimeField,
    DecimalField,
    FileField,
    Model,
    TimeField,
    UniqueConstraint,
)
from django.db.models import Field as ModelField
from django.db.models.fields.related import ForeignObject

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from django.contrib.contenttypes.fields import GenericForeignKey
    from django.db.backends.base.base import BaseDatabaseWrapper
    from django.db.models import Field

_TIMES = (DateField.pre_save, DateTimeField.pre_save, TimeField.pre_save)


@dataclass(frozen=True, slots=True)
class Layout:
    """One model, as bulk writing sees it."""

    model: type[Model]
    label: str
    fields: tuple[Field[Any, Any], ...]
    """What an insert can write: columns that the database does not generate."""
    positions: Mapping[str, int]
    """Where each of these is, by name."""
    take: Callable[[Model], tuple[Any, ...]]
    """The values of an object in these fields, with its state behind them."""
    key: tuple[Field[Any, Any], ...]
    """The fields of the primary key."""
    makes_key: bool
    """Whether the primary key may make a value for an object that has none."""
    made: tuple[Field[Any, Any], ...]
    """Those that the database may fill in: an automatic key, columns with `db_default`, generated ones."""
    references: tuple[ForeignObject[Any, Any], ...]
    """Foreign keys, one-to-one and those of several fields included."""
    generic_references: tuple[GenericForeignKey, ...]
    has_pre_save: bool
    """Whether a class of fields has a `pre_save()` that may change what is written."""
    changed_by_writing: tuple[str, ...]
    """Attributes that a write may set: keys, references, what the database or a field of Django makes."""
    changes_anything: bool
    """Whether the project has a `pre_save()` of its own, which may set any attribute."""
    kept: frozenset[str]
    """Attributes that stay as they are after a rollback: files are stored, whatever becomes of their row."""
    uniques: tuple[tuple[str, ...], ...]
    """Field names of each unique constraint that an upsert can name; the primary key first."""
    nulls_equal: frozenset[tuple[str, ...]]
    """Those of `uniques` for which one NULL equals another."""
    unique_fields: frozenset[str]
    """All fields that any constraint between rows looks at, those with a condition or an expression included."""
    rounded: tuple[int, ...]
    """Positions of decimals in unique fields, which are rounded before they are written."""
    order: tuple[str, ...]
    """The fields by whose values rows are sorted before an insert; none: they keep their order."""

    @property
    def is_patched(self) -> bool:
        """Whether a field has been given a `pre_save()` that its class has not."""
        return any("pre_save" in field.__dict__ for field in self.fields)


def concrete(of: Model | type[Model]) -> type[Model]:
    """The model whose table holds the row, where `of` may be a proxy's."""
    return of._meta.concrete_model  # type: ignore[return-value]  # None for no model with rows


@cache
def layout_of(model: type[Model]) -> Layout:
    """The layout of a concrete model."""
    meta = model._meta
    columns = list(meta.concrete_fields)
    fields = tuple(field for field in columns if not field.generated)
    references = tuple(field for field in meta.fields if isinstance(field, ForeignObject))
    # GenericForeignKey cannot be imported where django.contrib.contenttypes is not installed.
    generic: Any = tuple(field for field in meta.private_fields if hasattr(field, "fk_field"))
    made = tuple(
        field for field in columns if isinstance(field, AutoField) or field.generated or field.has_db_default()
    )
    pre_saved = [field for field in fields if _has_pre_save(field)]
    changed = [*meta.pk_fields, *(one for field in references for one in field.local_related_fields), *made]
    changed += fields_of(model, [field.fk_field for field in generic])
    changed += [field for field in pre_saved if not isinstance(field, FileField)]
    names = {field.name: position for position, field in enumerate(fields)}
    uniques, unique_fields = _uniques(model)
    made_keys = {field.name for field in columns if isinstance(field, AutoField)}
    return Layout(
        model=model,
        label=meta.label,
        fields=fields,
        positions=names,
        take=attrgetter(*(field.attname for field in fields), "_state"),
        key=tuple(meta.pk_fields),
        makes_key=type(meta.pk).get_pk_value_on_save is not ModelField.get_pk_value_on_save or meta.pk.has_default(),
        made=made,
        references=references,
        generic_references=generic,
        has_pre_save=bool(pre_saved),
        changed_by_writing=tuple(dict.fromkeys(field.attname for field in changed)),
        changes_anything=any(
            not isinstance(field, FileField) and type(field).pre_save not in _TIMES for field in pre_saved
        ),
        kept=frozenset(["_state", *(field.attname for field in fields if isinstance(field, FileField))]),
        uniques=tuple(uniques),
        nulls_equal=frozenset(one for one, nulls_equal in uniques.items() if nulls_equal),
        unique_fields=unique_fields,
        rounded=tuple(
            names[field.name] for field in fields if isinstance(field, DecimalField) and field.name in unique_fields
        ),
        order=next((one for one in uniques if names.keys() >= set(one) and made_keys.isdisjoint(one)), ()),
    )


def fields_of(model: type[Model], names: Iterable[str]) -> tuple[Field[Any, Any], ...]:
    """The concrete fields of that name."""
    return tuple(model._meta.get_field(name) for name in names)  # type: ignore[misc]  # the names are of columns


def quoted(connection: BaseDatabaseWrapper, of: type[Model] | Field[Any, Any]) -> str:
    """The name of a table or a column in SQL."""
    return connection.ops.quote_name(of._meta.db_table if isinstance(of, type) else str(of.column))


def shown(obj: object) -> str:
    """For a message: its repr, where that does not ask the database in a place in which nobody may."""
    try:
        return repr(obj)
    except Exception:  # noqa: BLE001  the project's own, in a message about something else
        return f"<{type(obj).__name__} {obj.pk}>" if isinstance(obj, Model) else f"<{type(obj).__name__}>"


def has_key(obj: Model) -> bool:
    """Whether the primary key of `obj` is known."""
    key = obj.pk
    if isinstance(key, tuple):
        return all(part is not None and not hasattr(part, "resolve_expression") for part in key)
    return key is not None and not hasattr(key, "resolve_expression")


def is_saved(obj: Model) -> bool:
    """Whether `obj` stands for a row that is there already."""
    return not obj._state.adding and has_key(obj)


@cache
def parents_first(models: frozenset[type[Model]]) -> tuple[type[Model], ...]:
    """The models in an order in which referenced ones come first, the same in every process; circles are cut."""
    ordered: dict[type[Model], None] = {}
    for model in sorted(models, key=lambda model: model._meta.label):
        _place(model, models, ordered, set())
    return tuple(ordered)


def _place(
    model: type[Model], models: frozenset[type[Model]], ordered: dict[type[Model], None], above: set[type[Model]]
) -> None:
    if model in ordered or model in above:
        return
    above.add(model)
    parents = {concrete(field.remote_field.model) for field in layout_of(model).references}
    for parent in sorted(parents & models, key=lambda model: model._meta.label):
        _place(parent, models, ordered, above)
    above.remove(model)
    ordered[model] = None


def _has_pre_save(field: Field[Any, Any]) -> bool:
    pre_save = type(field).pre_save
    if pre_save in _TIMES:
        return bool(field.auto_now or field.auto_now_add)  # type: ignore[attr-defined]  # a field of dates or times
    return pre_save is not ModelField.pre_save


def _uniques(model: type[Model]) -> tuple[dict[tuple[str, ...], bool], frozenset[str]]:
    """The constraints that an upsert can name, each with whether NULLs are equal in it; and all fields compared."""
    meta = model._meta
    uniques = {tuple(field.name for field in meta.pk_fields): False}
    uniques |= {(field.name,): False for field in meta.concrete_fields if field.unique and not field.primary_key}
    uniques |= {tuple(names): False for names in meta.unique_together}
    compared: set[str] = set()
    for constraint in meta.constraints:
        if isinstance(constraint, UniqueConstraint) and constraint.fields and constraint.condition is None:
            compared.update(constraint.fields)
            if constraint.deferrable is None:
                uniques[tuple(constraint.fields)] = constraint.nulls_distinct is False
        elif not isinstance(constraint, CheckConstraint):  # of an expression: any field may be in it
            compared.update(field.name for field in meta.concrete_fields)
    return uniques, frozenset(compared.union(*uniques))
