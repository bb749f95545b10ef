"""Tickets that wait for a time or for their host's turn, and hold no worker meanwhile.

The house is bounded. Where it is full, the one whose turn is furthest away is put out, to the ledger, until shortly
before its turn: so a host that is slow or paused does not stop the reading of others.
"""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass, field
from heapq import heappop, heappush
from itertools import count
from typing import TYPE_CHECKING, Generic

import anyio

from .ports import TicketT

if TYPE_CHECKING:
    from collections.abc import Iterator

    from async_commander.results import Tally

    from .deadlines import Deadlines
    from .intake import Intake
    from .pace import Pace
    from .ports import Ports

NEAR = 1.0
"""Seconds to a turn for which a ticket is kept here: the way through the ledger takes about so long."""
MOST_LINES = 16_384
"""Hosts whose line is remembered although all that wait in it were put out."""


@dataclass(slots=True)
class _Line(Generic[TicketT]):
    """Those that wait for one host. Each has a number; who was put out keeps a place between those who stayed."""

    tickets: deque[TicketT] = field(default_factory=deque)
    served: int = 0
    """The number whose turn is next."""
    last: int = 0
    """The number that the next newcomer gets, at least."""
    out: int = 0
    """How many were put out and are not back yet."""

    def append(self, ticket: TicketT) -> None:
        ticket.place = self.served + len(self.tickets)
        if not (ticket.known or ticket.attempts):  # those that come back were before the newcomers
            ticket.place = max(ticket.place, self.last)
            self.last = ticket.place + 1
        self.tickets.append(ticket)

    @property
    def before_the_last(self) -> int:
        """How many have their turn before the last of those that are here."""
        return max(0, self.tickets[-1].place - self.served)


class Waiting(Generic[TicketT]):
    """A heap of tickets by time, and a line of tickets per host. Those whose time or turn has come go to the intake."""

    def __init__(
        self,
        ports: Ports[TicketT],
        capacity: int,
        *,
        pace: Pace,
        tally: Tally,
        intake: Intake[TicketT],
        deadlines: Deadlines,
    ) -> None:
        self._ports = ports
        self.capacity = capacity
        self._pace = pace
        self._tally = tally
        self._intake = intake
        self._deadlines = deadlines
        self._order = count()
        self._heap: list[tuple[float, int, TicketT]] = []
        self._lines: dict[str, _Line[TicketT]] = {}
        self._bells: list[tuple[float, str]] = []
        self._belled: set[str] = set()
        self._in_line = 0
        self._none_far_until = 0.0
        pace.on_release = self._call_next
        deadlines.look_after(self)

    def __len__(self) -> int:
        """Tickets that wait."""
        return len(self._heap) + self._in_line

    def __iter__(self) -> Iterator[TicketT]:
        yield from (ticket for _, _, ticket in self._heap)
        for line in self._lines.values():
            yield from line.tickets

    @property
    def full(self) -> bool:
        """No room for another retry."""
        return len(self) >= self.capacity

    @property
    def crowded(self) -> bool:
        """More wait here than there is room for: nothing new should be taken, and some should be put out."""
        return len(self) > self.capacity

    def until(self, when: float, ticket: TicketT) -> None:
        """Keep a ticket until a time on the event loop's clock."""
        heappush(self._heap, (when, next(self._order), ticket))
        self._deadlines.wake_at(when)
        self._show()

    def take_turn(self, ticket: TicketT) -> bool:
        """Whether it has its host's turn, or needs none. Else it was put in line for it."""
        key = ticket.throttle
        if key is None:
            return True
        had = self._pace.reserve(key) == 0
        if not had:
            if len(self._lines) >= MOST_LINES + self._in_line:
                self._lines = {key: line for key, line in self._lines.items() if line.tickets}
            self._lines.setdefault(key, _Line()).append(ticket)
            self._in_line += 1
        elif (line := self._lines.get(key)) is not None:
            line.served += 1
        self._call_next(key)
        return had

    def came_back(self, ticket: TicketT) -> None:
        """The ledger gave a ticket back, which was put out, perhaps."""
        line = self._lines.get(ticket.throttle or "")
        if line is not None and line.out:
            line.out -= 1

    def pace_changed(self) -> None:
        """Turns come sooner, or later, than was thought: look anew at all who wait for one."""
        self._bells.clear()
        self._belled.clear()
        self._none_far_until = 0.0
        for key in tuple(self._lines):
            self._call_next(key)

    def put_out_furthest(self) -> tuple[TicketT, float] | None:
        """Take the ticket whose turn is furthest away out of its line; for how many seconds it may stay away.

        None where there is room, or all turns are near, or those whose turn is far can be kept nowhere else.
        """
        if not self.crowded:
            return None
        if anyio.current_time() < self._none_far_until:
            self._deadlines.wake_at(self._none_far_until)  # an alarm may come a moment early
            return None
        expected = self._pace.expected
        turns = ((expected(key, line.before_the_last), key) for key, line in self._lines.items() if line.tickets)
        for seconds, key in sorted(turns, reverse=True):
            line = self._lines[key]
            if seconds < NEAR:
                break
            if self._ports.keepable(line.tickets[-1]):
                line.out += 1
                self._in_line -= 1
                self._show()
                away = seconds if self._pace.measured(key) else expected(key, 0)
                return line.tickets.pop(), max(NEAR / 4, away - NEAR)
        # All lines were looked at: with many hosts, that should not be done for every item.
        self._none_far_until = anyio.current_time() + NEAR / 4
        self._deadlines.wake_at(self._none_far_until)
        return None

    def close(self) -> None:
        """Forget all that wait: they were handed to the ledger, or given back."""
        self._heap.clear()
        self._lines.clear()
        self._in_line = 0
        self._pace.on_release = None
        self._show()

    def on_alarm(self, now: float) -> float:
        """Let go of all whose time has come; returns when to look again."""
        while self._heap and self._heap[0][0] <= now:
            self._intake.again(heappop(self._heap)[2])
        while self._bells and self._bells[0][0] <= now:
            _, key = heappop(self._bells)
            self._belled.discard(key)
            self._call_next(key)
        self._show()
        return min(line[0][0] if line else math.inf for line in (self._heap, self._bells))

    def _call_next(self, key: str) -> None:
        """Let the first in a host's line go if its turn has come, or look again when it will.

        Where the host's budget is spent, all go: they are given up.
        """
        line = self._lines.get(key)
        if line is None:
            return
        spent, wait = self._pace.spent(key), self._pace.wait(key)
        while line.tickets and (spent or wait == 0):
            line.served += 1
            self._in_line -= 1
            self._intake.again(line.tickets.popleft())
            if not spent:
                break
        else:
            if line.tickets and wait < math.inf and key not in self._belled:
                # One bell a host is enough, as whoever hears it sets the next.
                when = anyio.current_time() + wait
                self._belled.add(key)
                heappush(self._bells, (when, key))
                self._deadlines.wake_at(when)
        if not (line.tickets or line.out):
            del self._lines[key]
        self._show()

    def _show(self) -> None:
        self._tally.waiting = len(self)
        self._tally.paused_hosts = self._pace.paused
