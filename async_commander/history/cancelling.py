"""The end of a run, asked for from outside: in its row, where its owner sees it with the next sign of life."""

from __future__ import annotations

from enum import StrEnum

from django.db import router

from async_commander.exceptions import AsyncCommanderError, InvalidCommand
from async_commander.results import RunStatus


class Cancelled(StrEnum):
    """What a request to end came to."""

    ASKED = "asked"
    """Its owner hears of it with the next sign of life, or has heard of an earlier request."""
    NOT_BEGUN = "not begun"
    """It was waiting to begin, and does not."""
    OWNERLESS = "ownerless"
    """Nobody worked on it any more: it is marked as crashed, or as its owner left word of its end."""
    ENDED = "ended"
    """It had come to its end before."""


def cancel_run(run_id: int, *, user: str = "", using: str | None = None) -> Cancelled:
    """Ask for the end of a run, in order, as a first Ctrl-C does. `user` is who asks, for the run's log.

    Raises InvalidCommand where there is no such run, AsyncCommanderError for one of a plain Django command, which
    nobody can interrupt in order.
    """
    from async_commander.database.lanes import must_share
    from async_commander.database.transaction import LaneTransaction
    from async_commander.models import Run

    from .lease import Ownership, database_now
    from .notes import write_line
    from .runs import is_orphan, mark_crashed
    from .shards import ask_to_end

    alias, by = using or router.db_for_write(Run), f" by {user}" if user else ""
    with LaneTransaction(alias, shared=must_share(alias)):
        run = Run.objects.using(alias).filter(pk=run_id).first()
        if run is None:
            raise InvalidCommand(f"There is no run {run_id}. `manage.py aruns` lists the runs.")
        if run.shard is not None:
            raise InvalidCommand(
                f"Run {run_id} is shard {run.shard} of run {run.parent_id}: ask for the end of that one."
            )
        same = Run.objects.using(alias).filter(pk=run_id, status=run.status)
        now = database_now(alias)
        if run.status == RunStatus.QUEUED.value:
            error = f"Cancelled{by} before it began."
            ended = same.update(status=RunStatus.INTERRUPTED.value, finished=now, error=error, once_key=None)
            return Cancelled.NOT_BEGUN if ended else Cancelled.ENDED
        if run.status != RunStatus.RUNNING.value:
            return Cancelled.ENDED
        if is_orphan(alias, run) and mark_crashed(alias, run):
            return Cancelled.OWNERLESS
        if not run.limits:  # no bounds: it is not one of ours that runs there
            raise AsyncCommanderError(
                f"Run {run_id} is one of a plain Django command, which hears of no request: end its process, "
                f"{run.pid} on {run.host}."
            )
        if same.filter(cancel_requested_at=None).update(cancel_requested_at=now):
            write_line(Ownership(alias, run_id, epoch=0), f"The end of this run was asked for{by}.")
            ask_to_end(alias, run_id)
        return Cancelled.ASKED
