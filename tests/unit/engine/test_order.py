"""Items of one key one after another: in order, others at once, in bounded memory, without a deadlock."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from typing import Any

import anyio
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from async_commander.engine.limits import Limits, Retry
from async_commander.engine.order import IN_MEMORY
from async_commander.engine.pace import Pace
from async_commander.exceptions import SkipItem
from async_commander.results import ItemState

from .desk import Desk, Transient

pytestmark = pytest.mark.anyio

ERRORS = {"again": Transient, "dead": ValueError, "skip": SkipItem}
FINAL = (ItemState.DONE, ItemState.DEAD, ItemState.SKIPPED)


class OrderedDesk(Desk):
    """Checks, at each step, that of each line one item goes at a time, and all go in the order of the source."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self.next: defaultdict[Any, int] = defaultdict(int)
        self.sequence: dict[Any, list[Any]] = defaultdict(list)
        self.open: dict[Any, Any] = {}
        self.most_in_line = self.most_open = 0

    def ticket(self, item):
        ticket = super().ticket(item)
        if ticket.order is not None:
            self.sequence[ticket.order].append(item)
        return ticket

    async def work(self, ticket) -> None:
        if ticket.order is not None:
            turn = self.sequence[ticket.order][self.next[ticket.order]]
            assert ticket.item == turn, f"{ticket.item} begins, and {turn} is not settled"
            assert self.open.setdefault(ticket.order, ticket.item) == ticket.item
        order = self.pipeline._order
        self.most_in_line = max(self.most_in_line, order.waiting)
        self.most_open = max(self.most_open, len(self.pipeline._accounting))
        await super().work(ticket)

    def commit(self, batch=None) -> None:
        batch = list(self._unwritten) if batch is None else batch
        for ticket in batch:
            if ticket.order is not None and ticket.state in FINAL and ticket.item not in self._duds:
                assert self.sequence[ticket.order][self.next[ticket.order]] == ticket.item
                self.next[ticket.order] += 1
                self.open.pop(ticket.order, None)
        super().commit(batch)


def key_of(item):
    return item[0]


async def test_items_of_one_key_go_one_after_another_and_others_beside_them() -> None:
    async def work(item) -> None:
        await anyio.sleep(1)

    desk = OrderedDesk(work, order=key_of)
    started = anyio.current_time()
    assert await desk.run([(key, n) for n in range(5) for key in "abc"])
    assert anyio.current_time() - started == pytest.approx(5, abs=0.1)
    desk.check_books()


async def test_the_next_one_waits_for_the_commit_and_not_for_the_end_of_the_work() -> None:
    desk = OrderedDesk(order=key_of, commit_time=3.0)
    started = anyio.current_time()
    assert await desk.run([("a", n) for n in range(4)])
    assert anyio.current_time() - started == pytest.approx(12, abs=0.1)


async def test_a_retry_keeps_its_place_and_a_dead_item_lets_the_others_go_on() -> None:
    failures = {("a", 1): 2, ("a", 3): 99}

    async def work(item) -> None:
        if failures.get(item, 0):
            failures[item] -= 1
            raise Transient

    desk = OrderedDesk(work, order=key_of)
    assert await desk.run([("a", n) for n in range(6)])
    assert desk.of(ItemState.DEAD) == [("a", 3)]
    assert [item for _, item in desk.times].count(("a", 1)) == 3
    desk.check_books()


async def test_a_hot_key_neither_fills_the_memory_nor_keeps_others_from_being_read() -> None:
    others = 500

    async def work(item) -> None:
        if item[0] == "hot" and len([1 for _, one in desk.times if one[0] != "hot"]) < others:
            await anyio.sleep(1)

    desk = OrderedDesk(work, order=key_of, limits=Limits(threads=2, batch_size=10, max_failures=None))
    source = [("hot", n) for n in range(3_000)] + [(n, n) for n in range(others)]
    started = anyio.current_time()
    assert await desk.run(iter(source))
    assert anyio.current_time() - started < 60
    assert desk.most_in_line <= IN_MEMORY + 1
    assert desk.most_open < 100
    desk.check_books()


@pytest.mark.parametrize("how", ["no ledger", "not to be kept"])
async def test_where_nothing_can_be_put_by_the_reading_stops_at_the_bound(how) -> None:
    async def work(item) -> None:
        await anyio.sleep(0.01)

    desk = OrderedDesk(
        work,
        order=key_of,
        limits=Limits(threads=2, batch_size=10, max_failures=None),
        has_ledger=how != "no ledger",
        calls_back=how != "no ledger",
        keeps=lambda item: False,
    )
    assert await desk.run(iter([("hot", n) for n in range(500)] + [("b", n) for n in range(5)]))
    assert desk.most_in_line <= 20 + max(desk.chunks)
    assert not desk.postponed
    desk.check_books()


