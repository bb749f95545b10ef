"""What a queued run's row says to whoever follows it."""

from __future__ import annotations

from async_commander.exceptions import AsyncCommanderError, RunFailed
from async_commander.history.exclusive import naps_while_waiting
from async_commander.history.telling import result_of
from async_commander.models import Run
from async_commander.results import NOT_OVER, RunResult, RunStatus
from async_commander.runner.entry import told

__all__ = ["ended", "naps_while_waiting", "status_of"]


def ended(run_id: int, database: str, *, is_committed: bool) -> RunResult | None:
    """How a run ended; None where it has not. Raises as `RunHandle.result` does."""
    run = _row_of(run_id, database)
    if run.status not in NOT_OVER:
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
    return Run.objects.using(database).defer("output", "traceback").numbered(run_id)
