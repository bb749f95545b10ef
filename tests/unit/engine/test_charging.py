"""Nobody pays for another: time in a queue is not charged to the item that waits there."""

from __future__ import annotations

import threading
from contextvars import copy_context
from functools import partial
from types import SimpleNamespace

import anyio
import pytest

from async_commander.engine import charging
from async_commander.engine.charging import uncharged
from async_commander.engine.limits import Limits, Retry
from async_commander.engine.pace import Pace
from async_commander.results import ItemState

from .desk import Desk

pytestmark = pytest.mark.anyio

TIMEOUT = 3.0
GUILTY = 0


def desk_of(work, threads: int = 10) -> Desk:
    return Desk(work, limits=Limits(threads=threads, item_timeout=TIMEOUT, max_failures=None), retry=Retry(attempts=1))


@pytest.mark.parametrize("resource", ["a lock", "a limiter", "a turn", "a service that says when it begins"])
async def test_one_that_holds_what_all_need_is_the_only_one_dead(resource) -> None:
    """Each of the others waits for far longer than its time."""
    lock, limiter, pace = anyio.Lock(), anyio.CapacityLimiter(1), Pace(per_key=1)

    async def hold(item) -> None:
        await anyio.sleep(1_000_000 if item == GUILTY else 1)

    take, give = {
        "a limiter": (limiter.acquire, limiter.release),
        "a turn": (partial(pace.acquire, "host"), partial(pace.release, "host")),
    }.get(resource, (lock.acquire, lock.release))

    async def work(item) -> None:
        with uncharged() as wait:
            await take()
            try:
                if resource == "a service that says when it begins":
                    wait.over()
                    await hold(item)
            except BaseException:
                give()
                raise
        try:
            await hold(item)
        finally:
            give()

    desk = desk_of(work)
    assert await desk.run(range(1000))
    assert desk.of(ItemState.DEAD) == [GUILTY]
    assert isinstance(desk.errors[GUILTY], TimeoutError)
    assert len(desk.began) == 1000
    desk.check_books()


async def test_time_before_and_after_a_wait_is_charged_in_full() -> None:
    ended: dict[str, float] = {}

    async def work(item) -> None:
        began = anyio.current_time()
        try:
            await anyio.sleep(2)
            with uncharged():
                await anyio.sleep(1000)
            await anyio.sleep(0.5 if item == "within" else 1_000_000)
        finally:
            ended[item] = anyio.current_time() - began

    desk = desk_of(work)
    assert await desk.run(["within", "beyond"])
    assert ended == pytest.approx({"within": 1002.5, "beyond": 1003.0}, abs=0.01)
    assert desk.of(ItemState.DEAD) == ["beyond"]


async def test_waits_in_several_tasks_of_one_item_count_once_and_until_the_last_is_over() -> None:
    async def wait(seconds: float) -> None:
        with uncharged(), uncharged():
            await anyio.sleep(seconds)

    async def work(item) -> None:
        async with anyio.create_task_group() as tasks:
            for seconds in (5, 50, 20):
                tasks.start_soon(wait, seconds)
        await anyio.sleep(TIMEOUT + item)

    desk = desk_of(work)
    start = anyio.current_time()
    assert await desk.run([-0.5, 1])
    assert desk.of(ItemState.DEAD) == [1]
    assert anyio.current_time() - start == pytest.approx(53, abs=1.01)


async def test_a_wait_that_outlives_its_item_changes_nothing_for_the_next() -> None:
    waits = []

    async def work(item) -> None:
        if item == 0:
            waits.append(uncharged())
        else:
            waits[0].over()
            waits[0].over()
            await anyio.sleep(1_000_000)

    desk = desk_of(work, threads=1)
    start = anyio.current_time()
    assert await desk.run([0, 1])
    assert desk.of(ItemState.DEAD) == [1]
    assert anyio.current_time() - start == pytest.approx(TIMEOUT)


async def test_a_wait_begins_and_ends_in_a_thread_as_well(monkeypatch) -> None:
    def in_a_thread(function):
        made = []
        context = copy_context()
        thread = threading.Thread(target=lambda: made.append(context.run(function)))
        thread.start()
        thread.join()  # the loop stands still, and its clock with it
        return made[0]

    async def work(item) -> None:
        now = anyio.current_time()
        monkeypatch.setattr(charging.time, "monotonic", lambda: now)
        wait = in_a_thread(uncharged)
        await anyio.sleep(1000)
        monkeypatch.setattr(charging.time, "monotonic", lambda: now + 1000)
        in_a_thread(wait.over)
        await anyio.sleep(TIMEOUT + item)

    monkeypatch.setattr(charging, "time", SimpleNamespace(monotonic=anyio.current_time))
    desk = desk_of(work, threads=1)
    assert await desk.run([-1, 2])
    assert desk.of(ItemState.DONE) == [-1]
    assert desk.of(ItemState.DEAD) == [2]


async def test_code_that_belongs_to_no_item_may_wait_uncharged_too() -> None:
    with uncharged() as wait:
        wait.over()


async def test_time_in_which_the_process_was_stopped_is_not_charged(monkeypatch) -> None:
    stolen = 0.0
    monkeypatch.setattr(charging.awake, "stolen", lambda: stolen)
    ended: list[float] = []

    async def work(item) -> None:
        nonlocal stolen
        began = anyio.current_time()
        try:
            await anyio.sleep(1)
            stolen += 50.0
            await anyio.sleep(50 + item)
        finally:
            ended.append(anyio.current_time() - began)

    desk = desk_of(work, threads=1)
    assert await desk.run([1, 1000])
    assert desk.of(ItemState.DONE) == [1]
    assert desk.of(ItemState.DEAD) == [1000]
    assert ended == pytest.approx([52, 53])


async def test_what_of_a_wait_was_none_is_charged_and_may_end_the_item_while_it_lasts() -> None:
    """As a statement does: nobody knows at its beginning whether it waits."""
    ended: list[float] = []

    async def work(item) -> None:
        began = anyio.current_time()
        try:
            with uncharged() as wait:
                for _ in range(10):
                    await anyio.sleep(1)
                    wait.charge(item)
        finally:
            ended.append(anyio.current_time() - began)

    desk = desk_of(work, threads=1)
    assert await desk.run([0.1, 1.0])
    assert desk.of(ItemState.DONE) == [0.1]
    assert desk.of(ItemState.DEAD) == [1.0]
    assert ended[0] == pytest.approx(10)
    assert ended[1] < 6
