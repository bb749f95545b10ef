"""Reads and writes rows of the ledger past the ORM: per row it costs a tenth, and both is done for every item."""

from __future__ import annotations

import json
import time
from collections.abc import Collection, Iterator, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any
from uuid import UUID

from django.core.serializers.json import DjangoJSONEncoder
from django.db import connections
from django.utils import timezone

from async_commander.database.chunks import chunks
from async_commander.models import Run, RunClaim, RunItem

from .lease import Ownership, fence, fence_statement, fenced
from .moments import as_stored
from .recorder import ItemOutcome

if TYPE_CHECKING:
    from django.db.backends.base.base import BaseDatabaseWrapper

COLUMNS = (
    "label", "item", "state", "attempts", "crashes", "reason", "error_kind", "error", "started",
    "wait_ms", "download_ms", "parse_ms", "save_ms", "worker", "next_at",
)  # fmt: skip
"""What an outcome says, at first and whenever it is another one."""
INSERTED = ("key", *COLUMNS, "by_follow")
PARAMETERS_AT_ONCE = 10_000
"""Below every server's limit on the parameters of one statement; SQLite gets one row at a time."""

_TYPES = {
    "key": "uuid", "label": "text", "item": "jsonb", "state": "text", "reason": "text", "error_kind": "text",
    "error": "text", "started": "timestamptz", "next_at": "timestamptz", "by_follow": "bool",
}  # fmt: skip
"""PostgreSQL's, of the columns that are no integers."""
_EMPTY: dict[Any, str] = {None: "NULL", "": "''", 0: "0"}
"""Values that most columns of most rows have; `False` is as good as 0 here."""


def find_items(alias: str, run_id: int, keys: Collection[UUID]) -> list[RunItem]:
    """The ledger's rows of these items; those that have none are left out."""
    connection = connections[alias]
    if not keys:
        return []
    if connection.vendor != "postgresql":
        items = RunItem.objects.using(alias).filter(run_id=run_id)
        return [row for some in chunks(list(keys)) for row in items.filter(key__in=some)]
    # One look into the index of (run, key) for each key. The planner, who knows nothing of a run that is younger than
    # its statistics, would read all rows of the run for one key: OFFSET 0 leaves it no choice.
    table = connection.ops.quote_name(RunItem._meta.db_table)
    statement = (
        f"SELECT item.* FROM unnest(%s::uuid[]) AS wanted CROSS JOIN LATERAL "  # noqa: S608 - a name of our own
        f"(SELECT * FROM {table} WHERE run_id = %s AND key = wanted OFFSET 0) AS item"
    )
    return list(RunItem.objects.using(alias).raw(statement, [_array([key.hex for key in keys]), run_id]))


def insert_claim(ownership: Ownership, keys: Sequence[UUID], counts: dict[str, int]) -> int:
    """A claim of these keys, what changes with it in the run's counts, and the fence; the claim's number.

    On PostgreSQL in one statement, which writes nothing where the lease is not ours. The run's row is locked before.
    """
    alias, run_id = ownership.alias, ownership.run_id
    hexes = [key.hex for key in keys]
    if connections[alias].vendor == "postgresql":
        return _claim_at_once(connections[alias], ownership, hexes, counts)
    claim = RunClaim.objects.using(alias).create(run_id=run_id, epoch=ownership.epoch, keys=hexes)
    move_counts(alias, run_id, counts)
    fence(ownership)
    return int(claim.pk)


def _claim_at_once(
    connection: BaseDatabaseWrapper, ownership: Ownership, hexes: list[str], counts: dict[str, int]
) -> int:
    quote = connection.ops.quote_name
    held, parameters = fence_statement(ownership)
    claims, run_id = quote(RunClaim._meta.db_table), int(ownership.run_id)
    moved = ""
    if counts:
        moved = f", moved AS ({_counts_moved(connection, run_id, counts)} AND EXISTS (SELECT FROM held))"
    with connection.cursor() as cursor:
        cursor.execute(
            f"WITH held AS ({held}){moved} INSERT INTO {claims} (run_id, epoch, keys, claimed_at) "  # noqa: S608 - names and numbers of our own
            f"SELECT {run_id}, {int(ownership.epoch)}, %s::jsonb, %s FROM held RETURNING id",
            [*parameters, json.dumps(hexes), as_stored(timezone.now())],
        )
        claim = cursor.fetchone()
    if claim is None:
        raise fenced(ownership)
    return int(claim[0])


def move_counts(alias: str, run_id: int, counts: dict[str, int]) -> None:
    """Change the counts in the run's row by so much each."""
    if counts:
        with connections[alias].cursor() as cursor:
            cursor.execute(_counts_moved(connections[alias], run_id, counts))


def _counts_moved(connection: BaseDatabaseWrapper, run_id: int, counts: dict[str, int]) -> str:
    quote = connection.ops.quote_name
    moved = ", ".join(f"{quote(name)} = {quote(name)} + {int(change)}" for name, change in counts.items())
    return f"UPDATE {quote(Run._meta.db_table)} SET {moved} WHERE id = {int(run_id)}"  # noqa: S608 - likewise


