"""The rows of many requests as few statements: parents first, then updates, children deleted first."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING, Any

from async_commander.results import ObjectAction

from .chunks import PARAMETERS, chunks
from .inserts import Group, Row, insert
from .layout import concrete, has_key, is_saved, layout_of, parents_first, shown
from .rows import Verb
from .touched import recording
from .updates import update

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Sequence

    from django.db.models import Model

    from .rows import Request
    from .snapshots import Undo


def write(alias: str, requests: Sequence[Request], undo: Undo) -> None:
    """Write what is requested, on this thread, in the transaction that is open there.

    Inserts and upserts come first, then updates, then deletes. `undo` remembers each object as it was. Raises the
    database's errors, and ValueError for rows that refer to each other in a circle, or to what nobody saves.
    """
    groups: dict[tuple[Any, ...], Group] = {}
    rows: dict[type[Model], dict[tuple[Group, int], Row]] = defaultdict(dict)
    undo.remember(obj for request in requests for obj in request.objects)
    for request in requests:
        for obj in request.objects:
            # What another unit has saved meanwhile needs no insert.
            if request.verb is Verb.UPSERT or (request.verb is Verb.ADD and not is_saved(obj)):
                kind = type(obj), request.verb, request.unique, request.fields
                if (group := groups.get(kind)) is None:
                    group = groups[kind] = Group(concrete(obj), *kind[1:])
                rows[group.model].pop((group, id(obj)), None)  # the last one wins, so the last place counts
                rows[group.model][group, id(obj)] = Row(group, obj)
    if rows:
        _save({model: list(some.values()) for model, some in rows.items()}, alias)
    verbs = {request.verb for request in requests}
    if Verb.UPDATE in verbs:
        _update([request for request in requests if request.verb is Verb.UPDATE], alias)
    if Verb.DELETE in verbs:
        _delete(requests, alias)
    if Verb.LINK in verbs:
        _link(requests, alias)


# --- inserts and upserts, with the keys that they hand down


def _save(waiting: dict[type[Model], list[Row]], alias: str) -> None:
    unwritten = {id(row.obj) for rows in waiting.values() for row in rows}
    here = frozenset(unwritten)
    order = parents_first(frozenset(waiting))
    while waiting:
        before = len(unwritten)
        for model in sorted(waiting, key=order.index):
            ready = rows = waiting.pop(model)
            if layout_of(model).references or layout_of(model).generic_references:
                ready = [row for row in rows if all(id(parent) not in unwritten for _, parent in _parents(row.obj))]
                for row in ready:
                    _hand_down(row.group.verb, row.obj, here)
                if len(ready) < len(rows):
                    written = set(map(id, ready))
                    waiting[model] = [row for row in rows if id(row) not in written]
            if ready:
                insert(alias, model, ready)
                unwritten.difference_update([id(row.obj) for row in ready])
        if waiting and len(unwritten) == before:
            some = [shown(row.obj) for rows in waiting.values() for row in rows][:3]
            raise ValueError(
                f"Rows that refer to each other in a circle cannot be inserted together: {', '.join(some)}. "
                "Add one without its reference, `await self.db.flush()`, then update() it."
            )


def _parents(obj: Model) -> Iterator[tuple[Any, Model]]:
    """The objects that `obj` refers to, each with the reference."""
    if obj._state.fields_cache:
        layout = layout_of(concrete(obj))
        references: tuple[Any, ...] = (*layout.references, *layout.generic_references)
        for reference in references:
            parent = reference.get_cached_value(obj, default=None)
            if parent is not None:
                yield reference, parent


def _hand_down(verb: Verb, obj: Model, written: Collection[int] = (), fields: Collection[str] | None = None) -> None:
    """Give `obj` the keys of its parents, in all references or in those whose fields are named."""
    for reference, parent in _parents(obj):
        generic = getattr(reference, "fk_field", None)
        kept_in = {generic} if generic else {field.name for field in reference.local_related_fields}
        if fields is not None and kept_in.isdisjoint(fields):
            continue
        if not has_key(parent):
            what = (
                f"{verb}({shown(obj)}): its {reference.name} {shown(parent)} is not saved, and nothing here saves it. "
            )
            remedy = f"Queue it, too, before or after: self.db.add({reference.name})."
            if not parent._state.adding:
                what = (
                    f"{verb}({shown(obj)}): the database made the key of its {reference.name} {shown(parent)}, "
                    "and returns none. "
                )
                remedy = f"Give {parent._meta.label} its key, or save it before: await {reference.name}.asave()."
            raise ValueError(what + remedy)
        if generic is None:
            pairs = reference.related_fields
            if any(getattr(obj, here.attname) != getattr(parent, there.attname) for here, there in pairs):
                setattr(obj, reference.name, parent)
        elif getattr(obj, generic) is None or id(parent) in written:
            # A key that was given by hand stays; one that this write has made or found counts.
            setattr(obj, generic, parent.pk)


# --- updates and deletes


def _update(requests: Sequence[Request], alias: str) -> None:
    for request in requests:
        for obj in request.objects:
            if not has_key(obj):
                what = f"{shown(obj)} was never saved, so that there is no row to update"
                raise ValueError(f"{what}: use add() or upsert().")
            _hand_down(request.verb, obj, fields=request.fields)
    update(alias, requests)


def _delete(requests: Sequence[Request], alias: str) -> None:
    keys: dict[type[Model], dict[Any, None]] = defaultdict(dict)
    for request in requests:
        for obj in request.objects:
            model = concrete(obj)
            if request.verb is Verb.DELETE:
                if not has_key(obj):
                    raise ValueError(f"delete({shown(obj)}): its key was taken away after it was queued.")
                keys[model][obj.pk] = None
            elif request.verb in (Verb.ADD, Verb.UPSERT) and has_key(obj) and obj.pk in keys[model]:
                # Of two items, each is right when it is written alone: the batch is done again in parts.
                raise ValueError(
                    f"{request.verb}({shown(obj)}) after delete() of the same row: deletes are written last, so that "
                    "the row would be gone. Put `await self.db.flush()` between them."
                )
    for model in reversed(parents_first(frozenset(keys))):
        for some in chunks(sorted(keys[model], key=repr), PARAMETERS // len(model._meta.pk_fields)):
            model._base_manager.using(alias).filter(pk__in=some).delete()


def _link(requests: Sequence[Request], alias: str) -> None:
    if (current := recording.get()) is not None:
        for request in requests:
            if request.verb is Verb.LINK:
                current.link(alias, ObjectAction(request.fields[0]), request.objects)
