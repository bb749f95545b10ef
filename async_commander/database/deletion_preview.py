"""What a deletion would do, without doing it: what goes, what cascades, what is protected, what is set to null."""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from django.db import models, router

from .chunks import STEP, check_step, chunks, in_key_order, is_paged
from .layout import concrete, has_key, parents_first

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

EXAMPLES: Final = 5
"""Objects that are named of each kind."""

_CASCADES = {models.CASCADE, getattr(models, "DB_CASCADE", models.CASCADE)}
_EFFECTS: Final = {
    models.PROTECT: "protected",
    models.RESTRICT: "restricted",
    models.SET_NULL: "set to null",
    getattr(models, "DB_SET_NULL", models.SET_NULL): "set to null",
    models.SET_DEFAULT: "set to its default",
    getattr(models, "DB_SET_DEFAULT", models.SET_DEFAULT): "set to its default",
    models.DO_NOTHING: "left as it is",
}


@dataclass(frozen=True, slots=True)
class Touched:
    """Rows that refer to what is deleted, and do not go with it."""

    model: type[models.Model]
    field: str
    effect: str
    """ "protected", "restricted", "set to null", "set to its default", "set to a value" or "left as it is"."""
    count: int
    examples: tuple[models.Model, ...]

    def __str__(self) -> str:
        return f"{self.count} × {self.model._meta.label}.{self.field} {self.effect}"


@dataclass(frozen=True, slots=True)
class DeletionPreview:
    """What `bulk.delete()` of these rows would do."""

    deleted: Mapping[type[models.Model], int]
    """The rows that were named, as far as they are there."""
    cascaded: Mapping[type[models.Model], int]
    """Those that go with them; rows between two models of a many-to-many relation included."""
    touched: tuple[Touched, ...]

    @property
    def total(self) -> int:
        """How many rows would go."""
        return sum(self.deleted.values()) + sum(self.cascaded.values())

    @property
    def protected(self) -> tuple[Touched, ...]:
        """What forbids the deletion: ProtectedError or RestrictedError."""
        return tuple(one for one in self.touched if one.effect in ("protected", "restricted"))

    @property
    def nulled(self) -> tuple[Touched, ...]:
        """What would refer to nothing."""
        return tuple(one for one in self.touched if one.effect == "set to null")

    @property
    def is_possible(self) -> bool:
        """Whether nothing forbids it."""
        return not self.protected

    def __str__(self) -> str:
        lines = [f"{count} × {model._meta.label} deleted" for model, count in self.deleted.items()]
        lines += [f"{count} × {model._meta.label} deleted with them" for model, count in self.cascaded.items()]
        return "\n".join([*lines, *map(str, self.touched)]) or "nothing to delete"


class _Reference(NamedTuple):
    """One way by which rows refer to others."""

    model: type[models.Model]
    field: Any
    effect: str


@dataclass(slots=True)
class _Found:
    """What goes, and what refers to it: of each row the step in which it goes, or in which that does."""

    gone: dict[type[models.Model], dict[Any, int]] = field(default_factory=lambda: defaultdict(dict))
    kept: dict[_Reference, dict[Any, int]] = field(default_factory=lambda: defaultdict(dict))