def insert_batch(
    alias: str, run_id: int, outcomes: Sequence[ItemOutcome], counts: dict[str, int], closed: Sequence[int]
) -> None:
    """The new rows of a batch, what they change in the run's counts, and the claims that are worked off with them.

    On PostgreSQL in one statement. Only then the run's row is locked: what else the batch writes may take its time.
    """
    if outcomes and connections[alias].vendor == "postgresql":
        _insert_at_once(connections[alias], run_id, outcomes, counts, closed)
        return
    insert_outcomes(alias, run_id, outcomes)
    move_counts(alias, run_id, counts)
    if closed:
        RunClaim.objects.using(alias).filter(pk__in=closed).delete()


def _insert_at_once(
    connection: BaseDatabaseWrapper,
    run_id: int,
    outcomes: Sequence[ItemOutcome],
    counts: dict[str, int],
    closed: Sequence[int],
) -> None:
    columns, insert = _columns_and_insert(connection, run_id, outcomes)
    claims = connection.ops.quote_name(RunClaim._meta.db_table)
    dropped = f", dropped AS (DELETE FROM {claims} WHERE id IN ({', '.join(map(str, closed))}))" if closed else ""  # noqa: S608 - numbers of our own
    with connection.cursor() as cursor:
        cursor.execute(
            f"WITH inserted AS ({insert.from_arrays()}){dropped} {_counts_moved(connection, run_id, counts)}",
            list(map(_array, columns)),
        )


def insert_outcomes(alias: str, run_id: int, outcomes: Sequence[ItemOutcome]) -> None:
    """One new ledger row for each outcome, in the transaction that is open on this thread.

    Raises IntegrityError where the run has a row of one of these items already.
    """
    if not outcomes:
        return
    connection = connections[alias]
    columns, insert = _columns_and_insert(connection, run_id, outcomes)
    with connection.cursor() as cursor:
        if connection.vendor == "postgresql":
            cursor.execute(insert.from_arrays(), list(map(_array, columns)))
            return
        rows = list(zip(*columns, strict=True))
        if connection.vendor == "sqlite":
            cursor.executemany(insert.of_rows(1), rows)
            return
        for part in chunks(rows, PARAMETERS_AT_ONCE // len(columns)):
            cursor.execute(insert.of_rows(len(part)), [value for row in part for value in row])


def _columns_and_insert(
    connection: BaseDatabaseWrapper, run_id: int, outcomes: Sequence[ItemOutcome]
) -> tuple[list[Sequence[Any]], _Insert]:
    """The values of each column in which rows differ, and the statement that takes them."""
    columns = dict(zip(INSERTED, zip(*_rows(connection, outcomes), strict=True), strict=True))
    empty = {name: _EMPTY[values[0]] for name, values in columns.items() if _is_empty(values)}
    full = [name for name in INSERTED if name not in empty]
    return [columns[name] for name in full], _Insert(connection, run_id, full, empty)


def _rows(connection: BaseDatabaseWrapper, outcomes: Sequence[ItemOutcome]) -> Iterator[tuple[Any, ...]]:
    """In the order of `INSERTED`, as the driver takes it."""
    moment = connection.ops.adapt_datetimefield_value
    now = time.monotonic()
    for one in outcomes:
        yield (
            one.key.hex,
            one.label,
            None if one.item is None else json.dumps(one.item, cls=DjangoJSONEncoder),
            one.state.value,
            one.attempts,
            one.crashes,
            one.reason,
            one.error_kind,
            one.error,
            moment(as_stored(one.started)),
            one.wait_ms,
            one.download_ms,
            one.parse_ms,
            int((now - one.handed_over) * 1000),
            one.worker,
            moment(as_stored(one.next_at)),
            one.by_follow,
        )


def _is_empty(values: Sequence[Any]) -> bool:
    first = values[0]
    return first in (None, "", 0) and values.count(first) == len(values)


class _Insert:
    """An INSERT of the ledger: parameters for columns that differ, and the empty ones in its text."""

    def __init__(
        self, connection: BaseDatabaseWrapper, run_id: int, full: Sequence[str], empty: dict[str, str]
    ) -> None:
        quote = connection.ops.quote_name
        if connection.vendor == "postgresql" and "by_follow" in empty:
            empty = {**empty, "by_follow": "FALSE"}
        names = ", ".join(map(quote, ("run_id", *empty, *full)))
        self._full = full
        self._begin = f"INSERT INTO {quote(RunItem._meta.db_table)} ({names})"  # names of our own
        self._same = ", ".join([str(int(run_id)), *empty.values()])

    def of_rows(self, count: int) -> str:
        """For as many rows, with a parameter for each value."""
        row = f"({', '.join([self._same, *['%s'] * len(self._full)])})"
        return f"{self._begin} VALUES {', '.join([row] * count)}"

    def from_arrays(self) -> str:
        """For any number of rows, with one parameter for each column: a driver looks at each that it is given."""
        arrays = ", ".join(f"%s::{_TYPES.get(name, 'int')}[]" for name in self._full)
        return f"{self._begin} SELECT {self._same}, * FROM unnest({arrays})"  # noqa: S608 - names and types of our own


def _array(values: Sequence[Any]) -> str:
    """PostgreSQL's text of an array. A driver's own takes ten times as long."""
    return f"{{{','.join(map(_element, values))}}}"


def _element(value: Any) -> str:
    if value is None:
        return "NULL"
    if isinstance(value, str):
        return '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'
    return str(value.isoformat() if isinstance(value, datetime) else value)
