"""Hosts that are slow, limited, paused or gone, and what that costs their own items and others."""

from __future__ import annotations

from collections import Counter, deque
from itertools import pairwise

import anyio
import pytest

from async_commander.engine.limits import Limits, Retry
from async_commander.engine.pace import HostUnavailable, Pace
from async_commander.results import ItemState

from .desk import Desk, Throttled, Transient

pytestmark = pytest.mark.anyio


def host_of(item) -> str:
    return item[0]


def sorted_by_host(hosts: int, each: int) -> list[tuple[str, int]]:
    return [(f"host{host}", number) for host in range(hosts) for number in range(each)]


class Server:
    """Answers `most` requests in each second, and turns the others away."""

    def __init__(self, most: int, asks: float | None) -> None:
        self.most = most
        self.asks = asks
        self.served: deque[float] = deque()
        self.refused: Counter = Counter()

    async def __call__(self, item) -> None:
        await anyio.sleep(0.02)
        now = anyio.current_time()
        while self.served and self.served[0] <= now - 1:
            self.served.popleft()
        if len(self.served) >= self.most:
            self.refused[item] += 1
            raise Throttled(self.asks)
        self.served.append(now)


# A list that is sorted by host


@pytest.mark.parametrize("bound", ["per_second", "per_host"])
async def test_a_list_sorted_by_host_takes_as_long_as_one_that_is_mixed(bound) -> None:
    """Six hosts, 100 items each: ten a second from each of them take ten seconds, whatever the order."""
    pace = Pace(per_second=10) if bound == "per_second" else Pace(per_key=1)

    async def work(item) -> None:
        await anyio.sleep(0.05 if bound == "per_second" else 0.1)

    desk = Desk(
        work,
        limits=Limits(threads=5 if bound == "per_second" else 6, batch_size=100),
        pace=pace,
        throttle=host_of,
    )
    start = anyio.current_time()
    assert await desk.run(sorted_by_host(6, 100))
    assert anyio.current_time() - start <= 12
    assert desk.most_waiting <= 60 + 12
    desk.check_books()


async def test_hosts_of_very_different_speed_do_not_wait_for_each_other() -> None:
    async def work(item) -> None:
        await anyio.sleep({"a": 2.0, "b": 0.01, "c": 0.2}[item[0]])

    items = [(host, number) for host, each in (("a", 50), ("b", 1000), ("c", 300)) for number in range(each)]
    desk = Desk(work, limits=Limits(threads=5), pace=Pace(per_key=1), throttle=host_of)
    start = anyio.current_time()
    assert await desk.run(items)
    last = {host: max(at for at, item in desk.times if item[0] == host) - start for host in "abc"}
    assert last["a"] <= 120  # 100 seconds of work, one at a time
    assert last["b"] <= 20  # 10
    assert last["c"] <= 72  # 60
    assert desk.most_waiting <= 50 + 10
    desk.check_books()


async def test_a_paused_host_at_the_head_of_the_source_keeps_nobody_waiting() -> None:
    start = anyio.current_time()

    async def work(item) -> None:
        if item[0] == "paused" and anyio.current_time() < start + 300:
            raise Throttled(start + 300 - anyio.current_time())

    items = [*(("paused", number) for number in range(500)), *((f"quick{number}", 0) for number in range(1000))]
    desk = Desk(work, limits=Limits(threads=10), pace=Pace(), throttle=host_of)
    assert await desk.run(items)
    assert max(at for at, item in desk.times if item[0] != "paused") - start < 1
    assert max(at for at, item in desk.times) - start < 315
    assert desk.of(ItemState.DEAD) == []
    assert desk.most_waiting <= 100 + 20
    assert len(desk.postponed) <= 2500
    desk.check_books()


async def test_retries_of_one_host_do_not_stop_the_reading_of_others() -> None:
    async def work(item) -> None:
        if item[0] == "host0" and desk.began.count(item) == 1:
            raise Transient

    desk = Desk(
        work, limits=Limits(threads=5), retry=Retry(attempts=3, initial=5), pace=Pace(per_second=10), throttle=host_of
    )
    start = anyio.current_time()
    assert await desk.run(sorted_by_host(4, 100))
    assert max(at for at, item in desk.times if item[0] != "host0") - start <= 12
    assert anyio.current_time() - start <= 27
    desk.check_books()


