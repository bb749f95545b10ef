"""Coroutines that ignore their cancellation have a bounded end."""

from __future__ import annotations

from contextlib import suppress

import anyio
import pytest
from anyio.lowlevel import checkpoint

from async_commander.engine import leaving
from async_commander.engine.leaving import STUBBORN_AFTER, CancelIgnored, Leavable
from async_commander.engine.limits import Limits, Retry
from async_commander.results import ItemState

from .desk import Desk

pytestmark = pytest.mark.anyio

swallowed: list[int] = []


@pytest.fixture(autouse=True)
def no_time_passes(monkeypatch, anyio_backend) -> None:
    """A loop that cancels in each of its turns gives a clock that jumps no reason to."""
    if anyio_backend[0] == "trio":
        pytest.skip("only on asyncio")
    monkeypatch.setattr(leaving, "STUBBORN_SECONDS", -1.0)


async def swallow() -> None:
    while True:
        try:
            await anyio.sleep(1000)
        except anyio.get_cancelled_exc_class():
            swallowed.append(1)


async def swallow_everything() -> None:
    while True:
        with suppress(BaseException):
            await swallow()


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("stubborn", [swallow, swallow_everything])
async def test_one_that_swallows_its_cancels_is_left(stubborn) -> None:
    swallowed.clear()
    with anyio.CancelScope() as scope:
        scope.cancel()
        with pytest.raises(CancelIgnored, match=r"iterate\(\) went on when it was cancelled"):
            await Leavable(stubborn(), "iterate()")
    assert len(swallowed) == STUBBORN_AFTER


async def test_one_that_cleans_up_behind_a_shield_is_let_finish() -> None:
    cleaned = []

    async def careful() -> None:
        try:
            await anyio.sleep(1000)
        finally:
            with anyio.CancelScope(shield=True):
                for _ in range(10 * STUBBORN_AFTER):
                    await checkpoint()
                cleaned.append(1)

    with anyio.move_on_after(5) as scope:
        await Leavable(careful(), "it")
    assert scope.cancelled_caught
    assert cleaned == [1]


async def test_one_that_hides_behind_a_shield_is_left_when_that_is_asked_for() -> None:
    ended = []

    async def hidden() -> None:
        try:
            with anyio.CancelScope(shield=True):
                await anyio.sleep(1_000_000)
        finally:
            ended.append(1)

    async def run() -> None:
        nonlocal it
        it = Leavable(hidden(), "it")
        with pytest.raises(CancelIgnored):
            await it
        await anyio.sleep(1)  # nothing is left of the cancel
        ended.append(2)

    it: Leavable[None]
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(run)
        await anyio.sleep(10)
        it.leave()
        it.leave()
    assert ended == [1, 2]


async def test_an_item_that_swallows_its_time_out_is_dead_and_its_worker_goes_on() -> None:
    async def work(item) -> None:
        await Leavable(swallow() if item == 0 else anyio.sleep(1), "download()")

    desk = Desk(work, limits=Limits(threads=1, item_timeout=3.0, max_failures=None), retry=Retry(attempts=1))
    assert await desk.run(range(5))
    assert desk.of(ItemState.DEAD) == [0]
    assert isinstance(desk.errors[0], TimeoutError)
    assert isinstance(desk.errors[0].__cause__, CancelIgnored)
    desk.check_books()


async def test_results_and_errors_pass_through() -> None:
    async def give() -> int:
        await anyio.sleep(1)
        return 3

    async def fail() -> None:
        await anyio.sleep(1)
        raise KeyError

    assert await Leavable(give(), "it") == 3
    with pytest.raises(KeyError):
        await Leavable(fail(), "it")
