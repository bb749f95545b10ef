"""Many rows at once, in steps: create, upsert, update, delete, compare, and look before you delete.

    from async_commander import bulk

    bulk.create(books, step=1000)                                   await bulk.acreate(books)
    bulk.upsert(books, unique=["isbn"], update=["title", "stock"])
    bulk.update(books, fields=["stock"])
    bulk.delete(Book.objects.filter(stock=0))
    difference = bulk.diff(Book.objects.all(), books, key=["isbn"])
    print(bulk.preview_deletion(difference.removed))

As in the unit of work `self.db`, rows are written without `save()` and signals, parents before their children.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from itertools import chain, islice
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, TypeVar

from asgiref.sync import sync_to_async
from django.db import models, router, transaction

from async_commander.database import rows
from async_commander.database.bulk import write
from async_commander.database.chunks import PARAMETERS, STEP, check_step, chunks, in_key_order, is_paged
from async_commander.database.deletion_preview import DeletionPreview, Touched, preview_deletion
from async_commander.database.differences import Changed, Diff, diff
from async_commander.database.layout import concrete, has_key, parents_first
from async_commander.database.snapshots import Undo

if TYPE_CHECKING:
    from async_commander.database.rows import Request

M = TypeVar("M", bound=models.Model)
Fields = Iterable[str] | Literal["__all__"]

__all__ = [
    "Changed", "DeletionPreview", "Diff", "Touched", "acreate", "acreate_models", "adelete", "adiff",
    "apreview_deletion", "aupdate", "aupsert", "create", "create_models", "delete", "diff", "preview_deletion",
    "update", "upsert",
]  # fmt: skip


def create(objects: Iterable[M], *, step: int = STEP, using: str | None = None, atomic: bool = True) -> int:
    """Insert new rows, `step` at a time. Returns how many.

    `objects` may be any iterable, which is read a step at a time, and may mix models: within a step parents come first.
    Their primary keys are set. With `atomic` all is written or nothing, and the objects are as before where it fails;
    without it each step is a transaction of its own, and what was written stays written.
    """
    return _write_steps(objects, rows.add, step=step, using=using, atomic=atomic)


def create_models(
    objects: Mapping[type[models.Model], Iterable[models.Model]], *, step: int = STEP, using: str | None = None
) -> dict[type[models.Model], int]:
    """Insert rows of several models, parents first whatever their order here, all or nothing. Returns how many of each.

    ValueError for rows that refer to each other in a circle.
    """
    counts = dict.fromkeys(objects, 0)
    by_model = {concrete(model): model for model in objects}
    with _all_or_nothing({_alias(using, model) for model in by_model}) as undo:
        for model in parents_first(frozenset(by_model)):
            some = _only(by_model[model], objects[by_model[model]])
            counts[by_model[model]] = _write_steps(some, rows.add, step=step, using=using, atomic=True, undo=undo)
    return counts


def upsert(
    objects: Iterable[M],
    *,
    unique: Iterable[str],
    update: Fields,
    step: int = STEP,
    using: str | None = None,
    atomic: bool = True,
) -> int:
    """Insert rows, or overwrite the fields `update` of those with the same values in `unique`. Returns how many.

    `unique` names a unique constraint; `update` may be empty, or `"__all__"`, as in `self.db.upsert()`. Objects of one
    model; they learn the keys of their rows on every database. Steps and `atomic` are those of `create()`.
    """
    named = _names(unique)
    overwritten = update if update == "__all__" else _names(update)

    def request(alias: str, some: list[M]) -> list[Request]:
        return rows.upsert(alias, some, named, overwritten)

    return _write_steps(objects, request, step=step, using=using, atomic=atomic)


def update(
    objects: Iterable[M], *, fields: Iterable[str], step: int = STEP, using: str | None = None, atomic: bool = True
) -> int:
    """Write these fields of rows that exist. Returns how many of them are there. Steps are those of `create()`."""
    named = _names(fields)

    def request(alias: str, some: list[M]) -> list[Request]:
        return rows.update(alias, some, named)

    def present(alias: str, some: list[M]) -> int:
        there, keys = concrete(some[0])._base_manager.using(alias), [obj.pk for obj in some]
        return sum(there.filter(pk__in=part).count() for part in chunks(keys, PARAMETERS))

    return _write_steps(objects, request, step=step, using=using, atomic=atomic, counted=present)


def delete(
    objects: Iterable[models.Model], *, step: int = STEP, using: str | None = None, atomic: bool = True
) -> tuple[int, dict[str, int]]:
    """Delete rows and what cascades from them, `step` at a time. Returns what `QuerySet.delete()` does.

    `objects` may be a queryset, whose rows are not read, only their keys, a step at a time. Rows that a model's
    default manager hides are found. ProtectedError and RestrictedError as from Django: see `preview_deletion()`.
    """
    check_step(step)
    keyed: Iterator[list[_Key]]
    if isinstance(objects, models.QuerySet):
        alias = using or router.db_for_write(objects.model)
        aliases, keyed = {alias}, _pages(objects.using(alias), alias, step)
    else:
        objects = list(objects) if atomic else objects  # which databases there are is known at the beginning
        aliases = {_alias(using, obj) for obj in objects} if atomic else set()
        keyed = ([_key(using, obj) for obj in some] for some in _steps(objects, step))
    counts: Counter[str] = Counter()
    with _all_or_nothing(aliases) if atomic else nullcontext():
        for some in keyed:
            by_model: dict[tuple[str, type[models.Model]], list[Any]] = {}
            for one in some:
                by_model.setdefault((one.alias, one.model), []).append(one.pk)
            order = parents_first(frozenset(model for _, model in by_model))
            for alias, model in sorted(by_model, key=lambda place: order.index(place[1]), reverse=True):
                with transaction.atomic(using=alias, savepoint=not atomic):
                    for part in chunks(by_model[alias, model], PARAMETERS):
                        counts.update(model._base_manager.using(alias).filter(pk__in=part).delete()[1])
    return counts.total(), dict(counts)


acreate = sync_to_async(create)
acreate_models = sync_to_async(create_models)
aupsert = sync_to_async(upsert)
aupdate = sync_to_async(update)
adelete = sync_to_async(delete)
adiff = sync_to_async(diff)
apreview_deletion = sync_to_async(preview_deletion)


def _write_steps(
    objects: Iterable[M],
    request: Callable[[str, list[M]], list[Request]],
    *,
    step: int,
    using: str | None,
    atomic: bool,
    counted: Callable[[str, list[M]], int] | None = None,
    undo: list[Undo] | None = None,
) -> int:
    """Write a step after the other. Each is in a block of its own, so that objects of a failed one can be restored."""
    check_step(step)
    remaining = iter(objects)
    first = next(remaining, None)
    if first is None:
        return 0
    _check_object(first)
    count, outer = 0, _all_or_nothing({_alias(using, first)}) if atomic and undo is None else nullcontext(undo)
    with outer as undone:
        for some in _steps(chain([first], remaining), step):
            by_alias: dict[str, list[M]] = {}
            for obj in some:
                _check_object(obj)
                by_alias.setdefault(_alias(using, obj), []).append(obj)
            for alias, its in by_alias.items():
                requests = [replace(one, alias=alias) for one in request(alias, its)]
                memory = Undo()
                if undone is not None:
                    undone.append(memory)
                try:
                    with transaction.atomic(using=alias, savepoint=undone is None):
                        write(alias, requests, memory)
                        count += len(its) if counted is None else counted(alias, its)
                except BaseException:
                    memory.restore()
                    raise
    return count


@contextmanager
def _all_or_nothing(aliases: Iterable[str]) -> Iterator[list[Undo]]:
    """One transaction on each of these databases, and objects that forget what was rolled back."""
    undone: list[Undo] = []
    try:
        with _atomic(sorted(aliases)):
            yield undone
    except BaseException:
        while undone:
            undone.pop().restore()
        raise


@contextmanager
def _atomic(aliases: list[str]) -> Iterator[None]:
    if not aliases:
        yield
        return
    with transaction.atomic(using=aliases[0]), _atomic(aliases[1:]):
        yield


def _steps(objects: Iterable[M], step: int) -> Iterator[list[M]]:
    remaining = iter(objects)
    while some := list(islice(remaining, step)):
        yield some


class _Key(NamedTuple):
    """Of a row that is to be deleted."""

    alias: str
    model: type[models.Model]
    pk: Any


def _key(using: str | None, obj: models.Model) -> _Key:
    _check_object(obj)
    if not has_key(obj):
        raise ValueError(f"{obj!r} was never saved, so that there is no row to delete.")
    return _Key(_alias(using, obj), concrete(obj), obj.pk)


def _pages(queryset: models.QuerySet[Any], alias: str, step: int) -> Iterator[list[_Key]]:
    """Keys of the rows, in their order, each page after the last key of the one before."""
    model = concrete(queryset.model)
    if not is_paged(queryset):
        # No page can be asked for in another order, and the next one would not have the same rows in front of it.
        for some in chunks(list(queryset.values_list("pk", flat=True)), step):
            yield [_Key(alias, model, pk) for pk in some]
        return
    rest = keys = in_key_order(queryset).values_list("pk", flat=True)
    while page := list(rest[:step]):
        yield [_Key(alias, model, pk) for pk in page]
        rest = keys.filter(pk__gt=page[-1])


def _alias(using: str | None, of: models.Model | type[models.Model]) -> str:
    if using is not None:
        return using
    instance = of if isinstance(of, models.Model) else None
    chosen = router.db_for_write(concrete(of), **({"instance": instance} if instance is not None else {}))
    return (instance._state.db if instance is not None and not router.routers else None) or chosen


def _names(fields: Iterable[str]) -> tuple[str, ...]:
    if isinstance(fields, str):  # it would be taken for its letters
        raise TypeError(f"{fields!r}: a list of field names is needed: [{fields!r}]")
    return tuple(fields)


def _only(model: type[M], objects: Iterable[M]) -> Iterator[M]:
    """These objects, as they are read; TypeError for one of another model."""
    for obj in objects:
        if not isinstance(obj, models.Model) or concrete(obj) is not concrete(model):
            raise TypeError(f"{obj!r:.80} is no {model._meta.label}, under which it is given")
        yield obj


def _check_object(obj: object) -> None:
    if not isinstance(obj, models.Model):
        raise TypeError(f"{obj!r:.80} is a {type(obj).__name__}; an iterable of model instances is needed")
