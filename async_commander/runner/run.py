"""One run from start to finish: opened, worked, tidied up, and told truthfully.

    open the lanes ─▶ open the record ─▶ lifespan( hooks ) ─▶ cleanup ─▶ flush notes ─▶ close the record

Everything of a run happens in one task group on one event loop. Requests to stop come in stages: the first lets items
in hand finish, the second (or the end of `grace`) cancels what still waits for somebody else.
"""

from __future__ import annotations

import asyncio
import logging
import math
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING, Any

import anyio
from asgiref.sync import ThreadSensitiveContext

from async_commander.command.base import AsyncCommand, bind, restore_options, unbind
from async_commander.command.shapes import DownloadIterateCommand, ItemCommand, IterateDownloadCommand
from async_commander.engine.context import run_entered
from async_commander.engine.failures import unwrapped
from async_commander.engine.pipeline import Pipeline
from async_commander.engine.results import RunResult, RunStatus
from async_commander.exceptions import RunFenced, RunLocked
from async_commander.history.figures import Figures
from async_commander.history.log_capture import LogCapture
from async_commander.history.recorder import Ending
from async_commander.history.redaction import redactor

from .acknowledging import Acknowledger
from .beginning import context_of, open_record, recorder_of
from .calling import HookCaller, PerCall
from .ending import Outcome
from .items import ItemPorts, holding_nothing
from .notekeeping import NoteKeeper
from .patience import Patience
from .plan import Plan, as_before, storable
from .session import RunSession
from .sources import closed_at_the_end, counted, open_source
from .verdicts import text_of, traceback_of

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from async_commander.database.lanes import LanePool
    from async_commander.engine.pipeline import Ticket
    from async_commander.history.recorder import Opened, Recorder

    from .reporting import Reporter
    from .signals import StopRequests

logger = logging.getLogger("async_commander.run")

ABANDONED_SECONDS = 0.1
"""After a cancel: by then every item has let go of its call to the process pool."""
SMALLEST_CHUNK = 16
"""Items claimed in one transaction, at least, where there are so many: with one thread a claim each would cost more."""


async def execute(plan: Plan, reporter: Reporter, stops: StopRequests) -> RunResult:
    """Carry out one run. Returns how it ended, whatever happened inside of it.

    Raises only what is wrong with the request itself, before there is a run: InvalidCommand, and the database's errors
    where no run can be recorded.
    """
    async with recorder_of(plan) as (lanes, recorder):
        opened = await open_record(plan, recorder, reporter, stops)
        if isinstance(opened, RunResult):
            return opened
        if opened.resumed:
            plan = as_before(plan, opened.options)
        return await OneRun(plan, opened, lanes, recorder, reporter=reporter, stops=stops).to_its_end()


