"""Which run wrote which object: Django's signals are heard while a run is open, and what was touched is kept."""

from __future__ import annotations

import json
import threading
from collections import Counter
from collections.abc import Collection, Iterable, Iterator
from contextlib import contextmanager
from typing import Any, Final

from django.apps import apps
from django.contrib.contenttypes.models import ContentType
from django.db import connections, models, router
from django.db.models.signals import ModelSignal, m2m_changed, post_delete, post_save
from django.utils import timezone

from async_commander.database.touched import Recording, Touched, Unrecorded, is_logged, recording
from async_commander.models import ObjectLog, Run
from async_commander.results import ObjectAction

from .moments import as_stored

Sender = type[models.Model] | None
"""None: every model."""


@contextmanager
def recorded(record: Recording | None) -> Iterator[Recording | None]:
    """For the block, and whatever is called in its context, this run hears of what is written.

    None, or a run for which no model is recorded: nobody does, not even the run around it. Yields who does.
    """
    logged = frozenset(model for model in apps.get_models() if is_logged(model))
    if record is not None and not (record.everything or logged):
        record = None
    token = recording.set(record)
    try:
        if record is None or isinstance(record, Unrecorded):
            yield record
            return
        with _receivers.connected(frozenset([None]) if record.everything else logged):
            yield record
    finally:
        recording.reset(token)


class _Receivers:
    """Django's signals have receivers only while a run is open that needs them.

    A model with receivers for `post_delete` is deleted row by row, by whoever deletes it.
    """

    def __init__(self) -> None:
        self._mutex = threading.Lock()
        self._users: Counter[tuple[ModelSignal, Sender]] = Counter()

    @contextmanager
    def connected(self, senders: Collection[Sender]) -> Iterator[None]:
        places = [(signal, sender) for sender in senders for signal in (post_save, post_delete)]
        places += [(m2m_changed, table) for table in _tables_between(senders)]
        with self._mutex:
            for signal, sender in places:
                if not self._users[signal, sender]:
                    signal.connect(_HEARD[signal], sender=sender, weak=False)
                self._users[signal, sender] += 1
        try:
            yield
        finally:
            with self._mutex:
                for signal, sender in places:
                    self._users[signal, sender] -= 1
                    if not self._users[signal, sender]:
                        signal.disconnect(_HEARD[signal], sender=sender)


def _tables_between(senders: Iterable[Sender]) -> set[Sender]:
    """Of many-to-many fields that begin or end at these models."""
    found: set[Sender] = set()
    for model in senders:
        if model is None:
            found.add(None)
            continue
        relations: Iterable[Any] = model._meta.get_fields(include_hidden=True)
        for relation in relations:
            if relation.many_to_many:
                here = relation if relation.auto_created else relation.remote_field
                found.add(here.through)
    return found


def _on_saved(
    instance: models.Model, *, created: bool, using: str, update_fields: Collection[str] | None, **_: Any
) -> None:
    if (record := recording.get()) is not None:
        record.touch(using, ObjectAction.CREATED if created else ObjectAction.UPDATED, [instance], update_fields)


def _on_deleted(instance: models.Model, *, using: str, **_: Any) -> None:
    if (record := recording.get()) is not None:
        record.touch(using, ObjectAction.DELETED, [instance])


def _on_linked(
    instance: models.Model,
    *,
    action: str,
    model: type[models.Model],
    pk_set: Collection[Any] | None,
    using: str,
    **_: Any,
) -> None:
    """Both ends of a link were touched. Where all links of an object go, Django does not say which there were."""
    record = recording.get()
    if record is None or not (action == "post_clear" or (action in ("post_add", "post_remove") and pk_set)):
        return
    record.touch(using, ObjectAction.LINKED, [instance])
    record.touch_keys(using, ObjectAction.LINKED, model, pk_set or ())


_HEARD: Final[dict[ModelSignal, Any]] = {post_save: _on_saved, post_delete: _on_deleted, m2m_changed: _on_linked}
_receivers: Final = _Receivers()


# --- what is kept

_SOURCES: Final = {
    "postgresql": "unnest(%s::int[], %s::text[], %s::text[]) AS given(kind, key, done)",
    "sqlite": (
        "(SELECT json_extract(value, '$[0]') AS kind, json_extract(value, '$[1]') AS key, "
        "json_extract(value, '$[2]') AS done FROM json_each(%s)) AS given"
    ),
}
"""Any number of rows as a table, from parameters whose number does not grow with them."""


