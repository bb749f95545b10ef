"""What a deletion would do, without doing it: what goes, what cascades, what is protected, what is set to null."""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from django.db import models, router

from .chunks import chunks
from .layout import concrete, has_key

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


def preview_deletion(objects: Iterable[models.Model], *, using: str | None = None) -> DeletionPreview:
    """Find out what a deletion of these objects, or of a queryset, would do. Writes nothing.

    Primary keys of what would go are kept in memory, rows are not, but for a few examples of what stays. Proxies and
    several models may be mixed. ValueError for an object that was never saved.
    """
    alias, named = using, dict[type[models.Model], dict[Any, None]]()
    if isinstance(objects, models.QuerySet):
        alias = using or objects.db
        named[concrete(objects.model)] = dict.fromkeys(objects.using(alias).values_list("pk", flat=True))
    else:
        for obj in objects:
            if not isinstance(obj, models.Model):
                raise TypeError(f"{obj!r:.80} is a {type(obj).__name__}; an iterable of model instances is needed")
            if not has_key(obj):
                raise ValueError(f"{obj!r} was never saved, so that there is no row to delete.")
            alias = alias or obj._state.db
            named.setdefault(concrete(obj), {})[obj.pk] = None
    gone: dict[type[models.Model], dict[Any, None]] = defaultdict(dict)
    kept: dict[_Reference, dict[Any, None]] = defaultdict(dict)
    for model, some in named.items():
        its = alias or router.db_for_write(model)
        present = model._base_manager.using(its)
        for part in chunks(list(some)):
            found = present.filter(pk__in=part).values_list("pk", flat=True)
            _follow(its, model, [key for key in found if key not in gone[model]], gone, kept)
    deleted = {model: sum(key in gone[model] for key in some) for model, some in named.items()}
    cascaded = Counter({model: len(keys) for model, keys in gone.items()}) - Counter(deleted)
    touched = []
    for reference, found_keys in kept.items():
        # What goes anyway is neither restricted nor changed. PROTECT forbids even that, but for rows that were named:
        # they are deleted before those that they refer to, unless both are rows of one model.
        protects, target = reference.effect == "protected", concrete(reference.field.related_model)
        leaving = named.get(reference.model, {}) if protects else gone.get(reference.model, {})
        if protects and reference.model is target:
            leaving = {}
        staying = [key for key in found_keys if key not in leaving]
        if staying:
            its = alias or router.db_for_write(reference.model)
            examples = reference.model._base_manager.using(its).filter(pk__in=staying[:EXAMPLES])
            name = reference.field.name
            touched.append(Touched(reference.model, name, reference.effect, len(staying), tuple(examples)))
    return DeletionPreview({model: count for model, count in deleted.items() if count}, dict(cascaded), tuple(touched))


def _follow(
    alias: str,
    model: type[models.Model],
    keys: list[Any],
    gone: dict[type[models.Model], dict[Any, None]],
    kept: dict[_Reference, dict[Any, None]],
) -> None:
    """Collect these rows and what cascades from them, and what refers to any of them."""
    pending = [(model, keys)]
    while pending:
        model, keys = pending.pop()
        new = [key for key in keys if key not in gone[model]]
        gone[model].update(dict.fromkeys(new))
        if not new:
            continue
        pending.extend(_beside(alias, model, new))
        for reference in _references(model):
            found = _referring(alias, reference, new)
            if reference.effect == "cascades":
                pending.append((reference.model, found))
            else:
                kept[reference].update(dict.fromkeys(found))


def _beside(alias: str, model: type[models.Model], keys: list[Any]) -> Iterator[tuple[type[models.Model], list[Any]]]:
    """What goes with rows though it does not refer to them by a foreign key: parts of them in the tables of inherited
    models, and rows of generic relations.
    """
    for part in chunks(keys):
        for parent, link in model._meta.parents.items():
            if link is not None:
                links = model._base_manager.using(alias).filter(pk__in=part).values_list(link.attname, flat=True)
                yield concrete(parent), list(links)
        for field in model._meta.private_fields:
            if hasattr(field, "bulk_related_objects"):
                related = field.bulk_related_objects([model(pk=key) for key in part], alias)
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
