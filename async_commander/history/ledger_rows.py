"""Inserts outcomes into the ledger past the ORM: per row it costs a tenth, and the ledger is written for every item."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from django.core.serializers.json import DjangoJSONEncoder
from django.db import connections

from async_commander.database.chunks import chunks
from async_commander.models import RunItem

from .moments import as_stored
from .recorder import ItemOutcome

if TYPE_CHECKING:
    from django.db.backends.base.base import BaseDatabaseWrapper

COLUMNS = (
    "label", "item", "state", "attempts", "crashes", "reason", "error_kind", "error", "started",
    "wait_ms", "download_ms", "parse_ms", "save_ms", "worker", "next_at",
)  # fmt: skip
"""What an outcome says, at first and whenever it is another one."""
PARAMETERS_AT_ONCE = 10_000
"""Below every server's limit on the parameters of one statement; SQLite gets one row at a time."""


def insert_outcomes(alias: str, run_id: int, outcomes: Sequence[ItemOutcome]) -> None:
    """One new ledger row for each outcome, in the transaction that is open on this thread.

    Raises IntegrityError where the run has a row of one of these items already.
    """
    connection = connections[alias]
    rows = list(_rows(connection, run_id, outcomes))
    with connection.cursor() as cursor:
        if connection.vendor == "sqlite":
            cursor.executemany(_statement(connection, 1), rows)
            return
        for part in chunks(rows, PARAMETERS_AT_ONCE // (len(COLUMNS) + 3)):
            cursor.execute(_statement(connection, len(part)), [value for row in part for value in row])


def _rows(connection: BaseDatabaseWrapper, run_id: int, outcomes: Sequence[ItemOutcome]) -> Iterator[tuple[Any, ...]]:
    ops = connection.ops
    now = time.monotonic()
    native = connection.features.has_native_uuid_field
    for one in outcomes:
        yield (
            run_id,
            one.key if native else one.key.hex,
            one.label,
            None if one.item is None else ops.adapt_json_value(one.item, DjangoJSONEncoder),
            one.state.value,
            one.attempts,
            one.crashes,
            one.reason,
            one.error_kind,
            one.error,
            ops.adapt_datetimefield_value(as_stored(one.started)),
            one.wait_ms,
            one.download_ms,
            one.parse_ms,
            int((now - one.handed_over) * 1000),
            one.worker,
            ops.adapt_datetimefield_value(as_stored(one.next_at)),
            one.by_follow,
        )


def _statement(connection: BaseDatabaseWrapper, rows: int) -> str:
    quote = connection.ops.quote_name
    columns = ("run_id", "key", *COLUMNS, "by_follow")
    names = ", ".join(map(quote, columns))
    places = f"({', '.join(['%s'] * len(columns))})"
    table = quote(RunItem._meta.db_table)
    return f"INSERT INTO {table} ({names}) VALUES {', '.join([places] * rows)}"  # noqa: S608 - names of our own
