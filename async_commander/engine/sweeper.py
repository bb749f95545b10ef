"""One task that watches all clocks: items that take too long, and the pipeline's next alarm."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, ClassVar, Self

import anyio

from .failures import calm, native_task

if TYPE_CHECKING:
    from collections.abc import Callable

    from .limits import Limits


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

    __slots__ = ("_limited", "_sweeper", "_task", "overdue_at", "scope")

    def __init__(self, sweeper: Sweeper) -> None:
        self._sweeper = sweeper
        self._limited = sweeper.item_timeout < math.inf
        self._task = native_task()
        self.scope = anyio.CancelScope()
        self.overdue_at = math.inf

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

    def begin(self) -> None:
        """An item is taken in hand."""
        if self._limited:
            self._sweeper.expect(self)

    def end(self) -> None:
        """It is out of hand again, however it went."""
        self.overdue_at = math.inf

    async def calm(self) -> None:
        """Undo what items did to our task; raises if it is cancelled for real. To be called outside of the scope."""
        await calm(self._task)


class Sweeper:
    """Sleeps until the earliest of many times. `run()` is its one task; it is never busier than what it waits for."""

    def __init__(self, item_timeout: float | None, on_alarm: Callable[[float], None]) -> None:
        self.item_timeout = math.inf if item_timeout is None else item_timeout
        self._on_alarm = on_alarm
        self._watches: list[Watch] = []
        self._sweep_at = math.inf
        self._alarm_at = math.inf
        self._nap = anyio.CancelScope()

    def watch(self) -> Watch:
        """A watch for one more worker; to be called in the worker's own task."""
        watch = Watch(self)
        self._watches.append(watch)
        return watch

    def wake_at(self, when: float) -> None:
        """Have `on_alarm` called with the time, at the earliest of the times asked for since it was called last."""
        if when < self._alarm_at:
            self._alarm_at = when
            self._nap.deadline = min(self._nap.deadline, when)

    def expect(self, watch: Watch) -> None:
        """Cancel the watch's scope if its item is still in hand after `item_timeout` seconds."""
        watch.overdue_at = anyio.current_time() + self.item_timeout
        # Later items are due later: only the first one moves the alarm.
        if self._sweep_at == math.inf:
            self._sweep_at = watch.overdue_at
            self._nap.deadline = min(self._nap.deadline, self._sweep_at)

    async def run(self) -> None:
        """Watch until cancelled."""
        while True:
            with anyio.CancelScope(deadline=min(self._sweep_at, self._alarm_at)) as self._nap:
                await anyio.sleep_forever()
            self._sweep(anyio.current_time())

    def _sweep(self, now: float) -> None:
        if self._sweep_at <= now:
            for watch in self._watches:
                if watch.overdue_at <= now:
                    watch.overdue_at = math.inf
                    watch.scope.cancel()
            self._sweep_at = min((watch.overdue_at for watch in self._watches), default=math.inf)
        if self._alarm_at <= now:
            self._alarm_at = math.inf
            self._on_alarm(now)
