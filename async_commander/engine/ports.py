"""What a pipeline carries, and what it asks of whoever owns the items."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Generic, Literal, Protocol, TypeVar

from async_commander.results import ItemState

if TYPE_CHECKING:
    from collections.abc import Hashable, Sequence

TicketT = TypeVar("TicketT", bound="Ticket")
"""The owner's own kind of ticket, with what else it knows of an item."""


@dataclass(eq=False)
class Ticket:
    """One item on its way. The upper fields belong to the ports, the lower ones to the pipeline.

    Most items have few of these set: without slots, the others are on the class and cost nothing.
    """

    item: Any
    key: str = ""
    crashes: int = 0
    alone: bool = False
    """Suspected of killing the process: runs after all others, with nothing else in hand or unconfirmed."""
    throttle: str | None = None
    """The pace key (the host) whose turn it needs; set by `admit` or `due`."""
    order: Hashable = None
    """The line in which it goes one after another with others; set by `admit` or `due`. None: it needs none."""
    put_by: bool = False
    """It waits in the ledger, or did until now, to be called by its order; `due` sets it for those that were called."""
    known: bool = False
    """The ledger has a row of it."""
    state: ItemState = ItemState.CLAIMED
    """The outcome; set by the ports before they call `Pipeline.settled()`."""
    attempts: int = 0
    """Attempts begun."""
    handed: bool = field(default=False, init=False, repr=False)
    """Its writes or its outcome were handed over and are not confirmed yet."""
    given_up: bool = field(default=False, init=False, repr=False)
    """What was handed over last is an outcome (dead, skipped, retry later), not work."""
    rejection: BaseException | None = field(default=None, init=False, repr=False)
    """Its writes failed while it was still in hand."""
    group: Hashable = field(default=None, init=False, repr=False)
    """With whom it is worked on together; set by `work`, where it is."""
    batch: Sequence[Ticket] | None = field(default=None, init=False, repr=False)
    """Those with whom it was worked on last, itself included."""
    next_at: float = field(default=0.0, init=False, repr=False)
    """When the next attempt may begin, on the event loop's clock."""
    began: float = field(default=0.0, init=False, repr=False)
    """When its latest attempt began, on the event loop's clock."""
    throttled: int = field(default=0, init=False, repr=False)
    """How often its host has asked it for time."""
    throttled_since: float = field(default=0.0, init=False, repr=False)
    place: int = field(default=0, init=False, repr=False)
    """Its number in the line for its host."""
    worker: int | None = field(default=None, init=False, repr=False)
    """The number of the worker that had it last, from 1 on."""

    @property
    def identity(self) -> Hashable:
        """The same for a ticket that the ledger gives back."""
        return self.key


@dataclass(frozen=True, slots=True)
class Verdict:
    """What becomes of an item that failed: tried again, given up as dead or skipped, or the end of the run."""

    kind: Literal["retry", "dead", "skip", "fatal"]
    reason: str = ""
    retry_after: float | None = None
    """Seconds that the server asked for."""
    free: bool = False
    """The attempt was no fault of the item's: it does not count."""
    throttled: bool = False
    """A host asked for time, with `retry_after` or without: it is paused. The pipeline decides whether that is free."""
    host: str | None = None
    """Which one asked; where it is None, that of the ticket."""
    answered: str | None = None
    """A host that answered the item in full, without asking for time: a refusal is an answer."""


@dataclass(frozen=True, slots=True)
class Due(Generic[TicketT]):
    """Tickets from the ledger whose time has come, and the seconds until the next one's (None: there is no other)."""

    tickets: Sequence[TicketT] = ()
    next_in: float | None = None


class Ports(Protocol[TicketT]):
    """The owner of the items: it claims, does the work, and keeps the ledger.

    All are called on the event loop, and all but `work()` are shielded from cancellation: a ledger call that was begun
    is finished. An error of any but `work()` ends the run.
    """

    has_ledger: bool
    """Whether there is a ledger to put tickets off to. Without one they wait where they are, and are given back."""
    calls_back: bool
    """Whether it also keeps tickets until they are called, and gives those of one line back in their order."""

    async def admit(self, items: Sequence[Any], /) -> Sequence[TicketT]:
        """Claim 1 to `chunk` items, one call at a time. Returns those to run now; adds to `tally.taken`."""

    async def work(self, ticket: TicketT, /) -> None:
        """All stages of one item. On return its writes are handed over: `settled()` or `rejected()` follows, or came.

        It may be cancelled at any await: hand over last, and await nothing after it that is not shielded. Where tickets
        are gathered it is what each needs by itself, and hands over nothing.
        """

    async def work_together(self, tickets: Sequence[TicketT], /) -> None:
        """What gathered tickets of one group need together. Their writes are handed over as one: `settled()` follows,
        or `rejected()` for the first of them.
        """

    def verdict(self, ticket: TicketT, error: BaseException, /) -> Verdict:
        """Judge an item's error, without effect: the pipeline decides what comes of it."""
        ...

    def failed(self, ticket: TicketT, error: BaseException, verdict: Verdict, /) -> None:
        """An attempt failed, and this was decided: "retry" means that there will be another one."""

    async def give_up(self, ticket: TicketT, error: BaseException, verdict: Verdict, /) -> None:
        """Hand over the outcome dead or skipped; `settled()` follows."""

    def keepable(self, ticket: TicketT, /) -> bool:
        """Whether the ledger can keep the item itself, so that it may be postponed without need."""
        ...

    async def postpone(self, ticket: TicketT, delay: float | None, /) -> None:
        """Hand over the outcome retry, to be due in `delay` seconds, or when it is called; `settled()` follows."""

    async def release(self, tickets: Sequence[TicketT], /) -> None:
        """Give back the claims of tickets that were not run, or not to the end; takes them out of `tally.taken`."""

    async def due(self, room: int, called: Sequence[Hashable] = (), /) -> Due[TicketT]:
        """At most `room` tickets of the ledger whose time has come; takes them out of `tally.retry` again.

        Beside these the next ones, in their order, of each line that is `called`.
        """
        ...
