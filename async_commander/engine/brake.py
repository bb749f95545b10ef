"""Holds back what has not begun, for the sake of what all items share: somebody says for how long."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Protocol

import anyio

if TYPE_CHECKING:
    from async_commander.results import Tally

    from .deadlines import Deadlines

ASKED_EVERY = 1.0
"""Seconds between two questions, at least."""


class Holder(Protocol):
    """Who says how long nothing is to begin."""

    async def seconds_to_wait(self) -> float:
        """0: go on. Asked at most once a second, and only when an item is about to begin. It may be cancelled."""

    def held(self, seconds: float, /) -> None:
        """For so long nothing has begun."""


class Brake:
    """No item begins while it holds; those in hand go on. It costs no item any time, as it holds them before.

    Whoever finds that it `is_due` asks; until the answer it holds for all others.
    """

    def __init__(self, holder: Holder, *, tally: Tally, deadlines: Deadlines) -> None:
        self._holder = holder
        self._tally = tally
        self._deadlines = deadlines
        self._asked_at = -math.inf
        self._asking: anyio.CancelScope | None = None
        self._since = self._until = -math.inf
        self._closed = False
        deadlines.look_after(self)

    @property
    def holds(self) -> bool:
        """Nothing may begin now. Who waits is woken at the end."""
        return self._asking is not None or anyio.current_time() < self._until

    @property
    def is_due(self) -> bool:
        """To be asked before anything begins."""
        return anyio.current_time() - self._asked_at >= ASKED_EVERY

    async def ask(self) -> None:
        """Ask, and hold for as long as the answer says."""
        self._release()
        self._asked_at = anyio.current_time()
        seconds = 0.0
        try:
            with anyio.CancelScope() as self._asking:
                seconds = await self._holder.seconds_to_wait()
        finally:
            self._asking = None
        if seconds > 0 and not self._closed:
            self._since = anyio.current_time()
            self._until = self._since + seconds
            self._tally.held_until = self._until
            self._deadlines.wake_at(self._until)

    def stop(self) -> None:
        """Nothing begins any more: the answer to what was asked does not matter. From a callback of the loop, too."""
        self._closed = True
        self._tally.held_until = 0.0
        if self._asking is not None:
            self._asking.cancel()

    def close(self) -> None:
        """The run is over."""
        self._closed = True
        self._release()

    def on_alarm(self, now: float) -> float:
        """See whether the time is over; returns when to look next."""
        if now < self._until:
            return self._until
        self._release()
        return math.inf

    def _release(self) -> None:
        if self._until > -math.inf:
            self._holder.held(min(anyio.current_time(), self._until) - self._since)
            self._since = self._until = -math.inf
            self._tally.held_until = 0.0