def preview_deletion(objects: Iterable[models.Model], *, step: int = STEP, using: str | None = None) -> DeletionPreview:
    """Find out what a `bulk.delete()` of these objects, or of a queryset, in steps of that size would do.

    Writes nothing. Primary keys of what would go are kept in memory, rows are not, but for a few examples of what
    stays. Proxies and several models may be mixed. ValueError for an object that was never saved.

    A row that is named itself forbids the deletion of what it refers to where it would go in a later step.
    """
    check_step(step)
    alias, named = using, dict[type[models.Model], dict[Any, int]]()
    if isinstance(objects, models.QuerySet):
        alias = using or objects.db
        rows = objects.using(alias)
        rows = in_key_order(rows) if is_paged(rows) else rows
        keys = dict.fromkeys(rows.values_list("pk", flat=True))
        named[concrete(objects.model)] = {key: place // step for place, key in enumerate(keys)}
    else:
        for place, obj in enumerate(objects):
            if not isinstance(obj, models.Model):
                raise TypeError(f"{obj!r:.80} is a {type(obj).__name__}; an iterable of model instances is needed")
            if not has_key(obj):
                raise ValueError(f"{obj!r} was never saved, so that there is no row to delete.")
            alias = alias or obj._state.db
            named.setdefault(concrete(obj), {}).setdefault(obj.pk, place // step)
    found = _Found()
    gone = found.gone
    children_first = parents_first(frozenset(named))[::-1]
    for number in sorted({number for some in named.values() for number in some.values()}):
        for model in children_first:
            its = alias or router.db_for_write(model)
            present = model._base_manager.using(its)
            for part in chunks([key for key, its_step in named[model].items() if its_step == number]):
                there = present.filter(pk__in=part).values_list("pk", flat=True)
                _follow(its, model, [key for key in there if key not in gone[model]], number, found)
    deleted = {model: sum(key in gone[model] for key in some) for model, some in named.items()}
    cascaded = Counter({model: len(keys) for model, keys in gone.items()}) - Counter(deleted)
    touched = []
    for reference, keys_of_it in found.kept.items():
        staying = [key for key, number in keys_of_it.items() if _stays(reference, key, number, named, gone)]
        if staying:
            its = alias or router.db_for_write(reference.model)
            examples = reference.model._base_manager.using(its).filter(pk__in=staying[:EXAMPLES])
            name = reference.field.name
            touched.append(Touched(reference.model, name, reference.effect, len(staying), tuple(examples)))
    return DeletionPreview({model: count for model, count in deleted.items() if count}, dict(cascaded), tuple(touched))


def _stays(
    reference: _Reference,
    key: Any,
    number: int,
    named: Mapping[type[models.Model], Mapping[Any, int]],
    gone: Mapping[type[models.Model], Mapping[Any, int]],
) -> bool:
    """Whether this row is there and refers to what goes in step `number`, when that step comes.

    What goes anyway is not changed, and by then not restricted. PROTECT forbids even that, but for rows that were
    named: they are deleted before those that they refer to, unless both are rows of one model.
    """
    leaves = gone.get(reference.model, {}).get(key)
    if reference.effect != "protected":
        return leaves is None or (reference.effect == "restricted" and leaves > number)
    if leaves is not None and leaves < number:
        return False
    its_own_step = named.get(reference.model, {}).get(key)
    return its_own_step != number or reference.model is concrete(reference.field.related_model)


def _follow(alias: str, model: type[models.Model], keys: list[Any], number: int, known: _Found) -> None:
    """Collect these rows and what cascades from them, and what refers to any of them."""
    pending = [(model, keys)]
    while pending:
        model, keys = pending.pop()
        new = [key for key in keys if key not in known.gone[model]]
        known.gone[model].update(dict.fromkeys(new, number))
        if not new:
            continue
        pending.extend(_beside(alias, model, new))
        for reference in _references(model):
            found = _referring(alias, reference, new)
            if reference.effect == "cascades":
                pending.append((reference.model, found))
            else:
                for key in found:
                    known.kept[reference].setdefault(key, number)


def _beside(alias: str, model: type[models.Model], keys: list[Any]) -> Iterator[tuple[type[models.Model], list[Any]]]:
    """What goes with rows though it does not refer to them by a foreign key: parts of them in the tables of inherited
    models, and rows of generic relations.
    """
    for part in chunks(keys):
        for parent, link in model._meta.parents.items():
            if link is not None:
                links = model._base_manager.using(alias).filter(pk__in=part).values_list(link.attname, flat=True)
                yield concrete(parent), list(links)
        for generic in model._meta.private_fields:
            if hasattr(generic, "bulk_related_objects"):
                related = generic.bulk_related_objects([model(pk=key) for key in part], alias)
                yield concrete(related.model), list(related.values_list("pk", flat=True))


def _references(model: type[models.Model]) -> Iterator[_Reference]:
    """The foreign keys that point at this model, those of hidden many-to-many tables included."""
    relations: Iterable[Any] = model._meta.get_fields(include_hidden=True)
    for relation in relations:
        if relation.auto_created and not relation.concrete and (relation.one_to_one or relation.one_to_many):
            on_delete = relation.on_delete
            effect = "cascades" if on_delete in _CASCADES else _EFFECTS.get(on_delete, "set to a value")
            yield _Reference(concrete(relation.related_model), relation.field, effect)


def _referring(alias: str, reference: _Reference, keys: list[Any]) -> list[Any]:
    """Primary keys of the rows that refer to these; a foreign key may refer to another field than the primary key."""
    target: Any = reference.field.target_field
    found: list[Any] = []
    for part in chunks(keys):
        given: Any = part
        if not target.primary_key:
            owner = concrete(reference.field.related_model)
            given = owner._base_manager.using(alias).filter(pk__in=part).values_list(target.attname)
        rows = reference.model._base_manager.using(alias).filter(**{f"{reference.field.name}__in": given})
        found.extend(rows.order_by().values_list("pk", flat=True))
    return found
