"""Carries items from one source through their stages: many at a time, never more than its bounds allow.

source ──chunks──▶ admit ──▶ ready ──▶ threads × work ──▶ unconfirmed ──settled──▶ done
                    due ──▶            │        ▲               │
                   (ledger)            ▼        │               │ rejected
                        ◀─ postpone ─ waiting ──┘ ◀─ verdict ◀──┘
"""

from __future__ import annotations

import logging
from contextvars import copy_context
from typing import TYPE_CHECKING, Any, Generic

import anyio

from async_commander.exceptions import RunFenced
from async_commander.results import ItemState, Tally

from .accounting import Accounting
from .brake import Brake
from .context import Gate
from .deadlines import Deadlines, ItemTimeout, Watch
from .failure_policy import FailurePolicy
from .failures import CancelledFromOutside, calm, cancelled_for_real, is_cancellation, native_task, unwrapped
from .gathering import Gathering
from .intake import Intake
from .order import Order
from .pace import Pace, pace_key_held
from .ports import Due, Ports, Ticket, TicketT, Verdict
from .quota import Quota
from .stepping import InContext
from .waiting import Waiting
from .workers import Workers

if TYPE_CHECKING:
    from collections.abc import AsyncIterable, Awaitable, Callable, Iterable, Sequence

    from anyio.abc import TaskGroup

    from .brake import Holder
    from .limits import Batches, Limits, Retry

__all__ = ["Due", "ItemTimeout", "Pipeline", "Ports", "Ticket", "Verdict"]

_logger = logging.getLogger(__name__)

WAITING_FOR_EACH = 10
"""Tickets that may wait for a time or a turn, for each of `threads`."""


