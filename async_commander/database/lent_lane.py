"""What one item holds of the database: nothing until its first call, then one lane and one transaction."""

from __future__ import annotations

import asyncio
import contextvars
from concurrent.futures import Executor, Future
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any, ParamSpec, Protocol, TypeVar

import anyio

from async_commander.engine.charging import uncharged
from async_commander.engine.threads import fit_for_a_future
from async_commander.text.errors import readable

from .connections import freshen
from .outage import patiently

if TYPE_CHECKING:
    import threading
    from collections.abc import Callable
    from contextlib import AbstractContextManager

    from async_commander.engine.charging import Wait

    from .outage import Hurry
    from .transaction import LaneTransaction

P = ParamSpec("P")
T = TypeVar("T")

LOOK_SECONDS = 0.25
"""So often who waits for a thread looks whether that is to be left."""


async def settle(future: Future[T]) -> T:
    """Wait for a started database call to its end, whatever is cancelled meanwhile; then let the cancel through."""
    waiter = asyncio.wrap_future(future)
    cancelled: asyncio.CancelledError | None = None
    with anyio.CancelScope(shield=True):
        while not waiter.done():
            try:
                await asyncio.wait([waiter])
            except asyncio.CancelledError as error:  # a native cancel goes through anyio's shields
                cancelled = error
    if cancelled is not None:
        waiter.exception()  # the future has it already
        raise cancelled
    return waiter.result()


async def settle_unless_left(future: Future[Any], hurry: Hurry) -> bool:
    """The same, unless the run is to end and the call does not return; whether it did."""
    waiter = asyncio.wrap_future(future)
    with anyio.CancelScope(shield=True):
        while not waiter.done() and not hurry.leaves:
            with suppress(asyncio.CancelledError):  # a native one; who is cancelled learns of it at the next wait
                await asyncio.wait([waiter], timeout=LOOK_SECONDS)
    if waiter.done():
        waiter.result()
    return waiter.done()


async def result_of(future: Future[T]) -> T:
    """Wait for a call. A cancel withdraws it while it waits for its turn, and waits for its end once it runs."""
    try:
        return await asyncio.wrap_future(future)
    except asyncio.CancelledError:
        if not future.cancel():
            with suppress(Exception):  # the cancel is the answer, whatever came of the call
                await settle(future)
        raise


class Call:
    """A function on its way to a lane, and the future of its result."""

    __slots__ = ("_work", "future")

    def __init__(self, work: Callable[[], Any]) -> None:
        self.future: Future[Any] = Future()
        self._work = work

    @property
    def cancelled(self) -> bool:
        """Whether the caller has gone before it was called."""
        return self.future.cancelled()

    def run(self, refusal: BaseException | None = None) -> None:
        """Call the function, unless the caller has gone; with `refusal`, only give that to the caller."""
        if not self.future.set_running_or_notify_cancel():
            return
        try:
            if refusal is not None:
                raise refusal
            result = self._work()
        except BaseException as error:  # noqa: BLE001  it is the caller's
            self.future.set_exception(fit_for_a_future(error))
        else:
            self.future.set_result(result)


class Lane(Protocol):
    """A thread that does what is posted to it, one thing after the other."""

    tenant: LentLane | None

    def post(self, call: Callable[[], None]) -> None: ...
    def close(self) -> Future[None]: ...


class Lender(Protocol):
    """Who has lanes: a pool, as one that borrows from it sees it."""

    alias: str
    shared: bool
    hurry: Hurry
    mutex: threading.Lock
    """Held for each decision about who has which lane."""
    warned_of: set[str]
    """Models of whose rows in other databases the run was told."""

    def transaction(self, *, in_one: bool = True) -> LaneTransaction: ...
    def elsewhere(self, alias: str) -> AbstractContextManager[Any]: ...
    def ask(self, lent: LentLane) -> None: ...
    def withdraw(self, lent: LentLane) -> None: ...
    def give_back(self, lane: Lane, used: LaneTransaction | None) -> None: ...


