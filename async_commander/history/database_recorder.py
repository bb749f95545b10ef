"""Records a run in the database: the run row, its lease and heartbeat, the ledger and the notes."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, ParamSpec, TypeVar
from uuid import UUID

import anyio
import anyio.to_thread
from django.core.exceptions import ImproperlyConfigured
from django.db import DatabaseError, IntegrityError, InterfaceError, OperationalError, connections

from async_commander.database.outage import OUTAGE_BUDGET, is_locked, is_read_only
from async_commander.database.surroundings import Surroundings
from async_commander.database.touched import Recording
from async_commander.database.writer import Writer
from async_commander.exceptions import AsyncCommanderError, RunFenced, RunLocked, RunTaken
from async_commander.models import Run
from async_commander.results import ItemOutcome, ItemState

from . import retrying, runs, unstored_ends
from .changes import Changes
from .dependencies import Unmet, unmet
from .exclusive import ATTEMPTS, Place, admit, begin, naps_while_waiting
from .heartbeat import Heartbeat
from .lease import LEASE_SECONDS, Ownership, Renewal, fence, inserts_lock_the_run, orders_of, renew
from .ledger import CRASHES_ALONE, Ledger
from .notes import earlier_errors, write_notes
from .ownership import this_process
from .provenance import recorded, write_touched
from .recorder import (
    Admission,
    Candidate,
    CommitObserver,
    Ending,
    ItemsOwner,
    Known,
    LogLine,
    Notes,
    Opened,
    Opening,
    Orders,
    Rows,
    RunOwner,
    SafeCursor,
    Stored,
    outcomes_of,
)
from .shards import WholeLedger, ledger_of, place_of

if TYPE_CHECKING:
    from async_commander.database.lanes import LanePool
    from async_commander.database.unit import Unit

P = ParamSpec("P")
T = TypeVar("T")

LOST = (RunFenced,)
LONGEST_NAP = 1.0


class DatabaseRecorder:
    """The recorder of a run whose ledger is in the database of `lanes`. See `Recorder` for the methods.

    `lease_seconds` is how long a silent owner keeps the run. With shared lanes (inside a caller's transaction) nobody
    else can see the run, and no heartbeat thread is started.
    """

    keeps_items = calls_back = True
    observers: CommitObserver | None = None

    def __init__(
        self, *, batch_size: int, lease_seconds: float = LEASE_SECONDS, outage_budget: float = OUTAGE_BUDGET
    ) -> None:
        self.tick_seconds = lease_seconds / 8
        self._batch_size = batch_size
        self._lease_seconds = lease_seconds
        self._outage_budget = outage_budget
        self._heartbeat: Heartbeat | None = None
        self._resumed = False
        self._is_whole = True
        self._orders = Orders()
        """What is asked of the run, as its owner knows it."""
        self._asked_before = Orders()
        """What was, when it was opened."""
        self._owner: RunOwner | None = None
        self._touched: Recording | None = None
        self._items: ItemsOwner
        self._earlier: dict[str, int] = {}
        self._ownership: Ownership
        self._changes: Changes
        self._ledger: Ledger

    def attach(self, lanes: LanePool) -> None:
        """See Recorder."""
        self._lanes = lanes
        self._loop = asyncio.get_running_loop()
        self._writer = Writer(lanes, self, batch_size=self._batch_size, fatal=LOST, outage_budget=self._outage_budget)

    # -- the run -----------------------------------------------------------------------------------------------

    async def open(self, opening: Opening, say: Callable[[str], None]) -> Opened:
        """See Recorder."""
        self._writer.read_only_passes = False
        try:
            opened = await self._open(opening, say)
        except DatabaseError as error:
            if not is_read_only(error):
                raise
            alias = self._lanes.alias
            raise AsyncCommanderError(
                f"The database {alias!r} cannot be written to ({str(error).strip()}). No run was begun: each is "
                "recorded there. Run with --database ALIAS to record it in another one, or see that the database, its "
                "file and its user may be written with."
            ) from error
        self._writer.read_only_passes = True
        return opened

    async def _open(self, opening: Opening, say: Callable[..., None]) -> Opened:
        await self._reach()
        await self._writer.call(lambda: runs.sweep(self._lanes.alias))
        said: set[str] = set()

        def say_once(text: str, *level: int) -> None:
            if text not in said:
                said.add(text)
                say(text, *level)

        for nap in naps_while_waiting():
            try:
                return await self._begin_or_resume(opening, say_once)
            except RunLocked as locked:
                if not opening.wait or (opening.queued is not None and isinstance(locked, RunTaken)):
                    raise
                say_once(f"{locked} Waiting for that.")
            await anyio.sleep(nap)
        raise AssertionError("the naps have no end")

    async def _begin_or_resume(self, opening: Opening, say: Callable[..., None]) -> Opened:
        named = opening.resume_run if opening.retry_failed is None else opening.retry_failed
        named = named if opening.carries is None else opening.carries
        alias, asked_to_resume = self._lanes.alias, opening.resume or named is not None
        may_go_on = asked_to_resume or opening.queued is not None
        if may_go_on and (resumed := await self._resume(opening, say)) is not None:
            return resumed
        if opening.carries is not None:
            raise retrying.NothingToRetry(f"Shard {opening.carries} is done: there is nothing to carry.")
        known_by = await self._writer.call(runs.known_identity, alias, opening)
        opening = replace(opening, identity=known_by)
        if (opening.once or opening.single) and (asked_to_resume or opening.needs):
            await self._writer.call(lambda: admit(alias, opening))  # what need not happen needs nothing
        if asked_to_resume:
            others = await self._writer.call(runs.others_unfinished, alias, opening)
            told = (
                f"No unfinished run of {opening.command} has these arguments, but there is {others}. "
                f"--resume-run ID (resume_run=ID in code) goes on with one of these."
            )
            if others and not opening.anew:
                raise runs.OthersUnfinished(told)
            if others:
                say(f"{told} A new run begins.", logging.WARNING)
            else:
                say("There is no unfinished run to resume; a new one begins.")
        if opening.needs and (lacking := await self._writer.call(unmet, alias, opening.needs)):
            raise Unmet(opening.command, lacking)
        self._ownership, _ = await self._opened_once(lambda: (begin(alias, opening, self._lease_seconds), None))
        self._is_whole = runs.is_whole(opening.options)
        kind = Ledger if opening.shards is None else WholeLedger
        self._ledger, self._changes = kind(self._ownership), Changes(self._ownership)
        self._start_heart()
        return Opened(run_id=self._ownership.run_id, identity=opening.identity, shards=opening.shards)

    async def _reach(self) -> None:
        """The first connection. As long as there is no run there is nothing to wait an outage out for."""
        alias = self._lanes.alias
        try:
            await self._lanes.call(_connect, alias)
        except (OperationalError, InterfaceError) as error:
            if is_read_only(error):
                raise
            if not is_locked(error):
                raise AsyncCommanderError(
                    f"The database {alias!r} cannot be reached ({str(error).strip()}). No run was begun. "
                    f"See that it is up, and that DATABASES[{alias!r}] names the right address and user."
                ) from error
        except ImproperlyConfigured as error:
            raise AsyncCommanderError(
                f"The database {alias!r} cannot be used as DATABASES[{alias!r}] has it: {error} No run was begun."
            ) from error

    async def _resume(self, opening: Opening, say: Callable[..., None]) -> Opened | None:
        """Take over what there is to resume. Who was faster may only have marked it as crashed: then once more."""
        for attempt in range(ATTEMPTS):
            run = await self._wait_for_resumable(opening, say)
            if run is None:
                return None
            try:
                opened = await self._reopen(run, opening)
            except RunLocked:
                if attempt + 1 == ATTEMPTS:
                    raise
            else:
                if gone := runs.left_out(run, opening):
                    say(gone, logging.WARNING)
                return opened
        return None

    async def _wait_for_resumable(self, opening: Opening, say: Callable[[str], None]) -> Run | None:
        """The run to resume, once its lease is free; a lease of another host can only be waited out.

        It is out, whatever the clocks say, when it was not renewed for its whole length while we looked.
        """
        alias, first_expiry, began = self._lanes.alias, None, time.monotonic()
        while (run := await self._writer.call(lambda: runs.resumable(alias, opening))) is not None:
            left = await self._writer.call(runs.seconds_until_free, alias, run)
            if left <= 0 or (run.expires == first_expiry and time.monotonic() - began >= runs.lease_length(run)):
                return run
            if first_expiry is not None and run.expires != first_expiry:
                raise RunTaken(f"Run {run.pk} is being worked on by process {run.pid} on {run.host}: it is alive.")
            if first_expiry is None:
                say(f"Run {run.pk} belongs to process {run.pid} on {run.host}: waiting {left:.0f} s for its lease.")
                first_expiry, began = run.expires, time.monotonic()
            await anyio.sleep(min(left + 0.01, LONGEST_NAP))
        return None

    async def _reopen(self, run: Run, opening: Opening) -> Opened:
        is_new = run.shard is not None and run.heartbeat is None  # nobody has carried it yet
        whole: Run = run if run.shard is None or run.parent is None else run.parent

        def take() -> tuple[Ownership, tuple[int, int, dict[str, int], dict[str, int], Orders]]:
            alias = self._lanes.alias
            asked = replace(opening, identity=run.identity)
            place = Place() if run.shard is not None else admit(alias, asked, resumed=run.pk)
            ownership, crashed = runs.reopen(alias, run, opening, self._lease_seconds, place.once_key)
            ownership = place.taken_by(ownership)
            retried = 0 if opening.retry_failed is None else retrying.revive(ownership, run, opening)
            self._ledger, recovered = ledger_of(ownership, run), 0
            if not is_new:
                recovered = self._ledger.take_over(crashed=crashed, longest_wait=opening.longest_wait)
            orders = orders_of(ownership) or Orders()
            return ownership, (retried, recovered, runs.stored_counts(ownership), earlier_errors(ownership), orders)

        self._ownership, (retried, recovered, counts, self._earlier, self._asked_before) = await self._opened_once(take)
        self._resumed, self._changes = not is_new, Changes(self._ownership)
        self._is_whole = runs.is_whole(run.options)
        self._start_heart()
        return Opened(
            run_id=whole.pk,
            epoch=self._ownership.epoch,
            resumed=not is_new,
            counts=counts,
            recovered=recovered,
            total=run.total,
            options=whole.options,
            parameters=run.parameters,
            identity=whole.identity,
            testing=run.testing,
            source_ended=run.source_ended,
            retried=retried,
            cursor=self._ledger.cursor,
            shard=None if run.shard is None else place_of(run),
            shards=run.options.get("shards"),
        )

    async def _opened_once(self, function: Callable[[], tuple[Ownership, T]]) -> tuple[Ownership, T]:
        """Begin or take over.

        Once begun it is not left: a cancel comes through later, when there is somebody to close what was opened.
        """
        work = runs.opened_once(function)
        with anyio.CancelScope(shield=True):
            for attempt in range(ATTEMPTS):
                try:
                    opened = await self._writer.call(work)
                    break
                except IntegrityError:  # another process began the same at this moment: the next look sees its run
                    if attempt + 1 == ATTEMPTS:
                        raise
        return opened

    async def _change(self, work: Callable[[], T]) -> T:
        """Change the record, once: work that is done again after a lost connection is not done twice."""
        return await self._writer.call(self._changes.once(work))

    async def rows(self) -> Rows:
        """See Recorder."""
        ownership = self._ownership
        return await self._writer.call(lambda: Rows(*runs.this_and_previous(ownership)))

    async def close(self, ending: Ending) -> dict[str, int]:
        """See Recorder."""
        await self._stop_heart()

        def let_go() -> dict[str, int]:
            self.let_go_of_items()
            return runs.close(self._ownership, ending, add_output=self._resumed, whole=self._is_whole)

        try:
            return await self._change(let_go)
        except Exception as error:
            if not (self._lanes.shared or isinstance(error, LOST)):
                unstored_ends.keep(self._ownership, this_process(), ending)
            raise

    def let_go_of_items(self) -> None:
        """In the transaction that closes the run: leave no item claimed."""
        self._ledger.let_go()

    async def aclose(self) -> None:
        """See Recorder."""
        await self._stop_heart()
        await self._writer.aclose()

    def hurry(self) -> None:
        """See Recorder."""
        self._writer.hurry()

    async def about_shards(self, work: Callable[[Ownership], T]) -> T:
        """Ask, or change, the rows of the shards that this run is cut into: in one transaction."""
        return await self._writer.call(lambda: work(self._ownership))

    # -- being alive -------------------------------------------------------------------------------------------

    def tick(self) -> None:
        """See Recorder."""
        if self._heartbeat is not None:
            self._heartbeat.tick()

    def _start_heart(self) -> None:
        if not self._lanes.shared:
            self._heartbeat = Heartbeat(self._ownership, self._lease_seconds, self, self._lanes.hurry)
            self._heartbeat.start()

    async def _stop_heart(self) -> None:
        if self._heartbeat is not None:
            heart, self._heartbeat = self._heartbeat, None
            with anyio.CancelScope(shield=True):
                await anyio.to_thread.run_sync(heart.stop)

    def beaten(self, renewal: Renewal) -> None:
        """See HeartOwner."""
        self._loop.call_soon_threadsafe(self._beat, renewal)

    def looked(self, orders: Orders) -> None:
        """See HeartOwner."""
        self._loop.call_soon_threadsafe(self._order, orders)

    def _beat(self, renewal: Renewal) -> None:
        if not renewal.held:
            self.writing_failed(RunFenced(f"Run {self._ownership.run_id} was taken over by another process."))
        elif self._owner is not None:
            self._owner.record_alive()
            self._order(renewal.orders)

    def _order(self, orders: Orders) -> None:
        if self._owner is not None and orders != self._orders:
            self._orders = orders
            self._owner.ordered(orders)

    # -- the items ---------------------------------------------------------------------------------------------

    def answer_to(self, owner: RunOwner) -> None:
        """See Recorder."""
        self._owner = owner
        self._order(self._asked_before)

    @property
    def can_be_answered(self) -> bool:
        """See Recorder."""
        return not self._lanes.shared

    async def asks(self, question: str) -> None:
        """See Recorder."""
        ownership = self._ownership
        await self._change(lambda: runs.asks(ownership, question))

    @contextmanager
    def objects_recorded(self, *, everything: bool) -> Iterator[None]:
        """See Recorder."""
        alias, run_id = self._ownership.alias, self._ownership.ledger
        touched = Recording(
            alias,
            run_id,
            partial(write_touched, alias, run_id),
            everything=everything,
            shared=self._lanes.shared,
            as_ledger=self._lanes.as_ledger,
        )
        with recorded(touched) as self._touched:
            self._writer.surroundings = Surroundings()  # what lifespan() queues is written in these
            yield

    def within(self, surroundings: Surroundings) -> None:
        """See Recorder."""
        self._writer.surroundings = surroundings

    def begin_items(self, owner: ItemsOwner, *, taken_at_most: int | None) -> None:
        """See Recorder."""
        self._items = owner
        self._ledger.taken_at_most = taken_at_most

    def begin_steps(self, owner: ItemsOwner) -> None:
        """See Recorder."""
        self._items = owner
        self._ledger.keeps_steps = True

    async def kept(self, key: UUID) -> Known | None:
        """See Recorder."""
        return await self._writer.call(lambda: self._ledger.kept(key))

    async def admit(self, candidates: Sequence[Candidate], *, room: int | None = None) -> Admission:
        """See Recorder."""
        keys = self._ledger.reserve(candidates, room)
        if keys is None:
            answer = await self._change(lambda: self._ledger.admit(candidates, room))
        else:
            claim = self._changes.numbered(partial(self._ledger.claim_new, keys))
            answer = await self._writer.call_at_once(claim)
        self._ledger.claimed(key for key, item in answer.again.items() if item.crashes >= CRASHES_ALONE)
        return answer

    def source_settled(self, cursor: SafeCursor) -> None:
        """See Recorder."""
        self._ledger.cursor = cursor

    def source_restarted(self) -> None:
        """See Recorder."""
        self._ledger.source_restarted()

    async def claim(self, keys: Sequence[UUID]) -> None:
        """See Recorder."""
        await self._change(lambda: self._ledger.claim(keys))
        self._ledger.claimed()

    async def stored(self, room: int, *, source_ended: bool, called: Sequence[UUID] = ()) -> Stored:
        """See Recorder."""
        found = await self._change(lambda: self._ledger.stored(room, source_ended=source_ended, called=called))
        self._ledger.claimed(item.key for item in found.items if item.crashes >= CRASHES_ALONE)
        return found

    async def adopt(self, key: UUID) -> None:
        """See Recorder."""
        await self._change(lambda: self._ledger.adopt(key))

    async def state_of(self, key: UUID) -> ItemState | None:
        """See Recorder."""
        state = await self._change(lambda: self._ledger.state_of(key))
        if state in (ItemState.DONE, ItemState.SKIPPED):
            self._ledger.settled([key])
        return state

    async def release(self, fresh: Sequence[UUID], known: Sequence[ItemOutcome]) -> None:
        """See Recorder."""
        await self._change(lambda: self._ledger.release(fresh, known))
        self._ledger.settled([*fresh, *(outcome.key for outcome in known)])

    def put(self, unit: Unit) -> None:
        """See Recorder."""
        self._writer.put(unit)

    async def commit(self, unit: Unit) -> None:
        """See Recorder."""
        await self._writer.commit(unit, once=partial(self._changes.once, late=True))
        if self.observers is not None:
            self.observers.committed([unit])

    async def drain(self) -> None:
        """See Recorder."""
        await self._writer.drain()

    def finish(self, units: Sequence[Unit]) -> None:
        """See WriterOwner."""
        if self._touched is not None:
            self._touched.keep()
        if self.observers is not None:
            self.observers.committing(units)
        self.finish_items(units)

    def finish_items(self, units: Sequence[Unit]) -> None:
        """The last part of it: what became of the items, and the fence."""
        self._ledger.finish(units)

    def finishes_at_once(self, units: Sequence[Unit]) -> bool:
        """See WriterOwner."""
        waits = self._touched is not None and self._touched.is_waiting
        return not waits and self._ledger.finishes_at_once(units)

    def recorded(self, units: Sequence[Unit]) -> set[int]:
        """See WriterOwner."""
        return self._ledger.recorded(units)

    def writing_failed(self, error: BaseException) -> None:
        """See WriterOwner."""
        if self._owner is None:
            raise error
        self._owner.record_lost(error)

    def units_settled(self, units: Sequence[Unit], error: BaseException | None) -> None:
        """See WriterOwner."""
        if error is None:
            self._ledger.settled([outcome.key for outcome in outcomes_of(units)])
            if self.observers is not None and self.observers.committed(units):
                return
        self._items.settled(units, error)

    # -- beside them -------------------------------------------------------------------------------------------

    async def note(self, notes: Notes) -> Sequence[LogLine]:
        """See Recorder."""
        written: Sequence[LogLine] = ()
        if notes:
            work = partial(write_notes, self._ownership, notes, self._earlier)
            late = not inserts_lock_the_run(self._ownership.alias)
            written = await self._writer.call(self._changes.once(work, late=late))
        if (touched := self._touched) is not None and touched.is_waiting:

            def keep() -> None:
                touched.keep(of_this_block=False)
                fence(self._ownership)

            await self._writer.call(keep)
        if self._lanes.shared:
            self._beat(await self._writer.call(lambda: renew(self._ownership, self._lease_seconds)))
        return written


def _connect(alias: str) -> None:
    connections[alias].ensure_connection()
