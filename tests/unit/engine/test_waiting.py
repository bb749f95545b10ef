"""Waiting without holding a worker: hosts' turns in the pipeline, the full heap, and no busy waiting."""

from __future__ import annotations

import asyncio
from collections import Counter
from itertools import pairwise

import anyio
import pytest
import sniffio

from async_commander.engine.limits import Limits, Retry
from async_commander.engine.pace import Pace, pace_key_held
from async_commander.engine.pipeline import Due

from .desk import Desk, Transient, sleep

pytestmark = pytest.mark.anyio


async def test_a_host_has_no_more_items_in_hand_than_its_turns() -> None:
    busy: Counter[str] = Counter()
    most: Counter[str] = Counter()

    async def work(item) -> None:
        host = f"host{item % 3}"
        assert pace_key_held.get() == host
        busy[host] += 1
        most[host] = max(most[host], busy[host])
        await anyio.sleep(1)
        busy[host] -= 1

    desk = Desk(work, limits=Limits(threads=20), pace=Pace(per_key=2), throttle=lambda item: f"host{item % 3}")
    assert await desk.run(range(90))
    assert most == {"host0": 2, "host1": 2, "host2": 2}
    assert anyio.current_time() - desk.times[0][0] == pytest.approx(15)
    desk.check_books()


async def test_items_without_a_host_and_of_other_hosts_are_not_held_up() -> None:
    desk = Desk(
        sleep, limits=Limits(threads=4), pace=Pace(per_key=1), throttle=lambda item: "slow" if item < 20 else None
    )
    start = anyio.current_time()
    assert await desk.run(range(50))
    free = [at - start for at, item in desk.times if item >= 20]
    assert max(free) <= 11  # 30 items by three workers; the slow host alone takes 20 seconds
    assert anyio.current_time() - start == pytest.approx(20)


async def test_no_key_is_held_where_nothing_is_throttled() -> None:
    async def work(item) -> None:
        assert pace_key_held.get() is None

    desk = Desk(work, pace=Pace(per_key=1), throttle=lambda item: "host" if item % 2 else None)
    desk.work_on = check_key(desk)
    assert await desk.run(range(20))
    assert desk.tally.done == 20


def check_key(desk: Desk):
    async def work(item) -> None:
        assert pace_key_held.get() == ("host" if item % 2 else None)

    return work


async def test_starts_at_one_host_are_spaced() -> None:
    desk = Desk(limits=Limits(threads=5), pace=Pace(per_second=2.0), throttle=lambda item: "host")
    assert await desk.run(range(10))
    begins = [at for at, _ in desk.times]
    assert begins[-1] - begins[0] == pytest.approx(4.5)
    assert all(second - first >= 0.499 for first, second in pairwise(begins))


async def test_items_of_one_host_keep_their_order() -> None:
    desk = Desk(sleep, limits=Limits(threads=5), pace=Pace(per_key=1), throttle=lambda item: "host")
    assert await desk.run(range(30))
    assert desk.began == list(range(30))


async def test_intake_waits_when_the_heap_is_full_of_items_whose_turn_is_near() -> None:
    desk = Desk(sleep, limits=Limits(threads=1), pace=Pace(per_key=1), throttle=lambda item: "host", chunk=4)
    assert await desk.run(range(40))
    assert desk.most_waiting <= 10 + 4
    assert desk.postponed == []
    desk.check_books()


async def test_far_turns_beyond_the_heap_go_to_the_ledger_and_let_other_hosts_in() -> None:
    desk = Desk(
        limits=Limits(threads=1),
        pace=Pace(per_second=0.1),
        throttle=lambda item: "slow" if item < 40 else "fast",
        chunk=4,
    )
    start = anyio.current_time()
    assert await desk.run(range(41))
    assert desk.most_waiting <= 10
    assert len(desk.postponed) >= 29
    (fast,) = [at - start for at, item in desk.times if item == 40]
    assert fast < 10
    assert desk.tally.done == 41
    desk.check_books()


async def test_a_retry_after_pauses_the_whole_host() -> None:
    async def work(item) -> None:
        if item == 0 and desk.began.count(0) == 1:
            error = Transient()
            error.retry_after = 30.0
            raise error

    desk = Desk(work, limits=Limits(threads=1), retry=Retry(initial=0), pace=Pace(), throttle=lambda item: "host")
    start = anyio.current_time()
    assert await desk.run(range(5))
    assert [at - start for at, item in desk.times if item] == pytest.approx([30] * 4)


async def test_turns_released_by_somebody_else_reach_the_line() -> None:
    pace = Pace(per_key=1)
    desk = Desk(pace=pace, throttle=lambda item: "host")
    async with anyio.create_task_group() as tasks:
        await pace.acquire("host")
        tasks.start_soon(desk.run, range(5))
        await anyio.sleep(10)
        assert desk.began == []
        pace.release("host")
    assert desk.tally.done == 5


async def test_a_turn_is_given_back_however_the_item_ends() -> None:
    async def work(item) -> None:
        match item:
            case 1:
                raise ValueError
            case 2:
                raise asyncio.CancelledError
            case 3:
                await anyio.sleep(1000)

    pace = Pace(per_key=1)
    desk = Desk(
        work,
        limits=Limits(threads=4, item_timeout=2.0),
        retry=Retry(attempts=1),
        pace=pace,
        throttle=lambda item: "host",
    )
    assert await desk.run(range(10))
    assert desk.tally.done == 7
    assert pace.reserve("host") == 0


# Not busy waiting


async def turns_of(running) -> int:
    loop = asyncio.get_running_loop()
    before = loop.turns
    await running
    return loop.turns - before


@pytest.mark.parametrize("item_timeout", [None, 5000.0])
async def test_an_hour_of_waiting_costs_next_to_no_turns_of_the_loop(item_timeout) -> None:
    if sniffio.current_async_library() != "asyncio":
        pytest.skip("turns are counted on asyncio")

    async def work(item) -> None:
        await anyio.sleep(3600)

    desk = Desk(work, limits=Limits(threads=4, item_timeout=item_timeout))
    assert await turns_of(desk.run(range(4))) < 60


async def test_waiting_for_a_retry_a_turn_or_the_ledger_costs_next_to_no_turns() -> None:
    if sniffio.current_async_library() != "asyncio":
        pytest.skip("turns are counted on asyncio")

    async def work(item) -> None:
        if desk.began.count(item) == 1:
            error = Transient()
            error.retry_after = 100.0 + item
            raise error

    desk = Desk(
        work, limits=Limits(threads=1), pace=Pace(per_second=0.01), throttle=lambda item: "host", retry=Retry(initial=0)
    )
    assert await turns_of(desk.run(range(5))) < 300


async def test_a_ledger_that_says_now_and_gives_nothing_is_not_asked_in_a_loop() -> None:
    class Vague(Desk):
        async def due(self, room, called=()):
            self.asked.append(anyio.current_time())
            return Due([], 0.0 if anyio.current_time() < start + 1 else None)

    desk = Vague()
    start = anyio.current_time()
    assert await desk.run(range(3))
    assert len(desk.asked) < 30


async def test_closing_a_cancelled_run_does_not_spin_while_a_claim_is_finished() -> None:
    if sniffio.current_async_library() != "asyncio":
        pytest.skip("turns are counted on asyncio")

    async def step(name) -> None:
        if name == "admitted":
            await anyio.sleep(3600)

    async def cancelled_run() -> None:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(desk.run, range(10))
            await anyio.sleep(1)
            desk.pipeline.cancel()

    desk = Desk(step=step)
    assert await turns_of(cancelled_run()) < 100
