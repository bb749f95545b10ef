"""One run from start to finish: opened, worked, tidied up, and closed with the truth.

    open the lanes ─▶ open the record ─▶ lifespan( work ─▶ cleanup ) ─▶ write the last notes ─▶ close the record

Everything of a run happens in one task group on one event loop.
"""

from __future__ import annotations

import logging
import os
import time
from contextlib import AsyncExitStack, asynccontextmanager, nullcontext, suppress
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING

import anyio
from asgiref.sync import ThreadSensitiveContext

from async_commander.cache.keeper import Keeper
from async_commander.command.base import bind, restore_options, unbind
from async_commander.command.shapes import ItemCommand
from async_commander.database.unit import deletions_withheld
from async_commander.engine.context import run_entered
from async_commander.engine.failures import CancelledFromOutside, unwrapped
from async_commander.engine.leased_pace import LeasedPace
from async_commander.engine.undisturbed import Undisturbed, again_after_native_cancels
from async_commander.exceptions import MissingDependency, RunFenced, RunLocked
from async_commander.history.database_recorder import DatabaseRecorder
from async_commander.history.dependencies import Unmet
from async_commander.history.figures import Figures
from async_commander.history.log_capture import LogCapture, told_briefly
from async_commander.history.recorder import Ending
from async_commander.results import RunResult, RunStatus
from async_commander.text.values import kept_value

from .always_on import AlwaysOn
from .beginning import context_of, open_record, recorder_of
from .calling import HookCaller, PerCall
from .ending import ending_of, exit_code_in
from .forks import end_with_hook
from .hook_lanes import lanes_for_hooks
from .in_hand import holding_nothing
from .notekeeping import NoteKeeper
from .observing import RUN, ObservedRun, Observers
from .plan import Plan, as_opened, plan_before
from .rehearsed_hooks import RehearsedHooks
from .reporting import Aside
from .service import ServiceManager
from .session import RunSession
from .sharded import ShardedWork
from .shared_pace import keep_leases
from .signals import OpenRun, open_run
from .steering import Steering
from .stopping import Stopping
from .telling import Teller
from .verdicts import in_a_template, kind_of, text_of, traceback_of
from .work import Work

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from async_commander.command.needs import Need
    from async_commander.database.lanes import LanePool
    from async_commander.history.recorder import Opened, Recorder

    from .hook_lanes import HookLanes
    from .reporting import Reporter
    from .signals import StopRequests

logger = logging.getLogger("async_commander.run")
os.register_at_fork(after_in_child=end_with_hook)


async def execute(plan: Plan, reporter: Reporter, stops: StopRequests) -> RunResult:
    """Carry out one run. Returns how it ended, whatever happened inside of it.

    A native cancel of its task, such as comes at the end of an event loop, is a request to end at once. What is asked
    of a run around this one is asked of this one, too.

    Raises only what is wrong with the request itself, before there is a run: InvalidCommand, and the database's errors
    where no run can be recorded.
    """
    around = open_run.get()
    with nullcontext() if around is None else around.stops.reaching(stops):
        return await Undisturbed(_execute(plan, reporter, stops), on_cancel=partial(stops.ask_up_to, 2, on_loop=True))


async def _execute(plan: Plan, reporter: Reporter, stops: StopRequests) -> RunResult:
    """The run, after those that it depends on and that are missing: each at most once."""
    tried: list[Need] = []
    while True:
        try:
            return await _carry_out(plan, reporter, stops)
        except Unmet as unmet:
            need = unmet.lacking[0].need
            if not plan.request.run_dependencies or unmet.circle or need in tried:
                raise
        tried.append(need)
        reporter.message(f"{plan.name} depends on {need}: running that first.")
        result = await execute(plan_before(plan, need), Aside(reporter), stops)
        if stops.count:
            return RunResult(run_id=None, command=plan.name, status=RunStatus.INTERRUPTED, signal=stops.signal)
        if result.status is not RunStatus.SUCCEEDED:
            number = f" (run {result.run_id})" if result.run_id is not None else ""
            raise MissingDependency(
                f"{need}, which {plan.name} depends on, was run first and is {result.status}{number}. "
                f"{result.error or result.reason}".rstrip()
            )


