"""Reads and writes rows of the ledger past the ORM: per row it costs a tenth, and both is done for every item."""

from __future__ import annotations

import json
import time
from collections.abc import Collection, Sequence
from datetime import UTC, datetime
from operator import attrgetter
from typing import TYPE_CHECKING, Any
from uuid import UUID

from django.conf import settings
from django.core.serializers.json import DjangoJSONEncoder
from django.db import connections
from django.utils import timezone

from async_commander.database.chunks import chunks
from async_commander.models import Run, RunClaim, RunItem
from async_commander.results import ItemOutcome, ItemState

from .lease import Ownership, fence, fence_statement, fenced
from .moments import as_stored
from .recorder import SafeCursor

if TYPE_CHECKING:
    from django.db.backends.base.base import BaseDatabaseWrapper
    from django.db.backends.utils import CursorWrapper

COLUMNS = (
    "label", "item", "state", "attempts", "crashes", "reason", "error_kind", "error", "started",
    "wait_ms", "download_ms", "parse_ms", "save_ms", "worker", "next_at", "line", "place",
)  # fmt: skip
"""What an outcome says, at first and whenever it is another one."""
PARAMETERS_AT_ONCE = 10_000
"""Below every server's limit on the parameters of one statement; SQLite gets one row at a time."""

_AS_THEY_ARE = (
    "label", "attempts", "crashes", "reason", "error_kind", "error", "wait_ms", "download_ms", "parse_ms",
    "worker", "by_follow", "place",
)  # fmt: skip
"""Columns that take the values of an outcome unchanged."""
_STATES = {state: state.value for state in ItemState}
"""The plain texts: `value` takes ten times as long."""
_TYPES = {
    "key": "uuid", "label": "text", "item": "jsonb", "state": "text", "reason": "text", "error_kind": "text",
    "error": "text", "started": "timestamptz", "next_at": "timestamptz", "by_follow": "bool", "line": "uuid",
    "place": "bigint",
}  # fmt: skip
"""PostgreSQL's, of the columns that are no `int`."""
_LITERALS: dict[Any, str] = {
    None: "NULL", "": "''", 0: "0", 1: "1", **{state.value: f"'{state.value}'" for state in ItemState}
}  # fmt: skip
"""Values that a column may have in all rows of a batch; `False` is as good as 0 here."""


def find_items(ownership: Ownership, keys: Collection[UUID]) -> list[RunItem]:
    """The ledger's rows of these items, whichever shard has them; those that have none are left out."""
    alias, run_id = ownership.alias, ownership.ledger
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


def insert_claim(
    ownership: Ownership, keys: Collection[UUID], counts: dict[str, int], *, change: int | None = None
) -> int:
    """A claim of these keys, what changes with it in the run's counts, and the fence; the claim's number.

    `change` is its number among the changes of the run (see `changes`), and is taken with the counts: where it is taken
    already, the claim is there. Without it the caller has locked the run's row. On PostgreSQL it is one statement,
    which writes nothing where the lease is not ours, so that it may be a transaction of its own.
    """
    connection, hexes = connections[ownership.alias], [key.hex for key in keys]
    quote = connection.ops.quote_name
    claims, columns = quote(RunClaim._meta.db_table), ", ".join(map(quote, ("run_id", "epoch", "keys", "claimed_at")))
    values = [ownership.run_id, ownership.epoch, json.dumps(hexes), *_moments(connection, [timezone.now()])]
    with connection.cursor() as cursor:
        if connection.vendor == "postgresql":
            held, fence_values = fence_statement(ownership)
            move, move_values = _move(
                connection, ownership.run_id, counts, change=change, held=("SELECT FROM held", [])
            )
            moved = f", moved AS ({move} RETURNING 1)" if move else ""
            cursor.execute(
                f"WITH held AS ({held}){moved} INSERT INTO {claims} ({columns}) "  # noqa: S608 - names of our own
                f"SELECT %s, %s, %s::jsonb, %s FROM {'moved' if move else 'held'} RETURNING id",
                [*fence_values, *move_values, *values],
            )
            made = cursor.fetchone()
            return int(made[0]) if made else _claimed_before(ownership, hexes, change)
        move, move_values = _move(connection, ownership.run_id, counts, change=change)
        if move:
            cursor.execute(move, move_values)
            if not cursor.rowcount:
                return _claimed_before(ownership, hexes, change)
        cursor.execute(f"INSERT INTO {claims} ({columns}) VALUES (%s, %s, %s, %s)", values)  # noqa: S608 - likewise
        number = int(connection.ops.last_insert_id(cursor, RunClaim._meta.db_table, "id"))
    fence(ownership)
    return number


