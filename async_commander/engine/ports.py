"""What a pipeline carries, and what it asks of whoever owns the items."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Generic, Literal, Protocol, TypeVar

from .results import ItemState

if TYPE_CHECKING:
    from collections.abc import Sequence

ItemT = TypeVar("ItemT")


@dataclass(slots=True, eq=False)
class Ticket(Generic[ItemT]):
    """One item on its way. The upper fields belong to the ports, the lower ones to the pipeline."""

    item: ItemT
    key: str = ""
    crashes: int = 0
    alone: bool = False
    """Suspected of killing the process: runs after all others, with nothing else in hand or unconfirmed."""
    throttle: str | None = None
    """The pace key (the host) whose turn it needs; set by `admit` or `due`."""
    state: ItemState = ItemState.CLAIMED
    """The outcome; set by the ports before they call `Pipeline.settled()`."""
    tag: Any = None
    """The ports' own bag."""

    attempts: int = 0
    """Attempts begun."""
    handed: bool = field(default=False, repr=False)
    """Its writes or its outcome were handed over and are not confirmed yet."""
    given_up: bool = field(default=False, repr=False)
    """What was handed over last is an outcome (dead, skipped, retry later), not work."""
    rejection: BaseException | None = field(default=None, repr=False)
    """Its writes failed while it was still in hand."""
    next_at: float = field(default=0.0, repr=False)
    """When the next attempt may begin, on the event loop's clock."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What becomes of an item that failed: tried again, given up as dead or skipped, or the end of the run."""

    kind: Literal["retry", "dead", "skip", "fatal"]
    reason: str = ""
    retry_after: float | None = None
    """Seconds that the server asked for."""
    free: bool = False
    """The attempt was no fault of the item's: it does not count."""


@dataclass(frozen=True, slots=True)
class Due(Generic[ItemT]):
    """Tickets from the ledger whose time has come, and the seconds until the next one's (None: there is no other)."""

    tickets: Sequence[Ticket[ItemT]] = ()
    next_in: float | None = None


class Ports(Protocol[ItemT]):
    """The owner of the items: it claims, does the work, and keeps the ledger.

    All are called on the event loop, and all but `work()` are shielded from cancellation: a ledger call that was begun
    is finished. An error of any but `work()` ends the run.
    """

    async def admit(self, items: Sequence[ItemT], /) -> Sequence[Ticket[ItemT]]:
        """Claim 1 to `chunk` items, one call at a time. Returns those to run now; adds to `tally.taken`."""

    async def work(self, ticket: Ticket[ItemT], /) -> None:
        """All stages of one item. On return its writes are handed over: `settled()` or `rejected()` follows, or came.

        It may be cancelled at any await: hand over last, and await nothing after it that is not shielded.
        """

    def verdict(self, ticket: Ticket[ItemT], error: BaseException, /) -> Verdict:
        """Judge an item's error. The pipeline itself turns a retry into dead ("exhausted") after the last attempt."""
        ...

    async def give_up(self, ticket: Ticket[ItemT], error: BaseException, verdict: Verdict, /) -> None:
        """Hand over the outcome dead or skipped; `settled()` follows."""

    async def postpone(self, ticket: Ticket[ItemT], delay: float, error: BaseException | None, /) -> None:
        """Hand over the outcome retry, to be due in `delay` seconds; `settled()` follows.

        `error` is None for a ticket that did not fail just now: throttled, or waiting when the run was stopped.
        """

    async def release(self, tickets: Sequence[Ticket[ItemT]], /) -> None:
        """Give back the claims of tickets that were not run, or not to the end; takes them out of `tally.taken`."""

    async def due(self, room: int, /) -> Due[ItemT]:
        """At most `room` tickets of the ledger whose time has come; takes them out of `tally.retry` again."""
        ...