class LentLane(Executor):
    """An executor that takes a lane of its pool at the first `submit()` and gives it back after `end()`.

    All calls run one at a time, in order, on the lane's thread; all but those without a transaction share
    one that is opened there before the first of them. Neither `submit` nor `end` ever blocks, from any thread.
    """

    def __init__(self, pool: Lender, *, atomic: bool = True, in_one: bool = True, patient: bool = False) -> None:
        self._pool = pool
        self._in_one = in_one
        self._atomic = atomic
        self._patient = patient
        self._transaction: LaneTransaction | None = None
        self._lane: Lane | None = None
        self._wait: Wait | None = None
        """For the lane and its connection, from the first call on: not charged to the item."""
        self._granted = False
        self._kept: list[Callable[[], None]] = []
        self._calls: list[Call] = []
        self._ended: Future[Any] | None = None
        self._over = False
        self._failure: BaseException | None = None

    @property
    def pool(self) -> Lender:
        """Where its lane comes from."""
        return self._pool

    @property
    def taken(self) -> bool:
        """Whether the item has asked for a lane, with a call that was not withdrawn before it got one."""
        return self._granted or any(not call.cancelled for call in self._calls)

    @property
    def committed(self) -> bool:
        """Whether its transaction is known to be committed."""
        return self._transaction is not None and self._transaction.committed

    @property
    def in_doubt(self) -> bool:
        """Whether its COMMIT ended in an error, so that only the database knows."""
        return self._transaction is not None and self._transaction.in_doubt

    @property
    def lost(self) -> Exception | None:
        """What its connection was lost with, so that whatever failed since then failed for that; after the end."""
        return None if self._transaction is None else self._transaction.lost

    @property
    def seconds_left(self) -> float | None:
        """For the lane: how long it may wait for the next call before `time_is_up()`."""
        return None if self._transaction is None else self._transaction.gate_seconds_left

    def submit(self, function: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        """Run a function on the lane, after all that was submitted before. Raises RuntimeError after `end()`."""
        call = Call(partial(self._call, partial(function, *args, **kwargs)))
        with self._pool.mutex:
            if self._over:
                raise RuntimeError(
                    "This item is finished: its database lane was given back. "
                    "Await every task that an item starts before its hook returns."
                )
            if self._lane is None:
                self._calls.append(call)
            self._post(partial(self._run, call))
        return call.future

    def end(self, *, commit: bool, before: Callable[[], Any] | None = None, take: bool = False) -> Future[Any] | None:
        """Commit or roll back after the call that runs now, and give the lane back; never blocks.

        `before` runs on the lane as the last part of the transaction; its result is the future's, which is set when
        the lane is free again. None where no lane was taken, so that there is nothing to wait for; with `take` one is
        taken even so. A second end changes nothing: it returns what the first one did.
        """
        with self._pool.mutex:
            if self._over:
                return self._ended
            self._over = True
            if self._lane is None and not take and (not commit or not self.taken):
                if self._wait is not None:
                    self._pool.withdraw(self)
                    self._wait.over()
                for call in self._calls:
                    call.future.cancel()
                self._kept.clear()
                return None
            self._ended = Future()
            context = contextvars.copy_context()
            self._post(partial(context.run, self._finish, before, self._ended, commit=commit))
        if not commit and self._transaction is not None:
            self._transaction.give_up()
        return self._ended

    def granted(self, lane: Lane) -> None:
        """For the pool, under its mutex: here is the lane that was asked for."""
        self._lane, self._granted = lane, True
        if self._atomic:
            self._transaction = self._pool.transaction(in_one=self._in_one)
        lane.tenant = self
        lane.post(self._open)
        for call in self._kept:
            lane.post(call)
        self._kept.clear()
        self._calls.clear()

    def refused(self, error: BaseException) -> None:
        """For the pool, when it closes: there will be no lane, and the calls that wait for it raise the error."""
        with self._pool.mutex:
            self._over, self._failure = True, error
            kept, self._kept = self._kept, []
        self._waited()
        for call in kept:  # on no lane: where there is a failure, they only tell it
            call()

    def time_is_up(self) -> None:
        """For the lane: the write gate was kept too long, and no call is running."""
        if self._transaction is not None:
            self._failure = self._transaction.overdue()

    def _post(self, call: Callable[[], None]) -> None:
        if self._lane is not None:
            self._lane.post(call)
            return
        self._kept.append(call)
        if self._wait is None:
            self._wait = uncharged()  # before the lane may be there, whose thread ends it
            try:
                self._pool.ask(self)
            except BaseException:
                self._wait.over()
                self._wait = None
                raise

    def _waited(self) -> None:
        if self._wait is not None:
            self._wait.over()

    def _open(self) -> None:
        try:
            if self._transaction is not None:
                self._transaction.open()
            elif not self._pool.shared:
                connection = freshen(self._pool.alias)
                if self._patient:

                    def connect() -> None:
                        with uncharged():
                            patiently(partial(type(connection).connect, connection), self._pool.hurry)

                    connection.connect = connect  # type: ignore[method-assign]  # whenever it is opened from now on
        except BaseException as error:  # noqa: BLE001  each call of the item gets it
            self._failure = error
        finally:
            self._waited()

    def _call(self, function: Callable[[], T]) -> T:
        try:
            return function()
        except Exception as error:
            reason = readable(error)
            if reason is error and self._transaction is not None:
                reason = self._transaction.reason_for(error)
            if reason is error:
                raise
            raise reason  # noqa: B904  it has a cause of its own, the driver's error

    def _run(self, call: Call) -> None:
        if self._transaction is not None and self._transaction.given_up:
            call.future.cancel()
        call.run(self._failure)

    def _finish(self, before: Callable[[], Any] | None, ended: Future[Any], *, commit: bool) -> None:
        transaction, result, failure = self._transaction, None, None
        wanted = ended.set_running_or_notify_cancel()
        commit = commit and wanted
        try:
            if commit:
                if self._failure is not None:
                    raise self._failure
                if transaction is not None:
                    transaction.check()
                result = None if before is None else self._call(before)
                if transaction is not None:
                    transaction.commit()
        except BaseException as error:  # noqa: BLE001  the future has it
            failure, commit = error, False
        if transaction is not None and not commit:
            transaction.roll_back()
        # The lane first: who hears of the end may ask for one at once, and must not wait for this one.
        lane, self._lane = self._lane, None
        if lane is not None:
            self._pool.give_back(lane, transaction)
        if failure is not None:
            ended.set_exception(fit_for_a_future(failure))
        elif wanted:
            ended.set_result(result)
