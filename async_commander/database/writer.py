"""The writer: units of work in, transactions out.

Most items only queue rows. Their units meet here, and as many as are there are written in one transaction, together
with what the owner adds at its end (`finish`: the ledger rows and the fence). While one batch is written, and for as
long again, the next one gathers; a full one waits no longer.

What can go wrong, and what is done about it:

* the database refuses a row: the batch is halved until the guilty unit is alone; only that one fails
* rows for another database come first, in a transaction there: what fails there fails its unit, too
* the database is away, or others were in the way: the batch is done again, for at most `outage_budget`
* COMMIT ends in an error: only the database knows; it is asked (`recorded`) before anything is done again
* the run belongs to somebody else by now (`fatal`): nothing more is written, and the owner hears it
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections import deque
from concurrent.futures import Future
from functools import partial
from typing import TYPE_CHECKING, ParamSpec, Protocol, TypeVar

from .lent_lane import Call, result_of, settle
from .misfits import with_misfits, written_now
from .other_databases import write_other_databases
from .outage import OUTAGE_BUDGET, OutageTooLong, is_read_only, may_do_in_parts, patiently
from .sqlite import DatabaseFileGone
from .surroundings import Surroundings
from .transaction import SingleStatement, commits_by_itself
from .unit import write_units

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from .lanes import LanePool
    from .transaction import LaneTransaction
    from .unit import Unit

P = ParamSpec("P")
T = TypeVar("T")

SECOND_LOOK = 0.25
"""Seconds after which a COMMIT in doubt is looked for again: it may have been under way at the first look."""
FIRST_BATCH = 16
BATCH_SECONDS = 0.1
"""Batches grow while their transactions are shorter than half of this, and shrink when they are longer: so locks are
short. Where threads wait for a core more than for the database, smaller batches would only cost more of it."""


class WriterOwner(Protocol):
    """Who keeps the books of the units: what is done for them in their transactions, and who hears how they ended."""

    def finish(self, units: Sequence[Unit]) -> None:
        """On the lane: the last part of each transaction."""

    def finishes_at_once(self, units: Sequence[Unit]) -> bool:
        """Whether `finish` is one statement for these, on PostgreSQL: where they have no rows, it is all there is."""

    def recorded(self, units: Sequence[Unit]) -> set[int]:
        """On the lane: the positions of those units that are committed already."""

    def units_settled(self, units: Sequence[Unit], error: BaseException | None) -> None:
        """On the event loop, for units that were put: they are committed, or what the one of them could not be for.

        Once for each unit, but for those that are left when writing failed.
        """

    def writing_failed(self, error: BaseException) -> None:
        """On the event loop: nothing more is written. At most once, and no unit is settled after it."""


class Writer:
    """Writes units in the order in which they come, on a lane of its own. Its owner hears how each one ended."""

    def __init__(
        self,
        lanes: LanePool,
        owner: WriterOwner,
        *,
        batch_size: int,
        fatal: tuple[type[BaseException], ...] = (),
        outage_budget: float = OUTAGE_BUDGET,
    ) -> None:
        self._lanes = lanes.alone()
        self._owns_lanes = self._lanes is not lanes
        self._owner = owner
        self._largest_batch = batch_size
        self._batch_size = min(FIRST_BATCH, batch_size)
        self._fatal: tuple[type[BaseException], ...] = (*fatal, MemoryError, OutageTooLong, DatabaseFileGone)
        self._outage_budget = outage_budget
        self.read_only_passes = True
        """Whether a database that takes no writes is waited out; before there is a run, that is how it is set up."""
        self.surroundings = Surroundings()
        """The context in which rows are written, whoever queued them: a batch has rows of many items."""
        self._loop = asyncio.get_running_loop()
        self._mutex = threading.Condition(threading.Lock())
        """Told of what ends a rest: a batch that is full, and a call."""
        self._rests_until = 0.0
        self._waiting: deque[Unit | Call] = deque()
        self._busy = False
        self._turn: Future[None] = _done()
        """The latest use of the lane; done when the lane is given back."""
        self._dead = self._failed = False
        """Known where the failure was, and where the owner is told."""
        self._closed = False
        self._unsettled = 0
        self._all_settled: Future[None] = _done()

    # --- what comes in, on the event loop

    def put(self, unit: Unit) -> None:
        """Take over a finished unit; never blocks. The owner hears how it ended.

        A unit whose item has a lane is committed there, alone; all the others are the writer's.
        """
        unit.close()
        if self._dead:
            return
        if self._unsettled == 0:
            self._all_settled = Future()
        self._unsettled += 1
        unit.settled = False
        ended = None
        if unit.lane is not None:
            ended = unit.lane.end(commit=True, before=partial(self.surroundings.run, self._write_there, unit))
        if ended is None:
            self._enqueue(unit)
        else:
            ended.add_done_callback(partial(self._lane_ended, unit))

    async def commit(
        self, unit: Unit, *, once: Callable[[Callable[[], None]], Callable[[], None]] | None = None
    ) -> None:
        """Write a unit now, and raise what it fails with. The owner does not hear of it.

        `once` makes of the work one that can be done again after a COMMIT in doubt.
        """

        def write_again() -> None:
            unit.restore()
            self._write_rows([unit])

        work = write_again if once is None else once(write_again)

        def attempt() -> None:
            write_other_databases([unit], self._lanes)
            self._transact(work)

        with written_now(unit):
            await self._call(attempt)

    async def call(self, function: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
        """Run a function on the writer's lane, in a transaction of its own, after all that was put before.

        After an outage it is done again; where its COMMIT was in doubt it may be committed by then, and has to find
        that out by itself. It works after a fatal error too. A cancel withdraws it while it waits, and waits for its
        end once it runs.
        """
        return await self._call(partial(self._transact, partial(function, *args, **kwargs)))

    async def call_at_once(self, function: Callable[[], T]) -> T:
        """Like `call`, for what is one statement on PostgreSQL, and need not come after what was put before.

        It parts no batch, so that batches are as large as they can be.
        """
        return await self._call(partial(self._transact, function, single=True), ahead=True)

    async def _call(self, work: Callable[[], T], *, ahead: bool = False) -> T:
        call = Call(partial(self._patiently, work))
        self._enqueue(call, ahead=ahead)
        result: T = await result_of(call.future)
        return result

    async def drain(self) -> None:
        """Wait until all that was put is settled, or never will be."""
        await asyncio.shield(asyncio.wrap_future(self._all_settled))

    def hurry(self) -> None:
        """Wait out no outage any more: from now on, what fails has failed."""
        self._lanes.hurry.set()

    async def aclose(self) -> None:
        """Drain, and close the writer's connection, whatever is cancelled meanwhile."""
        try:
            await settle(self._all_settled)
            await self._idle()
        finally:
            self._closed = True
            if self._owns_lanes:
                await self._lanes.aclose()

    async def _idle(self) -> None:
        """Wait until the lane is given back."""
        turn = None
        while turn is not self._turn:
            turn = self._turn
            await settle(turn)

    def _enqueue(self, work: Unit | Call, *, ahead: bool = False) -> None:
        """From any thread."""
        if self._closed:
            raise RuntimeError("the writer is closed: the run has ended")
        with self._mutex:
            if self._dead and not isinstance(work, Call):
                return
            if ahead:
                self._waiting.appendleft(work)
            else:
                self._waiting.append(work)
            if isinstance(work, Call) or len(self._waiting) >= self._batch_size:
                self._mutex.notify()
            if not self._busy:
                self._post_work()  # it may find no thread, and then nothing is under way
                self._busy = True

    def _post_work(self) -> None:
        self._turn = self._lanes.post(partial(self.surroundings.run, self._work))

    # --- what is done with it, on the lane

    def _work(self) -> None:
        """Do what is next; then ask for the lane again, behind those who wait for it, if more is there."""
        try:
            work = self._next()
            if isinstance(work, Call):
                work.run()
            else:
                self._write(work)
        except BaseException as error:  # noqa: BLE001  the owner hears it
            self._die(error)
        finally:
            with self._mutex:
                self._busy = bool(self._waiting)
                if self._busy:
                    self._post_work()

    def _next(self) -> Call | list[Unit]:
        """A call, or as many units as are there before the next call, and belong into one batch.

        A transaction costs about the same for one unit as for twenty. So after each one the lane rests for as long as
        it took, unless a batch is full or somebody calls: units gather, and their cost falls.
        """
        units: list[Unit] = []
        with self._mutex:
            self._mutex.wait_for(self._has_enough, 0.0 if self._lanes.shared else self._rests_until - time.monotonic())
            while self._waiting and len(units) < self._batch_size:
                first = self._waiting[0]
                if isinstance(first, Call) and units:
                    break
                self._waiting.popleft()
                if isinstance(first, Call):
                    return first
                units.append(first)
        return units

    def _has_enough(self) -> bool:
        return (
            len(self._waiting) >= self._batch_size
            or any(isinstance(work, Call) for work in self._waiting)
            or self._lanes.hurry.is_set()
        )

    def _write(self, units: list[Unit]) -> None:
        """Write a batch; if that fails, halve it until the guilty unit is alone."""
        try:
            self._patiently(partial(self._attempt, units), unless=may_do_in_parts)
        except self._fatal:
            raise
        except Exception as error:  # noqa: BLE001  the guilty unit's owner hears it
            undone = self._patiently(partial(self._undone, units))
            for unit in undone:
                unit.restore()
            if len(undone) < 2:
                self._settle(undone, with_misfits(error, undone[0]) if undone else error)
                return
            half = len(undone) // 2
            self._write(undone[:half])
            self._write(undone[half:])

    def _attempt(self, units: list[Unit]) -> None:
        """One transaction for all these units, less those that are found to be committed already."""
        began, units = time.monotonic(), self._undone(units)
        for unit in units:
            unit.restore()
        write_other_databases(units, self._lanes)
        has_rows = any(unit.has_rows for unit in units)
        transaction = self._transaction(single=not has_rows and self._owner.finishes_at_once(units))
        try:
            with transaction, self._lanes.as_ledger():
                self._write_rows(units)
        except BaseException:
            for unit in units:
                unit.in_doubt |= transaction.in_doubt
            raise
        self._settle(units, None)
        ended = time.monotonic()
        count, seconds = len(units), ended - began
        self._rests_until = ended + min(seconds, BATCH_SECONDS)
        if seconds > BATCH_SECONDS:
            self._batch_size = max(1, int(count * BATCH_SECONDS / seconds))
        elif count >= self._batch_size and seconds < BATCH_SECONDS / 2:
            self._batch_size = min(2 * self._batch_size, self._largest_batch)

    def _undone(self, units: list[Unit]) -> list[Unit]:
        """The units that are not settled. Where a COMMIT was in doubt the database is asked first."""
        in_doubt = [unit for unit in units if unit.in_doubt and not unit.settled]
        if in_doubt:
            # In a transaction like any other: the connection that is asked may be as dead as the one that committed.
            recorded = self._transact(partial(self._owner.recorded, in_doubt))
            self._settle([in_doubt[position] for position in recorded], None)
        return [unit for unit in units if not unit.settled]

    def _write_rows(self, units: Sequence[Unit]) -> None:
        with self._lanes.as_project():
            write_units(units)
        self._owner.finish(units)

    def _transact(self, function: Callable[[], T], *, single: bool = False) -> T:
        with self._transaction(single=single), self._lanes.as_ledger():
            return function()

    def _transaction(self, *, single: bool) -> LaneTransaction | SingleStatement:
        """`single`: for no more than one statement on PostgreSQL."""
        lanes = self._lanes
        if single and not lanes.shared and lanes.preparation is None and commits_by_itself(lanes.alias):
            return SingleStatement(lanes.alias)
        return lanes.transaction(kept=True)

    def _patiently(self, work: Callable[[], T], *, unless: Callable[[BaseException], bool] | None = None) -> T:
        if unless is None and not self.read_only_passes:
            unless = is_read_only
        return patiently(work, self._lanes.hurry, budget=self._outage_budget, unless=unless)

    # --- units that have a lane of their own, on that lane

    def _write_there(self, unit: Unit) -> None:
        if unit.lane is not None:
            write_other_databases([unit], unit.lane.pool)
        with self._lanes.as_ledger():
            self._write_rows([unit])

    def _lane_ended(self, unit: Unit, ended: Future[None]) -> None:
        try:
            error = ended.exception()
            if error is None:
                self._settle([unit], None)
            elif isinstance(error, self._fatal):
                self._die(error)
            elif unit.lane is not None and unit.lane.in_doubt:
                unit.in_doubt = True
                self._enqueue(Call(partial(self._look_for, unit, error)))
            else:
                unit.restore()
                self._settle([unit], with_misfits(error, unit))
        except BaseException as failure:  # noqa: BLE001  a future drops what its callbacks raise: the owner hears it
            self._die(failure)

    def _look_for(self, unit: Unit, error: BaseException) -> None:
        """On the writer's lane: settle a unit whose COMMIT ended in an error, by what the database says."""
        try:
            if self._patiently(partial(self._undone, [unit])):
                self._lanes.hurry.wait(SECOND_LOOK)
                self._patiently(partial(self._undone, [unit]))
        except BaseException as failure:  # noqa: BLE001  the owner hears it
            self._die(failure)
            return
        if not unit.settled:
            unit.restore()
            self._settle([unit], error)

    # --- what the owner hears: from any thread, on the event loop

    def _settle(self, units: list[Unit], error: BaseException | None) -> None:
        for unit in units:
            unit.settled = True
            if error is None:
                unit.forget()
        if units:
            self._loop.call_soon_threadsafe(self._tell, units, error)

    def _tell(self, units: list[Unit], error: BaseException | None) -> None:
        if self._failed:
            return
        try:
            self._owner.units_settled(units, error)
        except Exception as failure:  # noqa: BLE001  the owner's own; its accounts are not true any more
            self._die(failure)
            return
        self._unsettled -= len(units)
        if self._unsettled == 0:
            self._all_settled.set_result(None)

    def _die(self, error: BaseException) -> None:
        with self._mutex:
            self._dead = True
            self._waiting = deque(work for work in self._waiting if isinstance(work, Call))
        self._loop.call_soon_threadsafe(self._tell_failure, error)

    def _tell_failure(self, error: BaseException) -> None:
        if self._failed:
            return
        self._failed = True
        if not self._all_settled.done():
            self._all_settled.set_result(None)
        self._owner.writing_failed(error)


def _done() -> Future[None]:
    future: Future[None] = Future()
    future.set_result(None)
    return future