async def test_items_that_the_ledger_cannot_keep_stay_and_are_done() -> None:
    desk = Desk(limits=Limits(threads=1), pace=Pace(per_second=10), throttle=host_of, keeps=lambda item: False, chunk=4)
    assert await desk.run(sorted_by_host(3, 30))
    assert desk.postponed == []
    assert desk.most_waiting <= 10 + 4
    desk.check_books()


async def test_max_items_counts_those_that_were_put_out_once() -> None:
    desk = Desk(limits=Limits(threads=1), pace=Pace(per_second=10), throttle=host_of, max_items=150)
    assert await desk.run(sorted_by_host(4, 100))
    assert desk.tally.taken == desk.tally.done == 150
    desk.check_books()


# Servers that ask for time


@pytest.mark.parametrize("asks", [1.0, None])
async def test_a_server_that_turns_away_what_is_too_much_kills_no_item(asks) -> None:
    server = Server(20, asks)
    desk = Desk(
        server,
        limits=Limits(threads=50, max_failures=None),
        retry=Retry(),
        pace=Pace(retry=Retry()),
        throttle=lambda item: "host",
    )
    start = anyio.current_time()
    assert await desk.run(range(200))
    assert desk.of(ItemState.DEAD) == []
    assert anyio.current_time() - start <= 40  # 10 where nobody is turned away
    assert server.refused.total() <= 300
    desk.check_books()


async def test_a_pause_that_was_asked_for_costs_no_attempt_and_one_that_was_not_obeyed_does() -> None:
    async def work(item) -> None:
        if desk.began.count(item) <= 5:
            raise Throttled(10.0)

    for cap, state in ((10.0, ItemState.DONE), (9.0, ItemState.DEAD)):
        retry = Retry(attempts=2, retry_after_cap=cap)
        desk = Desk(work, retry=retry, pace=Pace(retry=retry), throttle=lambda item: "host")
        assert await desk.run([1])
        assert desk.states == {1: state}


async def test_after_a_pause_one_item_tries_first_and_others_follow_step_by_step() -> None:
    at_once: Counter = Counter()
    most: dict[int, int] = {}
    start = anyio.current_time()

    async def work(item) -> None:
        second = int(anyio.current_time() - start + 1e-6)
        at_once[second] += 1
        most[second] = max(most.get(second, 0), at_once[second])
        await anyio.sleep(1)
        if second == 0:
            raise Throttled(10.0)

    desk = Desk(work, limits=Limits(threads=32), pace=Pace(), throttle=lambda item: "host")
    assert await desk.run(range(100))
    seconds = sorted(second for second in most if second)
    assert seconds[0] == 11
    assert [most[second] for second in seconds[:5]] == [1, 2, 4, 8, 16]
    assert all(most[second] <= 20 for second in seconds[:6])
    desk.check_books()


async def test_one_item_that_is_always_turned_away_is_the_only_one_dead() -> None:
    async def work(item) -> None:
        if item == 7:
            raise Throttled(None)
        await anyio.sleep(0.01)

    desk = Desk(
        work,
        limits=Limits(threads=20, max_failures=None),
        retry=Retry(attempts=3),
        pace=Pace(),
        throttle=lambda item: "host",
    )
    assert await desk.run(range(1000))
    assert desk.of(ItemState.DEAD) == [7]
    assert desk.reasons[7] == "exhausted"
    desk.check_books()


