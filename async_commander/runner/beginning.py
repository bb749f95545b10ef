"""Before there is a run: its lanes and its recorder, and the wait for a record that is ours."""

from __future__ import annotations

import asyncio
import logging
import sys
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

import anyio

from async_commander.command.base import let_go, reserve
from async_commander.command.declaration import declaration_of
from async_commander.database.dry_runs import open_rehearsal
from async_commander.database.lanes import open_lanes, open_shared_lane
from async_commander.database.outage import OutageTooLong
from async_commander.database.rehearsal import rehearsal_here
from async_commander.database.timeouts import Timeouts
from async_commander.engine.awake import awake
from async_commander.engine.context import RunContext
from async_commander.exceptions import InvalidCommand, MissingDependency, RunLocked
from async_commander.history.database_recorder import DatabaseRecorder
from async_commander.history.dependencies import Unmet
from async_commander.history.dry_run_recorder import DryRunRecorder
from async_commander.history.exclusive import OnceMet
from async_commander.history.passing_recorder import PassingRecorder
from async_commander.history.retrying import NothingToRetry
from async_commander.history.runs import OthersUnfinished
from async_commander.results import RunResult, RunStatus

from .plan import missing_tables
from .threads import is_yes, typed_line

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator

    from async_commander.database.lanes import LanePool
    from async_commander.database.rehearsal import Rehearsal
    from async_commander.history.recorder import Opened, Recorder

    from .plan import Plan
    from .reporting import Reporter
    from .signals import StopRequests


@asynccontextmanager
async def recorder_of(plan: Plan) -> AsyncIterator[tuple[LanePool, Recorder]]:
    """The lanes of a run, and its recorder, which is attached to them."""
    async with AsyncExitStack() as stack:
        stack.enter_context(awake.ticking(asyncio.get_running_loop()))
        rehearsal = stack.enter_context(_rehearsal_of(plan))
        lanes = await stack.enter_async_context(_lanes(plan, rehearsal))
        kept = declaration_of(type(plan.command)).keeps_history
        kind: Callable[..., Recorder] = DatabaseRecorder if kept else PassingRecorder
        if rehearsal is not None:
            kind = partial(DryRunRecorder, remembers=kept)
        recorder: Recorder = plan.recorder or kind(
            batch_size=plan.limits.batch_size, lease_seconds=plan.request.lease_seconds
        )
        recorder.attach(lanes)
        stack.push_async_callback(recorder.aclose)
        yield lanes, recorder


@contextmanager
def _rehearsal_of(plan: Plan) -> Iterator[Rehearsal | None]:
    """Of a dry run. What one would write that another one has begun, that one would write, too."""
    if not plan.opening.dry_run:
        yield None
        return
    around = rehearsal_here()
    try:
        with open_rehearsal() as rehearsal:
            yield rehearsal
    finally:
        if around is not None:
            around.add(rehearsal.counts())


def _lanes(plan: Plan, rehearsal: Rehearsal | None) -> Any:
    if plan.shared:
        return open_shared_lane(plan.alias, plan.preparation, rehearsal)
    lease_seconds = plan.request.lease_seconds
    timeouts = Timeouts.of_items(lease_seconds=lease_seconds, item_timeout=plan.limits.item_timeout)
    return open_lanes(
        plan.alias,
        plan.limits.db_lanes,
        gate_limit=lease_seconds / 4,
        timeouts=timeouts,
        preparation=plan.preparation,
        rehearsal=rehearsal,
    )


async def open_record(plan: Plan, recorder: Recorder, reporter: Reporter, stops: StopRequests) -> Opened | RunResult:
    """Open the record of a run; where there is none, how that ended: it is somebody else's, it has happened and was to
    happen once, there is nothing to try again, or we were to stop.

    Raises InvalidCommand, and the database's errors.
    """
    reserve(plan.command)
    opened = None
    try:
        opened = await _open_unless_stopped(plan, recorder, reporter, stops)
    except (OnceMet, NothingToRetry) as met:
        return RunResult(run_id=None, command=plan.name, status=RunStatus.SKIPPED, reason=str(met), complete=True)
    except RunLocked as error:
        return RunResult(run_id=None, command=plan.name, status=RunStatus.FAILED, error=str(error), locked=True)
    except Exception as error:
        if remedy := missing_tables(error, plan.alias):
            raise remedy from error
        raise
    finally:
        if opened is None:
            let_go(plan.command)
    return opened or RunResult(run_id=None, command=plan.name, status=RunStatus.INTERRUPTED, signal=stops.signal)


async def _open_unless_stopped(
    plan: Plan, recorder: Recorder, reporter: Reporter, stops: StopRequests
) -> Opened | None:
    """None where it was left: at once on a request to stop, after `grace` for one that came before all this."""
    loop, came_before = asyncio.get_running_loop(), stops.count

    def leave() -> None:
        if listening:
            recorder.hurry()
            waiting.cancel()

    def requested(count: int) -> None:
        patient = count <= min(came_before, 1)
        loop.call_later(plan.request.grace if patient else 0, leave)

    def requested_anywhere(count: int) -> None:
        loop.call_soon_threadsafe(requested, count)

    listening = True
    with anyio.CancelScope() as waiting:
        stops.listen(requested_anywhere)
        try:
            return await _opened(plan, recorder, reporter)
        except OutageTooLong:
            if not waiting.cancel_called:
                raise
            # The hurry that came with the request to stop is why the database was waited for no longer.
        finally:
            listening = False
            stops.listen(None)
    return None


async def _opened(plan: Plan, recorder: Recorder, reporter: Reporter) -> Opened:
    """Open the record; what stands in the way of that a person may put aside, or `--yes`."""
    opening = plan.opening
    while True:
        try:
            return await recorder.open(opening, reporter.message)
        except OthersUnfinished as others:
            if not await _agreed(plan, f"{others}\nBegin a new run of {plan.name}?"):
                raise InvalidCommand("No run was begun.") from None
            opening = replace(opening, resume=False)
        except Unmet as unmet:
            if plan.request.run_dependencies:
                raise
            if plan.request.yes:
                reporter.message(f"{unmet} It begins all the same: --yes was given.", logging.WARNING)
            elif opening.anew:
                raise
            elif not await _agreed(plan, f"{unmet}\nBegin the run of {plan.name} all the same?"):
                raise MissingDependency(f"No run of {plan.name} was begun.") from None
            opening = replace(opening, needs=())


async def _agreed(plan: Plan, question: str) -> bool:
    err = plan.request.stderr or sys.stderr
    err.write(f"{question} [y/N] ")
    err.flush()
    return is_yes(await typed_line())


def context_of(plan: Plan, opened: Opened) -> RunContext:
    """An open run as its hooks see it, with the counts of its ledger."""
    context = RunContext(
        run_id=opened.run_id,
        command=plan.name,
        parameters=plan.opening.parameters,
        options={**plan.opening.options, "test": plan.opening.testing},
        limits=plan.limits,
        retry=plan.command.retry,
        dry_run=plan.opening.dry_run,
        testing=plan.opening.testing,
        verbosity=plan.request.verbosity,
        shard=opened.shard,
        started=anyio.current_time(),
    )
    for name in ("taken", "done", "skipped", "dead", "retry"):
        setattr(context.tally, name, opened.counts.get(name, 0))
    context.tally.total = opened.total
    if opened.retried:
        context.tally.dead_before = opened.counts["dead"]
        context.tally.settled_before = sum(opened.counts[name] for name in ("done", "skipped", "dead"))
    return context
