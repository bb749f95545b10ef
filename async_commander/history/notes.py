"""Log lines and figures, written beside the ledger. Synchronous, inside the caller's transaction."""

from __future__ import annotations

from collections.abc import Sequence

from async_commander.models import Run, RunBucket, RunErrorKind, RunLog

from .lease import Tenure, fence
from .log_capture import gap
from .moments import as_stored
from .recorder import LogLine, Notes


def write_notes(tenure: Tenure, notes: Notes, earlier: dict[str, int]) -> None:
    """Write what came since the last time. `earlier` holds the counts of error kinds from before this epoch."""
    _write_logs(tenure, notes.logs)
    _write_slices(tenure, notes)
    _write_errors(tenure, notes, earlier)
    columns = {} if notes.total is None else {"total": notes.total}
    if notes.done is not None:
        columns |= {"taken": notes.done, "done": notes.done}
    if columns:
        Run.objects.using(tenure.alias).filter(pk=tenure.run_id).update(**columns)
    fence(tenure)


def earlier_errors(tenure: Tenure) -> dict[str, int]:
    """How often each kind of error was met before this epoch."""
    kinds = RunErrorKind.objects.using(tenure.alias).filter(run_id=tenure.run_id)
    return dict(kinds.values_list("kind", "count"))


def mark_gap(tenure: Tenure) -> None:
    """Say in the log of a run whose owner is gone that its last lines may be missing."""
    text = "The process that had this run ended without a word: the last lines of its log are missing here."
    _write_logs(tenure, [gap(text)])


def _write_logs(tenure: Tenure, lines: Sequence[LogLine]) -> None:
    RunLog.objects.using(tenure.alias).bulk_create(
        [
            RunLog(
                run_id=tenure.run_id,
                at=as_stored(line.at),
                level=line.level,
                logger=line.logger,
                message=line.message,
                item_key=line.item_key,
            )
            for line in lines
        ],
        batch_size=500,
    )


def _write_slices(tenure: Tenure, notes: Notes) -> None:
    for one in notes.slices:
        RunBucket.objects.using(tenure.alias).update_or_create(
            run_id=tenure.run_id,
            at=as_stored(one.at),
            stage=one.stage,
            defaults={
                "seconds": one.seconds,
                "count": one.count,
                "errors": one.errors,
                "total_ms": one.total_ms,
                "histogram": one.histogram,
            },
        )


def _write_errors(tenure: Tenure, notes: Notes, earlier: dict[str, int]) -> None:
    for one in notes.errors:
        RunErrorKind.objects.using(tenure.alias).update_or_create(
            run_id=tenure.run_id,
            kind=one.kind[:200],
            defaults={"count": earlier.get(one.kind[:200], 0) + one.count},
            create_defaults={
                "count": earlier.get(one.kind[:200], 0) + one.count,
                "example": one.example,
                "item": one.item[:200],
            },
        )