@pytest.mark.parametrize("asks", [300.0, 1.0, None])
async def test_a_host_that_asks_for_time_for_ever_is_given_up_within_its_budget(asks) -> None:
    async def work(item) -> None:
        if item[0] == "gone":
            raise Throttled(asks)

    retry = Retry(host_budget=600)
    items = [*(("gone", number) for number in range(200)), *(("good", number) for number in range(1000))]
    desk = Desk(
        work, limits=Limits(threads=10, max_failures=None), retry=retry, pace=Pace(retry=retry), throttle=host_of
    )
    start = anyio.current_time()
    assert await desk.run(items)
    assert anyio.current_time() - start <= 620
    dead = desk.of(ItemState.DEAD)
    assert len(dead) == 200
    assert all(host == "gone" for host, _ in dead)
    assert Counter(desk.reasons[item] for item in dead)["throttled"] >= 189
    assert len([1 for item in desk.began if item[0] == "gone"]) <= 10 + 600 / (asks or 15)
    assert isinstance(desk.errors["gone", 199], HostUnavailable)
    assert max(at for at, item in desk.times if item[0] == "good") - start < 3
    desk.check_books()


def circuit(pace: Pace) -> str:
    """Of the one host "a", of which no turn is held."""
    if not pace.paused:
        return "closed"
    return "open" if pace.wait("a") else "half-open"


async def test_the_circuit_of_a_host_is_shown_while_it_is_open() -> None:
    pace = Pace(retry=Retry(host_budget=25))
    assert circuit(pace) == "closed"
    pace.reserve("a")
    pace.throttled("a", 10)
    assert (circuit(pace), pace.paused) == ("open", 1)
    pace.release("a")
    await anyio.sleep(10)
    assert circuit(pace) == "half-open"
    assert [pace.reserve("a"), pace.reserve("a")] == [0, float("inf")]
    pace.throttled("a", 10)
    assert not pace.spent("a")
    await anyio.sleep(10)
    pace.throttled("a", 10)
    assert pace.spent("a")
    await anyio.sleep(10)
    pace.answered("a")
    assert (circuit(pace), pace.spent("a")) == ("closed", False)


async def test_answers_to_what_was_under_way_when_the_pause_began_change_nothing() -> None:
    pace = Pace()
    for _ in range(3):
        pace.reserve("a")
    began = anyio.current_time()
    await anyio.sleep(1)
    pace.throttled("a", 10, since=began)
    pace.throttled("a", 5, since=began)
    pace.answered("a", since=began)
    for _ in range(3):
        pace.release("a")
    assert circuit(pace) == "open"
    await anyio.sleep(11)
    pace.answered("a", since=began)
    assert circuit(pace) == "half-open"
    pace.throttled("a", since=began)
    assert circuit(pace) == "half-open"


async def test_pauses_without_a_number_grow_while_the_host_does_not_answer() -> None:
    pace, pauses = Pace(retry=Retry(initial=1, maximum=60, host_budget=10_000)), []
    for _ in range(10):
        before = anyio.current_time()
        await pace.acquire("a")
        pauses.append(anyio.current_time() - before)
        pace.throttled("a")
        pace.release("a")
    assert all(second >= first / 2 for first, second in pairwise(pauses[1:]))
    assert 30 <= pauses[-1] <= 60


# Very many hosts


async def test_hosts_that_ask_for_time_once_each_are_all_served_and_not_all_remembered(monkeypatch) -> None:
    for name in ("pace.MOST_IDLE_KEYS", "pace._IDLE_KEYS_KEPT", "waiting.MOST_LINES"):
        monkeypatch.setattr(f"async_commander.engine.{name}", 50)
    asked: set[str] = set()
    most = Counter()

    async def work(item) -> None:
        most["hosts"] = max(most["hosts"], len(pace))
        most["lines"] = max(most["lines"], len(desk.pipeline._waiting._lines))
        if item[0] not in asked:
            asked.add(item[0])
            raise Throttled(60.0)

    pace = Pace(per_key=1)
    items = [(f"host{number % 600}", number) for number in range(1200)]
    desk = Desk(work, limits=Limits(threads=5), pace=pace, throttle=host_of)
    assert await desk.run(items)
    assert (desk.tally.done, desk.tally.dead) == (1200, 0)
    assert most["hosts"] <= 2 * (50 + 5)
    assert most["lines"] <= 50 + 10 * 5 + 20
    desk.check_books()
