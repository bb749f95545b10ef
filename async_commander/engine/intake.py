"""Where tickets come from: the source, by way of `admit`, and the ledger, by way of `due`."""

from __future__ import annotations

import math
from collections import deque
from typing import TYPE_CHECKING, Any, Generic

import anyio

from .order import IN_MEMORY
from .ports import TicketT
from .source import Source
from .undisturbed import to_its_end

if TYPE_CHECKING:
    from collections.abc import AsyncIterable, Iterable, Sequence

    from .accounting import Accounting
    from .context import Gate
    from .deadlines import Deadlines
    from .order import Order
    from .ports import Ports
    from .quota import Quota
    from .workers import Workers

_SHORTEST_PAUSE = 0.05
_CHUNK_SECONDS = 0.1
"""Chunks grow while their items are begun in less than half of this, and shrink when that takes longer: a claim costs
the same for any number of items, and whatever is claimed when a process is killed is suspect."""


class Intake(Generic[TicketT]):
    """Tickets that are ready to be worked on, and how more of them are got, one chunk at a time."""

    def __init__(
        self,
        ports: Ports[TicketT],
        *,
        chunk: int,
        largest_chunk: int,
        lingers: bool,
        quota: Quota,
        accounting: Accounting[TicketT],
        order: Order[TicketT],
        workers: Workers,
        deadlines: Deadlines,
        gate: Gate,
    ) -> None:
        self._ports = ports
        self._gate = gate
        self._chunk = self._smallest_chunk = chunk
        self._lingers = lingers
        self._largest_chunk = max(chunk, largest_chunk)
        self._admitted_at = -math.inf
        self._quota = quota
        self._accounting = accounting
        self._order = order
        self._workers = workers
        self._deadlines = deadlines
        deadlines.look_after(self)
        self._source: Source[Any] = Source((), chunk, workers)
        self._refilling = False
        self._source_first = False
        self._due_now = True  # the ledger of a resumed run may have tickets from the start
        self._due_at = math.inf
        self.ready: deque[TicketT] = deque()
        self.alone: deque[TicketT] = deque()
        """Tickets that must run with nothing else in hand."""
        self.cut = False
        """The source was left for the sake of `max_items`; whether it had more was not asked."""

    def open(self, source: AsyncIterable[Any] | Iterable[Any]) -> None:
        """Say where the items come from; `feed()` reads them."""
        self._source = Source(source, self._chunk, self._workers, lingers=self._lingers, gate=self._gate)

    async def feed(self) -> None:
        """Read the source to its end, which may be an error."""
        try:
            await self._source.feed()
        finally:
            if not self._lingers:
                self.ask_now()  # what is left after the source is in the ledger

    def stop(self) -> None:
        """Leave the source. What is ready stays."""
        self._source.stop()

    def enough(self) -> None:
        """Leave the source for the sake of a bound on what is taken."""
        self._source.stop()
        self.cut = not self._source.exhausted

    @property
    def exhausted(self) -> bool:
        """The source was read and taken to its end."""
        return self._source.exhausted and self._source.dry

    @property
    def dry(self) -> bool:
        """Nothing more will come, from anywhere, as far as is known."""
        return self._source.dry and not (self._refilling or self._due_now or self._due_at < math.inf)

    @property
    def plenty(self) -> bool:
        """More than one worker would find something."""
        return bool(self.ready) or len(self._source) > 0

    @property
    def low(self) -> bool:
        """True when `refill()` is called for: nothing is ready, or it would bring a whole chunk before nothing is."""
        if self._refilling or len(self.ready) > self._chunk // 2 or (self._order.crowded and not self._due_now):
            return False
        if self.ready:
            return len(self._source) >= self._chunk
        return self._due_now or len(self._source) > 0

    async def refill(self) -> Sequence[TicketT]:
        """Get the next chunk: of the ledger if some of it is due, else of what the source has. Returns what came.

        After `source_first()` it is the other way round, once.
        """
        self._refilling = True
        source_first = self._source_first and len(self._source) and not self._order.crowded
        from_ledger = self._due_now and not source_first
        self._source_first = False
        tickets = await to_its_end(self._ask_ledger() if from_ledger else self._admit())
        self._refilling = False
        for ticket in tickets:
            ticket.handed = ticket.given_up = False
            ticket.known = ticket.known or from_ledger
            if ticket.order is None or self._order.enter(ticket):
                self.add(ticket)
        return tickets

    def source_first(self) -> None:
        """What came from the ledger goes back there: it would be asked in circles while the source waits."""
        self._source_first = True

    def again(self, ticket: TicketT) -> None:
        """The time or the turn of a ticket has come, unless it was settled while it waited."""
        if ticket in self._accounting:
            self.add(ticket, first=True)
            self._workers.wake()

    def add(self, ticket: TicketT, *, first: bool = False) -> None:
        """Put a ticket among those that are ready, or among those that must run alone."""
        line = self.alone if ticket.alone else self.ready
        if first:
            line.appendleft(ticket)
        else:
            line.append(ticket)

    def ask_now(self) -> None:
        """The ledger may have something that is due."""
        self._due_now = True
        self._workers.wake()

    def ask_at(self, when: float) -> None:
        """The ledger will have something by then."""
        self._due_at = min(self._due_at, when)
        self._deadlines.wake_at(when)

    def on_alarm(self, now: float) -> float:
        """Look at the clock; returns when to do so next."""
        if self._due_at <= now:
            self._due_at = math.inf
            self._due_now = True
        return self._due_at

    async def _ask_ledger(self) -> Sequence[TicketT]:
        self._due_now, self._due_at = False, math.inf
        called = self._order.calls(max(1, self._chunk // IN_MEMORY))
        due = await self._ports.due(self._chunk, called)
        self._order.answered(called, due.tickets)
        if len(due.tickets) >= self._chunk or self._order.has_calls:
            self._due_now = True
        elif due.next_in is not None:
            # A ledger that says "now" and gives nothing must not be asked in a tight loop.
            pause = due.next_in if due.tickets else max(due.next_in, _SHORTEST_PAUSE)
            self.ask_at(anyio.current_time() + pause)
        return due.tickets

    async def _admit(self) -> Sequence[TicketT]:
        items = self._source.take(self._quota.of_chunk(self._chunk))
        now = anyio.current_time()
        seconds, self._admitted_at = now - self._admitted_at, now
        if seconds > _CHUNK_SECONDS:
            self._chunk = max(self._smallest_chunk, self._chunk // 2)
        elif len(items) >= self._chunk and seconds < _CHUNK_SECONDS / 2:
            self._chunk = min(2 * self._chunk, self._largest_chunk)
        self._source.chunk = self._chunk
        tickets = await self._ports.admit(items) if items else ()
        if self._quota.spent:
            self.enough()
        return tickets
