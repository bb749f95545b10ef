"""Tickets that wait for a time or for their host's turn, and hold no worker meanwhile."""

from __future__ import annotations

import math
from collections import deque
from heapq import heappop, heappush
from itertools import count
from typing import TYPE_CHECKING, Generic

import anyio

from .ports import ItemT

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from .pace import Pace
    from .ports import Ticket
    from .results import Tally

_WORTH_POSTPONING = 1.0


class Waiting(Generic[ItemT]):
    """A heap of tickets by time, and a line of tickets per host.

    `ready` is called with each ticket whose time or turn has come, `wake_at` with the time to call `on_alarm()`.
    """

    def __init__(
        self,
        capacity: int,
        *,
        pace: Pace | None,
        tally: Tally,
        ready: Callable[[Ticket[ItemT]], None],
        wake_at: Callable[[float], None],
    ) -> None:
        self._capacity = capacity
        self._pace = pace
        self._tally = tally
        self._ready = ready
        self._wake_at = wake_at
        self._order = count()
        self._heap: list[tuple[float, int, Ticket[ItemT]]] = []
        self._lines: dict[str, deque[Ticket[ItemT]]] = {}
        self._bells: list[tuple[float, str]] = []
        self._belled: set[str] = set()
        self._in_line = 0
        if pace is not None:
            pace.on_release = self._call_next

    def __len__(self) -> int:
        """Tickets that wait."""
        return len(self._heap) + self._in_line

    def __iter__(self) -> Iterator[Ticket[ItemT]]:
        yield from (ticket for _, _, ticket in self._heap)
        for line in self._lines.values():
            yield from line

    @property
    def full(self) -> bool:
        """No room for another retry."""
        return len(self) >= self._capacity

    @property
    def crowded(self) -> bool:
        """Tickets were let in beyond the capacity, as their turn is near: nothing new should be taken."""
        return len(self) > self._capacity

    def until(self, when: float, ticket: Ticket[ItemT]) -> None:
        """Keep a ticket until a time on the event loop's clock."""
        heappush(self._heap, (when, next(self._order), ticket))
        self._wake_at(when)
        self._show()

    def take_turn(self, ticket: Ticket[ItemT]) -> float:
        """Return 0 if it has its host's turn, or needs none, and inf if it was put in line for it.

        Otherwise the house is full and its turn far: the seconds until then.
        """
        if ticket.throttle is None or self._pace is None:
            return 0
        key, wait = ticket.throttle, self._pace.reserve(ticket.throttle)
        if _WORTH_POSTPONING < wait < math.inf and self.full:
            return self._pace.wait(key, ahead=len(self._lines.get(key, ())))
        if wait > 0:
            self._lines.setdefault(key, deque()).append(ticket)
            self._in_line += 1
        self._call_next(key)
        return math.inf if wait > 0 else 0

    def close(self) -> None:
        """Forget all that wait: they were handed to the ledger, or given back."""
        self._heap.clear()
        self._lines.clear()
        self._in_line = 0
        if self._pace is not None:
            self._pace.on_release = None
        self._show()

    def on_alarm(self, now: float) -> float:
        """Let go of all whose time has come; returns when to look again."""
        while self._heap and self._heap[0][0] <= now:
            self._ready(heappop(self._heap)[2])
        while self._bells and self._bells[0][0] <= now:
            _, key = heappop(self._bells)
            self._belled.discard(key)
            self._call_next(key)
        self._show()
        return min(line[0][0] if line else math.inf for line in (self._heap, self._bells))

    def _call_next(self, key: str) -> None:
        """Let the first in a host's line go if its turn has come, or look again when it will."""
        line = self._lines.get(key)
        if line is None or self._pace is None:
            return
        wait = self._pace.wait(key)
        if wait == 0:
            self._ready(line.popleft())
            self._in_line -= 1
            if not line:
                del self._lines[key]
        elif wait < math.inf:
            self._ring(anyio.current_time() + wait, key)
        self._show()

    def _ring(self, when: float, key: str) -> None:
        # One bell a host is enough, as whoever hears it sets the next.
        if key not in self._belled:
            self._belled.add(key)
            heappush(self._bells, (when, key))
            self._wake_at(when)

    def _show(self) -> None:
        self._tally.waiting = len(self)