class OneRun:
    """A run that is open: works, stops when it is asked to, and closes itself."""

    def __init__(
        self,
        plan: Plan,
        opened: Opened,
        lanes: LanePool,
        recorder: Recorder,
        *,
        reporter: Reporter,
        stops: StopRequests,
    ) -> None:
        self.plan = plan
        self.command = plan.command
        self.recorder = recorder
        self.reporter = reporter
        self.stops = stops
        self.redact = redactor(plan.secrets)
        self.context = context_of(plan, opened)
        self._loop = asyncio.get_running_loop()
        self.figures = Figures(datetime.now(UTC), self._loop.time)
        self.session = RunSession(
            plan.command,
            plan.request,
            self.context,
            identity=plan.opening.identity,
            lanes=lanes,
            recorder=recorder,
            hooks=HookCaller(plan.command, threads=plan.limits.threads, shared=lanes.shared),
            figures=self.figures,
            reporter=reporter,
            redact=self.redact,
        )
        self.session.item_done = self._item_done
        self.hooks = self.session.hooks
        self.capture = LogCapture(self.context, self.redact)
        self._hook_lanes = lanes.alone()
        self._acknowledger = Acknowledger(
            self.hooks,
            self._hook_lanes,
            rows=self.session.rows_of_its_own,
            settled=self._settled,
            failed=self._log_failure,
            ended=self._abort,
        )
        self._opened = opened
        self._pipeline: Pipeline[Any] | None = None
        self._work = anyio.CancelScope()
        self._carrying = False
        self._cancelled = False
        self._cut_short = True
        """Whether a request to stop came before the work was done."""
        self._beside_work: anyio.CancelScope | None = None
        """Around what is under way before and after the work: a second request to stop ends it."""
        self._asked_to_stop = anyio.Event()
        self._lost: BaseException | None = None
        self._timed_out = False
        self._complete = True
        self._notes = NoteKeeper(
            self.context,
            recorder,
            capture=self.capture,
            figures=self.figures,
            by_hand=not isinstance(plan.command, ItemCommand),
            on_lost=self._record_lost,
        )
        self._value: Any = None

    # -- the whole story ---------------------------------------------------------------------------------------

    async def to_its_end(self) -> RunResult:
        """Work, tidy up, close the record, and report."""
        with self._entered():
            failure: BaseException | None = None
            async with anyio.create_task_group() as beside:
                beside.start_soon(self._notes.tick)
                beside.start_soon(self._notes.keep)
                beside.start_soon(self.reporter.watch)
                beside.start_soon(self._time_out)
                beside.start_soon(self._cancel_after_grace)
                with self._acknowledger.beside(beside):
                    self.stops.listen(self._stop_requested_anywhere)
                    self.reporter.started(self.context)
                    failure = await self._worked_and_tidied()
                    with anyio.CancelScope(shield=True):
                        result = await self._close(failure)
                    beside.cancel_scope.cancel()
            self.stops.listen(None)
            if not self._hook_lanes.shared:
                await self._hook_lanes.aclose()
        self.reporter.finished(result)
        return result

    @contextmanager
    def _entered(self) -> Iterator[None]:
        bind(self.command, self.session)
        try:
            with self.capture.attached(), run_entered(self.context), holding_nothing():
                yield
        finally:
            unbind(self.command)

    async def _worked_and_tidied(self) -> BaseException | None:
        self.recorder.on_lost = self._record_lost
        self.recorder.on_cancel = self.stops.ask
        try:
            async with ThreadSensitiveContext(executor=PerCall(self._hook_lanes)):
                return await self._within_lifespan()
        except BaseException as error:  # noqa: BLE001 - whatever it is, the run row must tell of it
            return unwrapped(error)

    async def _within_lifespan(self) -> BaseException | None:
        await self.session.fetch_rows()
        if self._opened.resumed:
            self._restore_options()
        failure: BaseException | None = None
        try:
            with anyio.CancelScope() as whole:
                async with self._lifespan(whole):
                    failure = await self._cleaned_up(await self._worked())
                await self.session.commit_hook()
        except Exception as error:
            if failure is None:
                raise
            self._log_failure("The end of lifespan() failed too", error)
        return failure

    @asynccontextmanager
    async def _lifespan(self, whole: anyio.CancelScope) -> AsyncIterator[None]:
        """The author's, with the client inside of it. A cancel ends its beginning or its end, not what is between."""
        async with AsyncExitStack() as stack:
            self._beside_work = whole
            if self.hooks.has("lifespan"):
                await stack.enter_async_context(self.hooks.decide("lifespan"))
            await self.session.commit_hook()
            self.session.open_http(await stack.enter_async_context(self.hooks.decide("http_client")))
            stack.callback(self.session.open_http, None)
            self._beside_work = None
            yield
            self._beside_work = whole
            whole.deadline = self._deadline()

    def _deadline(self) -> float:
        """Of what begins now and is no work: after a cancel it has one more grace."""
        return anyio.current_time() + self.plan.request.grace if self._cancelled else math.inf

    def _restore_options(self) -> None:
        others = restore_options(self.command, self._opened.options)
        if others:
            self.reporter.message(
                f"The options that run {self.context.run_id} was begun with apply: "
                + ", ".join(f"{name}={self._opened.options[name]!r}" for name in others),
                logging.WARNING,
            )

    async def _worked(self) -> BaseException | None:
        try:
            with self._work:
                if not self.context.stopping:
                    self._value = await self._run_shape()
            cancelled = self._work.cancelled_caught
            self._cut_short = self.context.stopping and (cancelled or self._pipeline is None)
            if not cancelled:
                await self.session.commit_hook()
        except BaseException as error:  # noqa: BLE001 - clean-up comes first; it is told in the run row and raised
            return unwrapped(error)
        finally:
            self.session.drop_hook()
            await self._settle_all()
        return None

    async def _settle_all(self) -> None:
        """What an abort left under way: it is committed or not, and so it is told."""
        await self.recorder.drain()
        await self._acknowledger.drain()

    async def _cleaned_up(self, failure: BaseException | None) -> BaseException | None:
        if not self.hooks.has("cleanup") or self._lost is not None:
            return failure
        try:
            with anyio.CancelScope(deadline=self._deadline()) as self._beside_work:
                await self.hooks.call("cleanup", self._result(failure))
                await self.session.commit_hook()
        except Exception as error:  # noqa: BLE001 - it is told in the run row
            self._log_failure("cleanup() failed", error)
            return failure or error
        finally:
            self.session.drop_hook()
        return failure

    # -- the work ----------------------------------------------------------------------------------------------

    async def _run_shape(self) -> Any:
        command = self.command
        if isinstance(command, IterateDownloadCommand):
            await self._carry(partial(open_source, self.hooks), download=True)
        elif isinstance(command, DownloadIterateCommand):
            payload = await Patience(self.session).insist(partial(self.hooks.call, "download"))
            await self._carry(partial(open_source, self.hooks, payload), download=False)
        elif isinstance(command, AsyncCommand):
            return await self.hooks.call("handle")
        return None

    async def _carry(self, opened: Callable[[], Awaitable[Any]], *, download: bool) -> None:
        limits = self.context.limits
        room, recovered = self._room(), self._opened.recovered
        ports = ItemPorts(self.session, download=download, max_items=room, recovered=recovered)
        self._pipeline = ports.pipeline = Pipeline(
            ports,
            limits=limits,
            retry=self.context.retry,
            tally=self.context.tally,
            pace=self.session.pace,
            chunk=min(limits.batch_size, max(2 * limits.threads, SMALLEST_CHUNK)),
            max_items=None if recovered else room,
        )
        if self.context.stopping:
            self._pipeline.stop()
        patience = Patience(self.session)
        source = await patience.insist(opened)
        await self._count(source)
        self._carrying = True
        self._complete = await self._pipeline.run(self._read(patience.items(source, opened), ports))

    def _room(self) -> int | None:
        """How many items may still be taken: those asked for now, else the rest of those asked for at first."""
        first: int | None = self._opened.options.get("max_items")
        if self.plan.request.max_items is not None or first is None:
            return self.plan.request.max_items
        return max(0, first - self.context.tally.taken)

    async def _read(self, items: AsyncIterator[Any], ports: ItemPorts) -> AsyncIterator[Any]:
        async with closed_at_the_end(items):
            async for item in items:
                ports.source_yielded()
                yield item
        await self.session.commit_hook()
        ports.source_ended()

    async def _count(self, source: Any) -> None:
        total = await self.hooks.call("total") if self.hooks.has("total") else None
        total = await counted(source) if total is None else total
        if total is not None and self.plan.request.max_items is not None and not self._opened.resumed:
            total = min(total, self.plan.request.max_items)
        self.context.tally.total = total

    def _item_done(self, ticket: Ticket[Any]) -> None:
        if self.command.keep_values:
            self.session.values.append(ticket.tag.return_value)
        self._acknowledger.put(ticket)

    def _settled(self, ticket: Ticket[Any]) -> None:
        if self._pipeline is not None:
            self._pipeline.settled(ticket)

    def _abort(self, error: BaseException) -> None:
        if self._pipeline is not None:
            self._pipeline.abort(error)

    def _log_failure(self, what: str, error: BaseException) -> None:
        """With a traceback that tells no secrets, as the logging module's own would."""
        logger.error("%s\n%s", what, traceback_of(error, self.redact))

    # -- being stopped -----------------------------------------------------------------------------------------

    def _stop_requested_anywhere(self, count: int) -> None:
        """From a signal handler, which may interrupt anything: only leaves word on the loop."""
        self._loop.call_soon_threadsafe(self._stop_requested, count)

    def _stop_requested(self, count: int) -> None:
        if count == 1 and not self.context.stopping:
            self._stop()
            in_hand = self.context.tally.in_flight
            self.reporter.stage(f"stopping: {in_hand} {'item' if in_hand == 1 else 'items'} in hand")
            self._asked_to_stop.set()
        elif count >= 2:
            self._cancel()

    def _stop(self) -> None:
        self.context.stopping = True
        if self._pipeline is not None:
            self._pipeline.stop()

    async def _cancel_after_grace(self) -> None:
        await self._asked_to_stop.wait()
        await anyio.sleep(self.plan.request.grace)
        self._cancel()

    def _cancel(self) -> None:
        self.context.stopping = self._cancelled = True
        self.reporter.stage("cancelling what is still in hand")
        self.recorder.hurry()
        self.hooks.abandon_downloads()
        if self._pipeline is not None and self._carrying:
            self._pipeline.cancel()
        else:
            self._work.cancel()
        if self._beside_work is not None:
            self._beside_work.cancel()
        self._acknowledger.hurry()
        self._loop.call_later(ABANDONED_SECONDS, self.session.end_abandoned_work)

    def _record_lost(self, error: BaseException) -> None:
        self._lost = self._lost or error
        if self._pipeline is not None and self._carrying:
            self._pipeline.abort(error)
        else:
            self._work.cancel()

    async def _time_out(self) -> None:
        timeout = self.context.limits.timeout
        if timeout is None:
            return
        await anyio.sleep(timeout)
        self._timed_out = True
        try:
            if self.hooks.has("on_timeout"):
                await self.hooks.call("on_timeout")
        except Exception as error:  # noqa: BLE001 - the run is stopped all the same
            self._log_failure("on_timeout() failed", error)
        self._stop_requested(1)

    # -- the end -----------------------------------------------------------------------------------------------

    async def _close(self, failure: BaseException | None) -> RunResult:
        if failure is not None and self._lost is None and isinstance(failure, RunLocked):
            self._lost = failure
        failure = self._lost or failure
        result = self._result(failure)
        if failure is not None and not isinstance(failure, RunLocked):
            logger.error("The run failed: %s", result.error)
        if self._lost is None:
            await self._notes.write()
        if isinstance(self._lost, RunLocked):
            return self._result(self._lost)
        ending = Ending(
            status=result.status,
            value=storable(self._value, self.redact),
            output=self.redact(self.session.output.kept),
            error=result.error,
            traceback="" if failure is None else traceback_of(failure, self.redact),
        )
        try:
            await self.recorder.close(ending)
        except RunFenced as error:
            return replace(result, error=str(error), status=RunStatus.FAILED, locked=True)
        except Exception as error:
            logger.exception("The end of the run could not be recorded")
            text = f"{result.error} The end of the run could not be recorded: {text_of(error, self.redact)}".strip()
            return replace(result, error=text, status=RunStatus.FAILED, failure=failure or error)
        return result

    def _outcome(self, failure: BaseException | None) -> Outcome:
        return Outcome(
            failure=failure,
            complete=self._complete,
            stopped=self.context.stopping and self._cut_short,
            timed_out=self.context.limits.timeout if self._timed_out else None,
        )

    def _result(self, failure: BaseException | None) -> RunResult:
        outcome = self._outcome(failure)
        return RunResult(
            run_id=self.context.run_id,
            command=self.plan.name,
            status=outcome.status(self.context.tally),
            value=self._value,
            values=self.session.values,
            counts=self.context.tally.as_counts(),
            errors=self.figures.kinds(),
            duration=anyio.current_time() - self.context.started,
            error=outcome.told(self.redact),
            signal=self.stops.signal,
            locked=isinstance(failure, RunLocked),
            failure=failure,
        )
