"""Log lines and figures, written beside the ledger. Synchronous, inside the caller's transaction."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, TypeVar

from django.db import DatabaseError, connections, transaction
from django.db.models import Model
from django.db.transaction import TransactionManagementError

from async_commander.database.outage import is_outage, is_read_only, is_transient
from async_commander.database.schema_errors import lacks_schema
from async_commander.models import Run, RunBucket, RunErrorKind, RunLog, RunSlowest
from async_commander.results import ErrorKind
from async_commander.text.clean import storable

from .figures import slowest_of
from .lease import Ownership, fence
from .log_capture import gap
from .moments import as_stored
from .recorder import LogLine, Notes, Slice

T = TypeVar("T")

NAME_CAP = 200
"""Characters of a logger's name, a kind of errors and a label that are kept."""
HIGHEST_LEVEL = 32_767


def write_notes(ownership: Ownership, notes: Notes, earlier: dict[str, int]) -> list[LogLine]:
    """Write what came since the last time. `earlier` holds the counts of error kinds from before this epoch.

    A row that the database refuses costs no other: where they fail together they are halved until it is alone. It is
    left out, and a line of the log says so. Returns the lines that are written, numbered.
    """
    written: list[LogLine] = []
    write_logs = partial(_write_logs, written=written)
    refused = Counter(
        f"{what}, for the database does not take them ({type(error).__name__})"
        for what, errors in (
            ("log records", _halved(ownership, notes.logs, write_logs)),
            ("figures of a stage", _halved(ownership, notes.slices, _write_slices)),
            ("kinds of errors", _halved(ownership, notes.errors, partial(_write_errors, earlier=earlier))),
            ("slow items", _halved(ownership, notes.slowest, _write_slowest)),
        )
        for error in errors
    )
    if refused:
        write_logs(ownership, [gap(f"Missing here: {number} {what}.") for what, number in refused.items()])
    columns = {} if notes.total is None else {"total": notes.total}
    if notes.done is not None:
        columns |= {"taken": notes.done, "done": notes.done}
    if notes.pausable:
        columns |= {"pausable": True}
    if columns:
        Run.objects.using(ownership.alias).filter(pk=ownership.run_id).update(**columns)
    fence(ownership)
    return written


def _halved(
    ownership: Ownership, rows: Sequence[T], write: Callable[[Ownership, Sequence[T]], None]
) -> list[Exception]:
    """Write the rows, all but those that are refused; the errors of these."""
    if not rows:
        return []
    try:
        with transaction.atomic(using=ownership.alias):
            write(ownership, rows)
    except (DatabaseError, ValueError, TypeError, ArithmeticError) as error:
        no_rows_fault = (is_transient, is_outage, is_read_only, lacks_schema)
        if isinstance(error, TransactionManagementError) or any(applies(error) for applies in no_rows_fault):
            raise  # the database is not there, or lacks the tables: other rows do no better
        if len(rows) == 1:
            return [error]
        half = len(rows) // 2
        return [error for part in (rows[:half], rows[half:]) for error in _halved(ownership, part, write)]
    return []


def earlier_errors(ownership: Ownership) -> dict[str, int]:
    """How often each kind of error was met before this epoch."""
    kinds = RunErrorKind.objects.using(ownership.alias).filter(run_id=ownership.run_id)
    return dict(kinds.values_list("kind", "count"))


def write_line(ownership: Ownership, text: str) -> None:
    """Add a line of our own to the log of a run."""
    _write_logs(ownership, [gap(text)], written=[])


def mark_gap(ownership: Ownership) -> None:
    """Say in the log of a run whose owner is gone that its last lines may be missing."""
    text = "The process that had this run ended without a word: the last lines of its log are missing here."
    write_line(ownership, text)


def _write_logs(ownership: Ownership, lines: Sequence[LogLine], *, written: list[LogLine]) -> None:
    rows = RunLog.objects.using(ownership.alias).bulk_create(
        [
            RunLog(
                run_id=ownership.ledger,
                at=as_stored(line.at),
                level=min(max(line.level, 0), HIGHEST_LEVEL),
                logger=storable(line.logger)[:NAME_CAP],
                message=storable(line.message),
                item_key=line.item_key,
                failure=line.failure,
            )
            for line in lines
        ],
        batch_size=500,
    )
    written += [
        replace(line, number=row.pk, level=row.level, logger=row.logger, message=row.message)
        for line, row in zip(lines, rows, strict=True)
    ]


def _write_slices(ownership: Ownership, slices: Sequence[Slice]) -> None:
    rows = [
        RunBucket(
            run_id=ownership.run_id,
            at=as_stored(one.at),
            stage=one.stage,
            seconds=one.seconds,
            count=one.count,
            errors=one.errors,
            total_ms=one.total_ms,
            histogram=one.histogram,
        )
        for one in slices
    ]
    _upsert(ownership, rows, ["at", "stage"], ["seconds", "count", "errors", "total_ms", "histogram"])


def _write_slowest(ownership: Ownership, items: Sequence[dict[str, Any]]) -> None:
    """Beside those of earlier sittings."""
    rows = RunSlowest.objects.using(ownership.alias)
    known = rows.filter(run_id=ownership.ledger).values_list("items", flat=True).first() or []
    told = [{**item, "label": storable(item["label"])[:NAME_CAP]} for item in items]
    _upsert(ownership, [RunSlowest(run_id=ownership.ledger, items=slowest_of(known, told))], [], ["items"])


def _write_errors(ownership: Ownership, errors: Sequence[ErrorKind], *, earlier: dict[str, int]) -> None:
    """The first example of each kind stays."""
    rows = [
        RunErrorKind(
            run_id=ownership.run_id,
            kind=(kind := storable(one.kind)[:NAME_CAP]),
            count=earlier.get(kind, 0) + one.count,
            example=storable(one.example),
            item=storable(one.item)[:NAME_CAP],
        )
        for one in errors
    ]
    _upsert(ownership, rows, ["kind"], ["count"])


def _upsert(ownership: Ownership, rows: Sequence[Model], unique: Sequence[str], update: Sequence[str]) -> None:
    """In one statement. They are of one run and `unique` in it; of those that are alike the last one counts."""
    by_key = {tuple(getattr(row, name) for name in unique): row for row in rows}
    features = connections[ownership.alias].features
    targets = ["run", *unique] if features.supports_update_conflicts_with_target else None
    type(rows[0])._default_manager.using(ownership.alias).bulk_create(
        by_key.values(), batch_size=100, update_conflicts=True, unique_fields=targets, update_fields=update
    )
