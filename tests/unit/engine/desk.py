"""A ledger in memory with a writer of its own: ports for the pipeline's tests, keeping books to compare with."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import AsyncIterable, Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import anyio

from async_commander.engine.limits import Limits, Retry
from async_commander.engine.pace import HostUnavailable
from async_commander.engine.pipeline import Due, Pipeline, Ticket, Verdict
from async_commander.engine.quota import Quota
from async_commander.exceptions import SkipItem
from async_commander.results import ItemState, Tally

if TYPE_CHECKING:
    from async_commander.engine.pace import Pace

Work = Callable[[Any], Awaitable[Any]]


class Transient(Exception):
    """An error that is worth another attempt."""


class Throttled(Exception):
    """A server's 429, with the seconds that it asks for, or without."""

    def __init__(self, seconds: float | None = None) -> None:
        self.seconds = seconds


class Deadly(Exception):
    """An error that no other item should have to see."""


async def nothing(item: Any) -> None:
    """No work at all."""


@dataclass(eq=False)
class Desk:
    """Ports over a dict. Outcomes are committed in batches by `write()`, `commit_time` seconds each."""

    work_on: Work = nothing
    limits: Limits = field(default_factory=lambda: Limits(threads=4, batch_size=10, max_failures=None))
    retry: Retry = field(default_factory=lambda: Retry(attempts=3, initial=1.0, factor=1.0))
    pace: Pace | None = None
    chunk: int | None = None
    largest_chunk: int = 1
    max_items: int | None = None
    throttle: Callable[[Any], str | None] = lambda item: None
    alone: Callable[[Any], bool] = lambda item: False
    keeps: Callable[[Any], bool] = lambda item: True
    has_ledger: bool = True
    calls_back: bool = True
    order: Callable[[Any], Any] = lambda item: None
    holder: Any = None
    commit_time: float = 0.0
    commits: bool = True
    """False: nobody commits but the test."""
    step: Callable[[str], Awaitable[None] | None] | None = None
    """Called with a port's name whenever one is entered or left."""

    def __post_init__(self) -> None:
        self.tally = Tally()
        self.pipeline: Pipeline[Any] = Pipeline(
            self,
            limits=self.limits,
            retry=self.retry,
            tally=self.tally,
            pace=self.pace,
            chunk=self.chunk,
            largest_chunk=self.largest_chunk,
            quota=Quota(self.tally, asked=self.max_items),
            holder=self.holder,
        )
        self.states: dict[Any, ItemState] = {}
        self.reasons: dict[Any, str] = {}
        self.errors: dict[Any, BaseException] = {}
        self.chunks: list[int] = []
        self.began: list[Any] = []
        self.times: list[tuple[float, Any]] = []
        self.released: list[Any] = []
        self.postponed: list[tuple[Any, float]] = []
        self.asked: list[float] = []
        self.due_at: dict[Any, float] = {}
        self.ledger: list[tuple[float, Ticket]] = []
        self.put_by: deque[Ticket] = deque()
        self.busy: Counter[Any] = Counter()
        self.most_in_hand = self.most_unconfirmed = self.most_waiting = 0
        self.admitting = False
        self._unwritten: deque[Ticket] = deque()
        self._news = anyio.Event()
        self._duds: set[Any] = set()

    # the ports

    async def admit(self, items: Sequence[Any]) -> list[Ticket]:
        assert not self.admitting
        self.admitting = True
        await self._step("admit")
        self.chunks.append(len(items))
        self.tally.taken += len(items)
        tickets = [self.ticket(item) for item in items]
        for item in items:
            assert item not in self.states, f"{item} was admitted twice"
            self.states[item] = ItemState.CLAIMED
        await self._step("admitted")
        self.admitting = False
        return tickets

    def ticket(self, item: Any) -> Ticket:
        return Ticket(
            item=item, key=str(item), throttle=self.throttle(item), alone=self.alone(item), order=self.order(item)
        )

    async def work(self, ticket: Ticket) -> None:
        self.began.append(ticket.item)
        self.times.append((anyio.current_time(), ticket.item))
        self._measure()
        await self._step("work")
        await self.work_on(ticket.item)
        await self._step("worked")
        self.hand_over(ticket, ItemState.DONE)

    def verdict(self, ticket: Ticket, error: BaseException) -> Verdict:
        self.errors[ticket.item] = error
        match error:
            case Transient():
                return Verdict("retry", "transient", getattr(error, "retry_after", None))
            case Throttled():
                return Verdict("retry", "throttled", error.seconds, throttled=True)
            case HostUnavailable():
                return Verdict("dead", error.reason)
            case TimeoutError():
                return Verdict("retry", "timeout")
            case SkipItem():
                return Verdict("skip", "skipped")
            case Deadly():
                return Verdict("fatal")
        return Verdict("dead", "permanent")

    async def give_up(self, ticket: Ticket, error: BaseException, verdict: Verdict) -> None:
        await self._step("give_up")
        self.reasons[ticket.item] = verdict.reason
        self.hand_over(ticket, ItemState.SKIPPED if verdict.kind == "skip" else ItemState.DEAD)
        await self._step("gave_up")

    def failed(self, ticket: Ticket, error: BaseException, verdict: Verdict) -> None:
        self.errors[ticket.item] = error

    def keepable(self, ticket: Ticket) -> bool:
        return self.keeps(ticket.item)

    async def postpone(self, ticket: Ticket, delay: float | None) -> None:
        await self._step("postpone")
        if delay is not None:
            self.postponed.append((ticket.item, delay))
            self.due_at[ticket.item] = anyio.current_time() + delay
        self.hand_over(ticket, ItemState.RETRY)
        await self._step("postponed")

    async def release(self, tickets: Sequence[Ticket]) -> None:
        await self._step("release")
        for ticket in tickets:
            assert self.states.pop(ticket.item) is ItemState.CLAIMED
            self.released.append(ticket.item)
        self.tally.taken -= len(tickets)
        await self._step("released")

    async def due(self, room: int, called: Sequence[Any] = ()) -> Due[Any]:
        await self._step("due")
        now = anyio.current_time()
        self.asked.append(now)
        self.ledger.sort(key=lambda row: row[0])
        ripe = [row for row in self.ledger if row[0] <= now][:room]
        self.ledger = self.ledger[len(ripe) :]
        tickets = [ticket for _, ticket in ripe]
        for name in called:
            tickets += [ticket for ticket in self.put_by if ticket.order == name][:7]
        for ticket in tickets:
            self.states[ticket.item] = ticket.state = ItemState.CLAIMED
            if ticket in self.put_by:
                self.put_by.remove(ticket)
        self.tally.retry -= len(tickets)
        await self._step("dued")
        next_in = self.ledger[0][0] - anyio.current_time() if self.ledger else None
        return Due(tickets, next_in)

    # the writer

    def hand_over(self, ticket: Ticket, state: ItemState) -> None:
        ticket.state = state
        self._unwritten.append(ticket)
        self._news.set()

    def dud(self, item: Any) -> None:
        """The next commit of this item fails."""
        self._duds.add(item)

    async def write(self) -> None:
        """Commit for ever whatever was handed over."""
        while True:
            await self._news.wait()
            self._news = anyio.Event()
            while self._unwritten:
                batch = [self._unwritten.popleft() for _ in range(min(len(self._unwritten), self.limits.batch_size))]
                if self.commit_time:
                    await anyio.sleep(self.commit_time)
                self.commit(batch)

    def commit(self, batch: Iterable[Ticket] | None = None) -> None:
        """Commit a batch now, or all that was handed over."""
        if batch is None:
            batch, self._unwritten = list(self._unwritten), deque()
        for ticket in batch:
            self._measure()
            if ticket.item in self._duds:
                self._duds.discard(ticket.item)
                ticket.state = ItemState.CLAIMED
                self.pipeline.rejected(ticket, Transient("commit failed"))
                continue
            self.states[ticket.item] = ticket.state
            if ticket.put_by:
                self.put_by.append(ticket)
            elif ticket.state is ItemState.RETRY:
                self.ledger.append((self.due_at[ticket.item], ticket))
            self.pipeline.settled([ticket])

    # the test

    async def run(self, source: AsyncIterable[Any] | Iterable[Any]) -> bool:
        """Run the pipeline with the writer beside it."""
        error = None
        async with anyio.create_task_group() as tasks:
            if self.commits:
                tasks.start_soon(self.write)
            try:
                complete = await self.pipeline.run(source)
            except anyio.get_cancelled_exc_class():
                raise
            except BaseException as raised:  # as itself, not as a group of one
                error = raised
            tasks.cancel_scope.cancel()
        if error is not None:
            raise error
        return complete

    def check_books(self) -> None:
        """Every item that was taken has one state, and the tally says the same as the ledger."""
        counted = Counter(self.states.values())
        assert counted[ItemState.CLAIMED] == 0, self.states
        assert self.tally.claimed == 0, self.tally
        assert self.tally.done == counted[ItemState.DONE]
        assert self.tally.skipped == counted[ItemState.SKIPPED]
        assert self.tally.dead == counted[ItemState.DEAD]
        assert self.tally.retry == counted[ItemState.RETRY]
        assert self.tally.in_flight == self.tally.unconfirmed == self.tally.waiting == 0, self.tally

    def of(self, state: ItemState) -> list[Any]:
        """The items in a state."""
        return [item for item, its in self.states.items() if its is state]

    def _measure(self) -> None:
        self.most_in_hand = max(self.most_in_hand, self.tally.in_flight)
        self.most_unconfirmed = max(self.most_unconfirmed, self.tally.unconfirmed)
        self.most_waiting = max(self.most_waiting, self.tally.waiting)

    async def _step(self, name: str) -> None:
        if self.step is not None:
            waiting = self.step(name)
            if waiting is not None:
                await waiting


async def sleep(item: Any) -> None:
    """Work of one second."""
    await anyio.sleep(1)
