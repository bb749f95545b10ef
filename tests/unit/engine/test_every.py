"""A clock for bots."""

from __future__ import annotations

import anyio
import pytest

from async_commander.engine.context import RunContext, run_entered
from async_commander.engine.every import every
from async_commander.engine.limits import Limits, Retry

pytestmark = pytest.mark.anyio


async def ticks_of(clock, count: int, work: dict[int, float] | None = None) -> list[tuple[int, float]]:
    start, seen = anyio.current_time(), []
    async for tick in clock:
        seen.append((tick, round(anyio.current_time() - start, 6)))
        if len(seen) == count:
            break
        await anyio.sleep((work or {}).get(tick, 0))
    await clock.aclose()
    return seen


async def test_ticks_come_at_once_and_then_at_regular_times() -> None:
    assert await ticks_of(every(10), 4) == [(0, 0), (1, 10), (2, 20), (3, 30)]


async def test_the_first_tick_may_wait_for_its_period() -> None:
    assert await ticks_of(every(10, immediately=False), 2) == [(1, 10), (2, 20)]


async def test_work_between_ticks_does_not_make_them_drift() -> None:
    assert await ticks_of(every(10), 4, {0: 3.3, 1: 9.9, 2: 0.1}) == [(0, 0), (1, 10), (2, 20), (3, 30)]


async def test_missed_ticks_are_skipped() -> None:
    assert await ticks_of(every(10), 3, {0: 25}) == [(0, 0), (3, 30), (4, 40)]


async def test_work_as_long_as_the_period_misses_nothing() -> None:
    assert await ticks_of(every(10), 4, {0: 10, 1: 10, 2: 10}) == [(0, 0), (1, 10), (2, 20), (3, 30)]


async def test_jitter_comes_late_and_does_not_add_up() -> None:
    seen = await ticks_of(every(10, jitter=5), 50)
    assert [tick for tick, _ in seen] == list(range(50))
    late = [at - tick * 10 for tick, at in seen]
    assert all(0 <= seconds <= 5 for seconds in late)
    assert len(set(late)) > 10


@pytest.mark.parametrize(
    "arguments", [{"seconds": 0}, {"seconds": -1}, {"seconds": float("inf")}, {"seconds": float("nan")}]
)
async def test_a_period_must_be_positive(arguments) -> None:
    with pytest.raises(ValueError, match="a time above 0 seconds is needed"):
        every(**arguments)


@pytest.mark.parametrize("seconds", ["x", True, None])
async def test_a_period_is_a_number(seconds) -> None:
    with pytest.raises(TypeError, match=rf"every\({seconds!r}\): a number of seconds is needed"):
        every(seconds)
    with pytest.raises(TypeError, match=rf"jitter={seconds!r}: a number of seconds is needed"):
        every(5, jitter=seconds)


async def test_jitter_must_be_shorter_than_the_period() -> None:
    with pytest.raises(ValueError, match="jitter=10: from 0 to less than the period of 10 seconds"):
        every(10, jitter=10)


async def test_ticks_end_when_their_run_is_asked_to_stop() -> None:
    context = RunContext(run_id=1, command="bot", limits=Limits(), retry=Retry())
    ticks: list[int] = []

    async def bot() -> None:
        with run_entered(context):
            async for number in every(10):
                ticks.append(number)
                if number == 2:
                    await anyio.sleep(7)

    start = anyio.current_time()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(bot)
        await anyio.sleep(25)
        context.stop()
    assert ticks == [0, 1, 2]
    assert anyio.current_time() - start == pytest.approx(27)  # when the body that it came in is done


async def test_a_run_that_is_stopping_gets_no_tick_at_all() -> None:
    context = RunContext(run_id=1, command="bot", limits=Limits(), retry=Retry())
    context.stop()
    with run_entered(context):
        assert [number async for number in every(10)] == []
