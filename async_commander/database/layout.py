"""What has to be known of a model to write its rows in bulk: keys, references, what a write changes."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any

from django.db.models import AutoField, UniqueConstraint
from django.db.models.expressions import DatabaseDefault
from django.db.models.fields.related import ForeignKey

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from django.db.models import Field, Model


@dataclass(frozen=True, slots=True)
class Layout:
    """One model, as bulk writing sees it."""

    model: type[Model]
    label: str
    references: tuple[ForeignKey[Any, Any], ...]
    """Foreign keys, one-to-one included."""
    changed_by_writing: tuple[str, ...]
    """Attributes that a write may set: keys, foreign keys, what the database computes."""
    uniques: tuple[tuple[str, ...], ...]
    """Field names of each unique constraint that a row can conflict with; the primary key first."""
    order: tuple[Field[Any, Any], ...]
    """The fields by whose values rows are sorted before an insert; none: they keep their order."""
    returned: tuple[str, ...]
    """Attributes that an insert brings back from the database."""


def concrete(of: Model | type[Model]) -> type[Model]:
    """The model whose table holds the row, where `of` may be a proxy's."""
    return of._meta.concrete_model  # type: ignore[return-value]  # None for no model with rows


@cache
def layout_of(model: type[Model]) -> Layout:
    """The layout of a concrete model."""
    fields = list(model._meta.concrete_fields)
    references = tuple(field for field in fields if isinstance(field, ForeignKey))
    uniques = tuple(_uniques(model))
    returned = tuple(field.attname for field in model._meta.db_returning_fields)
    keys = [field.attname for field in model._meta.pk_fields]
    changed = dict.fromkeys([*keys, *(field.attname for field in references), *returned])
    return Layout(
        model=model,
        label=model._meta.label,
        references=references,
        changed_by_writing=tuple(changed),
        uniques=uniques,
        order=fields_of(model, next((names for names in uniques if not _is_made_key(model, names)), ())),
        returned=returned,
    )


def fields_of(model: type[Model], names: Iterable[str]) -> tuple[Field[Any, Any], ...]:
    """The concrete fields of that name."""
    return tuple(model._meta.get_field(name) for name in names)  # type: ignore[misc]  # the names are of columns


def has_key(obj: Model) -> bool:
    """Whether the primary key of `obj` is known."""
    key = obj.pk
    if isinstance(key, tuple):
        return None not in key
    return key is not None and not isinstance(key, DatabaseDefault)


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
    for parent in sorted(_parents(model) & models, key=lambda model: model._meta.label):
        _place(parent, models, ordered, above)
    above.remove(model)
    ordered[model] = None


def _parents(model: type[Model]) -> set[type[Model]]:
    return {concrete(field.remote_field.model) for field in layout_of(model).references}


def _uniques(model: type[Model]) -> Iterable[tuple[str, ...]]:
    meta = model._meta
    yield tuple(field.name for field in meta.pk_fields)
    for field in meta.concrete_fields:
        if field.unique and not field.primary_key:
            yield (field.name,)
    yield from (tuple(names) for names in meta.unique_together)
    for constraint in meta.constraints:
        if isinstance(constraint, UniqueConstraint) and _can_be_conflicted_with(constraint):
            yield tuple(constraint.fields)


def _can_be_conflicted_with(constraint: UniqueConstraint) -> bool:
    return bool(constraint.fields) and constraint.condition is None and constraint.deferrable is None


def _is_made_key(model: type[Model], names: Sequence[str]) -> bool:
    """Whether these are a primary key that the database makes, by which unsaved rows cannot be sorted."""
    return any(isinstance(field, AutoField) for field in fields_of(model, names))