class Pipeline(Generic[TicketT]):
    """Takes items from a source, carries each through `ports.work()`, and sees it settled. Serves one `run()`.

    Memory is O(threads + batch): at most one chunk is read ahead and one and a half are claimed ahead, `threads` items
    are in hand, no item is begun while 2 × `batch_size` are unconfirmed, and of those that wait for a time or a turn
    10 × `threads` are kept (and what was left of a chunk), and as many of those that wait for others before them in
    their order; more go to the ledger, or are not read. `holder` is asked before items begin. With
    `batches` tickets are gathered after `ports.work()`, and go on by `ports.work_together()`. Nothing is spawned for an
    item.
    Chunks have `chunk` items at first, and up to `largest_chunk` where items take next to no time.
    Each attempt runs in a context of its own, which begins as that of `run()` was. A source that `lingers` is closed
    when all that was in hand at the stop is settled, and not before.

    All methods belong to the event loop's thread. All but `run()` may be called at any time, also from `ports.work()`.
    """

    def __init__(
        self,
        ports: Ports[TicketT],
        *,
        limits: Limits,
        retry: Retry,
        tally: Tally,
        pace: Pace | None = None,
        chunk: int | None = None,
        largest_chunk: int = 1,
        quota: Quota | None = None,
        lingers: bool = False,
        holder: Holder | None = None,
        batches: Batches | None = None,
        gate: Gate | None = None,
    ) -> None:
        self._ports = ports
        self._gate = gate = Gate() if gate is None else gate
        gate.met = True
        self._lingers = lingers
        self._pace = pace = Pace(retry=retry) if pace is None else pace
        self._workers = workers = Workers(limits.threads)
        self._deadlines = deadlines = Deadlines(limits.item_timeout, workers)
        self._accounting: Accounting[TicketT] = Accounting(tally, limits)
        self._brake = None if holder is None else Brake(holder, tally=tally, deadlines=deadlines)
        self._order: Order[TicketT] = Order(ports, 10 * limits.threads)
        self._intake: Intake[TicketT] = Intake(
            ports,
            chunk=chunk or max(1, min(limits.batch_size, 2 * limits.threads)),
            largest_chunk=largest_chunk,
            lingers=lingers,
            quota=quota or Quota(tally),
            accounting=self._accounting,
            order=self._order,
            workers=workers,
            deadlines=deadlines,
            gate=gate,
        )
        self._order.door = self._intake
        self._waiting: Waiting[TicketT] = Waiting(
            ports, WAITING_FOR_EACH * limits.threads, pace=pace, tally=tally, intake=self._intake, deadlines=deadlines
        )
        self._policy: FailurePolicy[TicketT] = FailurePolicy(
            ports, limits=limits, retry=retry, pace=pace, accounting=self._accounting, waiting=self._waiting
        )
        self._gathering: Gathering[TicketT] | None = None
        if batches is not None:
            self._gathering = Gathering(batches, tally=tally, workers=workers, deadlines=deadlines)
            self._policy.gathering = self._gathering
        self._context = copy_context()

        self._solo = False
        self.begun = False
        """`run()` was called."""
        self._stopping = self._source_failed = False
        self._over = anyio.Event()
        self._tasks: anyio.CancelScope | None = None
        self._news: anyio.Event | None = None
        self._error: BaseException | None = None
        self._aborted = False
        self._given_back = False
        """Something was left undone."""

    @property
    def cut(self) -> bool:
        """Intake was ended by the quota; whether the source had more was not asked."""
        return self._intake.cut

    async def run(self, source: AsyncIterable[Any] | Iterable[Any]) -> bool:
        """Carry all items. True when all was settled that was to be taken; False when it was stopped before.

        Raises what ended the run: the source's error after what it had yielded was finished, unless that waits for
        another attempt; TooManyFailures after the items in hand were finished; a port's error, a fatal verdict and
        `abort()` after they were cancelled. What was not handed over is then postponed or released. Cancelling the
        caller does the same, but does not wait for the unconfirmed.
        """
        if self.begun:
            raise RuntimeError("a Pipeline serves one run; make a new one")
        self.begun = True
        self._context = copy_context()
        self._intake.open(source)
        if self._stopping:
            self._intake.stop()
        try:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(self._guarded, self._deadlines.run)
                tasks.start_soon(self._guarded, self._feed)
                tasks.start_soon(self._guarded, self._recruit, tasks)
                self._tasks = tasks.cancel_scope
                await self._over.wait()
                tasks.cancel_scope.cancel()
        finally:
            self._workers.close()
            if self._brake is not None:
                self._brake.close()
            carried = all(ticket.handed for ticket in self._accounting)
            await self._give_back()
        await self._confirm()
        complete = (
            carried and not self._given_back and self._is_finished() and (self._intake.exhausted or self._intake.cut)
        )
        if complete:
            self._accounting.check()
            # Dead items that were taken over from an earlier try, or came when fewer than 100 were finished.
            if too_many := self._accounting.too_many_failures():
                raise too_many
        return complete

    def settled(self, tickets: Iterable[TicketT]) -> None:
        """The outcomes in their `state` are committed. May come while `work()` is still at one of them."""
        was_full = self._accounting.full
        for ticket in tickets:
            try:
                self._accounting.settle(ticket)
            except RuntimeError as error:
                self.abort(error)
                return
            if ticket.order is not None:
                self._order.settled(ticket)
            if ticket.state is ItemState.RETRY and not ticket.put_by:
                self._intake.ask_at(ticket.next_at)
            elif ticket.state is ItemState.DEAD and (too_many := self._accounting.too_many_failures()):
                self._end_with(too_many)
        if was_full or self._accounting.idle:
            self._workers.wake()
        self._tell()

    def rejected(self, ticket: TicketT, error: BaseException) -> None:
        """What the ticket handed over failed to commit. Work is judged like any error; for an outcome the run ends."""
        if ticket not in self._accounting or ticket.given_up:
            self.abort(error)
        elif ticket.handed:
            for one in ticket.batch or (ticket,):
                self._accounting.take_back(one)  # type: ignore[arg-type]  # they are all of one kind
            self._policy.rejected.append((ticket, error))
            self._workers.wake()
            self._tell()
        else:
            ticket.rejection = error

    def handed_over(self, ticket: TicketT) -> None:
        """An outcome was handed over for a ticket that `admit()` or `due()` will not return; `settled()` follows."""
        ticket.given_up = True
        if ticket.put_by:
            self._order.came_and_went(ticket)
        self._accounting.open([ticket])
        self._accounting.hand_over(ticket)

    def nudge(self) -> None:
        """The ledger has new tickets that are due."""
        self._intake.ask_now()

    def enough(self) -> None:
        """Leave the source as it is: nothing more is taken from it. What was taken is carried to its end."""
        self._intake.enough()

    def go_on(self) -> None:
        """Open the gate. As long as it is closed no item begins, and the source is read no further."""
        self._gate.open()
        self._workers.wake()

    def change_limits(self, limits: Limits) -> None:
        """Other `threads`, and another `max_failures`, from now on: the other bounds are as they were.

        Workers that are too many end after what they have in hand. Turns of hosts are looked at anew, for who has
        changed those of `pace`.
        """
        self._accounting.limits = limits
        self._waiting.capacity = WAITING_FOR_EACH * limits.threads
        self._workers.resize(limits.threads)
        self._waiting.pace_changed()
        if too_many := self._accounting.too_many_failures():
            self._end_with(too_many)

    def stop(self) -> None:
        """End in order: take nothing more, finish what is in hand, postpone what waits, release what was not begun."""
        self._stopping = self._policy.stopping = True
        self._intake.stop()
        if self._brake is not None:
            self._brake.stop()
        if self._gathering is not None:
            self._gathering.flush()
        if self._workers.all_rest:
            self._all_rest()

    def cancel(self) -> None:
        """Stop, and cancel what is in hand. What was handed over is still seen settled."""
        self.stop()
        self._over.set()
        if self._tasks is not None:
            self._tasks.cancel()

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
        self._workers.open(called.set)
        self._workers.wake()
        while True:
            await called.wait()
            tasks.start_soon(self._guarded, self._worker)
            called = anyio.Event()
            self._workers.open(called.set)

    async def _worker(self) -> None:
        await self._workers.join()
        watch = self._deadlines.watch()
        while True:
            error: BaseException | None = None  # nor is it kept: its traceback keeps this frame
            with watch.renewed():
                while error is None and not watch.disturbed:
                    taken = await self._take()
                    if taken is None:
                        self._deadlines.watch_ended(watch)
                        self._workers.leave()
                        return
                    ticket = taken
                    error = await (self._attempt(ticket, watch) if ticket.batch is None else self._call(ticket, watch))
            timed_out, together = watch.fired, ticket.batch
            if error is not None and not timed_out and cancelled_for_real() and is_cancellation(error):
                for one in together or (ticket,):
                    one.attempts -= 1  # it was not let finish
            try:
                if watch.disturbed:
                    await watch.calm()
                if error is not None and together is not None:
                    await self._policy.decide_together(together, error, timed_out=timed_out)  # type: ignore[arg-type]
                elif error is not None:
                    await self._policy.decide(ticket, error, timed_out=timed_out)
            finally:
                if error is not None and together is None:  # not before: a host that asks for time is paused by then
                    self._give_turn_back(ticket)

    async def _take(self) -> TicketT | None:
        """The next ticket to work on. Waits for one; gets more from the ledger and the source when they run low.

        None for a worker that is one too many.
        """
        intake = self._intake
        while not self._workers.too_many:
            if self._policy.rejected:
                await self._policy.decide_rejected()
            elif self._gathering is not None and (batch := self._next_batch(self._gathering)):
                return batch[0]
            elif self._stopping or self._solo or self._accounting.full or self._gate.closed:
                await self._workers.rest(self._all_rest)
            elif intake.low and await self._got_more():
                continue
            elif intake.ready or (intake.alone and self._only_alone_are_left()):
                if self._brake is not None and await self._held_back(self._brake):
                    continue
                ticket = (intake.ready or intake.alone).popleft()
                if ticket.throttle is None or await self._has_turn(ticket):
                    if intake.plenty:
                        self._workers.wake()
                    return ticket
            else:
                await self._workers.rest(self._all_rest)
        return None

    def _next_batch(self, gathering: Gathering[TicketT]) -> Sequence[TicketT]:
        """Tickets to be worked on together now, the first of which stands for all. Empty: there are none."""
        if self._solo or self._accounting.full:
            return ()
        left = len(self._accounting) - self._order.waiting - len(self._intake.alone)
        if left == len(gathering) and (self._stopping or self._gate.closed or self._intake.dry or self._order.crowded):
            gathering.flush()
        if not gathering.ready:
            return ()
        tickets = gathering.ready.popleft()
        for ticket in tickets:
            ticket.batch = tickets
        if gathering.ready:
            self._workers.wake()
        return tickets

    def _only_alone_are_left(self) -> bool:
        """Alone is who has nothing beside it: nothing is to be done, or under way, but for others of its kind.

        Those that wait for it in its line do not count, nor does the source where they are in the way of reading on.
        """
        intake, order = self._intake, self._order
        left = len(self._accounting) - order.waiting
        return (intake.dry or order.crowded) and self._accounting.idle and left == len(intake.alone)

    async def _held_back(self, brake: Brake) -> bool:
        """False where the next ticket may begin. Else this took time: look again at what is to be done."""
        if brake.holds:
            await self._workers.rest(self._all_rest)
        elif brake.is_due:
            try:
                await brake.ask()
            except Exception as error:  # noqa: BLE001 - raised by run(), when the items in hand are done
                self._end_with(unwrapped(error))
        else:
            return False
        return True

    async def _attempt(self, ticket: TicketT, watch: Watch) -> BaseException | None:
        """Do the work, and return the error it ended in: also a CancelledError, whoever it came from."""
        context = self._context.copy()
        self._solo, ticket.worker = ticket.alone, watch.worker
        self._accounting.begin(ticket)
        if ticket.throttle is not None:
            ticket.began = anyio.current_time()
            context.run(pace_key_held.set, ticket.throttle)
        watch.begin(context)
        try:
            await InContext(context, self._ports.work(ticket))
            if ticket.alone and self._gathering is not None:
                await InContext(context, self._ports.work_together([ticket]))
        except GeneratorExit:
            raise  # the loop is gone: nothing may be awaited any more
        except BaseException as error:  # noqa: BLE001 (judged outside of the scope that may have been cancelled)
            return error
        finally:
            watch.end()
            self._accounting.end()
            if ticket.alone:
                self._solo = False
        if ticket.rejection is not None:
            return ticket.rejection
        if self._gathering is None or ticket.alone:
            self._accounting.hand_over(ticket)
        else:
            self._gathering.add(ticket)
        if ticket.throttle is not None:
            self._pace.answered(ticket.throttle, since=ticket.began)
            self._give_turn_back(ticket)
        return None

    async def _call(self, first: TicketT, watch: Watch) -> BaseException | None:
        """Work on all tickets of a batch together, and return the error that it ended in, as `_attempt()` does."""
        tickets: Sequence[TicketT] = first.batch or ()  # type: ignore[assignment]  # they are all of one kind
        context, now = self._context.copy(), anyio.current_time()
        for ticket in tickets:
            ticket.worker, ticket.rejection, ticket.began = watch.worker, None, now
        watch.begin(context)
        try:
            await InContext(context, self._ports.work_together(tickets))
        except GeneratorExit:
            raise  # the loop is gone: nothing may be awaited any more
        except BaseException as error:  # noqa: BLE001 (judged outside of the scope that may have been cancelled)
            return error
        finally:
            watch.end()
            for _ in tickets:
                self._accounting.end()
        if first.rejection is not None:
            return first.rejection
        for ticket in tickets:
            self._accounting.hand_over(ticket)
        return None

    def _give_turn_back(self, ticket: TicketT) -> None:
        if ticket.throttle is not None:
            self._pace.release(ticket.throttle, anyio.current_time() - ticket.began)

    async def _feed(self) -> None:
        try:
            await self._intake.feed()
        except MemoryError:
            raise
        except Exception as error:
            if self._stopping:
                _logger.warning("the source failed when it was left", exc_info=error)
            else:
                self._error = self._error or unwrapped(error)  # raised by run(), when all that was read is done
                self._source_failed = True

    async def _got_more(self) -> bool:
        """Make room, or get more; False where neither can be done now."""
        if far := self._waiting.put_out_furthest():
            await self._put_out(*far)
        elif self._waiting.crowded:
            return False
        else:
            if self._intake.ready:
                self._workers.wake()
            tickets = await self._intake.refill()
            self._accounting.open(tickets)
            for ticket in tickets:
                if ticket.known:
                    self._waiting.came_back(ticket)
            surplus, self._order.surplus = self._order.surplus, []
            for ticket in surplus:
                await self._policy.put_by(ticket)
        return True

    async def _has_turn(self, ticket: TicketT) -> bool:
        """Whether a ticket may begin now. Otherwise it waits, here or in the ledger, or is given up with its host."""
        if ticket.throttle is not None and self._pace.spent(ticket.throttle):
            await self._policy.give_up_on_host(ticket, ticket.throttle)
            return False
        if self._waiting.take_turn(ticket):
            return True
        while far := self._waiting.put_out_furthest():
            await self._put_out(*far)
        return False

    async def _put_out(self, ticket: TicketT, seconds: float) -> None:
        self._intake.source_first()
        await self._policy.postpone(ticket, seconds)

    # The end

    def _all_rest(self) -> None:
        if self._source_failed and not self._intake.plenty:
            self._stopping = self._policy.stopping = True  # what waits for its time is not waited for
            self._intake.stop()
        if self._gathering is not None and len(self._gathering):
            return
        is_left = self._stopping and (self._accounting.idle or not self._lingers)
        if is_left or self._is_finished():
            self._over.set()

    def _is_finished(self) -> bool:
        return not self._accounting and self._intake.dry

    def _end_with(self, error: BaseException) -> None:
        """Stop in order, and raise the error then."""
        self._error = self._error or error
        self.stop()

    async def _give_back(self) -> None:
        """Hand to the ledger, or give back, what is still ours."""
        with anyio.CancelScope(shield=True):
            try:
                if not self._aborted:
                    while self._policy.rejected:
                        await self._decide_rejected()
                    now = anyio.current_time()
                    for ticket in (*self._waiting, *self._intake.ready, *self._intake.alone):
                        if self._ports.has_ledger and (ticket.attempts or ticket.throttled):
                            await self._policy.postpone(ticket, max(0.0, ticket.next_at - now))
                await self._release_held()
            except RunFenced as error:  # whoever took the run over has them
                self.abort(error)
            except Exception as error:
                _logger.exception("items could not be given back")
                self.abort(error)

    async def _release_held(self) -> None:
        """Give back what was not handed over: nobody works on it any more."""
        if self._gathering is not None:
            self._gathering.close()
        if held := [ticket for ticket in self._accounting if not ticket.handed]:
            self._given_back = True
            self._accounting.give_back(held)
            await self._ports.release(held)
        self._waiting.close()

    async def _decide_rejected(self) -> None:
        try:
            await self._policy.decide_rejected()
        except BaseException as error:
            if is_cancellation(error):
                raise
            self.abort(error)

    def _tell(self) -> None:
        if self._news is not None:
            self._news.set()

    async def _confirm(self) -> None:
        """Wait until all that was handed over is settled; raise what ended the run."""
        while self._accounting and not self._aborted:
            if self._policy.rejected:
                await self._decide_rejected()
                if not self._policy.rejected:  # without a ledger, or among several, one would wait for another attempt
                    await self._release_held()
            else:
                self._news = anyio.Event()
                await self._news.wait()
        if self._error is not None:
            raise self._error

    async def _guarded(self, part: Callable[..., Awaitable[None]], *arguments: TaskGroup) -> None:
        """Run a task of ours so that its error ends the run, by itself and not as a group of one."""
        try:
            await part(*arguments)
        except BaseException as error:  # noqa: BLE001 - it ends the run, which raises it
            if not is_cancellation(error):
                self.abort(unwrapped(error))
            else:
                await calm(native_task())
                self.abort(CancelledFromOutside(f"{part.__name__} was cancelled from outside of the run"))
