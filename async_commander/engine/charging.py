"""Which time counts for an item: waiting for what it shares with others does not."""

from __future__ import annotations

import math
import threading
import time
from contextvars import ContextVar
from typing import TYPE_CHECKING, Self

import anyio

from .awake import awake

if TYPE_CHECKING:
    from types import TracebackType

_THREADS_ARE_SEEN_AFTER = 1.0
"""Seconds after which a clock that stands still is looked at again: a thread cannot move the alarm of the loop."""


_mutex = threading.Lock()
"""For all clocks: it is held for a moment, and a lock for each item would cost more than the item."""


class ItemClock:
    """The time of one attempt at an item. It stands still while one of its waits lasts, or the process does.

    Waits begin and end in any thread; all else belongs to the event loop. `ahead` is how far its clock is ahead of
    `time.monotonic()`: threads have no loop to ask.
    """

    __slots__ = ("_ahead", "_ends_at", "_left", "_over", "_stolen", "_waits")

    def __init__(self, ends_at: float, ahead: float) -> None:
        self._ends_at = ends_at
        self._ahead = ahead
        self._stolen = awake.stolen()
        self._left = 0.0
        self._waits = 0
        self._over = False

    def ends_at(self, now: float) -> float:
        """When the time is up at the earliest, on the event loop's clock; inf after `close()`."""
        with _mutex:
            if self._over:
                return math.inf
            left = self._left if self._waits else self._ends_at - now
            if left <= 0 and (stolen := awake.stolen() - self._stolen) > 0:
                left, self._left, self._ends_at = left + stolen, self._left + stolen, self._ends_at + stolen
                self._stolen += stolen
            if self._waits and left > 0:
                return now + max(left, _THREADS_ARE_SEEN_AFTER)
            return now + left

    def close(self) -> None:
        """The attempt ended. Waits that its tasks left behind change nothing any more."""
        self._over = True

    def stand_still(self) -> None:
        """A wait begins."""
        now = self._now()
        with _mutex:
            self._waits += 1
            if self._waits == 1:
                self._left = self._ends_at - now

    def go_on(self) -> None:
        """A wait ended."""
        now = self._now()
        with _mutex:
            self._waits -= 1
            if not self._waits:
                self._ends_at = now + self._left

    def charge(self, seconds: float) -> None:
        """So much of a wait that lasts was none."""
        with _mutex:
            self._left -= seconds

    def _now(self) -> float:
        try:
            return anyio.current_time()
        except RuntimeError:  # in a thread
            return time.monotonic() + self._ahead


def ahead_of_threads() -> float:
    """How far the clock of this event loop is ahead of `time.monotonic()`."""
    return anyio.current_time() - time.monotonic()


item_clock: ContextVar[ItemClock | None] = ContextVar("async_commander_item_clock", default=None)
"""The clock of the item that this code is part of, where its time is limited."""


class Wait:
    """A wait that is not charged, from its making until `over()`, which may be called in any thread, and twice."""

    __slots__ = ("_clocks",)

    def __init__(self, clock: ItemClock | None) -> None:
        self._clocks = [] if clock is None else [clock]
        if clock is not None:
            clock.stand_still()

    def charge(self, seconds: float) -> None:
        """So much of the time until now counts all the same. Before `over()`."""
        for clock in self._clocks:
            clock.charge(seconds)

    def over(self) -> None:
        """From here on the time counts again."""
        try:
            clock = self._clocks.pop()  # in one step: the thread that serves and the one that waits may both call
        except IndexError:
            return
        clock.go_on()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.over()


def uncharged() -> Wait:
    """Begin a wait for what items share: the pool, a lane, a connection, the write gate, a host's turn.

    `with uncharged():` goes around the wait. The clock of the item in hand, and with it its `item_timeout`, stands
    still until the end of the block, or until `over()` where service begins inside of it. Blocks may be nested, and lie
    beside each other in several tasks and threads of one item: its time counts again after the last of them. Code that
    belongs to no item may use it, too.
    """
    return Wait(item_clock.get())
