"""Lanes: threads with one database connection each, lent to one item at a time."""

from __future__ import annotations

import asyncio
import logging
import queue
import threading
from collections import deque
from concurrent.futures import Future
from contextlib import asynccontextmanager, suppress
from functools import partial
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

import anyio
from asgiref.sync import sync_to_async
from django.db import DatabaseError, connections, transaction

from async_commander.engine.threads import start_soon

from .connections import close_all, lay_aside, take_over_thread
from .lent_lane import Lane, LentLane, result_of, settle, settle_unless_left
from .lock_watch import LockWatch
from .outage import Hurry
from .preparing import SetByItem
from .rehearsal import RehearsedTransaction, rehearsal_here
from .sqlite import DatabaseFiles, is_in_memory, lock_rows, stop_locking_rows
from .transaction import LaneTransaction

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from contextlib import AbstractContextManager

    from .preparing import Preparation
    from .rehearsal import Rehearsal
    from .timeouts import Timeouts

P = ParamSpec("P")
T = TypeVar("T")

logger = logging.getLogger("async_commander.run")
_set_by_item = SetByItem()


def must_share(alias: str) -> bool:
    """Whether other threads could not see what this one sees: ask on the caller's thread.

    True inside an atomic block (a test, or a command called by another one), in a dry run, and for SQLite in memory.
    """
    connection = connections[alias]
    if rehearsal_here() is not None:
        connection.ensure_connection()  # from here on it is part of that
    return connection.in_atomic_block or is_in_memory(connection)


@asynccontextmanager
async def open_lanes(
    alias: str,
    size: int,
    *,
    gate_limit: float | None = None,
    timeouts: Timeouts | None = None,
    preparation: Preparation | None = None,
    rehearsal: Rehearsal | None = None,
) -> AsyncIterator[LanePool]:
    """At most `size` lanes to the database `alias`: each a thread that starts when it is needed first.

    `gate_limit`: seconds for which an item may keep SQLite's write gate; `timeouts`: those of PostgreSQL;
    `preparation`: for each of the connections; `rehearsal`: nothing but the records of the run is to be kept. At the
    end all are closed, each on its thread.
    """
    lanes = LanePool(
        alias, size, gate_limit=gate_limit, timeouts=timeouts, preparation=preparation, rehearsal=rehearsal
    )
    try:
        yield lanes
    finally:
        await lanes.aclose()


@asynccontextmanager
async def open_shared_lane(
    alias: str, preparation: Preparation | None = None, rehearsal: Rehearsal | None = None
) -> AsyncIterator[LanePool]:
    """One lane that is the caller's thread, with the connection and the transaction that it has."""
    lane = CallersLane()
    lanes = LanePool(alias, 1, callers_lane=lane, preparation=preparation, rehearsal=rehearsal)
    borrowed = _Borrowed(alias, preparation)
    failure: BaseException | None = None
    async with anyio.create_task_group() as group:
        group.start_soon(lane.work)
        try:
            try:
                await lanes.call(borrowed.take)
                yield lanes
            finally:
                lane.post(borrowed.give_back)
                await lanes.aclose()
                lane.close()
        except BaseException as error:  # noqa: BLE001  raised below, outside of the group that would wrap it
            failure = error
    if failure is not None:
        raise failure


class _Borrowed:
    """The caller's connection, which behaves as a run needs it for the time of the run."""

    def __init__(self, alias: str, preparation: Preparation | None) -> None:
        self._alias = alias
        self._preparation = preparation
        self._prepared = self._locks = False

    def take(self) -> None:
        connection = connections[self._alias]
        self._locks = lock_rows(connection)
        if self._preparation is not None:
            self._preparation.prepare(connection)
            self._prepared = True

    def give_back(self) -> None:
        connection = connections[self._alias]
        if self._locks:
            stop_locking_rows(connection)
        if self._preparation is not None and self._prepared:
            with suppress(DatabaseError):  # a transaction that is broken takes what was set along when it ends
                self._preparation.undo(connection)


