"""Dead items of a run again, by a worker: the run waits in its queue with them."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any
from uuid import UUID

from django.db import connections, transaction

from async_commander.database.lanes import must_share
from async_commander.exceptions import AsyncCommanderError, InvalidCommand, RunLocked
from async_commander.history import retrying
from async_commander.history.lease import epoch_of, release, take_over
from async_commander.history.reading import notice_crashes
from async_commander.history.recorder import Opening
from async_commander.history.shards import ledger_of
from async_commander.models import Run
from async_commander.results import RunStatus

from .engine import Engine, engine_of
from .handle import RunHandle
from .sending import asked_of, check_sendable, enqueue, send_again

if TYPE_CHECKING:
    from async_commander.runner.plan import Plan

ENDED = frozenset({
    RunStatus.SUCCEEDED.value, RunStatus.PARTIAL.value, RunStatus.FAILED.value, RunStatus.INTERRUPTED.value,
    RunStatus.CRASHED.value,
})  # fmt: skip


def leave(plan: Plan, engine: Engine) -> RunHandle:
    """Leave what was planned to a worker: a new run, or the dead items of one that was. See `doors.dispatch`."""
    opening = plan.opening
    if opening.retry_failed is None:
        return enqueue(plan, engine)
    check_sendable(plan)
    send_failed(
        opening.retry_failed,
        only_kinds=opening.only_kinds,
        user=opening.user,
        database=plan.alias,
        engine=engine,
        asked=asked_of(plan.request),
    )
    return RunHandle(opening.retry_failed, plan.alias, is_committed=not connections[plan.alias].in_atomic_block)


def send_failed(
    run_id: int,
    *,
    only_kinds: Sequence[str] = (),
    only_keys: Collection[UUID] = (),
    user: str = "",
    database: str = "default",
    engine: Engine | None = None,
    asked: Mapping[str, Any] | None = None,
) -> int:
    """Have a worker try dead items of a run again: of these kinds of errors, or reasons, and with these keys; or all.
    Returns how many.

    They wait in the ledger as of now, and the run waits in its queue, or in that of `engine`; `user` is who asks, for
    its log, and `asked` is what its worker is told beside what it was told before. InvalidCommand
    where it cannot be gone on with; NothingToRetry where no item is dead; RunLocked where somebody is at work on it;
    AsyncCommanderError where its queue cannot be reached, and then it waits there.
    """
    notice_crashes(database)
    with transaction.atomic(using=database, durable=not must_share(database)):
        run = Run.objects.using(database).select_for_update().numbered(run_id)
        if run.dry_run:
            raise InvalidCommand(f"Run {run.pk} is a dry run, which keeps no items.")
        opening = Opening(
            command=run.command, identity=run.identity, user=user, only_kinds=only_kinds, retry_failed=run.pk
        )
        retrying.check(run, opening)
        if run.status not in ENDED:
            raise RunLocked(f"Run {run.pk} is {run.status}: wait for its end, or stop it first.")
        engine = engine or engine_of(run.engine or None)
        ownership = take_over(database, run.pk, seen=epoch_of(database, run.pk))
        revived = retrying.revive(ownership, run, opening, only_keys)
        ledger_of(ownership, run).take_over(crashed=False, longest_wait=opening.longest_wait)
        release(ownership)
        Run.objects.using(database).filter(pk=run.pk).update(
            status=RunStatus.QUEUED.value,
            engine=engine.name,
            finished=None,
            error="",
            traceback="",
            cancel_requested_at=None,
            sent=None,
            asked={**{name: value for name, value in run.asked.items() if name != "left"}, **(asked or {})},
        )
    if engine.has_messages and connections[database].in_atomic_block:
        transaction.on_commit(partial(send_again, run.pk, engine, database), using=database)
    elif engine.has_messages and not send_again(run.pk, engine, database):
        raise AsyncCommanderError(f"Run {run.pk} is queued, and {engine.name} could not be reached: see the log.")
    return revived
