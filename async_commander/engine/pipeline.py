"""Carries items from one source through their stages: many at a time, never more than its bounds allow.

source ──chunks──▶ admit ──▶ ready ──▶ threads × work ──▶ unconfirmed ──settled──▶ done
                    due ──▶            │        ▲               │
                   (ledger)            ▼        │               │ rejected
                        ◀─ postpone ─ waiting ──┘ ◀─ verdict ◀──┘
"""

from __future__ import annotations

import logging
import math
from typing import TYPE_CHECKING, Generic

import anyio

from .books import Books
from .crew import Crew
from .deadlines import Deadlines, ItemTimeout, Watch
from .failures import cancelled_for_real, is_cancellation, unwrapped
from .intake import Intake
from .judge import Judge
from .pace import Pace, pace_key_held
from .ports import Due, ItemT, Ports, Ticket, Verdict
from .results import ItemState, Tally
from .waiting import Waiting

if TYPE_CHECKING:
    from collections.abc import AsyncIterable, Awaitable, Callable, Iterable

    from anyio.abc import TaskGroup

    from .limits import Limits, Retry

__all__ = ["Due", "ItemTimeout", "Pipeline", "Ports", "Ticket", "Verdict"]

_logger = logging.getLogger(__name__)


class Pipeline(Generic[ItemT]):
    """Takes items from a source, carries each through `ports.work()`, and sees it settled. Serves one `run()`.

    Memory is O(threads + batch): at most one chunk is read ahead and one and a half are claimed ahead, `threads` items
    are in hand, no item is begun while 2 × `batch_size` are unconfirmed, and of those that wait for a time or a turn
    10 × `threads` are kept (and what was left of a chunk); more go to the ledger. Nothing is spawned per item.

    All methods belong to the event loop's thread. All but `run()` may be called at any time, also from `ports.work()`.
    """

    def __init__(
        self,
        ports: Ports[ItemT],
        *,
        limits: Limits,
        retry: Retry,
        tally: Tally,
        pace: Pace | None = None,
        chunk: int | None = None,
        max_items: int | None = None,
    ) -> None:
        self._ports = ports
        self._pace = pace
        self._crew = Crew(limits.threads)
        self._deadlines = Deadlines(limits.item_timeout, self._on_alarm)
        self._intake: Intake[ItemT] = Intake(
            ports,
            tally=tally,
            chunk=chunk or max(1, min(limits.batch_size, 2 * limits.threads)),
            max_items=max_items,
            wake=self._crew.wake,
            wake_at=self._deadlines.wake_at,
        )
        self._waiting: Waiting[ItemT] = Waiting(
            10 * limits.threads, pace=pace, tally=tally, ready=self._ready_again, wake_at=self._deadlines.wake_at
        )
        self._books: Books[ItemT] = Books(tally, limits)
        self._judge: Judge[ItemT] = Judge(
            ports,
            books=self._books,
            waiting=self._waiting,
            limits=limits,
            retry=retry,
            pace=pace,
            abort=self.abort,
        )

        self._solo = False
        self.begun = False
        """`run()` was called."""
        self._stopping = False
        self._over = anyio.Event()
        self._news: anyio.Event | None = None
        self._error: BaseException | None = None
        self._aborted = False

    @property
    def cut(self) -> bool:
        """Intake was ended by `max_items`; whether the source had more was not asked."""
        return self._intake.cut

    async def run(self, source: AsyncIterable[ItemT] | Iterable[ItemT]) -> bool:
        """Carry all items. True when all was settled that was to be taken; False when it was stopped before.

        Raises what ended the run: the source's error and TooManyFailures after the items in hand were finished; a
        port's error, a fatal verdict and `abort()` after they were cancelled. What was not handed over is then
        postponed or released. Cancelling the caller does the same, but does not wait for the unconfirmed.
        """
        if self.begun:
            raise RuntimeError("a Pipeline serves one run; make a new one")
        self.begun = True
        self._intake.open(source)
        if self._stopping:
            self._intake.stop()
        try:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(self._guarded, self._deadlines.run)
                tasks.start_soon(self._guarded, self._feed)
                tasks.start_soon(self._guarded, self._recruit, tasks)
                await self._over.wait()
                tasks.cancel_scope.cancel()
        finally:
            self._crew.close()
            carried = all(ticket.handed for ticket in self._books)
            await self._give_back()
        await self._confirm()
        complete = carried and self._is_finished() and (self._intake.exhausted or self._intake.cut)
        if complete:
            self._books.check()
            if too_many := self._books.too_many_failures():  # taken over from an earlier try, or below 100 items then
                raise too_many
        return complete

    def settled(self, ticket: Ticket[ItemT]) -> None:
        """The outcome in `ticket.state` is committed. May come while `work()` is still at it."""
        was_full = self._books.full
        try:
            self._books.settle(ticket)
        except RuntimeError as error:
            self.abort(error)
            return
        if ticket.state is ItemState.RETRY:
            self._intake.ask_at(ticket.next_at)
        elif ticket.state is ItemState.DEAD and (too_many := self._books.too_many_failures()):
            self._end_with(too_many)
        if was_full or self._books.idle:
            self._crew.wake()
        self._tell()

    def rejected(self, ticket: Ticket[ItemT], error: BaseException) -> None:
        """What the ticket handed over failed to commit. Work is judged like any error; for an outcome the run ends."""
        if ticket not in self._books or ticket.given_up:
            self.abort(error)
        elif ticket.handed:
            self._books.take_back(ticket)
            self._judge.rejected.append((ticket, error))
            self._crew.wake()
            self._tell()
        else:
            ticket.rejection = error

    def handed_over(self, ticket: Ticket[ItemT]) -> None:
        """An outcome was handed over for a ticket that `admit()` or `due()` will not return; `settled()` follows."""
        ticket.given_up = True
        self._books.open([ticket])
        self._books.hand_over(ticket)

    def nudge(self) -> None:
        """The ledger has new tickets that are due."""
        self._intake.ask_now()

    def enough(self) -> None:
        """Leave the source as it is: nothing more is taken from it. What was taken is carried to its end."""
        self._intake.enough()

    def stop(self) -> None:
        """End in order: take nothing more, finish what is in hand, postpone what waits, release what was not begun."""
        self._stopping = self._judge.stopping = True
        self._intake.stop()
        if self._crew.all_rest:
            self._over.set()

    def cancel(self) -> None:
        """Stop, and cancel what is in hand. What was handed over is still seen settled."""
        self.stop()
        self._over.set()

    def abort(self, error: BaseException) -> None:
        """Cancel what is in hand, wait for nothing, and have `run()` raise `error`. The first abort wins."""
        if not self._aborted:
            self._aborted = True
            self._error = error
        self.cancel()
        self._tell()

    # Workers

    async def _recruit(self, tasks: TaskGroup) -> None:
        """Start each worker that is called for; a callback of the loop, which may be who calls, can start no task."""
        called = anyio.Event()
        self._crew.open(called.set)
        self._crew.wake()
        while True:
            await called.wait()
            tasks.start_soon(self._guarded, self._worker)
            called = anyio.Event()
            self._crew.open(called.set)

    async def _worker(self) -> None:
        await self._crew.join()
        watch = self._deadlines.watch()
        while True:
            failure = None
            with watch.renewed():
                failure = await self._carry_until_one_fails(watch)
            timed_out = watch.fired
            if failure is not None and not timed_out and cancelled_for_real() and is_cancellation(failure[1]):
                failure[0].attempts -= 1  # it was not let finish
            if watch.disturbed:
                await watch.calm()
            if failure is not None:
                await self._judge.judge(*failure, timed_out=timed_out)

    async def _carry_until_one_fails(self, watch: Watch) -> tuple[Ticket[ItemT], BaseException] | None:
        while not watch.disturbed:
            ticket = await self._take()
            error = await self._attempt(ticket, watch)
            if error is not None:
                try:
                    return ticket, error
                finally:
                    del error  # a frame that keeps the error whose traceback keeps the frame is freed late
        return None

    async def _take(self) -> Ticket[ItemT]:
        """The next ticket to work on. Waits for one; gets more from the ledger and the source when they run low."""
        intake = self._intake
        while True:
            if self._judge.rejected:
                await self._judge.judge_rejected()
            elif self._stopping or self._solo or self._books.full:
                await self._crew.rest(self._all_rest)
            elif intake.low and not self._waiting.crowded:
                await self._refill()
            elif intake.ready:
                ticket = intake.ready.popleft()
                if ticket.throttle is None or await self._has_turn(ticket):
                    if intake.plenty:
                        self._crew.wake()
                    return ticket
            elif intake.alone and self._is_quiet():
                ticket = intake.alone.popleft()
                if await self._has_turn(ticket):
                    self._solo = True
                    return ticket
            else:
                await self._crew.rest(self._all_rest)

    async def _attempt(self, ticket: Ticket[ItemT], watch: Watch) -> BaseException | None:
        """Do the work, and return the error it ended in: also a CancelledError, whoever it came from."""
        self._begin(ticket)
        watch.begin()
        try:
            await self._ports.work(ticket)
        except GeneratorExit:
            raise  # the loop is gone: nothing may be awaited any more
        except BaseException as error:  # noqa: BLE001 (judged outside of the scope that may have been cancelled)
            return error
        finally:
            watch.end()
            self._end(ticket)
        if ticket.rejection is None:
            self._books.hand_over(ticket)
        return ticket.rejection

    def _begin(self, ticket: Ticket[ItemT]) -> None:
        self._books.begin(ticket)
        if self._pace is not None:
            pace_key_held.set(ticket.throttle)

    def _end(self, ticket: Ticket[ItemT]) -> None:
        self._books.end()
        if ticket.alone:
            self._solo = False
        if self._pace is not None and ticket.throttle is not None:
            pace_key_held.set(None)
            self._pace.release(ticket.throttle)

    async def _feed(self) -> None:
        try:
            await self._intake.feed()
        except MemoryError:
            raise
        except Exception as error:
            if self._stopping:
                _logger.warning("the source failed when it was left", exc_info=error)
            else:
                self._end_with(unwrapped(error))  # raised by run(), when the items in hand are done

    async def _refill(self) -> None:
        if self._intake.ready:
            self._crew.wake()
        self._books.open(await self._intake.refill())

    async def _has_turn(self, ticket: Ticket[ItemT]) -> bool:
        if 0 < (wait := self._waiting.take_turn(ticket)) < math.inf:
            await self._judge.postpone(ticket, wait, None)
        return wait == 0

    def _ready_again(self, ticket: Ticket[ItemT]) -> None:
        if ticket in self._books:  # else it was settled while it waited
            self._intake.add(ticket, first=True)
            self._crew.wake()

    def _on_alarm(self, now: float) -> None:
        self._deadlines.wake_at(min(self._intake.on_alarm(now), self._waiting.on_alarm(now)))
        self._crew.wake()

    # The end

    def _is_quiet(self) -> bool:
        """Nothing is to be done, or under way, except for tickets that must run alone."""
        return len(self._books) == len(self._intake.alone) and self._books.idle and self._intake.dry

    def _all_rest(self) -> None:
        if self._stopping or self._is_finished():
            self._over.set()

    def _is_finished(self) -> bool:
        return not self._books and self._intake.dry

    def _end_with(self, error: BaseException) -> None:
        """Stop in order, and raise the error then."""
        self._error = self._error or error
        self.stop()

    async def _give_back(self) -> None:
        """Hand to the ledger, or give back, what is still ours."""
        with anyio.CancelScope(shield=True):
            try:
                if not self._aborted:
                    await self._postpone_retries()
                if held := [ticket for ticket in self._books if not ticket.handed]:
                    self._books.give_back(held)
                    await self._ports.release(held)
            except Exception as error:
                _logger.exception("items could not be given back")
                self.abort(error)
        self._waiting.close()

    async def _postpone_retries(self) -> None:
        while self._judge.rejected:
            await self._judge.judge_rejected()
        now = anyio.current_time()
        for ticket in (*self._waiting, *self._intake.ready, *self._intake.alone):
            if ticket.attempts:
                await self._judge.postpone(ticket, max(0.0, ticket.next_at - now), None)

    def _tell(self) -> None:
        if self._news is not None:
            self._news.set()

    async def _confirm(self) -> None:
        """Wait until all that was handed over is settled; raise what ended the run."""
        while self._books and not self._aborted:
            if self._judge.rejected:
                await self._judge.judge_rejected()
            else:
                self._news = anyio.Event()
                await self._news.wait()
        if self._error is not None:
            raise self._error

    async def _guarded(self, part: Callable[..., Awaitable[None]], *arguments: TaskGroup) -> None:
        """Run a task of ours so that its error ends the run, by itself and not as a group of one."""
        try:
            await part(*arguments)
        except BaseException as error:
            if not is_cancellation(error):
                self.abort(unwrapped(error))
            elif cancelled_for_real():
                raise
            else:
                self.abort(RuntimeError(f"{part.__name__} was cancelled from outside of the run"))
