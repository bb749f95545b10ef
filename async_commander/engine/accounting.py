"""The accounting of a pipeline: which tickets are open, what was handed over, and what became of the rest."""

from __future__ import annotations

from typing import TYPE_CHECKING, Generic

from async_commander.exceptions import TooManyFailures
from async_commander.results import ItemState, items_in_words

from .ports import TicketT

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from async_commander.results import Tally

    from .limits import Limits


class Accounting(Generic[TicketT]):
    """Every ticket is open from its claim until it is settled or given back. Moves the tally."""

    def __init__(self, tally: Tally, limits: Limits) -> None:
        self._tally = tally
        self.limits = limits
        self._unconfirmed_at_most = 2 * limits.batch_size
        self._open: set[TicketT] = set()

    def __len__(self) -> int:
        """Tickets that are open, wherever they are now."""
        return len(self._open)

    def __contains__(self, ticket: TicketT) -> bool:
        return ticket in self._open

    def __iter__(self) -> Iterator[TicketT]:
        return iter(self._open)

    @property
    def full(self) -> bool:
        """So much is unconfirmed that nothing more should be begun."""
        return self._tally.unconfirmed >= self._unconfirmed_at_most

    @property
    def idle(self) -> bool:
        """Nothing is in hand or unconfirmed."""
        return not self._tally.in_flight and not self._tally.unconfirmed

    def open(self, tickets: Iterable[TicketT]) -> None:
        """Enter tickets that were claimed."""
        self._open.update(tickets)

    def give_back(self, tickets: Iterable[TicketT]) -> None:
        """Strike out tickets whose claim is given back."""
        self._open.difference_update(tickets)

    def begin(self, ticket: TicketT) -> None:
        """An attempt begins."""
        self._tally.in_flight += 1
        if ticket.attempts:
            self._tally.retried += 1
        ticket.attempts += 1
        ticket.rejection = None

    def end(self) -> None:
        """An attempt ended, somehow."""
        self._tally.in_flight -= 1

    def hand_over(self, ticket: TicketT) -> None:
        """Its writes are somebody else's now, unless they are settled already."""
        if ticket in self._open:
            ticket.handed = True
            self._tally.unconfirmed += 1

    def take_back(self, ticket: TicketT) -> None:
        """What was handed over is confirmed, or was rejected."""
        if ticket.handed:
            ticket.handed = False
            self._tally.unconfirmed -= 1

    def settle(self, ticket: TicketT) -> None:
        """Count the outcome in `ticket.state`. Raises RuntimeError if there is none, or if it was counted before."""
        if ticket not in self._open or ticket.state is ItemState.CLAIMED:
            raise RuntimeError(f"{ticket} was settled without an outcome, twice, or after it was given back")
        self._open.remove(ticket)
        self.take_back(ticket)
        if ticket.state is ItemState.DONE:
            self._tally.done += 1
        elif ticket.state is ItemState.SKIPPED:
            self._tally.skipped += 1
        elif ticket.state is ItemState.RETRY:
            self._tally.retry += 1
        else:
            self._tally.dead += 1

    def too_many_failures(self) -> TooManyFailures | None:
        """The error that ends the run, if more items are dead than `max_failures` allows."""
        return too_many_failures(self._tally, self.limits)

    def check(self) -> None:
        """To be called when all is done. Raises RuntimeError if an item was taken and has no outcome."""
        if self._tally.claimed:
            raise RuntimeError(f"all items were carried, but the books do not balance: {self._tally.as_counts()}")


def too_many_failures(tally: Tally, limits: Limits) -> TooManyFailures | None:
    """The error that ends a run with these counts, if more items are dead than `max_failures` allows."""
    dead = tally.dead - tally.dead_before
    finished = tally.done + tally.skipped + tally.dead - tally.settled_before
    allowed = limits.failures_allowed(finished)
    if allowed is None or dead <= allowed:
        return None
    bound = f"max_failures={limits.max_failures!r}"
    told = f"{items_in_words(dead)} failed, {allowed} allowed ({bound}, {items_in_words(finished)} finished)"
    return TooManyFailures(told)