async def test_what_only_some_can_be_kept_of_stays_in_order() -> None:
    async def work(item) -> None:
        await anyio.sleep(0.01)

    desk = OrderedDesk(work, order=key_of, keeps=lambda item: item[1] % 7 != 3)
    assert await desk.run(iter([("hot", n) for n in range(400)]))
    assert desk.next["hot"] == 400


async def test_one_that_must_be_alone_runs_last_with_those_behind_it() -> None:
    desk = OrderedDesk(order=key_of, alone=lambda item: item in {("a", 0), ("b", 1)}, keeps=lambda item: False)
    assert await desk.run([(key, n) for key in "abc" for n in range(200)])
    assert desk.next == {"a": 200, "b": 200, "c": 200}


async def test_what_waits_in_line_is_given_back_at_a_stop() -> None:
    async def work(item) -> None:
        if item == ("a", 2):
            desk.pipeline.stop()

    desk = OrderedDesk(work, order=key_of, chunk=5)
    assert await desk.run([("a", n) for n in range(50)]) is False
    assert desk.next["a"] == 3
    assert set(desk.of(ItemState.DONE)) == {("a", 0), ("a", 1), ("a", 2)}
    assert desk.tally.claimed == 0


@dataclass(frozen=True)
class Plan:
    """What happens to one item: in each attempt so many seconds, and then this."""

    key: str | None
    attempts: tuple[tuple[str, float], ...]
    host: str | None
    keepable: bool
    alone: bool
    dud: bool


seconds = st.sampled_from([0.0, 0.01, 0.5, 7.0])
plans = st.lists(
    st.builds(
        Plan,
        key=st.sampled_from(["a", "a", "a", "b", "c", None]),
        attempts=st.lists(
            st.tuples(st.sampled_from(["ok", "ok", "ok", "again", "dead", "skip", "hang"]), seconds),
            min_size=1,
            max_size=3,
        ).map(tuple),
        host=st.sampled_from([None, None, "h"]),
        keepable=st.sampled_from([True, True, True, False]),
        alone=st.sampled_from([False] * 9 + [True]),
        dud=st.sampled_from([False] * 5 + [True]),
    ),
    max_size=120,
)


@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    plans=plans,
    repeated=st.sampled_from([1, 1, 3]),
    threads=st.integers(1, 5),
    batch_size=st.integers(1, 12),
    chunk=st.integers(1, 12),
    commit_time=st.sampled_from([0.0, 0.2]),
    ledger=st.sampled_from(["calls back", "calls back", "keeps", "none"]),
    end=st.sampled_from([None, None, None, "stop", "cancel"]),
    end_after=st.floats(0, 30),
    pause=st.sampled_from([None, 0.3]),
)
async def test_model(plans, repeated, threads, batch_size, chunk, commit_time, ledger, end, end_after, pause) -> None:
    source = list(enumerate(plans * repeated))
    tries: dict[int, int] = defaultdict(int)

    async def work(item) -> None:
        n, plan = item
        what, how_long = plan.attempts[min(tries[n], len(plan.attempts) - 1)]
        tries[n] += 1
        await (anyio.sleep_forever() if what == "hang" else anyio.sleep(how_long))
        if what in ERRORS:
            raise ERRORS[what]
        if plan.dud and n not in failed_once:
            failed_once.add(n)
            desk.dud(item)

    failed_once: set[int] = set()

    async def items():
        for item in source:
            if pause and item[0] % 10 == 0:
                await anyio.sleep(pause)
            yield item

    retry = Retry(attempts=3, initial=2.0, factor=1.0)
    desk = OrderedDesk(
        work,
        limits=Limits(threads=threads, batch_size=batch_size, item_timeout=5.0, max_failures=None),
        retry=retry,
        pace=Pace(per_key=1, per_second=20, retry=retry),
        chunk=chunk,
        order=lambda item: item[1].key,
        throttle=lambda item: item[1].host,
        alone=lambda item: item[1].alone,
        keeps=lambda item: item[1].keepable,
        has_ledger=ledger != "none",
        calls_back=ledger == "calls back",
        commit_time=commit_time,
    )

    async def end_it() -> None:
        await anyio.sleep(end_after)
        desk.pipeline.stop() if end == "stop" else desk.pipeline.cancel()

    with anyio.fail_after(1e6):
        async with anyio.create_task_group() as tasks:
            if end is not None:
                tasks.start_soon(end_it)
            complete = await desk.run(items())
            tasks.cancel_scope.cancel()
    assert desk.tally.claimed == 0, desk.tally
    assert desk.most_in_line <= 10 * threads + chunk + max(desk.chunks, default=0)
    if end is None:
        assert complete
        assert len(desk.pipeline._order) == 0
        assert {item for state in FINAL for item in desk.of(state)} == set(source)
        desk.check_books()
