"""The rows of many requests as few statements: parents first, equal keys merged, sorted, children deleted first."""

from __future__ import annotations

from collections import defaultdict
from operator import itemgetter
from typing import TYPE_CHECKING, Any, NamedTuple

from django.db import connections
from django.db.models import Q

from .layout import concrete, fields_of, has_key, is_saved, layout_of, parents_first
from .rows import Verb

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from django.db.models import Field, ForeignKey, Model

    from .rows import Request

Key = tuple[Any, ...]


def write(alias: str, requests: Sequence[Request]) -> None:
    """Write what is requested, on this thread, in the transaction that is open there.

    Inserts and upserts come first, then updates, then deletes. Raises the database's errors, and ValueError for rows
    that refer to each other in a circle, or to what nobody saves.
    """
    _save(alias, [request for request in requests if request.verb in (Verb.ADD, Verb.UPSERT)])
    _update(alias, [request for request in requests if request.verb is Verb.UPDATE])
    _delete(alias, [request for request in requests if request.verb is Verb.DELETE])


# --- inserts and upserts ------------------------------------------------------------------------------------------


class _Group(NamedTuple):
    """Rows that one statement can take."""

    model: type[Model]
    verb: Verb
    unique: tuple[str, ...]
    fields: tuple[str, ...]


def _save(alias: str, requests: Sequence[Request]) -> None:
    waiting = _grouped(requests)
    unwritten = {id(obj) for objects in waiting.values() for obj in objects}
    order = parents_first(frozenset(group.model for group in waiting))
    while waiting:
        before = len(unwritten)
        for group in sorted(waiting, key=lambda group: order.index(group.model)):
            ready, blocked = _split(group, waiting.pop(group), unwritten)
            if blocked:
                waiting[group] = blocked
            if ready:
                _insert(alias, group, ready)
                unwritten.difference_update(map(id, ready))
        if waiting and len(unwritten) == before:
            raise _circle(waiting)


def _grouped(requests: Sequence[Request]) -> dict[_Group, list[Model]]:
    """The objects by statement, each once; one that another unit has saved meanwhile needs no insert."""
    groups: dict[tuple[Any, ...], dict[int, Model]] = defaultdict(dict)
    for request in requests:
        for obj in request.objects:
            if request.verb is Verb.UPSERT or not is_saved(obj):
                groups[concrete(obj), request.verb, request.unique, request.fields][id(obj)] = obj
    return {_Group(*group): list(objects.values()) for group, objects in groups.items()}


def _split(group: _Group, objects: list[Model], unwritten: set[int]) -> tuple[list[Model], list[Model]]:
    """Those whose parents are written, with the parents' keys handed down to them, and the others."""
    references = layout_of(group.model).references
    if not references:
        return objects, []
    ready: list[Model] = []
    blocked: list[Model] = []
    for obj in objects:
        parents = [(field, field.get_cached_value(obj)) for field in references if field.is_cached(obj)]
        if any(id(parent) in unwritten for _, parent in parents):
            blocked.append(obj)
            continue
        for field, parent in parents:
            _check_parent(group.verb, obj, field, parent)
            _hand_down(obj, field, parent)
        ready.append(obj)
    return ready, blocked


def _check_parent(verb: Verb, obj: Model, field: ForeignKey[Any, Any], parent: Model | None) -> None:
    if parent is not None and not has_key(parent):
        raise ValueError(
            f"{verb}({obj!r}): its {field.name} {parent!r} is not saved, and nothing here saves it. "
            f"Queue it, too, before or after: self.db.add({field.name})."
        )


def _hand_down(obj: Model, field: ForeignKey[Any, Any], parent: Model | None) -> None:
    if parent is not None and getattr(obj, field.attname) != getattr(parent, field.target_field.attname):
        setattr(obj, field.name, parent)


def _insert(alias: str, group: _Group, objects: list[Model]) -> None:
    manager = group.model._base_manager.using(alias)
    if group.verb is Verb.ADD:
        manager.bulk_create(_sorted(objects, layout_of(group.model).order))
        return
    unique = fields_of(group.model, group.unique)
    winners, merged = _merge(objects, unique)
    _upsert(alias, group, winners)
    for obj, winner in merged:
        _take_over(obj, winner)


def _upsert(alias: str, group: _Group, objects: list[Model]) -> None:
    manager = group.model._base_manager.using(alias)
    key = {field.name for field in group.model._meta.pk_fields}
    # With nothing to overwrite, the unique fields are overwritten by themselves: so the row's key comes back.
    overwritten = group.fields or tuple(name for name in group.unique if name not in key)
    if overwritten:
        named = connections[alias].features.supports_update_conflicts_with_target
        manager.bulk_create(
            objects, update_conflicts=True, update_fields=overwritten, unique_fields=group.unique if named else None
        )
    else:
        manager.bulk_create(objects, ignore_conflicts=True)
    if set(group.unique) != key and not _keys_come_back(alias, group.model):
        _fetch_keys(alias, group, objects)


def _keys_come_back(alias: str, model: type[Model]) -> bool:
    keys = {field.attname for field in model._meta.pk_fields}
    return connections[alias].features.can_return_rows_from_bulk_insert and keys <= set(layout_of(model).returned)


