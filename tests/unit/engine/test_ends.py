"""Ends before the end: stop, cancel, abort and cancellation of the caller, at every await there is."""

from __future__ import annotations

import asyncio
import os
import random
from contextlib import suppress

import anyio
import pytest
import sniffio

from async_commander.engine.limits import Limits, Retry
from async_commander.engine.pace import Pace
from async_commander.exceptions import SkipItem
from async_commander.results import ItemState, items_in_words

from .desk import Desk, Transient, sleep

pytestmark = pytest.mark.anyio

CANCELS = int(os.environ.get("ENGINE_CANCELS", "100"))
SEED = int(os.environ.get("ENGINE_SEED", random.randrange(10**6)))
STEPS = 280
WAYS = ["stop", "cancel", "stop then cancel", "abort", "scope"]


class Lost(Exception):
    """What an aborted run raises here."""


async def test_stop_finishes_what_is_in_hand_and_releases_the_rest() -> None:
    desk = Desk(sleep, chunk=8)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(expect, desk, range(100), False)
        await anyio.sleep(1.5)
        desk.pipeline.stop()
    assert desk.tally.done == 8
    assert desk.began == list(range(8))
    assert sorted(desk.released) == list(range(8, 8 + len(desk.released)))
    desk.check_books()


async def test_stop_postpones_what_waits_for_another_attempt() -> None:
    async def work(item) -> None:
        error = Transient()
        error.retry_after = 100.0
        raise error

    desk = Desk(work)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(expect, desk, range(3), False)
        await anyio.sleep(40)
        desk.pipeline.stop()
    assert sorted(desk.postponed) == [(0, 60), (1, 60), (2, 60)]
    assert desk.tally.retry == 3
    desk.check_books()


async def test_an_item_that_fails_while_stopping_is_postponed_at_once() -> None:
    async def work(item) -> None:
        await anyio.sleep(1)
        raise Transient

    desk = Desk(work, limits=Limits(threads=2))
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(expect, desk, range(2), False)
        await anyio.sleep(0.5)
        desk.pipeline.stop()
    assert desk.tally.retry == 2
    desk.check_books()


async def test_stop_releases_what_stands_in_line_for_its_host() -> None:
    desk = Desk(sleep, pace=Pace(per_key=1), throttle=lambda item: "host", chunk=8)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(expect, desk, range(8), False)
        await anyio.sleep(0.5)
        desk.pipeline.stop()
    assert desk.tally.done == 1
    assert sorted(desk.released) == list(range(1, 8))
    desk.check_books()


async def test_stop_wakes_a_source_that_waits_and_lets_it_clean_up() -> None:
    closed = anyio.Event()

    async def source():
        try:
            yield 1
            await anyio.sleep_forever()
        finally:
            closed.set()

    desk = Desk()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(expect, desk, source(), False)
        await anyio.sleep(1)
        desk.pipeline.stop()
    assert closed.is_set()
    assert desk.tally.done == 1


async def test_what_a_source_yielded_before_it_failed_is_carried_and_what_waits_is_postponed() -> None:
    def source():
        yield from range(30)
        raise ConnectionError("page 2 is down")

    async def work(item) -> None:
        await anyio.sleep(1)
        if item == 3:
            error = Transient()
            error.retry_after = 1000.0
            raise error

    desk = Desk(work, chunk=8, limits=Limits(threads=2))
    with pytest.raises(ConnectionError, match="page 2"):
        await desk.run(source())
    assert (desk.tally.done, desk.tally.retry, desk.released) == (29, 1, [])
    assert anyio.current_time() < 100
    desk.check_books()


async def test_a_source_that_fails_because_it_was_stopped_is_only_logged(caplog) -> None:
    async def source():
        try:
            yield 1
            await anyio.sleep_forever()
        except anyio.get_cancelled_exc_class() as error:
            raise ConnectionError("cursor was closed") from error

    desk = Desk()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(expect, desk, source(), False)
        await anyio.sleep(1)
        desk.pipeline.stop()
    assert desk.tally.done == 1
    assert "cursor was closed" in caplog.text


