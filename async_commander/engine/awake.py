"""Time that the process had: what a budget is charged with."""

from __future__ import annotations

import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

import anyio

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable, Iterator

PERIOD = 1.0
LATE = 5.0
"""Seconds between two ticks of an event loop, and how many of them count at most: what is beyond was stolen."""


class Awake:
    """Monotonic time, less that in which the process was stopped (SIGSTOP, a frozen machine), or its loop got no turn.

    Outages, grace and time-outs are measured with it, so that a process that slept fails at nothing that it had no
    chance to do. Event loops that run under `ticking()` tell it that they turn; as long as there is none, it is the
    monotonic clock. `time()` may be called in any thread.
    """

    def __init__(self, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._monotonic = monotonic
        self._ticked = monotonic(), 0.0
        """The last tick, and how much was stolen until then: one value, for threads read both."""
        self._loops = 0

    def time(self) -> float:
        """Seconds from a fixed moment, as the process had them. Never goes back."""
        ticked, stolen = self._ticked
        since = self._monotonic() - ticked
        return ticked - stolen + (min(since, LATE) if self._loops else since)

    def stolen(self) -> float:
        """Seconds that the process did not have until now; 0 as long as no event loop says that it turns."""
        ticked, stolen = self._ticked
        return stolen + max(0.0, self._monotonic() - ticked - LATE) if self._loops else stolen

    def tick(self) -> None:
        """An event loop turns."""
        ticked, stolen = self._ticked
        now = self._monotonic()
        self._ticked = now, stolen + max(0.0, now - ticked - LATE)

    @contextmanager
    def ticking(self, loop: asyncio.AbstractEventLoop) -> Iterator[None]:
        """For the time of the block this loop ticks."""

        def tick() -> None:
            self.tick()
            timers[0] = loop.call_later(PERIOD, tick)

        if not self._loops:
            self._ticked = self._monotonic(), self._ticked[1]  # nobody ticked meanwhile, and nothing was stolen
        self._loops += 1
        timers = [loop.call_later(PERIOD, tick)]
        try:
            yield
        finally:
            timers[0].cancel()
            self._loops -= 1

    async def sleep(self, seconds: float) -> None:
        """Sleep for so long, awake."""
        until = self.time() + seconds
        while (left := until - self.time()) > 0:  # noqa: ASYNC110 - for time itself nobody sends word
            await anyio.sleep(left)


awake = Awake()
"""The clock of this process."""
