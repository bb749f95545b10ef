"""Turns of one pace in several processes: together they never pass the bound, and nobody starves."""

from __future__ import annotations

import math
from collections import Counter
from itertools import pairwise
from typing import Any

import anyio
import pytest

from async_commander.engine.leased_pace import BEAT, Grant, LeasedPace
from async_commander.history.host_shares import LEASED_FOR, Bounds, Leased, lease

pytestmark = pytest.mark.anyio


class Host:
    """One host with the leases of its shards, as a row of the database has them, and what reaches it."""

    def __init__(self, turns: int | None, rate: float | None) -> None:
        self.bounds = Bounds(turns, rate)
        self.leases: dict[int, Leased] = {}
        self.exchanges = 0
        self.held = self.most_held = 0
        self.starts: list[tuple[float, int]] = []
        self.paused_until = 0.0

    async def begun(self, shard: int, seconds: float) -> None:
        self.held += 1
        self.most_held = max(self.most_held, self.held)
        self.starts.append((anyio.current_time(), shard))
        await anyio.sleep(seconds)
        self.held -= 1

    async def keep(self, shard: int, pace: LeasedPace) -> None:
        while True:
            await anyio.sleep(0.05)
            now = anyio.current_time()
            if demands := pace.demands():
                self.exchanges += 1
                turns, rate = lease(self.leases, shard, demands["host"], self.bounds, now)
                self.paused_until = max(self.paused_until, now + demands["host"].paused)
                if self.bounds.turns is not None:
                    assert sum(one.turns_kept for one in self.leases.values()) <= self.bounds.turns
                if self.bounds.rate is not None:
                    assert sum(one.rate_kept for one in self.leases.values()) <= self.bounds.rate * 1.000001
                await anyio.sleep(0.01)
                pace.granted({"host": Grant(turns, rate, max(0.0, self.paused_until - now))}, now + LEASED_FOR)


async def shard_of(host: Host, shard: int, items: int, seconds: float, tasks: Any, done: Counter[int]) -> None:
    pace = LeasedPace(host.bounds.turns, host.bounds.rate)
    tasks.start_soon(host.keep, shard, pace)

    async def item() -> None:
        await pace.acquire("host")
        await host.begun(shard, seconds)
        pace.release("host")
        done[shard] += 1

    async with anyio.create_task_group() as mine:
        for _ in range(items):
            mine.start_soon(item)


async def crowd(host: Host, shards: int, items: int, seconds: float) -> Counter[int]:
    done: Counter[int] = Counter()
    async with anyio.create_task_group() as keepers:
        async with anyio.create_task_group() as workers:
            for number in range(shards):
                workers.start_soon(shard_of, host, number, items, seconds, keepers, done)
        keepers.cancel_scope.cancel()
    return done


@pytest.mark.parametrize("shards", [1, 2, 7])
async def test_the_rate_of_all_is_never_more_than_the_bound(shards: int) -> None:
    host = Host(None, 20.0)
    assert await crowd(host, shards, 60, 0.01) == Counter(dict.fromkeys(range(shards), 60))
    moments = [moment for moment, _ in host.starts]
    for first, began in enumerate(moments):
        for last in range(first, len(moments)):
            assert last - first + 1 <= 20 * (moments[last] - began) + shards + 1e-6
    assert moments[-1] < 2 * shards * 60 / 20 + 5, "the bound is used"


@pytest.mark.parametrize("shards", [1, 2, 5])
async def test_the_turns_of_all_are_never_more_than_the_bound(shards: int) -> None:
    host = Host(5, None)
    assert await crowd(host, shards, 40, 0.2) == Counter(dict.fromkeys(range(shards), 40))
    assert host.most_held == 5


async def test_fewer_turns_than_shards_go_round() -> None:
    host = Host(1, None)
    assert await crowd(host, 3, 10, 0.1) == Counter({0: 10, 1: 10, 2: 10})
    assert host.most_held == 1
    firsts = [shard for shard in range(3) if any(one == shard for _, one in host.starts[:25])]
    assert firsts == [0, 1, 2], "nobody waits for the end of another one's items"


async def test_what_one_does_not_use_the_others_have() -> None:
    host, done = Host(None, 20.0), Counter[int]()
    async with anyio.create_task_group() as keepers:
        began = anyio.current_time()
        async with anyio.create_task_group() as workers:
            workers.start_soon(shard_of, host, 0, 100, 0.01, keepers, done)
            workers.start_soon(shard_of, host, 1, 1, 0.01, keepers, done)
        took = anyio.current_time() - began
        keepers.cancel_scope.cancel()
    assert took < 100 / 20 + 4 * BEAT


async def test_nothing_is_begun_with_a_lease_that_has_run_out() -> None:
    pace = LeasedPace(2, None)
    assert pace.reserve("host") == math.inf
    pace.demands()
    pace.granted({"host": Grant(2, math.inf)}, anyio.current_time() + 3)
    assert pace.reserve("host") == 0
    await anyio.sleep(3)
    assert pace.reserve("host") == math.inf


async def test_a_pause_that_one_shard_hears_of_reaches_the_others() -> None:
    host = Host(4, None)
    one, other = LeasedPace(4, None), LeasedPace(4, None)
    async with anyio.create_task_group() as tasks:
        for number, pace in enumerate((one, other)):
            tasks.start_soon(host.keep, number, pace)
        for pace in (one, other):
            await pace.acquire("host")
        one.throttled("host", 30)
        one.release("host")
        other.release("host")
        await anyio.sleep(2 * BEAT)
        began = anyio.current_time()
        await other.acquire("host")
        assert anyio.current_time() - began > 20
        tasks.cancel_scope.cancel()


async def test_the_lease_of_a_dead_shard_runs_out() -> None:
    leases: dict[int, Leased] = {}
    bounds, everything = Bounds(4, 10.0), LeasedPace(4, 10.0)
    everything.reserve("host")
    demand = everything.demands()["host"]
    assert lease(leases, 0, demand, bounds, 100.0) == (4, 10.0)
    assert lease(leases, 1, demand, bounds, 101.0) == (0, 0.0)
    assert lease(leases, 1, demand, bounds, 100.0 + LEASED_FOR) == (4, 10.0)


async def test_a_busy_shard_asks_once_a_beat() -> None:
    host = Host(None, 100.0)
    await crowd(host, 1, 300, 0.001)
    moments = [moment for moment, _ in host.starts]
    assert host.exchanges <= (moments[-1] - moments[0]) / BEAT + 3
    assert all(later >= sooner for sooner, later in pairwise(moments))