@pytest.mark.parametrize("kind", ["sync", "async"])
async def test_a_generator_that_is_not_read_to_its_end_is_closed(kind) -> None:
    closed = []

    def numbers():
        try:
            yield from range(1000)
        finally:
            closed.append("sync")

    async def anumbers():
        try:
            for number in range(1000):
                yield number
        finally:
            await anyio.sleep(0.1)
            closed.append("async")

    desk = Desk(sleep)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(expect, desk, numbers() if kind == "sync" else anumbers(), False)
        await anyio.sleep(1.5)
        desk.pipeline.stop()
    assert closed == [kind]


async def test_stop_before_the_run_takes_nothing() -> None:
    desk = Desk()
    desk.pipeline.stop()
    assert await desk.run(range(10)) is False
    assert desk.chunks == []


async def test_abort_before_the_run_raises_and_takes_nothing() -> None:
    desk = Desk()
    desk.pipeline.abort(Lost())
    with pytest.raises(Lost):
        await desk.run(range(10))
    assert desk.chunks == []


async def test_stop_after_everything_is_a_complete_run() -> None:
    desk = Desk()
    assert await desk.run(range(10)) is True
    desk.pipeline.stop()
    desk.pipeline.cancel()


async def test_cancel_ends_items_in_hand_within_100_ms_and_releases_them() -> None:
    async def work(item) -> None:
        await anyio.sleep(1000)

    desk = Desk(work)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(expect, desk, range(100), False)
        await anyio.sleep(1)
        start = anyio.current_time()
        desk.pipeline.cancel()
    assert anyio.current_time() - start < 0.1
    assert set(desk.began) <= set(desk.released)
    assert desk.tally.taken == 0
    desk.check_books()


async def test_cancel_after_stop_ends_what_stop_waits_for() -> None:
    async def work(item) -> None:
        await anyio.sleep(1000)

    desk = Desk(work)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(expect, desk, range(100), False)
        await anyio.sleep(1)
        desk.pipeline.stop()
        await anyio.sleep(10)
        assert desk.tally.in_flight == 4
        desk.pipeline.cancel()
    assert anyio.current_time() < 1000
    desk.check_books()


async def test_cancel_still_sees_settled_what_was_handed_over() -> None:
    desk = Desk(commit_time=5.0, limits=Limits(threads=2, batch_size=3))
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(expect, desk, range(100), False)
        await anyio.sleep(1)
        assert desk.tally.unconfirmed >= 6
        desk.pipeline.cancel()
    assert desk.tally.done == len(set(desk.began))
    desk.check_books()


async def test_what_is_rejected_while_stopping_is_postponed() -> None:
    desk = Desk(commit_time=5.0)
    for item in range(5):
        desk.dud(item)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(expect, desk, range(10), False)
        await anyio.sleep(1)
        desk.pipeline.cancel()
    assert sorted(item for item, _ in desk.postponed) == list(range(5))
    desk.check_books()


async def test_cancel_waits_for_a_claim_that_is_under_way_and_gives_it_back() -> None:
    async def step(name) -> None:
        if name == "admitted":
            await anyio.sleep(5)

    desk = Desk(step=step)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(expect, desk, range(10), False)
        await anyio.sleep(1)
        desk.pipeline.cancel()
    assert len(desk.released) == 8
    desk.check_books()


async def test_abort_waits_for_nothing_that_was_handed_over() -> None:
    desk = Desk(commits=False)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(expect_lost, desk, range(10))
        await anyio.sleep(1)
        assert desk.tally.unconfirmed == 10
        desk.pipeline.abort(Lost())


async def test_abort_ends_a_run_that_waits_for_the_last_commit() -> None:
    desk = Desk(commits=False)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(expect_lost, desk, range(10))
        await anyio.sleep(1)
        desk.pipeline.cancel()
        await anyio.sleep(1)
        desk.pipeline.abort(Lost())