async def _carry_out(plan: Plan, reporter: Reporter, stops: StopRequests) -> RunResult:
    async with recorder_of(plan) as (lanes, recorder):
        opened, teller = await open_record(plan, recorder, reporter, stops), Teller(plan)
        if isinstance(opened, RunResult):
            if opened.status is RunStatus.SKIPPED:
                reporter.finished(opened)
                await teller.finished(opened)
            return opened
        plan = as_opened(plan, opened)
        async with lanes_for_hooks(lanes) as hook_lanes:
            try:
                run = OneRun(
                    plan,
                    opened,
                    recorder,
                    lanes=lanes,
                    hook_lanes=hook_lanes,
                    reporter=reporter,
                    stops=stops,
                    teller=teller,
                )
                result = await run.to_its_end()
            except BaseException as error:
                # What breaks out of a run is an error of a reporter's, or of this package: the row says so as well.
                redact = plan.redact
                text = f"{kind_of(unwrapped(error))}: {text_of(unwrapped(error), redact)}"
                ending = Ending(status=RunStatus.FAILED, error=text, traceback=traceback_of(error, redact))
                with anyio.CancelScope(shield=True), suppress(RunFenced):  # fenced: it was closed before
                    await recorder.close(ending)
                raise
        reporter.finished(result)
        if not result.locked:  # else it is somebody else's
            await teller.finished(result)
        return result


