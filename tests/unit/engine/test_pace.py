"""Turns per host."""

from __future__ import annotations

import math

import anyio
import pytest

from async_commander.engine.pace import Pace

pytestmark = pytest.mark.anyio


async def test_turns_are_taken_until_there_are_none_and_given_back() -> None:
    pace = Pace(per_key=2)
    assert [pace.reserve("a") for _ in range(3)] == [0, 0, math.inf]
    assert pace.reserve("b") == 0
    pace.release("a")
    assert pace.reserve("a") == 0


async def test_starts_are_spaced_by_the_rate() -> None:
    pace = Pace(per_second=4.0)
    assert pace.reserve("a") == 0
    assert pace.reserve("a") == pytest.approx(0.25)
    await anyio.sleep(0.25)
    assert pace.reserve("a") == 0


async def test_expected_counts_those_ahead() -> None:
    pace = Pace(per_second=4.0)
    assert pace.expected("a", ahead=8) == pytest.approx(2)
    pace.reserve("a")
    assert pace.expected("a", ahead=8) == pytest.approx(2.25)


async def test_expected_knows_how_long_turns_are_held() -> None:
    pace = Pace(per_key=2)
    assert not pace.measured("a")
    pace.reserve("a")
    pace.release("a", 3.0)
    assert pace.measured("a")
    assert pace.expected("a", ahead=8) == pytest.approx(12)


async def test_the_longest_pause_wins() -> None:
    pace = Pace()
    pace.throttled("a", 10)
    pace.throttled("a", 5)
    assert pace.reserve("a") == pytest.approx(10)
    assert pace.reserve("b") == 0


async def test_acquire_waits_in_the_order_of_asking() -> None:
    pace, order = Pace(per_key=1), []

    async def one(name: int) -> None:
        await pace.acquire("a")
        order.append(name)
        await anyio.sleep(1)
        pace.release("a")

    async with anyio.create_task_group() as tasks:
        for name in range(5):
            tasks.start_soon(one, name)
            await anyio.wait_all_tasks_blocked()
    assert order == list(range(5))


async def test_acquire_waits_out_a_pause() -> None:
    pace, start = Pace(per_key=1), anyio.current_time()
    pace.throttled("a", 30)
    await pace.acquire("a")
    assert anyio.current_time() - start == pytest.approx(30)


@pytest.mark.parametrize("order", ["cancel, release", "release, cancel"])
async def test_a_cancelled_acquire_leaves_its_turn_to_the_next(order) -> None:
    pace, first, served = Pace(per_key=1), anyio.CancelScope(), []

    async def one(name: str, scope: anyio.CancelScope) -> None:
        with scope:
            await pace.acquire("a")
            served.append(name)
            pace.release("a")

    pace.reserve("a")
    async with anyio.create_task_group() as tasks:
        for name, scope in (("first", first), ("second", anyio.CancelScope())):
            tasks.start_soon(one, name, scope)
            await anyio.wait_all_tasks_blocked()
        for step in order.split(", "):
            first.cancel() if step == "cancel" else pace.release("a")
    assert served[-1] == "second"
    assert pace.wait("a") == 0


@pytest.mark.parametrize("then", ["another waits", "a listener hears"])
async def test_who_is_cancelled_while_the_host_rests_leaves_its_turn_to_the_next(then) -> None:
    """Its turn is free and was offered to it, so that nobody will release it."""
    pace, first, served = Pace(per_key=1), anyio.CancelScope(), []
    pace.on_release = served.append

    async def one(name: str, scope: anyio.CancelScope) -> None:
        with scope:
            await pace.acquire("a")
            served.append(name)

    pace.reserve("a")
    async with anyio.create_task_group() as tasks:
        for name, scope in (("first", first), ("second", anyio.CancelScope())):
            if name == "first" or then == "another waits":
                tasks.start_soon(one, name, scope)
                await anyio.wait_all_tasks_blocked()
        pace.throttled("a", 10)
        pace.release("a")
        await anyio.sleep(5)
        first.cancel()
    assert served == (["second"] if then == "another waits" else ["a"])


async def test_a_listener_hears_of_turns_that_nobody_waits_for() -> None:
    pace, heard = Pace(per_key=1), []
    pace.on_release = heard.append
    pace.reserve("a")
    pace.release("a")
    assert heard == ["a"]


async def test_releasing_what_is_not_held_is_an_error() -> None:
    with pytest.raises(ValueError, match="no turn of 'a' is held"):
        Pace().release("a")


async def test_idle_hosts_are_forgotten_and_held_ones_are_not() -> None:
    pace = Pace(per_key=1)
    pace.reserve("held")
    for number in range(100_000):
        pace.reserve(f"host{number}")
        pace.release(f"host{number}")
    assert len(pace) < 5_000
    assert pace.reserve("held") == math.inf


async def test_a_million_hosts_that_ask_for_time_once_are_not_all_remembered(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("async_commander.engine.pace.MOST_IDLE_KEYS", 2000)
    pace = Pace(per_second=0.001)
    for number in range(20_000):
        key = f"host {number}"
        assert pace.reserve(key) == 0
        pace.throttled(key, 30.0)
        pace.release(key)
        assert len(pace) <= 2 * 2000 + 1
    assert pace.wait(key) > 0, "the latest is left alone"
    assert pace.paused <= len(pace)
    assert 100 < len(caplog.records) < 110
    assert "10000 times by now" in caplog.records[-1].getMessage()


async def test_keys_that_the_rate_holds_are_bounded_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("async_commander.engine.pace.MOST_IDLE_KEYS", 2000)
    pace = Pace(per_second=1e-6)
    for number in range(10_000):
        assert pace.reserve(f"host {number}") == 0
        pace.release(f"host {number}")
    assert len(pace) <= 2 * 2000


async def test_a_host_that_is_in_use_is_never_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nor one that pauses longest, where there are too many."""
    monkeypatch.setattr("async_commander.engine.pace.MOST_IDLE_KEYS", 10)
    pace = Pace(per_key=1)
    assert pace.reserve("held") == 0
    pace.throttled("longest", 300.0)
    for number in range(5000):
        pace.throttled(f"host {number}", 1.0)
    assert pace.wait("held") == math.inf
    assert pace.wait("longest") > 200