def _fetch_keys(alias: str, group: _Group, objects: list[Model]) -> None:
    """The row that was there already keeps its key: learn it, where the statement does not tell."""
    fields = fields_of(group.model, group.unique)
    attributes = [field.attname for field in fields]
    by_key = dict(zip(_keys(objects, fields), objects, strict=True))
    for some in _chunks(objects, 50):
        condition = Q()
        for obj in some:
            condition |= Q(**{name: getattr(obj, name) for name in attributes})
        found = list(group.model._base_manager.using(alias).filter(condition).only("pk", *group.unique))
        for key, row in zip(_keys(found, fields), found, strict=True):
            by_key[key].pk = row.pk


def _take_over(obj: Model, winner: Model) -> None:
    """`obj` stands for the same row as `winner`, which was written."""
    if obj is winner:
        return
    layout = layout_of(concrete(winner))
    obj.pk = winner.pk
    for name in layout.returned:
        setattr(obj, name, getattr(winner, name))
    obj._state.adding, obj._state.db = False, winner._state.db


def _circle(waiting: dict[_Group, list[Model]]) -> ValueError:
    some = [repr(obj) for objects in waiting.values() for obj in objects][:3]
    return ValueError(
        f"Rows that refer to each other in a circle cannot be inserted together: {', '.join(some)}. "
        "Add one without its reference, `await self.db.flush()`, then update() it."
    )


# --- updates and deletes ------------------------------------------------------------------------------------------


def _update(alias: str, requests: Sequence[Request]) -> None:
    for request in requests:
        _check_updated(request.objects, request.fields)
    for rows in _rounds(requests):
        models = parents_first(frozenset(model for model, _ in rows))
        for model, fields in sorted(rows, key=lambda group: (models.index(group[0]), group[1])):
            objects = _sorted(list(rows[model, fields].values()), model._meta.pk_fields)
            model._base_manager.using(alias).bulk_update(objects, fields)


def _check_updated(objects: Iterable[Model], fields: Sequence[str]) -> None:
    for obj in objects:
        if not has_key(obj):
            raise ValueError(f"{obj!r} was never saved, so that there is no row to update: use add() or upsert().")
        for field in layout_of(concrete(obj)).references:
            if field.name in fields and field.is_cached(obj):
                _check_parent(Verb.UPDATE, obj, field, field.get_cached_value(obj))


def _rounds(requests: Sequence[Request]) -> list[dict[tuple[type[Model], tuple[str, ...]], dict[Any, Model]]]:
    """Updates of the same row keep their order: other fields in a later round, the same fields overwritten at once."""
    rounds: list[dict[tuple[type[Model], tuple[str, ...]], dict[Any, Model]]] = []
    latest: dict[tuple[type[Model], Any], tuple[int, tuple[str, ...]]] = {}
    for request in requests:
        for obj in request.objects:
            model = concrete(obj)
            turn, fields = latest.get((model, obj.pk), (0, request.fields))
            if fields != request.fields:
                turn += 1
            latest[model, obj.pk] = turn, request.fields
            if turn == len(rounds):
                rounds.append(defaultdict(dict))
            rounds[turn][model, request.fields][obj.pk] = obj
    return rounds


def _delete(alias: str, requests: Sequence[Request]) -> None:
    keys: dict[type[Model], dict[Any, None]] = defaultdict(dict)
    for request in requests:
        for obj in request.objects:
            keys[concrete(obj)][obj.pk] = None
    for model in reversed(parents_first(frozenset(keys))):
        model._base_manager.using(alias).filter(pk__in=sorted(keys[model], key=repr)).delete()


# --- keys ---------------------------------------------------------------------------------------------------------


def _keys(objects: Sequence[Model], fields: Sequence[Field[Any, Any]]) -> list[Key]:
    """The objects' values in these fields, as the database compares them."""
    columns = [[field.get_prep_value(getattr(obj, field.attname)) for obj in objects] for field in fields]
    return list(zip(*columns, strict=True))


def _merge(objects: list[Model], fields: Sequence[Field[Any, Any]]) -> tuple[list[Model], list[tuple[Model, Model]]]:
    """The last object of each key, sorted by key, and every other object with the one that stands for it."""
    keys = _keys(objects, fields)
    keyed = [(key, obj) for key, obj in zip(keys, objects, strict=True) if None not in key]  # NULL equals nothing
    loose = [obj for key, obj in zip(keys, objects, strict=True) if None in key]
    last = dict(keyed)
    winners = [obj for _, obj in _in_order(last.items())]
    return winners + loose, [(obj, last[key]) for key, obj in keyed if obj is not last[key]]


def _sorted(objects: list[Model], fields: Sequence[Field[Any, Any]]) -> list[Model]:
    """By key, so that two writers lock the same rows in the same order and cannot deadlock."""
    if not fields or len(objects) == 1:
        return objects
    return [obj for _, obj in _in_order(zip(_keys(objects, fields), objects, strict=True))]


def _in_order(keyed: Iterable[tuple[Key, Model]]) -> list[tuple[Key, Model]]:
    keyed = list(keyed)
    try:
        return sorted(keyed, key=_first)
    except TypeError:  # NULL among them, or values that only the database can compare
        return sorted(keyed, key=lambda pair: repr(pair[0]))


_first = itemgetter(0)


def _chunks(objects: list[Model], size: int) -> Iterable[list[Model]]:
    return (objects[start : start + size] for start in range(0, len(objects), size))