def write_touched(alias: str, run_id: int, touched: Collection[Touched]) -> None:
    """On this thread, in the transaction that is open: one row for each object of a run and what was done to it.

    What is there already stays as it is, and what this run has created is not updated as well. Two that write the same
    objects write them in the same order, so that they cannot deadlock.
    """
    kinds = {model: _content_type(alias, model) for model in {one.model for one in touched}}
    rows = sorted((kinds[one.model], one.key, one.action.value) for one in touched)
    connection = connections[alias]
    if connection.vendor not in _SOURCES:
        _write_by_orm(alias, run_id, rows)
        return
    quote, now = connection.ops.quote_name, connection.ops.adapt_datetimefield_value(as_stored(timezone.now()))
    table = quote(ObjectLog._meta.db_table)
    # OFFSET: so PostgreSQL looks each row up, and does not read all of a run that its statistics do not know yet.
    limit = "LIMIT 1 OFFSET 0"
    sql = (
        f"INSERT INTO {table} (run_id, content_type_id, object_id, action, {quote('at')}) "  # noqa: S608 - names of our own
        f"SELECT %s, kind, key, done, %s FROM {_SOURCES[connection.vendor]} "
        f"WHERE done <> 'updated' OR NOT EXISTS (SELECT 1 FROM {table} AS made WHERE made.run_id = %s "
        f"AND made.content_type_id = given.kind AND made.object_id = given.key AND made.action = 'created' {limit}) "
        "ORDER BY kind, key, done ON CONFLICT DO NOTHING"
    )
    given: list[Any] = (
        [json.dumps(rows)] if connection.vendor == "sqlite" else [list(one) for one in zip(*rows, strict=True)]
    )
    with connection.cursor() as cursor:
        cursor.execute(sql, [run_id, now, *given, run_id])


def _write_by_orm(alias: str, run_id: int, rows: Collection[tuple[int, str, str]]) -> None:
    """Where a statement cannot take rows from a parameter."""
    logs, updated = ObjectLog.objects.using(alias), {row for row in rows if row[2] == ObjectAction.UPDATED.value}
    made: set[tuple[int, str]] = set()
    for kind in {row[0] for row in updated}:
        ids = [row[1] for row in updated if row[0] == kind]
        found = logs.filter(run_id=run_id, content_type_id=kind, object_id__in=ids, action=ObjectAction.CREATED.value)
        made.update((kind, one) for one in found.values_list("object_id", flat=True))
    new = [
        ObjectLog(run_id=run_id, content_type_id=kind, object_id=one, action=done)
        for kind, one, done in rows
        if done != ObjectAction.UPDATED.value or (kind, one) not in made
    ]
    logs.bulk_create(new, ignore_conflicts=True, batch_size=500)


def _content_type(alias: str, model: type[models.Model]) -> int:
    """From Django's memory; where there is no such row yet, past it: a rollback would take the row from under it."""
    name = model._meta.app_label, str(model._meta.model_name)
    try:
        return ContentType.objects.db_manager(alias).get_by_natural_key(*name).pk
    except ContentType.DoesNotExist:
        return ContentType.objects.using(alias).get_or_create(app_label=name[0], model=name[1])[0].pk


# --- what is shown

COUNTED: Final = 100_000
"""Rows that are counted for a page, at most."""


def touched_by(run: Run) -> list[tuple[int, str, int]]:
    """How many objects of each content type a run has created, updated, deleted and linked: one query, bounded."""
    connection = connections[run._state.db or router.db_for_read(ObjectLog)]
    quote = connection.ops.quote_name
    sql = (
        "SELECT content_type_id, action, count(*) FROM "  # noqa: S608 - names of our own
        f"(SELECT content_type_id, action FROM {quote(ObjectLog._meta.db_table)} WHERE run_id = %s LIMIT %s) AS told "
        "GROUP BY content_type_id, action ORDER BY content_type_id, action"
    )
    with connection.cursor() as cursor:
        cursor.execute(sql, [run.pk, COUNTED])
        return [(kind, action, count) for kind, action, count in cursor.fetchall()]
