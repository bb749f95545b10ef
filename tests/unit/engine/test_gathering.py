"""Tickets that are worked on together: full batches, no waiting without need, and one guilty one found among them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import anyio
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from async_commander.engine.limits import Batches, Limits, Retry
from async_commander.engine.pipeline import Pipeline
from async_commander.engine.quota import Quota
from async_commander.exceptions import SkipItem
from async_commander.results import ItemState

from .desk import Deadly, Desk, Throttled, Transient, nothing

pytestmark = pytest.mark.anyio


@dataclass(eq=False)
class TogetherDesk(Desk):
    """`work_on(item)` is what each needs by itself, `together(items)` the call for many."""

    together: Any = nothing
    batches: Batches = field(default_factory=lambda: Batches(size=10, seconds=5.0))
    group: Any = lambda item: None

    def __post_init__(self) -> None:
        super().__post_init__()
        self.pipeline = Pipeline(
            self,
            limits=self.limits,
            retry=self.retry,
            tally=self.tally,
            pace=self.pace,
            chunk=self.chunk,
            quota=Quota(self.tally),
            batches=self.batches,
        )
        self.calls: list[list[Any]] = []
        self.most_gathered = 0

    async def work(self, ticket) -> None:
        self.began.append(ticket.item)
        await self.work_on(ticket.item)
        ticket.group = self.group(ticket.item)

    async def work_together(self, tickets: Sequence[Any]) -> None:
        self.most_gathered = max(self.most_gathered, len(self.pipeline._gathering) + len(tickets))
        self.calls.append([ticket.item for ticket in tickets])
        await self.together(self.calls[-1])
        for ticket in tickets:
            ticket.state = ItemState.DONE
        self._unwritten.append(tickets)
        self._news.set()

    def commit(self, batch=None) -> None:
        for entry in list(batch if batch is not None else self._unwritten):
            if not isinstance(entry, Sequence):
                duds, self._duds = self._duds, set()  # the commit of an outcome does not fail
                super().commit([entry])
                self._duds = duds
            elif any(ticket.item in self._duds for ticket in entry):
                if len(entry) == 1:
                    self._duds.discard(entry[0].item)
                for ticket in entry:
                    ticket.state = ItemState.CLAIMED
                self.pipeline.rejected(entry[0], Transient("commit failed"))
            else:
                super().commit(entry)


async def test_calls_are_full_while_there_are_enough_and_the_end_waits_for_nobody() -> None:
    desk = TogetherDesk()
    started = anyio.current_time()
    assert await desk.run(range(35))
    assert sorted(map(len, desk.calls), reverse=True) == [10, 10, 10, 5]
    assert anyio.current_time() - started < 1
    desk.check_books()


async def test_more_than_there_are_workers_gather() -> None:
    desk = TogetherDesk(limits=Limits(threads=2))
    assert await desk.run(range(20))
    assert list(map(len, desk.calls)) == [10, 10]


async def test_the_first_one_waits_for_so_long_and_no_longer() -> None:
    async def slow():
        for item in range(7):
            await anyio.sleep(2)
            yield item

    desk = TogetherDesk()
    assert await desk.run(slow())
    assert desk.calls == [[0, 1, 2], [3, 4, 5], [6]]


async def test_each_key_has_calls_of_its_own_and_memory_is_bounded() -> None:
    async def endless():
        for item in range(300):
            await anyio.sleep(0.001)
            yield item

    desk = TogetherDesk(group=lambda item: item % 50, batches=Batches(size=10, seconds=1e6))
    assert await desk.run(endless())
    assert all(len({item % 50 for item in call}) == 1 for call in desk.calls)
    assert desk.most_gathered <= 2 * 10 + 4 * 10
    desk.check_books()


async def test_the_guilty_one_alone_loses_attempts() -> None:
    async def together(items) -> None:
        if 7 in items:
            raise Transient

    desk = TogetherDesk(together=together, retry=Retry(attempts=2, initial=1.0, factor=1.0))
    assert await desk.run(range(20))
    assert desk.of(ItemState.DEAD) == [7]
    assert desk.began.count(7) == 2
    assert all(desk.began.count(item) == 1 for item in range(20) if item != 7)
    assert len(desk.calls) < 15
    desk.check_books()


async def test_a_commit_that_fails_is_halved_as_well() -> None:
    desk = TogetherDesk()
    desk.dud(3)
    assert await desk.run(range(20))
    assert len(desk.of(ItemState.DONE)) == 20
    assert desk.began.count(3) == 2
    desk.check_books()


async def test_where_a_host_asks_for_time_all_wait_and_nobody_is_guilty() -> None:
    answers = [Throttled(3.0)]

    async def together(items) -> None:
        if answers:
            raise answers.pop()

    desk = TogetherDesk(together=together, retry=Retry(attempts=1))
    assert await desk.run(range(8))
    assert len(desk.calls) == 2
    assert len(desk.of(ItemState.DONE)) == 8


async def test_one_that_is_suspected_is_called_for_alone() -> None:
    desk = TogetherDesk(alone=lambda item: item == 4)
    assert await desk.run(range(8))
    assert desk.calls == [[0, 1, 2, 3, 5, 6, 7], [4]]
    desk.check_books()


async def test_a_call_that_takes_too_long_is_halved_and_each_half_has_its_time() -> None:
    async def together(items) -> None:
        await anyio.sleep(len(items) * 0.3)

    desk = TogetherDesk(together=together, limits=Limits(threads=2, item_timeout=1.0))
    assert await desk.run(range(10))
    assert len(desk.of(ItemState.DONE)) == 10
    assert max(len(call) for call in desk.calls[1:]) <= 5


async def test_what_ends_the_run_is_no_items_fault() -> None:
    async def together(items) -> None:
        raise Deadly

    desk = TogetherDesk(together=together)
    with pytest.raises(Deadly):
        await desk.run(range(20))
    assert desk.tally.claimed == desk.tally.in_flight == 0


@pytest.mark.parametrize("how", ["stop", "cancel"])
async def test_a_stop_finishes_what_was_gathered_and_a_cancel_gives_it_back(how) -> None:
    async def source():
        for item in range(5):
            yield item
        await anyio.sleep(1)
        getattr(desk.pipeline, how)()
        await anyio.sleep_forever()

    async def together(items) -> None:
        await anyio.sleep(1)

    desk = TogetherDesk(together=together, batches=Batches(size=10, seconds=1e6))
    assert await desk.run(source()) is False
    assert desk.of(ItemState.DONE) == (list(range(5)) if how == "stop" else [])
    assert desk.tally.claimed == desk.tally.in_flight == 0


@dataclass(frozen=True)
class Plan:
    group: int
    line: str | None
    outcomes: tuple[str, ...]
    alone: bool


errors = {"again": Transient, "dead": ValueError, "skip": SkipItem}
outcome = st.sampled_from(["ok", "ok", "ok", "again", "dead", "skip"])


@settings(max_examples=100, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    plans=st.lists(
        st.builds(
            Plan,
            group=st.integers(0, 2),
            line=st.sampled_from([None, None, "a", "b"]),
            outcomes=st.lists(outcome, min_size=1, max_size=3).map(tuple),
            alone=st.sampled_from([False] * 9 + [True]),
        ),
        max_size=60,
    ),
    threads=st.integers(1, 4),
    size=st.integers(1, 9),
    batch_size=st.integers(1, 9),
    commit_time=st.sampled_from([0.0, 0.5]),
    duds=st.sets(st.integers(0, 60), max_size=4),
    pause=st.sampled_from([None, 0.4]),
    end=st.sampled_from([None, None, None, "stop", "cancel"]),
    end_after=st.floats(0, 20),
)
async def test_model(  # noqa: C901 - a model and its checks are read as one
    plans, threads, size, batch_size, commit_time, duds, pause, end, end_after
) -> None:
    source = list(enumerate(plans))
    failed: defaultdict[int, int] = defaultdict(int)

    async def together(items) -> None:
        assert len({plan.group for _, plan in items}) == 1
        assert len(items) <= size
        lines = [plan.line for _, plan in items if plan.line is not None]
        assert len(lines) == len(set(lines)), "two of one line in one call"
        await anyio.sleep(0.3)
        for n, plan in items:
            what = plan.outcomes[min(failed[n], len(plan.outcomes) - 1)]
            if what in errors:
                if len(items) == 1:
                    failed[n] += 1
                raise errors[what]

    async def items():
        for item in source:
            if pause and item[0] % 7 == 0:
                await anyio.sleep(pause)
            yield item

    desk = TogetherDesk(
        together=together,
        limits=Limits(threads=threads, batch_size=batch_size, max_failures=None),
        retry=Retry(attempts=3, initial=1.0, factor=1.0),
        order=lambda item: item[1].line,
        group=lambda item: item[1].group,
        alone=lambda item: item[1].alone,
        batches=Batches(size=size, seconds=2.0),
        commit_time=commit_time,
        calls_back=True,
    )
    for n, plan in source:
        if n in duds:
            desk.dud((n, plan))

    async def end_it() -> None:
        await anyio.sleep(end_after)
        getattr(desk.pipeline, end)()

    with anyio.fail_after(1e6):
        async with anyio.create_task_group() as tasks:
            if end is not None:
                tasks.start_soon(end_it)
            complete = await desk.run(items())
            tasks.cancel_scope.cancel()
    assert desk.tally.claimed == desk.tally.in_flight == 0, desk.tally
    assert desk.most_gathered <= (2 + threads) * size + threads
    if end is not None:
        return
    assert complete
    desk.check_books()
    for n, plan in source:
        innocent = set(plan.outcomes) == {"ok"} and n not in duds
        if innocent:
            assert desk.states[n, plan] is ItemState.DONE
            assert desk.began.count((n, plan)) == 1, "an innocent one lost an attempt"