def _claimed_before(ownership: Ownership, hexes: list[str], change: int | None) -> int:
    """The number of a claim whose COMMIT got no answer. Raises RunFenced where the reason is another one."""
    claims = RunClaim.objects.using(ownership.alias).filter(run_id=ownership.run_id, epoch=ownership.epoch)
    newest = None if change is None else claims.order_by("-id").first()
    if newest is None or newest.keys != hexes:
        raise fenced(ownership)
    return int(newest.pk)


def insert_batch(
    ownership: Ownership,
    outcomes: Sequence[ItemOutcome],
    counts: dict[str, int],
    closed: Sequence[int],
    *,
    lease_first: bool,
    safe: SafeCursor | None = None,
) -> None:
    """The new rows of a batch, what they change in the run's counts, the end of claims worked off; and the fence.

    With `lease_first` it is one statement on PostgreSQL, which writes nothing where the lease is not ours, so that it
    may be a transaction of its own. It locks the lease before the run's row: not for lanes, which may commit while the
    run is closed, where these locks are taken the other way round.
    """
    connection, run_id = connections[ownership.alias], ownership.run_id
    names, same, columns = _columns_of(connection, outcomes)
    insert = _Insert(ownership, names, same)
    dropped = f"DELETE FROM {connection.ops.quote_name(RunClaim._meta.db_table)} WHERE id"  # noqa: S608 - a name of our own
    held, fence_values = fence_statement(ownership)
    with connection.cursor() as cursor:
        if connection.vendor == "postgresql" and lease_first:
            move, values = _move(connection, run_id, counts, held=("SELECT FROM held", []), safe=safe)
            cursor.execute(
                f"WITH held AS ({held}), inserted AS ({insert.from_arrays()} WHERE EXISTS (SELECT FROM held)), "  # noqa: S608 - likewise
                f"dropped AS ({dropped} = ANY (%s::bigint[]) AND EXISTS (SELECT FROM held)) {move}",
                [*fence_values, *map(_array, columns), _array(closed), *values],
            )
            if not cursor.rowcount:
                raise fenced(ownership)
            return
        if connection.vendor == "postgresql":
            move, values = _move(connection, run_id, counts, safe=safe)
            cursor.execute(
                f"WITH inserted AS ({insert.from_arrays()}), dropped AS ({dropped} = ANY (%s::bigint[])) {move}",
                [*map(_array, columns), _array(closed), *values],
            )
        else:
            insert.execute(cursor, columns)
            within = (held, fence_values) if connection.vendor == "sqlite" else None  # nobody else writes there
            cursor.execute(*_move(connection, run_id, counts, held=within, safe=safe))
            if within and not cursor.rowcount:
                raise fenced(ownership)
            if closed:
                cursor.execute(f"{dropped} IN ({', '.join(map(str, closed))})")
            if within:
                return
    fence(ownership)


def insert_outcomes(ownership: Ownership, outcomes: Sequence[ItemOutcome], *, unless_there: bool = False) -> int:
    """One new ledger row for each outcome, in the transaction that is open on this thread; how many they are.

    Raises IntegrityError where the run has a row of one of these items already, or passes over it, `unless_there`.
    """
    if not outcomes:
        return 0
    connection = connections[ownership.alias]
    names, same, columns = _columns_of(connection, outcomes)
    with connection.cursor() as cursor:
        return _Insert(ownership, names, same).execute(cursor, columns, unless_there=unless_there)


def move_counts(alias: str, run_id: int, counts: dict[str, int], safe: SafeCursor | None = None) -> None:
    """Change the counts in the run's row by so much each; and up to where its source is settled, if that is given."""
    if counts or safe:
        with connections[alias].cursor() as cursor:
            cursor.execute(*_move(connections[alias], run_id, counts, safe=safe))


def cursor_of(run: Run) -> SafeCursor | None:
    """Where the source of a run is gone on with; None where it is read from its beginning."""
    place, _, text = run.cursor.partition(" ")
    return SafeCursor(int(place), text) if text else None


def _move(
    connection: BaseDatabaseWrapper,
    run_id: int,
    counts: dict[str, int],
    *,
    change: int | None = None,
    held: tuple[str, list[Any]] | None = None,
    safe: SafeCursor | None = None,
) -> tuple[str, list[Any]]:
    """An UPDATE of the run's row and its parameters; empty where nothing is to change.

    `change`: a number to be taken, unless it was before. `held`: a SELECT that has to find a row, and its parameters.
    `safe`: up to where the source is settled now.
    """
    quote = connection.ops.quote_name
    columns = [f"{quote(name)} = {quote(name)} + %s" for name in counts]
    values: list[Any] = [*counts.values()]
    if safe is not None:
        columns.append(f"{quote('cursor')} = %s")
        values.append(f"{safe.place} {safe.text}")
    condition = "id = %s"
    if change is not None:
        columns.append("changes = %s")
        condition += " AND changes < %s"
        values.append(change)
    values += [run_id] if change is None else [run_id, change]
    if held is not None:
        condition += f" AND EXISTS ({held[0]})"
        values += held[1]
    table = quote(Run._meta.db_table)
    return (f"UPDATE {table} SET {', '.join(columns)} WHERE {condition}", values) if columns else ("", [])  # noqa: S608 - names of our own


