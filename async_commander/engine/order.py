"""Lines of tickets that go one after another: of each line the first is worked on, until it is settled for good.

first ─── in hand, or waiting for its next attempt: here, or `away` in the ledger until its time has come
waiting ─ the next ones, in memory
put by ── those after them, in the ledger, which gives them back when few are waiting
behind ── those after them that no ledger can keep

What waits holds no worker. So that a line with a million tickets neither fills the memory nor keeps others from being
read, few of a line wait in memory, and of all lines together at most so many as there is room for.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Generic, Protocol

from async_commander.results import ItemState

from .ports import TicketT

if TYPE_CHECKING:
    from collections.abc import Hashable, Iterable, Sequence

    from .ports import Ports

IN_MEMORY = 16
"""So many of one line wait in memory before the next ones are put by, and are called back at once."""
MOST_LINES = 16_384
"""Lines that are remembered before the reading stops: of most of them nothing is in memory but their name."""


class Door(Protocol):
    """Where those come in whose turn it is."""

    def again(self, ticket: Any, /) -> None:
        """It may begin."""

    def ask_now(self) -> None:
        """The ledger is to be asked for what is called."""


@dataclass(slots=True)
class _Line(Generic[TicketT]):
    first: TicketT | None = None
    away: Hashable = None
    """The first one's identity, while it is in the ledger until its time has come."""
    waiting: deque[TicketT] = field(default_factory=deque)
    leaving: int = 0
    """On their way to the ledger."""
    put_by: int = 0
    """In the ledger, until they are called."""
    called: bool = False
    behind: deque[TicketT] = field(default_factory=deque)

    @property
    def is_free(self) -> bool:
        """The next one may begin."""
        return self.first is None and self.away is None


class Order(Generic[TicketT]):
    """All lines. `enter` says whether a ticket may begin; the others come to the door when it is their turn.

    `surplus` are those that are to be put by: their outcome is "retry, when called".
    """

    def __init__(self, ports: Ports[TicketT], capacity: int) -> None:
        self._ports = ports
        self._capacity = capacity
        self.door: Door
        self._lines: dict[Hashable, _Line[TicketT]] = {}
        self._calls: dict[Hashable, None] = {}
        self._went: set[Hashable] = set()
        self.surplus: list[TicketT] = []
        self.waiting = 0
        """Tickets that wait in memory for those before them."""
        self.crowded = False
        """Nothing more should be read from the source. What comes from the ledger is welcome: it may be the first."""

    def __len__(self) -> int:
        """Lines that are remembered."""
        return len(self._lines)

    def enter(self, ticket: TicketT) -> bool:
        """Whether it may begin now. To be called in the order in which they are to go."""
        was_put_by, ticket.put_by = ticket.put_by, False
        line = self._lines.get(ticket.order)
        if line is None:
            self._lines[ticket.order] = _Line(ticket)
            self._look()
            return True
        if line.away is not None and line.away == ticket.identity:
            line.away, line.first = None, ticket
            return True
        if was_put_by and line.put_by:
            line.put_by -= 1
            if line.is_free and not line.waiting:
                line.first = ticket
                return True
            line.waiting.append(ticket)
        elif self._may_be_put_by(ticket, line):
            ticket.put_by = True
            line.leaving += 1
            self.surplus.append(ticket)
            return False
        elif line.leaving or line.put_by or line.behind:
            line.behind.append(ticket)
        else:
            line.waiting.append(ticket)
        self.waiting += 1
        self._look()
        return False

    def settled(self, ticket: TicketT) -> None:
        """A ticket of a line is settled: whoever comes next may begin, unless that one only waits in the ledger."""
        line = self._lines.get(ticket.order)
        if line is None:
            return
        is_kept = ticket.state is ItemState.RETRY
        if ticket.put_by:
            line.leaving -= 1
            line.put_by += 1
        elif ticket is line.first or (line.away is not None and line.away == ticket.identity):
            line.first, line.away = None, ticket.identity if is_kept else None
        else:
            return
        self._serve(ticket.order, line)

    def came_and_went(self, ticket: TicketT) -> None:
        """One that was called has an outcome already, and will not enter."""
        ticket.put_by = False
        self._went.add(ticket.order)
        if (line := self._lines.get(ticket.order)) is not None:
            line.put_by -= 1

    def calls(self, most: int) -> Sequence[Hashable]:
        """Lines whose next ones the ledger is to give back, at most so many; they are being asked for from now on."""
        called = list(self._calls)[:most]
        for name in called:
            del self._calls[name]
        return called

    @property
    def has_calls(self) -> bool:
        """There are lines to be asked for."""
        return bool(self._calls)

    def answered(self, called: Iterable[Hashable], tickets: Iterable[TicketT]) -> None:
        """These came from the ledger, and will enter. Of a line that nothing came of nothing is there."""
        came, went = {ticket.order for ticket in tickets if ticket.put_by}, self._went
        self._went = set()
        for name in called:
            if (line := self._lines.get(name)) is not None:
                line.called = False
                if name not in came:
                    line.put_by = line.put_by if name in went else 0
                    self._serve(name, line)

    def _may_be_put_by(self, ticket: TicketT, line: _Line[TicketT]) -> bool:
        is_last = line.leaving or line.put_by or len(line.waiting) >= IN_MEMORY or self.waiting >= self._capacity
        return bool(is_last) and not line.behind and self._ports.calls_back and self._ports.keepable(ticket)

    def _serve(self, name: Hashable, line: _Line[TicketT]) -> None:
        if not (line.waiting or line.leaving or line.put_by):
            line.waiting, line.behind = line.behind, line.waiting
        if line.is_free and line.waiting:
            line.first = line.waiting.popleft()
            self.waiting -= 1
            self.door.again(line.first)
        if line.is_free and not (line.leaving or line.put_by):
            del self._lines[name]
        elif line.put_by and not line.called and len(line.waiting) <= IN_MEMORY // 2:
            line.called = True
            self._calls[name] = None
            self.door.ask_now()
        self._look()

    def _look(self) -> None:
        self.crowded = self.waiting > self._capacity or len(self._lines) > MOST_LINES
