"""Tickets that are worked on together: those of one key gather until there are enough, or the first has waited enough.

worked on alone ──▶ gathered ──enough, or waited, or nothing else to come──▶ ready ──▶ worked on together
▲                │ failed
└──── halves ────┘
"""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Generic

import anyio

from .ports import TicketT

if TYPE_CHECKING:
    from collections.abc import Hashable, Iterator, Sequence

    from async_commander.results import Tally

    from .deadlines import Deadlines
    from .limits import Batches
    from .workers import Workers


@dataclass(slots=True)
class _Group(Generic[TicketT]):
    closes_at: float
    tickets: list[TicketT] = field(default_factory=list)


class Gathering(Generic[TicketT]):
    """Holds no worker. Those in here are in hand: begun, and not finished.

    At most twice as many tickets as make a batch gather, of whatever keys: of more, those that have waited longest are
    a batch although it is not full.
    """

    def __init__(self, batches: Batches, *, tally: Tally, workers: Workers, deadlines: Deadlines) -> None:
        self._size, self._seconds = batches.size, batches.seconds
        self._tally = tally
        self._workers = workers
        self._deadlines = deadlines
        self._groups: dict[Hashable, _Group[TicketT]] = {}
        """The oldest first, which is also the first to close: all wait for the same time."""
        self._gathered = 0
        self.ready: deque[Sequence[TicketT]] = deque()
        deadlines.look_after(self)

    def __len__(self) -> int:
        """Tickets in here."""
        return self._gathered + sum(map(len, self.ready))

    def __iter__(self) -> Iterator[TicketT]:
        for tickets in (*(group.tickets for group in self._groups.values()), *self.ready):
            yield from tickets

    def add(self, ticket: TicketT) -> None:
        """It waits for others of its group."""
        group = self._groups.get(ticket.group)
        if group is None:
            group = self._groups[ticket.group] = _Group(anyio.current_time() + self._seconds)
            self._deadlines.wake_at(group.closes_at)
        group.tickets.append(ticket)
        self._gathered += 1
        self._tally.in_flight += 1
        if len(group.tickets) >= self._size:
            self._close(ticket.group)
        elif self._gathered >= 2 * self._size:
            self._close(next(iter(self._groups)))

    def halve(self, tickets: Sequence[TicketT]) -> None:
        """They failed together: one half and the other are tried each by itself, and before all others."""
        half = len(tickets) // 2
        self._tally.in_flight += len(tickets)
        self.ready.extendleft((tickets[half:], tickets[:half]))
        self._workers.wake()

    def flush(self) -> None:
        """Wait for no others."""
        for key in list(self._groups):
            self._close(key)

    def close(self) -> None:
        """The run has ended: those in here will be given back, as if not begun."""
        for ticket in self:
            ticket.attempts -= 1
            self._tally.in_flight -= 1
        self._groups.clear()
        self.ready.clear()
        self._gathered = 0

    def on_alarm(self, now: float) -> float:
        """Let go of all that have waited enough; returns when to look again."""
        while self._groups:
            key, group = next(iter(self._groups.items()))
            if group.closes_at > now:
                return group.closes_at
            self._close(key)
        return math.inf

    def _close(self, key: Hashable) -> None:
        tickets = self._groups.pop(key).tickets
        self._gathered -= len(tickets)
        self.ready.append(tickets)
        self._workers.wake()