class OneRun:
    """A run that is open: works, stops when it is asked to, and closes itself."""

    def __init__(
        self,
        plan: Plan,
        opened: Opened,
        recorder: Recorder,
        *,
        lanes: LanePool,
        hook_lanes: HookLanes,
        reporter: Reporter,
        stops: StopRequests,
        teller: Teller,
    ) -> None:
        self._plan = plan
        self._opened = opened
        self._recorder = recorder
        self._hook_lanes = hook_lanes
        self._reporter = reporter
        self._stops = stops
        self._teller = teller
        self._redact = plan.redact
        self._context = context_of(plan, opened)
        self._figures = Figures(datetime.now(UTC), time.monotonic())
        self._rehearsal = lanes.rehearsal
        kind = HookCaller if lanes.rehearsal is None else partial(RehearsedHooks, hook_lanes, lanes.rehearsal)
        self._hooks = kind(plan.command, threads=plan.limits.threads, shared=lanes.shared, preparation=plan.preparation)
        self._session = RunSession(
            plan.command,
            plan.request,
            self._context,
            identity=plan.opening.identity,
            lanes=lanes,
            recorder=recorder,
            hooks=self._hooks,
            figures=self._figures,
            reporter=reporter,
            teller=teller,
            redact=self._redact,
            kept=self._keeper_of(plan, recorder, lanes),
        )
        if opened.shards is None:
            self._work: Work | ShardedWork = Work(self._session, opened)
        else:
            self._work = ShardedWork(self._session, opened, recorder)
        self._steering = Steering(self._session, self._work, stops)
        self._stopping = Stopping(self._session, self._work, stops, hook_lanes, self._steering)
        self._hooks.observers = Observers.over(
            ObservedRun(plan=plan, context=self._context, recorder=recorder, owner=self._stopping, stops=stops)
        )
        self._capture = LogCapture(self._context, self._redact)
        self._notes = NoteKeeper(
            self._context,
            recorder,
            capture=self._capture,
            figures=self._figures,
            by_hand=not isinstance(plan.command, ItemCommand),
            owner=self._stopping,
            reporter=reporter,
        )

    def _keeper_of(self, plan: Plan, recorder: Recorder, lanes: LanePool) -> Keeper | None:
        """Nobody sees the leases of a run that is in its caller's transaction, or is recorded elsewhere."""
        if plan.store is None:
            return None
        leases = isinstance(recorder, DatabaseRecorder) and not lanes.shared
        lane = lanes.alone() if leases else None
        store = plan.store.of(testing=self._context.testing)
        return Keeper(store, plan.name, refresh=plan.request.refresh_cache, lanes=lane)

    async def to_its_end(self) -> RunResult:
        """Work, tidy up, and close the record."""
        bind(self._plan.command, self._session)
        run_id = self._opened.run_id
        row = run_id if isinstance(self._recorder, DatabaseRecorder) and isinstance(run_id, int) else None
        token = open_run.set(OpenRun(self._stops, self._plan.alias, row))
        try:
            rehearsed = nullcontext() if self._rehearsal is None else self._rehearsal.entered()
            with (
                self._capture.attached(),
                run_entered(self._context),
                rehearsed,
                holding_nothing(),
                self._stopping.heard(),
                deletions_withheld(self._session.undeleted),
                self._recorder.objects_recorded(everything=self._plan.command.provenance),
            ):
                async with self._hooks.observers.around(RUN), anyio.create_task_group() as beside:
                    asked = (self._steering.steer, self._stopping.time_out, self._stopping.cancel_after_grace)
                    told = (self._reporter.watch, self._teller.tell_items)
                    tasks = (self._notes.tick, self._notes.keep, self._attended, self._paced)
                    for work in (*tasks, *told, *asked):
                        beside.start_soon(again_after_native_cancels, work)
                    # A task beside that is cancelled natively before its first step cancels the group: not this block.
                    with self._work.acknowledged_beside(beside), anyio.CancelScope(shield=True):
                        self._reporter.started(self._context)
                        await self._teller.started(self._opened)
                        failure = await self._worked_and_tidied()
                        result = await self._close(failure)
                        self._hooks.observers.finished(result)
                        beside.cancel_scope.cancel()
        finally:
            with anyio.CancelScope(shield=True):
                await self._session.close_cache()
            open_run.reset(token)
            unbind(self._plan.command)
        return result

    async def _attended(self) -> None:
        """Tell the service manager that started this process for the run, if one did."""
        if self._plan.request.trigger == "terminal" and (manager := ServiceManager.of_process()) is not None:
            await manager.attend([self._context], self._context.stop_asked, self._recorder.rows)

    async def _paced(self) -> None:
        """Share the pace with the other shards of a run, where this is one."""
        if isinstance(pace := self._session.pace, LeasedPace):
            await keep_leases(pace, self._context, self._recorder, self._stopping)

    # -- lifespan( work, cleanup ) -----------------------------------------------------------------------------

    async def _worked_and_tidied(self) -> BaseException | None:
        """What the run fails with, if it does: the first error of the work, of cleanup() and of lifespan()."""
        failure: BaseException | None = None
        try:
            async with ThreadSensitiveContext(executor=PerCall(self._hook_lanes)):
                await self._session.fetch_rows()
                if self._opened.resumed:
                    stored = {**self._opened.parameters, **self._opened.options}
                    if others := restore_options(self._plan.command, stored):
                        text = ", ".join(f"{name}={stored[name]!r}" for name in others)
                        text = f"The options that run {self._context.run_id} was begun with apply: {text}"
                        self._reporter.message(text, logging.WARNING)
                with anyio.CancelScope() as whole:
                    async with self._lifespan(whole):
                        failure = await self._cleaned_up(await self._worked())
                    await self._session.commit_hook()
        except BaseException as error:  # noqa: BLE001 - whatever it is, the run row must say so
            if failure is None or not isinstance(error, Exception):
                return unwrapped(error)
            self._session.log_failure("The end of lifespan() failed too", error)
        return failure

    @asynccontextmanager
    async def _lifespan(self, whole: anyio.CancelScope) -> AsyncIterator[None]:
        """The author's. A cancel ends its beginning or its end, not what is between.

        The client is open around it, one of the author's own inside of it, for it may need what is set there.
        """
        own_client = self._hooks.has("http_client")
        async with AsyncExitStack() as stack:
            self._stopping.beside_work = whole
            if not own_client:
                await self._open_http(stack)
            if self._hooks.has("lifespan"):
                await self._enter_lifespan(stack, whole)
            await self._session.commit_hook()
            if own_client:
                await self._open_http(stack)
            self._stopping.beside_work = None
            yield
            self._stopping.beside_work = whole
            whole.deadline = self._stopping.deadline()

    async def _enter_lifespan(self, stack: AsyncExitStack, whole: anyio.CancelScope) -> None:
        always_on = AlwaysOn(self._session, "lifespan") if type(self._plan.command).always_on else None
        while True:
            try:
                await stack.enter_async_context(self._hooks.lifespan())
            except Exception as error:
                if always_on is None:
                    raise
                if not await always_on.again(error):
                    whole.cancel()  # asked to stop before there was anything to do
                    await anyio.lowlevel.checkpoint()
            else:
                return

    async def _open_http(self, stack: AsyncExitStack) -> None:
        self._session.open_http(await stack.enter_async_context(self._hooks.decide("http_client")))
        stack.callback(self._session.open_http, None)

    async def _worked(self) -> BaseException | None:
        try:
            await self._work.carry_out()
        except CancelledFromOutside as error:
            return None if self._context.stopping else error  # the loop is ending: this run was asked to, too
        except BaseException as error:  # noqa: BLE001 - clean-up comes first; the run row says so, and it is raised
            return unwrapped(error)
        finally:
            self._session.drop_hook()
            await self._work.settle()
        return None

    async def _cleaned_up(self, failure: BaseException | None) -> BaseException | None:
        if not self._hooks.has("cleanup") or self._stopping.lost is not None or self._context.shard is not None:
            return failure  # of a shard: the whole run has it
        try:
            with anyio.CancelScope(deadline=self._stopping.deadline()) as self._stopping.beside_work:
                await self._hooks.call("cleanup", self._result(failure))
                await self._session.commit_hook()
            if self._stopping.beside_work.cancelled_caught:
                logger.error("cleanup() was cancelled: the run was asked to end at once.")
        except Exception as error:  # noqa: BLE001 - the run row says so
            self._session.log_failure("cleanup() failed", error)
            return failure or error
        finally:
            self._session.drop_hook()
        return failure

    # -- the end -----------------------------------------------------------------------------------------------

    async def _close(self, failure: BaseException | None) -> RunResult:
        """Write the last notes and the end. The result tells what the record tells, also where that failed."""
        if isinstance(failure, RunLocked):
            self._stopping.lost = self._stopping.lost or failure
        failure = self._stopping.lost or failure
        ending, result = self._ending(failure), self._result(failure)
        if failure is not None and not isinstance(failure, RunLocked):
            kind = kind_of(failure)
            is_told = result.error.startswith(f"{kind}: ")
            told = f"The run failed: {in_a_template(kind)}: %s" if is_told else "The run failed: %s"
            with told_briefly(brief=True):  # the run's row has the traceback
                logger.error(told, result.error.removeprefix(f"{kind}: "), exc_info=failure)
        value, loss = kept_value(self._work.value, self._redact)
        if loss:
            logger.warning("%s", loss)
        if self._stopping.lost is None:
            await self._notes.write()
        if isinstance(self._stopping.lost, RunLocked):
            return self._result(self._stopping.lost)
        # Where its worker was to stop, and not the run itself, it waits in its queue again.
        is_queued = self._plan.opening.queued is not None and self._stops.count > 0 and not self._stopping.cancelled
        if ending.status is RunStatus.INTERRUPTED and is_queued:
            ending = replace(ending, status=RunStatus.QUEUED)
            result = replace(
                result, status=RunStatus.QUEUED, reason="Its worker was asked to stop: another one goes on."
            )
        try:
            ending = replace(ending, value=value, would=result.would, output=self._session.output.kept)
            counts = await self._recorder.close(ending)
            # Until the end is written, as the run's row has it.
            result = replace(result, counts=counts, duration=anyio.current_time() - self._context.started)
        except RunFenced as error:
            return replace(result, error=str(error), status=RunStatus.FAILED, locked=True)
        except Exception as error:
            logger.exception("The end of the run could not be recorded")
            text = f"{result.error} The end of the run could not be recorded: {text_of(error, self._redact)}".strip()
            return replace(result, error=text, status=RunStatus.FAILED, failure=failure or error)
        return result

    def _ending(self, failure: BaseException | None) -> Ending:
        return ending_of(
            failure,
            complete=self._work.complete,
            timed_out=self._context.limits.timeout if self._stopping.timed_out else None,
            tally=self._context.tally,
            redact=self._redact,
        )

    def _result(self, failure: BaseException | None) -> RunResult:
        ending = self._ending(failure)
        return RunResult(
            run_id=self._context.run_id,
            command=self._plan.name,
            status=ending.status,
            value=self._work.value,
            values=self._session.values,
            counts=self._context.tally.as_counts(),
            errors=self._figures.kinds(),
            duration=anyio.current_time() - self._context.started,
            error=ending.error,
            signal=self._stops.signal,
            locked=isinstance(failure, RunLocked),
            complete=self._work.complete,
            failure=failure,
            code_asked_for=exit_code_in(failure),
            dry_run=self._context.dry_run,
            would=self._session.would(),
        )
