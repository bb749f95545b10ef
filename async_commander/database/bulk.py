"""The rows of many requests as few statements: parents first, equal keys merged, sorted, children deleted first."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING, Any, NamedTuple

from django.db import connections
from django.db.models import Q

from .chunks import PARAMETERS, chunks
from .keys import COMPUTED, Keyed, in_order, is_known, keys_of, rounded
from .layout import concrete, fields_of, has_key, is_saved, layout_of, parents_first
from .rounds import Rounds
from .rows import Verb

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from django.db.backends.base.base import BaseDatabaseWrapper
    from django.db.models import ForeignKey, Model

    from .rows import Request


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


class _Row(NamedTuple):
    """One object, and the statement that it belongs to."""

    group: _Group
    obj: Model


def _save(alias: str, requests: Sequence[Request]) -> None:
    waiting = _by_model(requests)
    unwritten = {id(row.obj) for rows in waiting.values() for row in rows}
    order = parents_first(frozenset(waiting))
    while waiting:
        before = len(unwritten)
        for model in sorted(waiting, key=order.index):
            ready, blocked = _split(model, waiting.pop(model), unwritten)
            if blocked:
                waiting[model] = blocked
            if ready:
                _insert(alias, model, ready)
                unwritten.difference_update(id(row.obj) for row in ready)
        if waiting and len(unwritten) == before:
            raise _circle(waiting)


def _by_model(requests: Sequence[Request]) -> dict[type[Model], list[_Row]]:
    """The objects in order, each once; one that another unit has saved meanwhile needs no insert."""
    rows: dict[type[Model], dict[tuple[_Group, int], _Row]] = defaultdict(dict)
    for request in requests:
        for obj in request.objects:
            if request.verb is Verb.UPSERT or not is_saved(obj):
                group = _Group(concrete(obj), request.verb, request.unique, request.fields)
                rows[group.model].pop((group, id(obj)), None)  # the last one wins, so the last place counts
                rows[group.model][group, id(obj)] = _Row(group, obj)
    return {model: list(some.values()) for model, some in rows.items()}


def _split(model: type[Model], rows: list[_Row], unwritten: set[int]) -> tuple[list[_Row], list[_Row]]:
    """Those whose parents are written, with the parents' keys handed down to them, and the others."""
    references = layout_of(model).references
    if not references:
        return rows, []
    ready: list[_Row] = []
    blocked: list[_Row] = []
    for row in rows:
        obj = row.obj
        parents = [(field, field.get_cached_value(obj)) for field in references if field.is_cached(obj)]
        if any(id(parent) in unwritten for _, parent in parents):
            blocked.append(row)
            continue
        for field, parent in parents:
            _check_parent(row.group.verb, obj, field, parent)
            _hand_down(obj, field, parent)
        ready.append(row)
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


def _insert(alias: str, model: type[Model], rows: list[_Row]) -> None:
    """One statement for each group of a round: two writers that have the same groups write them in the same order."""
    groups = dict.fromkeys(row.group for row in rows)
    order = list(groups) if any(_moves_rows(group) for group in groups) else sorted(groups, key=_shape)
    for parts in _rounds_of_rows(connections[alias], rows, groups):
        for group in order:
            if group not in parts:
                continue
            if group.verb is Verb.ADD:
                _add(alias, model, [obj for _, obj in parts[group]])
            else:
                _upsert_merged(alias, group, parts[group])


def _shape(group: _Group) -> tuple[Any, ...]:
    return group.verb, group.unique, group.fields


def _moves_rows(group: _Group) -> bool:
    """Whether it overwrites what makes rows unique, so that what comes after it may need what it sets free."""
    others = {name for names in layout_of(group.model).uniques for name in names}.difference(group.unique)
    return not others.isdisjoint(group.fields)


def _rounds_of_rows(
    connection: BaseDatabaseWrapper, rows: list[_Row], groups: Iterable[_Group]
) -> list[dict[_Group, list[Keyed]]]:
    """Inserts and upserts of the same row keep their order. One that only the database can tell has its own round."""
    model, objects = rows[0].group.model, [row.obj for row in rows]
    uniques = tuple(dict.fromkeys(group.unique for group in groups if group.unique))
    if not uniques:
        return [{group: [((), obj) for obj in objects] for group in groups}]
    rounds: Rounds[_Group] = Rounds()
    known = zip(*(keys_of(objects, fields_of(model, unique), connection) for unique in uniques), strict=True)
    for (group, obj), keys in zip(rows, known, strict=True):
        key = keys[uniques.index(group.unique)] if group.unique else ()
        if COMPUTED in key:
            rounds.put_alone(group, key, obj)
        else:
            same = [(unique, one) for unique, one in zip(uniques, keys, strict=True) if is_known(one)]
            rounds.put(group, key, obj, same)
    return rounds.rounds