class ThreadLane:
    """A lane with a thread of its own. A daemon: a query that never returns does not hold the process."""

    def __init__(self, preparation: Preparation | None = None) -> None:
        self.tenant: LentLane | None = None
        self._preparation = preparation
        self._calls: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self._closed: Future[None] = Future()
        start_soon(threading.Thread(target=self._work, name="async-commander-lane", daemon=True))

    def post(self, call: Callable[[], None]) -> None:
        """Have `call` called in the lane's thread. It must not raise."""
        self._calls.put(call)

    def close(self) -> Future[None]:
        """End the thread after all that was posted; its connections are closed then."""
        self._calls.put(None)
        return self._closed

    def _work(self) -> None:
        take_over_thread(self._preparation)
        try:
            while (call := self._next()) is not None:
                call()
                del call  # what it holds must not live until the next one comes
        finally:
            try:
                close_all()
            finally:
                self._closed.set_result(None)

    def _next(self) -> Callable[[], None] | None:
        while True:
            tenant = self.tenant
            try:
                return self._calls.get(timeout=None if tenant is None else tenant.seconds_left)
            except queue.Empty:
                if tenant is not None:
                    tenant.time_is_up()


class CallersLane:
    """The caller's thread as a lane: the thread that `async_to_sync` keeps waiting for us, or asgiref's own one."""

    def __init__(self) -> None:
        self.tenant: LentLane | None = None
        self._calls: deque[Callable[[], None]] = deque()
        self._loop = asyncio.get_running_loop()
        self._posted = asyncio.Event()
        self._closing = False

    def post(self, call: Callable[[], None]) -> None:
        """Have `call` called in the caller's thread. It must not raise."""
        self._calls.append(call)
        self._loop.call_soon_threadsafe(self._posted.set)

    def close(self) -> Future[None]:
        """Let `work()` end when nothing is left to do. The connection stays as it is."""
        self._closing = True
        self._loop.call_soon_threadsafe(self._posted.set)
        done: Future[None] = Future()
        done.set_result(None)
        return done

    async def work(self) -> None:
        """Do what is posted until closed; to be run in the context of who called the runner."""

        def do_all() -> None:
            while self._calls:
                self._calls.popleft()()

        with anyio.CancelScope(shield=True):
            while self._calls or not self._closing:
                await self._posted.wait()
                self._posted.clear()
                await sync_to_async(do_all)()  # one hop for all of them


