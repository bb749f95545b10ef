"""Holding back what has not begun: asked at most once a second, and over at once where the run ends."""

from __future__ import annotations

import anyio
import pytest

from async_commander.engine.brake import ASKED_EVERY
from async_commander.engine.limits import Limits
from async_commander.results import ItemState

from .desk import Desk

pytestmark = pytest.mark.anyio


class Answers:
    """Says one answer after another, and then 0."""

    def __init__(self, *answers, takes=0.0) -> None:
        self.answers = list(answers)
        self.takes = takes
        self.asked: list[float] = []
        self.seconds: list[float] = []
        self.at_once = self.most_at_once = 0

    async def seconds_to_wait(self) -> float:
        self.asked.append(anyio.current_time())
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        await anyio.sleep(self.takes)
        self.at_once -= 1
        answer = self.answers.pop(0) if self.answers else 0.0
        if isinstance(answer, Exception):
            raise answer
        return answer

    def held(self, seconds) -> None:
        self.seconds.append(seconds)


async def test_nothing_begins_while_it_holds_and_what_is_in_hand_goes_on() -> None:
    async def work(item) -> None:
        await anyio.sleep(2)
        ended.append(anyio.current_time() - started)

    ended, holder = [], Answers(0.0, 5.0)
    desk = Desk(work, holder=holder, limits=Limits(threads=2))
    started = anyio.current_time()
    assert await desk.run(range(4))
    assert ended == pytest.approx([2, 2, 9, 9], abs=0.1)
    assert holder.seconds == pytest.approx([5], abs=0.1)
    assert desk.tally.held_until == 0
    desk.check_books()


async def test_it_is_asked_at_most_once_a_second_by_one_at_a_time() -> None:
    async def work(item) -> None:
        await anyio.sleep(0.05)

    holder = Answers(0.2, 0.0, 0.3, takes=0.1)
    desk = Desk(work, holder=holder, limits=Limits(threads=5))
    assert await desk.run(range(400))
    gaps = [later - earlier for earlier, later in zip(holder.asked, holder.asked[1:], strict=False)]
    assert len(gaps) >= 3
    assert min(gaps) >= ASKED_EVERY
    assert holder.most_at_once == 1
    desk.check_books()


async def test_nobody_is_asked_where_nothing_is_about_to_begin() -> None:
    async def slow():
        for item in range(3):
            await anyio.sleep(100)
            yield item

    holder = Answers()
    assert await Desk(holder=holder).run(slow())
    assert len(holder.asked) == 3


async def test_the_wait_counts_for_no_item() -> None:
    async def work(item) -> None:
        await anyio.sleep(0.9)

    desk = Desk(work, holder=Answers(50.0), limits=Limits(threads=1, item_timeout=1.0))
    assert await desk.run(range(2))
    assert desk.of(ItemState.DONE) == [0, 1]


@pytest.mark.parametrize("how", ["stop", "cancel"])
@pytest.mark.parametrize("takes", [0.0, 3600.0], ids=["it holds", "it is being asked"])
async def test_the_end_of_the_run_ends_the_wait_at_once(how, takes) -> None:
    holder = Answers(3600.0, takes=takes)
    desk = Desk(holder=holder)
    started = anyio.current_time()
    async with anyio.create_task_group() as tasks:

        async def end() -> None:
            await anyio.sleep(1)
            getattr(desk.pipeline, how)()

        tasks.start_soon(end)
        assert await desk.run(range(10)) is False
    assert anyio.current_time() - started == pytest.approx(1, abs=0.1)
    assert desk.began == []
    assert desk.tally.held_until == 0
    assert desk.tally.claimed == 0


async def test_an_error_ends_the_run_in_order() -> None:
    async def work(item) -> None:
        await anyio.sleep(3)

    desk = Desk(work, holder=Answers(0.0, ValueError("no such replica")), limits=Limits(threads=1))
    with pytest.raises(ValueError, match="no such replica"):
        await desk.run(range(5))
    assert desk.of(ItemState.DONE) == [0]
    assert desk.tally.claimed == 0
