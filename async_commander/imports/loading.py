"""From `{Model: objects}` to queued rows: references by natural key resolved, circles through nullable keys opened."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Literal, TypeVar

from django.db import models, router

from async_commander.database.chunks import PARAMETERS, chunks
from async_commander.database.layout import concrete, layout_of
from async_commander.exceptions import InvalidCommand

if TYPE_CHECKING:
    from async_commander.database.unit import Unit

M = TypeVar("M", bound=models.Model)
Objects = dict[type[models.Model], list[models.Model]]
Fields = Iterable[str] | Literal["__all__"]

_KEY: Final = "_async_commander_natural_key"


class NoSuchRow(ValueError):
    """A reference by natural key names a row that does not exist."""


def reference(model: type[M], /, **key: Any) -> M:
    """A row that is known by a natural key, to be put into a foreign key: `Book(author=reference(Author, name="x"))`.

    It is looked up when the batch is loaded, all of one model in one query, among the objects of the batch first.
    A row whose reference is not found is rejected.
    """
    if not key:
        raise TypeError(f"reference({model.__name__}): name at least one field, as in name='…'")
    made = model(**key)
    setattr(made, _KEY, tuple(key))
    return made


def links(obj: models.Model, field: str, others: Iterable[models.Model]) -> list[models.Model]:
    """Rows between `obj` and `others` of a many-to-many field: put them into the mapping under `Model.field.through`.

    `others` may be saved, in the same batch, or a `reference()`. A link that is there already stays.
    """
    relation: Any = obj._meta.get_field(field)
    through = relation.remote_field.through
    if not through._meta.auto_created:
        raise TypeError(f"{obj._meta.label}.{field} has a table of its own, {through._meta.label}: make its objects")
    here, there = relation.m2m_field_name(), relation.m2m_reverse_field_name()
    return [through(**{here: obj, there: other}) for other in others]


@dataclass(frozen=True, slots=True)
class Rules:
    """How the rows of each model are written."""

    unique: Mapping[type[models.Model], Iterable[str]]
    update: Mapping[type[models.Model], Fields]

    def queue(self, db: Unit, objects: Objects) -> None:
        """Insert, or overwrite what has the same unique key. Links between rows are inserted unless they are there."""
        for model, some in objects.items():
            if not some:
                continue
            if model in self.unique:
                update: Any = self.update.get(model, "__all__")
                db.upsert(*some, unique=list(self.unique[model]), update=update)
            elif model._meta.auto_created:
                db.upsert(*some, unique=model._meta.unique_together[0], update=[])
            else:
                db.add(*some)


def checked(transformed: object) -> Objects:
    """What `transform()` returned, each iterable as a list. InvalidCommand for anything else than it should."""
    if not isinstance(transformed, Mapping):
        raise InvalidCommand(
            f"transform() returned {type(transformed).__name__}; a dict is needed: {{Model: objects}}, or {{}} for none"
        )
    found: Objects = {}
    for model, objects in transformed.items():
        if not (isinstance(model, type) and issubclass(model, models.Model)):
            raise InvalidCommand(f"transform() returned a dict with the key {model!r:.80}; a model is needed")
        found[model] = list(objects)
        for obj in found[model]:
            if not isinstance(obj, models.Model) or concrete(obj) is not concrete(model):
                raise InvalidCommand(f"transform() returned {obj!r:.80} under {model.__name__}, of which it is none")
    return found


def resolve(objects: Objects, alias: str) -> None:
    """Put rows in the place of references by natural key. ORM calls: on a lane. NoSuchRow for one that is not found."""
    wanted: dict[tuple[type[models.Model], tuple[str, ...]], list[tuple[models.Model, Any, models.Model]]]
    wanted = defaultdict(list)
    for model, some in objects.items():
        for field in layout_of(concrete(model)).references:
            for obj in some:
                target = field.get_cached_value(obj, default=None)
                if target is not None and hasattr(target, _KEY):
                    wanted[concrete(target), getattr(target, _KEY)].append((obj, field, target))
    for (model, names), uses in wanted.items():
        here = {_values(obj, names): obj for obj in objects.get(model, ())}
        missing = {_values(target, names) for _, _, target in uses} - here.keys()
        found = {**_look_up(alias, model, names, missing), **here}
        for obj, field, target in uses:
            row = found.get(_values(target, names))
            if row is None:
                key = ", ".join(f"{name}={getattr(target, name)!r}" for name in names)
                raise NoSuchRow(f"there is no {model._meta.label} with {key}")
            setattr(obj, field.name, row)


def found_again(objects: Objects, unique: Mapping[type[models.Model], Iterable[str]], alias: str) -> Objects:
    """The rows of the table that these objects stand for, by their unique keys, without writing any. On a lane."""
    resolve(objects, alias)
    found: Objects = {}
    for model, names in unique.items():
        named = tuple(names)
        keys = {_values(obj, named) for obj in objects.get(model, ())}
        found[model] = list(_look_up(alias, concrete(model), named, keys).values())
    return found


def check_keys(objects: Objects, alias: str) -> None:
    """Raise NoSuchRow for a written row whose foreign key was given as a value, and names no row. On a lane.

    SQLite and PostgreSQL find that out at COMMIT only, when all rows of the batch would be lost.
    """
    for model, some in objects.items():
        here = model._base_manager.using(router.db_for_write(model) if router.routers else alias)
        for field in layout_of(concrete(model)).references:
            if not getattr(field, "db_constraint", False):
                continue
            keys = [obj.pk for obj in some if getattr(obj, field.attname) is not None and not field.is_cached(obj)]
            target = field.target_field
            rows = target.model._base_manager.using(here.db).filter(**{target.attname: models.OuterRef(field.attname)})
            for part in chunks(keys, PARAMETERS // len(model._meta.pk_fields)):
                written = here.filter(pk__in=part).exclude(**{field.attname: None})
                lost = written.filter(~models.Exists(rows)).values_list(field.attname, flat=True).first()
                if lost is not None:
                    raise NoSuchRow(f"there is no {target.model._meta.label} with {target.name}={lost!r}")


def _values(obj: models.Model, names: tuple[str, ...]) -> tuple[Any, ...]:
    fields = (obj._meta.get_field(name) for name in names)
    return tuple(
        value if (value := getattr(obj, field.attname)) is None else field.to_python(value)  # type: ignore[union-attr]
        for field in fields
    )


def _look_up(
    alias: str, model: type[models.Model], names: tuple[str, ...], keys: set[tuple[Any, ...]]
) -> dict[tuple[Any, ...], models.Model]:
    # Where rows are written: a replica may not have those of the batch before.
    objects = model._base_manager.using(router.db_for_write(model) if router.routers else alias)
    known = [key for key in keys if None not in key]
    found: dict[tuple[Any, ...], models.Model] = {}
    for some in chunks(known, PARAMETERS // len(names) // (1 if len(names) == 1 else 5)):
        condition = models.Q()
        if len(names) == 1:
            condition = models.Q(**{f"{names[0]}__in": [key[0] for key in some]})
        else:
            for key in some:
                condition |= models.Q(**dict(zip(names, key, strict=True)))
        for row in objects.filter(condition):
            its = _values(row, names)
            if its in found:
                raise NoSuchRow(f"there are several {model._meta.label} with {dict(zip(names, its, strict=True))}")
            found[its] = row
    return found


@dataclass(frozen=True, slots=True)
class Later:
    """A reference that is written when the row that it names is there."""

    obj: models.Model
    field: Any
    target: models.Model


def open_circles(objects: Objects) -> list[Later]:
    """Take out nullable references by which rows wait for each other; they are to be written afterwards."""
    here = {id(obj) for some in objects.values() for obj in some}
    later: list[Later] = []
    for model in objects:
        for field in layout_of(concrete(model)).references:
            target = concrete(field.related_model)
            if not field.null or target not in {concrete(one) for one in objects}:
                continue
            if target is not concrete(model) and not _reaches(target, concrete(model), objects):
                continue
            for obj in objects[model]:
                parent = field.get_cached_value(obj, default=None)
                if (
                    parent is not None
                    and id(parent) in here
                    and (target is not concrete(model) or _in_a_ring(obj, field))
                ):
                    later.append(Later(obj, field, parent))
                    setattr(obj, field.name, None)
    return later


def close_circles(db: Unit, later: Iterable[Later]) -> None:
    """The rows are there: queue the references that were taken out."""
    by_field: dict[Any, list[models.Model]] = defaultdict(list)
    for one in later:
        setattr(one.obj, one.field.name, one.target)
        by_field[one.field].append(one.obj)
    for field, some in by_field.items():
        db.update(*some, fields=[field.name])


def _reaches(start: type[models.Model], goal: type[models.Model], objects: Objects) -> bool:
    """Whether rows of `start` may wait for rows of `goal`, by way of the models that are written together."""
    together = {concrete(model) for model in objects}
    pending, seen = [start], {start}
    while pending:
        for field in layout_of(pending.pop()).references:
            target = concrete(field.related_model)
            if target is goal:
                return True
            if target in together and target not in seen:
                seen.add(target)
                pending.append(target)
    return False


def _in_a_ring(obj: models.Model, field: Any) -> bool:
    """Whether a row of a tree is its own ancestor."""
    seen, current = {id(obj)}, field.get_cached_value(obj, default=None)
    while current is not None:
        if id(current) in seen:
            return current is obj
        seen.add(id(current))
        current = field.get_cached_value(current, default=None)
    return False