class LanePool:
    """Lends lanes in the order in which they are asked for."""

    def __init__(
        self,
        alias: str,
        size: int,
        *,
        callers_lane: CallersLane | None = None,
        gate_limit: float | None = None,
        timeouts: Timeouts | None = None,
        preparation: Preparation | None = None,
        rehearsal: Rehearsal | None = None,
    ) -> None:
        if size < 1:
            raise ValueError(f"{size} database lanes: at least 1 is needed")
        self.alias = alias
        self.size = size
        self.shared = callers_lane is not None
        """Whether the only lane is the caller's thread, with the connection that it has."""
        self.gate_limit = gate_limit
        self.timeouts = timeouts
        self.preparation = preparation
        self.rehearsal = rehearsal
        """Of a dry run: its items, and whatever else is no record of the run, are rolled back."""
        self.warned_of: set[str] = set()
        """Models whose rows in other databases the run has warned of; the same for the pools made of this one."""
        self.files = DatabaseFiles()
        """SQLite's, of the whole run."""
        self.hurry = Hurry()
        """Set when no outage is to be waited out any more; the same for the pools made of this one."""
        self.mutex = threading.Lock()
        limited = timeouts is not None and timeouts.statement is not None
        self._watch = LockWatch(alias) if limited else None
        self._callers_lane = callers_lane
        self._lanes: list[Lane] = []
        self._idle: list[Lane] = []
        self._queue: deque[LentLane] = deque()
        self._closed = False

    @property
    def taken(self) -> int:
        """How many lanes are lent now."""
        return len(self._lanes) - len(self._idle)

    @property
    def waiting(self) -> int:
        """How many items wait for a lane."""
        return len(self._queue)

    def lend(self, *, in_one: bool = True) -> LentLane:
        """For one item; without `in_one`, for one call of a hook in a dry run. It costs nothing until it is used."""
        return LentLane(self, in_one=in_one)

    def transaction(self, *, kept: bool = False, in_one: bool = True) -> LaneTransaction:
        """A transaction of the kind that this pool's lanes have, to be opened on one; `kept` in a dry run, too.

        Without `in_one` it stands for many there, one for each statement.
        """
        words = self._words(gate_limit=self.gate_limit)
        if self.rehearsal is not None and not kept:
            return RehearsedTransaction(self.rehearsal, self.alias, in_one=in_one, **words)
        return LaneTransaction(self.alias, **words)

    def elsewhere(self, alias: str) -> AbstractContextManager[Any]:
        """On a lane: a transaction in another database. In a dry run it is part of what the lane's own belongs to."""
        if self.rehearsal is not None:
            return transaction.atomic(using=alias)
        return LaneTransaction(alias, **self._words(gate_patience=self.gate_limit))

    def _words(self, **patience: float | None) -> dict[str, Any]:
        common = {"shared": self.shared, "timeouts": self.timeouts, "files": self.files, "hurry": self.hurry}
        return {**common, "watch": self._watch, **patience}

    def as_ledger(self) -> AbstractContextManager[None]:
        """On a lane, in a transaction: the tables of the run are found, however the connection was prepared."""
        return (self.preparation or _set_by_item).as_ledger(self.alias)

    def as_project(self) -> AbstractContextManager[None]:
        """Inside of that: those of the project are."""
        return (self.preparation or _set_by_item).as_project(self.alias)

    async def call(self, function: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
        """Run a short function on any lane, in autocommit. Cancelled while it runs, it is waited for.

        An item that holds a lane must not use it: it could wait for itself.
        """
        return await result_of(self.post(partial(function, *args, **kwargs)))

    def post(self, function: Callable[[], T], *, patient: bool = False) -> Future[T]:
        """Have a function called on any lane, in autocommit; never blocks.

        `patient`: where it opens a connection, an outage is waited out.
        """
        future = LentLane(self, atomic=False, patient=patient).end(commit=True, before=function, take=True)
        assert future is not None  # noqa: S101  a lane was taken
        return future

    def in_transaction(self, function: Callable[[], T]) -> Future[T]:
        """Have a function called on any lane, in a transaction of its own; never blocks."""
        future = self.lend(in_one=False).end(commit=True, before=function, take=True)
        assert future is not None  # noqa: S101  a lane was taken
        return future

    def alone(self) -> LanePool:
        """A pool of one lane for who must not wait for items; in shared mode there is but this one."""
        if self.shared:
            return self
        timeouts = None if self.timeouts is None else self.timeouts.when_idle
        alone = LanePool(self.alias, 1, timeouts=timeouts, preparation=self.preparation, rehearsal=self.rehearsal)
        alone.warned_of, alone.files, alone.hurry = self.warned_of, self.files, self.hurry
        return alone

    async def aclose(self) -> None:
        """Close all lanes, after what they do now. A second time does nothing.

        Who holds a lane still is rolled back, and who waits for one is refused: nothing waits for ever, and nobody
        keeps SQLite's write gate.
        """
        with self.mutex:
            self._closed = True
            lanes, self._lanes, self._idle = self._lanes, [], []
            waiting, self._queue = self._queue, deque()
        for lent in waiting:
            lent.refused(_lanes_are_closed())
        for tenant in [lane.tenant for lane in lanes]:
            if tenant is not None:
                tenant.end(commit=False)
        for closed in [lane.close() for lane in lanes]:
            if not await settle_unless_left(closed, self.hurry):
                logger.warning(
                    "A plain function did not return, and was left on its thread. Give what it waits for a time-out, "
                    "or write it as `async def`: what it writes from now on is not this run's."
                )
        if self._watch is not None:
            await settle(self._watch.close())

    def ask(self, lent: LentLane) -> None:
        """For lent lanes, under the mutex: grant a lane, now or later."""
        if self._closed:
            raise _lanes_are_closed()
        if self._idle:
            lent.granted(self._idle.pop())
        elif len(self._lanes) < self.size:
            self._lanes.append(self._callers_lane or ThreadLane(self.preparation))
            lent.granted(self._lanes[-1])
        else:
            self._queue.append(lent)

    def withdraw(self, lent: LentLane) -> None:
        """For lent lanes, under the mutex: no lane is needed any more."""
        self._queue.remove(lent)

    def give_back(self, lane: Lane, used: LaneTransaction | None) -> None:
        """For lent lanes, on the lane: the next one may have it, and finds nothing that was set in the transaction."""
        if used is not None:
            used.leave_nothing()
        if not self.shared:
            lay_aside()
        with self.mutex:
            lane.tenant = None
            if self._queue:
                self._queue.popleft().granted(lane)
            elif not self._closed:
                self._idle.append(lane)


def _lanes_are_closed() -> RuntimeError:
    return RuntimeError("the database lanes are closed: the run has ended")
