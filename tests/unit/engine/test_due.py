"""What comes from the ledger: postponed and followed tickets, and those that must run alone."""

from __future__ import annotations

import anyio
import pytest

from async_commander.engine.limits import Limits
from async_commander.engine.pace import Pace
from async_commander.engine.pipeline import Due, Ticket
from async_commander.results import ItemState

from .desk import Desk, Transient, sleep

pytestmark = pytest.mark.anyio


def store(desk: Desk, item, at: float = 0.0) -> None:
    """Put an item into the ledger, as a run before or `follow()` does."""
    desk.tally.taken += 1
    desk.tally.retry += 1
    desk.states[item] = ItemState.RETRY
    desk.ledger.append((at, desk.ticket(item)))


async def test_what_a_run_before_left_in_the_ledger_is_done_first_and_in_chunks() -> None:
    desk = Desk(chunk=10)
    for item in range(1000, 1035):
        store(desk, item)
    assert await desk.run(range(20))
    assert desk.began[:35] == list(range(1000, 1035))
    assert len(desk.asked) <= 6
    desk.check_books()


async def test_the_run_waits_for_the_last_time_in_the_ledger() -> None:
    desk = Desk()
    start = anyio.current_time()
    for item in range(3):
        store(desk, item, at=start + 1000 + item)
    assert await desk.run(range(10, 20)) is True
    assert anyio.current_time() - start == pytest.approx(1002, abs=0.2)
    assert len(desk.asked) < 10
    desk.check_books()


async def test_followed_items_are_carried_though_the_source_has_ended() -> None:
    async def work(item) -> None:
        if item < 500:
            store(desk, item * 2 + 1)
            store(desk, item * 2 + 2)
            desk.pipeline.nudge()
        await anyio.sleep(0.1)

    desk = Desk(work)
    assert await desk.run([0])
    assert sorted(desk.of(ItemState.DONE)) == list(range(1001))
    desk.check_books()


async def test_a_nudge_while_the_ledger_is_asked_is_not_lost() -> None:
    class Late(Desk):
        async def due(self, room: int, called=()) -> Due:
            found = await super().due(room)
            if len(self.asked) == 1:
                store(self, 99)
                self.pipeline.nudge()
                await anyio.sleep(1)
                return Due(found.tickets, None)
            return found

    desk = Late()
    assert await desk.run([1])
    assert sorted(desk.of(ItemState.DONE)) == [1, 99]


async def test_a_nudge_reaches_workers_that_all_rest() -> None:
    async def source():
        yield 1
        await anyio.sleep(100)

    async def later(desk: Desk) -> None:
        await anyio.sleep(10)
        store(desk, 2)
        desk.pipeline.nudge()

    desk = Desk()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(later, desk)
        assert await desk.run(source())
    (second,) = [at for at, item in desk.times if item == 2]
    assert second - desk.times[0][0] == pytest.approx(10)


async def test_an_outcome_without_a_ticket_of_ours_is_waited_for() -> None:
    class Gone(Desk):
        async def admit(self, items):
            tickets = await super().admit(items)
            for ticket in tickets[:1]:
                self.hand_over(ticket, ItemState.SKIPPED)
                self.pipeline.handed_over(ticket)
            return tickets[1:]

    desk = Gone(commit_time=5.0, chunk=4)
    assert await desk.run(range(4))
    assert desk.tally.skipped == 1
    assert desk.tally.done == 3
    desk.check_books()


# Alone


async def test_alone_tickets_run_last_and_one_by_one() -> None:
    together = []

    async def work(item) -> None:
        together.append((item, desk.tally.in_flight, desk.tally.unconfirmed))
        await anyio.sleep(1)

    desk = Desk(work, alone=lambda item: item % 10 == 0, commit_time=0.5)
    assert await desk.run(range(50))
    assert [item for item, _, _ in together[-5:]] == [0, 10, 20, 30, 40]
    assert [(in_hand, unconfirmed) for _, in_hand, unconfirmed in together[-5:]] == [(1, 0)] * 5
    desk.check_books()


async def test_alone_tickets_wait_for_retries_of_the_others() -> None:
    async def work(item) -> None:
        if item == 1 and desk.began.count(1) < 3:
            raise Transient

    desk = Desk(work, alone=lambda item: item == 0)
    assert await desk.run(range(3))
    assert desk.began[-1] == 0
    desk.check_books()


async def test_an_alone_ticket_is_tried_again_alone() -> None:
    async def work(item) -> None:
        assert desk.tally.in_flight == 1 or item > 1
        await anyio.sleep(1)
        if item == 0 and desk.began.count(0) < 3:
            raise Transient

    desk = Desk(work, alone=lambda item: item <= 1, pace=Pace(per_key=1), throttle=lambda item: "host")
    assert await desk.run(range(10))
    assert desk.tally.done == 10
    desk.check_books()


async def test_nothing_begins_while_an_alone_ticket_runs() -> None:
    async def work(item) -> None:
        if item == 0:
            store(desk, 7)
            desk.pipeline.nudge()
            await anyio.sleep(5)
            assert desk.began == [1, 0]

    desk = Desk(work, alone=lambda item: item == 0)
    assert await desk.run([0, 1])
    assert desk.began == [1, 0, 7]
    desk.check_books()


async def test_new_items_that_are_due_come_before_the_next_alone_ticket() -> None:
    async def work(item) -> None:
        if item == 0:
            store(desk, 7)
            desk.pipeline.nudge()

    desk = Desk(work, alone=lambda item: item in {0, 1})
    assert await desk.run([0, 1])
    assert desk.began == [0, 7, 1]


async def test_an_alone_ticket_waits_for_an_item_that_is_settled_but_still_in_hand() -> None:
    class OnLane(Desk):
        async def work(self, ticket: Ticket) -> None:
            await super().work(ticket)
            self.commit()
            in_hand.append((ticket.item, self.tally.in_flight))
            await anyio.sleep(10 if ticket.item == 1 else 0)

    in_hand: list[tuple[int, int]] = []
    desk = OnLane(limits=Limits(threads=4), alone=lambda item: item == 0, commits=False)
    start = anyio.current_time()
    assert await desk.run(range(4))
    assert in_hand[-1] == (0, 1)
    assert desk.times[-1][0] - start == pytest.approx(10)


async def test_stop_releases_alone_tickets_that_were_not_begun() -> None:
    desk = Desk(sleep, alone=lambda item: item < 2)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(desk.run, range(4))
        await anyio.sleep(0.5)
        desk.pipeline.stop()
    assert sorted(desk.released) == [0, 1]
    desk.check_books()