def _columns_of(
    connection: BaseDatabaseWrapper, outcomes: Sequence[ItemOutcome]
) -> tuple[list[str], dict[str, str], list[Sequence[Any]]]:
    """The names of the columns in which rows differ, the literals of the others, and the values of the former.

    Column by column, as this is done for every item: most of them have one value in all rows.
    """
    now = time.monotonic()
    columns: dict[str, Sequence[Any]] = {"key": [one.key.hex for one in outcomes]}
    columns |= zip(_AS_THEY_ARE, zip(*map(attrgetter(*_AS_THEY_ARE), outcomes), strict=True), strict=True)
    columns["state"] = [_STATES[one.state] for one in outcomes]
    columns["item"] = [None if one.item is None else json.dumps(one.item, cls=DjangoJSONEncoder) for one in outcomes]
    columns["save_ms"] = [int((now - one.handed_over) * 1000) for one in outcomes]
    columns["started"] = _moments(connection, [one.started for one in outcomes])
    columns["next_at"] = _moments(connection, [one.next_at for one in outcomes])
    columns["line"] = [one.line and one.line.hex for one in outcomes]
    same = {
        name: _LITERALS[values[0]]
        for name, values in columns.items()
        if values[0] in _LITERALS and values.count(values[0]) == len(values)
    }
    if connection.vendor == "postgresql" and "by_follow" in same:
        same["by_follow"] = "TRUE" if columns["by_follow"][0] else "FALSE"
    differ = [name for name in columns if name not in same]
    return differ, same, [columns[name] for name in differ]


def _moments(connection: BaseDatabaseWrapper, moments: Sequence[datetime | None]) -> Sequence[Any]:
    """As the driver takes them."""
    if not any(moments) or (settings.USE_TZ and connection.vendor == "postgresql"):
        return moments
    is_utc = settings.USE_TZ and connection.timezone is UTC
    if is_utc and connection.vendor == "sqlite" and all(moment is None or moment.tzinfo is UTC for moment in moments):
        # What `adapt` makes of them, in a fifth of the time.
        return [moment and moment.replace(tzinfo=None).isoformat(" ") for moment in moments]
    adapt = connection.ops.adapt_datetimefield_value
    return [moment and adapt(as_stored(moment)) for moment in moments]


class _Insert:
    """An INSERT of the ledger: parameters for columns that differ, and the others in its text."""

    def __init__(self, ownership: Ownership, differ: Sequence[str], same: dict[str, str]) -> None:
        quote = connections[ownership.alias].ops.quote_name
        names = ", ".join(map(quote, ("run_id", "shard", *same, *differ)))
        self._differ = differ
        self._into = f"INTO {quote(RunItem._meta.db_table)} ({names})"
        self._same = ", ".join([str(ownership.ledger), str(ownership.shard), *same.values()])

    def execute(self, cursor: CursorWrapper, columns: Sequence[Sequence[Any]], *, unless_there: bool = False) -> int:
        """Insert rows that have these values; how many there are more. `unless_there`: those that are not there yet."""
        passing_over = " ON CONFLICT DO NOTHING" if unless_there else ""
        if cursor.db.vendor == "postgresql":
            cursor.execute(self.from_arrays() + passing_over, list(map(_array, columns)))
            return int(cursor.rowcount)
        rows, row = list(zip(*columns, strict=True)), f"({', '.join([self._same, *['%s'] * len(self._differ)])})"
        if cursor.db.vendor == "sqlite":
            cursor.executemany(f"INSERT {self._into} VALUES {row}{passing_over}", rows)  # noqa: S608 - names of our own
            return int(cursor.rowcount)
        number, begin = 0, f"INSERT {'IGNORE ' if unless_there else ''}{self._into}"
        for part in chunks(rows, PARAMETERS_AT_ONCE // len(columns)):
            values = ", ".join([row] * len(part))
            cursor.execute(f"{begin} VALUES {values}", [value for one in part for value in one])
            number += cursor.rowcount
        return number

    def from_arrays(self) -> str:
        """With one parameter for each column, whatever the number of rows: a driver looks at each that it is given."""
        arrays = ", ".join(f"%s::{_TYPES.get(name, 'int')}[]" for name in self._differ)
        return f"INSERT {self._into} SELECT {self._same}, * FROM unnest({arrays})"  # noqa: S608 - names and types of our own


def _array(values: Sequence[Any]) -> str:
    """PostgreSQL's text of an array. A driver's own takes ten times as long."""
    return f"{{{','.join(map(_element, values))}}}"


def _element(value: Any) -> str:
    if isinstance(value, str):
        return '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'
    if value is None:
        return "NULL"
    return str(value.isoformat() if isinstance(value, datetime) else value)
