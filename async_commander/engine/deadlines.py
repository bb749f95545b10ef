"""One task that watches all clocks: items that take too long, and the pipeline's next alarm."""

from __future__ import annotations

import math
from heapq import heappop, heappush
from typing import TYPE_CHECKING, ClassVar, Protocol, Self

import anyio

from .charging import ItemClock, ahead_of_threads, item_clock
from .failures import calm, native_task

if TYPE_CHECKING:
    from contextvars import Context

    from .limits import Limits
    from .workers import Workers


class ItemTimeout(TimeoutError):
    """One attempt at an item took longer than `item_timeout`."""

    reason: ClassVar[str] = "timeout"

    @classmethod
    def of(cls, limits: Limits, cause: BaseException) -> Self:
        """The error of a timed-out attempt; the traceback of its cause shows where the time went."""
        error = cls(f"one attempt took longer than item_timeout={limits.item_timeout} seconds")
        error.__cause__ = cause
        return error


class Watch:
    """One worker's cancel scope, renewed only after it was used up: one for each item would cost more than the item."""

    __slots__ = ("_clock", "_deadlines", "_limited", "_task", "scope", "worker")

    def __init__(self, deadlines: Deadlines, worker: int) -> None:
        self.worker = worker
        """The number of the worker, from 1 on."""
        self._deadlines = deadlines
        self._limited = deadlines.item_timeout < math.inf
        self._task = native_task()
        self._clock: ItemClock | None = None
        self.scope = anyio.CancelScope()

    @property
    def fired(self) -> bool:
        """The item in hand, or the one before, ran out of time."""
        return self.scope.cancel_called

    @property
    def disturbed(self) -> bool:
        """The next await might be cancelled for the sake of an item that is finished: leave the scope and `calm()`."""
        return self.scope.cancel_called or (self._task is not None and self._task.cancelling() > 0)

    def renewed(self) -> anyio.CancelScope:
        """A scope for the next items."""
        self.scope = anyio.CancelScope()
        return self.scope

    def begin(self, context: Context) -> None:
        """An item is taken in hand: from here on its time counts, but for what it spends `uncharged()`."""
        if self._limited:
            ends_at = anyio.current_time() + self._deadlines.item_timeout
            self._clock = ItemClock(ends_at, self._deadlines.ahead)
            context.run(item_clock.set, self._clock)
            self._deadlines.expect(ends_at)

    def end(self) -> None:
        """It is out of hand again, however it went."""
        if self._clock is not None:
            self._clock.close()
            self._clock = None

    def look(self, now: float) -> float:
        """Cancel the scope if the item has used up its time; returns when to look again."""
        if self._clock is None:
            return math.inf
        ends_at = self._clock.ends_at(now)
        if ends_at <= now:
            self._clock.close()
            self.scope.cancel()
            return math.inf
        return ends_at

    async def calm(self) -> None:
        """Undo what items did to our task; raises if it is cancelled for real. To be called outside of the scope."""
        await calm(self._task)


class HasTimes(Protocol):
    """A part of the pipeline in which something waits for its time."""

    def on_alarm(self, now: float) -> float:
        """See to all whose time has come; returns when to look again."""
        ...


class Deadlines:
    """Sleeps until the earliest of many times. `run()` is its one task; it is never busier than what it waits for."""

    def __init__(self, item_timeout: float | None, workers: Workers) -> None:
        self.item_timeout = math.inf if item_timeout is None else item_timeout
        self.ahead = 0.0
        self._workers = workers
        self._parts: list[HasTimes] = []
        self._watches: list[Watch] = []
        self._numbers: list[int] = []
        """Those of workers that have ended, for others."""
        self._look_at = math.inf
        self._alarm_at = math.inf
        self._nap = anyio.CancelScope()

    def watch(self) -> Watch:
        """A watch for one more worker; to be called in the worker's own task."""
        self.ahead = ahead_of_threads()
        watch = Watch(self, heappop(self._numbers) if self._numbers else len(self._watches) + 1)
        self._watches.append(watch)
        return watch

    def watch_ended(self, watch: Watch) -> None:
        """Its worker has ended."""
        self._watches.remove(watch)
        heappush(self._numbers, watch.worker)

    def look_after(self, part: HasTimes) -> None:
        """From now on this part is asked for its times."""
        self._parts.append(part)

    def wake_at(self, when: float) -> None:
        """Have `on_alarm()` of all parts called, at the earliest of the times asked for since they were called last."""
        if when < self._alarm_at:
            self._alarm_at = when
            self._nap.deadline = min(self._nap.deadline, when)

    def expect(self, when: float) -> None:
        """An item will be overdue by then."""
        # Later items are due later: only the first one moves the alarm.
        if when < self._look_at:
            self._look_at = when
            self._nap.deadline = min(self._nap.deadline, when)

    async def run(self) -> None:
        """Watch until cancelled."""
        while True:
            with anyio.CancelScope(deadline=min(self._look_at, self._alarm_at)) as self._nap:
                await anyio.sleep_forever()
            now = anyio.current_time()
            if self._look_at <= now:
                self._look_at = min((watch.look(now) for watch in self._watches), default=math.inf)
            if self._alarm_at <= now:
                self._alarm_at = math.inf
                self.wake_at(min(part.on_alarm(now) for part in self._parts))
                self._workers.wake()