def _add(alias: str, model: type[Model], objects: list[Model]) -> None:
    fields = layout_of(model).order
    if fields and len(objects) > 1:
        objects = _sorted(zip(keys_of(objects, fields, connections[alias]), objects, strict=True))
    model._base_manager.using(alias).bulk_create(objects)


def _upsert_merged(alias: str, group: _Group, keyed: list[Keyed]) -> None:
    """The last object of each key is written, and every other one gets what that has. NULL equals nothing."""
    last = {key: obj for key, obj in keyed if is_known(key)}
    _upsert(alias, group, _sorted([*last.items(), *(pair for pair in keyed if not is_known(pair[0]))]))
    for key, obj in keyed:
        _take_over(obj, last.get(key, obj))


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
    keys = keys_of(objects, fields, connections[alias])
    by_key = {key: obj for key, obj in zip(keys, objects, strict=True) if is_known(key)}
    for some in chunks(list(by_key.values()), 50):
        condition = Q()
        for obj in some:
            condition |= Q(**{field.attname: rounded(field, getattr(obj, field.attname)) for field in fields})
        found = list(group.model._base_manager.using(alias).filter(condition).only("pk", *group.unique))
        for key, row in zip(keys_of(found, fields, connections[alias]), found, strict=True):
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


def _circle(waiting: dict[type[Model], list[_Row]]) -> ValueError:
    some = [repr(row.obj) for rows in waiting.values() for row in rows][:3]
    return ValueError(
        f"Rows that refer to each other in a circle cannot be inserted together: {', '.join(some)}. "
        "Add one without its reference, `await self.db.flush()`, then update() it."
    )


# --- updates and deletes ------------------------------------------------------------------------------------------


def _update(alias: str, requests: Sequence[Request]) -> None:
    for request in requests:
        _check_updated(request.objects, request.fields)
    for parts in _rounds_of_updates(alias, requests):
        models = parents_first(frozenset(model for model, _ in parts))
        for model, fields in sorted(parts, key=lambda part: (models.index(part[0]), part[1])):
            last = dict(parts[model, fields])
            model._base_manager.using(alias).bulk_update(_sorted(last.items()), fields)


def _check_updated(objects: Iterable[Model], fields: Sequence[str]) -> None:
    for obj in objects:
        if not has_key(obj):
            raise ValueError(f"{obj!r} was never saved, so that there is no row to update: use add() or upsert().")
        for field in layout_of(concrete(obj)).references:
            if field.name in fields and field.is_cached(obj):
                _check_parent(Verb.UPDATE, obj, field, field.get_cached_value(obj))


def _rounds_of_updates(
    alias: str, requests: Sequence[Request]
) -> list[dict[tuple[type[Model], tuple[str, ...]], list[Keyed]]]:
    """Updates of the same row keep their order: other fields in a later round, the same fields overwritten at once."""
    rounds: Rounds[tuple[type[Model], tuple[str, ...]]] = Rounds()
    for request in requests:
        model = concrete(request.objects[0])
        keys = keys_of(request.objects, model._meta.pk_fields, connections[alias])
        for key, obj in zip(keys, request.objects, strict=True):
            rounds.put((model, request.fields), key, obj, [(model, key)])
    return rounds.rounds


def _delete(alias: str, requests: Sequence[Request]) -> None:
    keys: dict[type[Model], dict[Any, None]] = defaultdict(dict)
    for request in requests:
        for obj in request.objects:
            keys[concrete(obj)][obj.pk] = None
    for model in reversed(parents_first(frozenset(keys))):
        for some in chunks(sorted(keys[model], key=repr), PARAMETERS // len(model._meta.pk_fields)):
            model._base_manager.using(alias).filter(pk__in=some).delete()


def _sorted(keyed: Iterable[Keyed]) -> list[Model]:
    """By key, so that two writers lock the same rows in the same order and cannot deadlock."""
    return [obj for _, obj in in_order(keyed)]
