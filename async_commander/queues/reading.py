"""What a queued run's row says to whoever follows it."""

from __future__ import annotations

from async_commander.exceptions import AsyncCommanderError, InvalidCommand, RunFailed
from async_commander.history.exclusive import naps_while_waiting
from async_commander.models import Run
from async_commander.results import ErrorKind, RunResult, RunStatus
from async_commander.runner.entry import told

__all__ = ["ended", "naps_while_waiting", "result_of", "status_of"]

UNDER_WAY = (RunStatus.QUEUED.value, RunStatus.RUNNING.value)


def ended(run_id: int, database: str, *, is_committed: bool) -> RunResult | None:
    """How a run ended; None where it has not. Raises as `RunHandle.result` does."""
    run = _row_of(run_id, database)
    if run.status not in UNDER_WAY:
        result = result_of(run)
        if result.status is RunStatus.CRASHED:
            raise RunFailed(f"{result.command} crashed: {result.error}", result)
        return told(result)
    if not is_committed:
        raise AsyncCommanderError(
            f"Run {run.pk} belongs to a transaction that is still open here: no worker sees it before COMMIT. Wait for "
            "its result outside of the transaction."
        )
    return None


def status_of(run_id: int, database: str) -> RunStatus:
    """The status of a run now."""
    return RunStatus(_row_of(run_id, database).status)


def _row_of(run_id: int, database: str) -> Run:
    run = Run.objects.using(database).defer("output", "traceback").filter(pk=run_id).first()
    if run is None:
        raise InvalidCommand(f"There is no run {run_id} in the database {database!r}.")
    return run


def result_of(run: Run) -> RunResult:
    """How a run that has ended did so, by its row."""
    status, skipped = RunStatus(run.status), run.status == RunStatus.SKIPPED.value
    return RunResult(
        run_id=run.pk,
        command=run.command,
        status=status,
        value=run.value,
        counts={name: getattr(run, name) for name in ("taken", "done", "skipped", "dead", "retry", "claimed")},
        errors=[ErrorKind(one.kind, one.count, one.example) for one in run.error_kinds.order_by("-count", "kind")],
        duration=run.duration.total_seconds() if run.duration else 0.0,
        error="" if skipped else run.error,
        reason=run.error if skipped else "",
        complete=run.source_ended or status in (RunStatus.SUCCEEDED, RunStatus.SKIPPED),
        dry_run=run.dry_run,
        would=run.would,
    )