async def test_the_first_abort_wins() -> None:
    async def work(item) -> None:
        desk.pipeline.abort(Lost())
        desk.pipeline.abort(ValueError())

    desk = Desk(work)
    await expect_lost(desk, range(10))


async def test_a_cancelled_caller_gives_back_what_it_had() -> None:
    desk = Desk(sleep)
    with anyio.move_on_after(1.5):
        await desk.run(range(100))
    assert desk.tally.in_flight == desk.tally.waiting == 0
    assert set(desk.began[4:]) <= set(desk.released)
    assert desk.tally.claimed == 0


async def test_a_natively_cancelled_caller_gives_back_what_it_had() -> None:
    if sniffio.current_async_library() != "asyncio":
        pytest.skip("trio has no native cancellation of tasks")
    desk = Desk(sleep)
    before = asyncio.all_tasks()
    caller = asyncio.ensure_future(desk.pipeline.run(range(100)))
    await anyio.sleep(0.5)
    caller.cancel()
    with pytest.raises(asyncio.CancelledError):
        await caller
    assert set(desk.began) <= set(desk.released)
    assert desk.tally.in_flight == desk.tally.claimed == 0
    assert asyncio.all_tasks() == before


async def test_cancelling_all_tasks_of_a_loop_fails_no_item() -> None:
    """What `asyncio.run()` does when its main task is gone."""
    if sniffio.current_async_library() != "asyncio":
        pytest.skip("trio has no native cancellation of tasks")
    desk = Desk(sleep)
    before = asyncio.all_tasks()
    caller = asyncio.ensure_future(desk.pipeline.run(range(100)))
    await anyio.sleep(0.5)
    for task in asyncio.all_tasks() - before:
        task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await caller
    assert desk.errors == {}
    assert set(desk.began) <= set(desk.released)


async def expect(desk: Desk, source, complete: bool) -> None:
    assert await desk.run(source) is complete


async def expect_lost(desk: Desk, source) -> None:
    with pytest.raises(Lost):
        await desk.run(source)


# Everywhere


def busy_desk(step=None) -> Desk:
    """A desk at which everything happens: retries, dead letters, skips, time-outs, lines, rejections, postponements."""

    async def work(item) -> None:
        await anyio.sleep((item * 7 % 5) / 10)
        fate = item % 20
        if fate == 1 and desk.began.count(item) == 1:
            raise Transient
        if fate == 2:
            raise ValueError
        if fate == 3:
            raise SkipItem
        if fate == 4:
            raise asyncio.CancelledError
        if fate == 5 and desk.began.count(item) == 1:
            await anyio.sleep(1000)
        if fate == 6 and desk.began.count(item) == 1:
            desk.dud(item)

    desk = Desk(
        work,
        limits=Limits(threads=3, batch_size=4, item_timeout=3.0, max_failures=None),
        retry=Retry(attempts=3, initial=0.2, factor=1.0),
        pace=Pace(per_key=2, per_second=20.0),
        throttle=lambda item: f"host{item % 2}" if item % 3 else None,
        alone=lambda item: item in {7, 8},
        commit_time=0.05,
        step=step,
    )
    desk.pipeline._waiting._capacity = 4
    return desk


def check_everything(desk: Desk) -> None:
    """Each item that was ever claimed is settled once, or was given back; nothing is left behind."""
    desk.check_books()
    assert not set(desk.released) & set(desk.states)
    assert desk.pace is not None
    assert all(not turns.held for turns in desk.pace._hosts.values())


async def anumbers(count: int):
    for number in range(count):
        if number % 7 == 0:
            await anyio.sleep(0.01)
        yield number


async def test_a_busy_run_is_complete() -> None:
    desk = busy_desk()
    assert await desk.run(anumbers(100)) is True
    assert len(desk.states) == 100
    assert desk.tally.dead == 10
    assert desk.tally.skipped == 5
    check_everything(desk)


