"""A pipeline that is paused, and one that gets other bounds, while it is at work."""

from __future__ import annotations

import random
from collections import Counter

import anyio
import pytest
from anyio.lowlevel import checkpoint

from async_commander.engine.context import Gate
from async_commander.engine.limits import Limits
from async_commander.engine.pace import Pace
from async_commander.engine.pipeline import Pipeline
from async_commander.engine.quota import Quota
from async_commander.exceptions import TooManyFailures
from async_commander.results import ItemState

from .desk import Deadly, Desk, Transient

pytestmark = pytest.mark.anyio


def desk_with(gate: Gate, work, **words) -> Desk:
    desk = Desk(work, **words)
    desk.pipeline = Pipeline(
        desk,
        limits=desk.limits,
        retry=desk.retry,
        tally=desk.tally,
        pace=desk.pace,
        quota=Quota(desk.tally),
        gate=gate,
    )
    return desk


async def test_a_paused_pipeline_finishes_what_is_in_hand_and_begins_nothing() -> None:
    gate, read, seen = Gate(), 0, {}

    async def work(item) -> None:
        await anyio.sleep(1)
        if item == 3:
            raise Transient  # its next attempt is due while nothing may begin

    async def source():
        nonlocal read
        for number in range(100):
            read += 1
            yield number

    desk = desk_with(gate, work)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(desk.run, source())
        await anyio.sleep(1.5)
        gate.close()
        await anyio.sleep(2)
        seen["began"], seen["read"] = len(desk.began), read
        assert desk.tally.in_flight == desk.tally.unconfirmed == 0
        await anyio.sleep(1000)
        assert (len(desk.began), read) == (seen["began"], seen["read"])
        assert read <= seen["began"] + 3 * desk.chunks[0]
        desk.pipeline.go_on()
    assert Counter(desk.states.values())[ItemState.DONE] == 99
    desk.check_books()


@pytest.mark.parametrize("end", ["stop", "cancel", "abort"])
async def test_a_paused_pipeline_ends_when_it_is_asked_to(end: str) -> None:
    gate = Gate()

    async def work(item) -> None:
        await anyio.sleep(1)

    desk = desk_with(gate, work)
    with pytest.raises(BaseExceptionGroup) if end == "abort" else anyio.CancelScope():
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(desk.run, range(100))
            await anyio.sleep(1.5)
            gate.close()
            await anyio.sleep(10)
            asked = anyio.current_time()
            if end == "abort":
                desk.pipeline.abort(Deadly())
            else:
                getattr(desk.pipeline, end)()
        assert anyio.current_time() == asked
    assert desk.tally.in_flight == 0


async def test_a_source_that_ended_before_the_pause_ends_the_run() -> None:
    gate = Gate()

    async def work(item) -> None:
        await anyio.sleep(1)

    desk = desk_with(gate, work)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(desk.run, range(4))
        await anyio.sleep(0.5)
        gate.close()
    assert len(desk.of(ItemState.DONE)) == 4


async def test_more_and_fewer_threads_carry_every_item_once() -> None:
    dice, bound, most = random.Random(7), 3, Counter()
    gate, in_hand = Gate(), 0

    async def work(item) -> None:
        nonlocal in_hand
        in_hand += 1
        most["now"] = max(most["now"], in_hand)
        await anyio.sleep(dice.random())
        in_hand -= 1
        if dice.random() < 0.2:
            raise Transient

    limits = Limits(threads=bound, batch_size=10, max_failures=None)
    desk = desk_with(gate, work, limits=limits)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(desk.run, range(600))
        while desk.tally.done + desk.tally.dead < 500:
            bound = dice.choice([1, 2, 5, 17, 60])
            desk.pipeline.change_limits(limits.replace(threads=bound))
            if dice.random() < 0.3:
                gate.close()
                await anyio.sleep(3)
                assert in_hand == 0
                desk.pipeline.go_on()
            await anyio.sleep(2)  # longer than any item: who was one too many has ended
            most["now"] = in_hand
            assert in_hand <= bound
            await anyio.sleep(2)
            assert most["now"] <= bound
    done, dead = desk.of(ItemState.DONE), desk.of(ItemState.DEAD)
    assert sorted([*done, *dead]) == list(range(600))
    desk.check_books()


async def test_one_thread_is_enough_again_after_many() -> None:
    desk, most = Desk(limits=Limits(threads=50, max_failures=None)), 0

    async def work(item) -> None:
        nonlocal most
        if item >= 200:
            most = max(most, desk.tally.in_flight)
        await anyio.sleep(1)
        if item == 100:
            desk.pipeline.change_limits(Limits(threads=1, max_failures=None))

    desk.work_on = work
    assert await desk.run(range(230))
    assert most == 1
    assert len(desk.of(ItemState.DONE)) == 230


async def test_a_lower_max_failures_ends_the_run_at_once() -> None:
    async def work(item) -> None:
        await anyio.sleep(1)
        if item < 3:
            raise ValueError

    desk = Desk(work)
    with pytest.raises(BaseExceptionGroup) as raised:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(desk.run, range(1000))
            await anyio.sleep(5.5)
            desk.pipeline.change_limits(desk.limits.replace(max_failures=2))
    assert isinstance(raised.value.exceptions[0], TooManyFailures)


@pytest.mark.parametrize("slow", [0.01, None])
async def test_a_quicker_pace_is_taken_up_by_those_who_wait(slow: float | None) -> None:
    """One start in a hundred seconds, then ten a second: in the line of the pipeline, and at the door of a client."""
    pace = Pace(None if slow else 1, slow)
    desk = Desk(pace=pace, throttle=lambda item: "host")

    async def hold(item) -> None:
        await anyio.sleep(0 if slow else 100)

    desk.work_on = hold
    waited = []

    async def asks() -> None:
        await pace.acquire("other")
        await pace.acquire("other")
        waited.append(anyio.current_time())

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(desk.run, range(40))
        tasks.start_soon(asks)
        await anyio.sleep(5)
        assert len(desk.began) == 1
        assert not waited
        pace.change(20, 10.0)
        desk.pipeline.change_limits(desk.limits.replace(threads=20))
        await anyio.sleep(7)
        assert waited
        assert len(desk.began) >= (40 if slow else 19)
    assert len(desk.of(ItemState.DONE)) == 40


async def test_who_waits_at_a_gate_passes_when_it_opens() -> None:
    gate, passed = Gate(), []

    async def passes() -> None:
        await gate.passed()
        passed.append(anyio.current_time())

    gate.close()
    gate.close()
    assert not gate.met
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(passes)
        await anyio.sleep(3)
        assert gate.met
        assert not passed
        gate.open()
        gate.close()  # at once: who was let go looks again
        await checkpoint()
        await anyio.sleep(3)
        assert not passed
        gate.open()
    assert passed == [6]