@pytest.mark.parametrize("way", WAYS)
async def test_any_end_at_every_step_loses_nothing(way) -> None:
    print(f"ENGINE_SEED={SEED}")
    stride = max(1, STEPS * len(WAYS) // CANCELS)
    assert STEPS <= await end_at_step(way, -9) < STEPS + 20  # else some would never be tried
    for at in range(1 + SEED % stride, STEPS, stride):
        await end_at_step(way, at)


async def end_at_step(way: str, at: int) -> int:
    count = 0

    def step(name: str) -> None:
        nonlocal count
        count += 1
        if count == at:
            end(desk, way, scope)
        if count == at + 3 and way == "stop then cancel":
            desk.pipeline.cancel()

    desk = busy_desk(step)
    with anyio.CancelScope() as scope, suppress(Lost):
        await desk.run(anumbers(100))
    finish_by_hand(desk, way)
    check_everything(desk)
    return count


def end(desk: Desk, way: str, scope: anyio.CancelScope) -> None:
    match way:
        case "stop" | "stop then cancel":
            desk.pipeline.stop()
        case "cancel":
            desk.pipeline.cancel()
        case "abort":
            desk.pipeline.abort(Lost())
        case "scope":
            scope.cancel()


def finish_by_hand(desk: Desk, way: str) -> None:
    """An aborted run, and one whose caller is cancelled, leave to the writer what was handed over."""
    if way in {"abort", "scope"}:
        for ticket in list(desk.pipeline._accounting):
            assert ticket.handed
            desk.states[ticket.item] = ticket.state
            desk.pipeline.settled([ticket])


async def test_an_end_at_any_time_loses_nothing() -> None:
    print(f"ENGINE_SEED={SEED}")
    numbers = random.Random(SEED)
    for _ in range(CANCELS // 5):
        way = numbers.choice(WAYS)
        desk = busy_desk()
        when = numbers.uniform(0, 30)
        with suppress(Lost):
            async with anyio.create_task_group() as tasks:
                with anyio.CancelScope() as scope:
                    tasks.start_soon(end_later, desk, way, scope, when)
                    error = None
                    try:
                        await desk.run(anumbers(100))
                    except Lost as lost:
                        error = lost
                tasks.cancel_scope.cancel()
            if error:
                raise error
        finish_by_hand(desk, way)
        check_everything(desk)


async def end_later(desk: Desk, way: str, scope: anyio.CancelScope, when: float) -> None:
    await anyio.sleep(when)
    end(desk, way, scope)
    await anyio.sleep(0.3)
    if way == "stop then cancel":
        desk.pipeline.cancel()


async def test_an_end_leaves_no_task_behind() -> None:
    if sniffio.current_async_library() != "asyncio":
        pytest.skip("a nursery cannot leave a task behind")
    before = asyncio.all_tasks()
    for way in ("stop", "cancel", "abort"):
        desk = busy_desk()
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(end_later, desk, way, anyio.CancelScope(), 1.0)
            with suppress(Lost):
                await desk.run(anumbers(100))
    assert asyncio.all_tasks() == before
    assert ItemState.DONE in desk.states.values()


def test_one_item_is_not_items() -> None:
    assert (items_in_words(1), items_in_words(1200)) == ("1 item", "1,200 items")


async def test_without_a_ledger_a_commit_that_fails_after_the_end_gives_its_item_back() -> None:
    desk = Desk(has_ledger=False, commit_time=5.0)
    desk.dud(0)
    async with anyio.create_task_group() as tasks:

        async def end() -> None:
            await anyio.sleep(1)
            desk.pipeline.cancel()

        tasks.start_soon(end)
        with anyio.fail_after(100):
            assert await desk.run([0]) is False
    assert desk.released == [0]
    assert desk.tally.claimed == desk.tally.waiting == 0
