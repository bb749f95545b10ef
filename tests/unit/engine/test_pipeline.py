"""The main road: from a source through the workers to settled."""

from __future__ import annotations

import anyio
import pytest

from async_commander.engine.limits import Limits
from async_commander.results import ItemState

from .desk import Desk, Transient, sleep

pytestmark = pytest.mark.anyio


async def agen(items, pause=None):
    for item in items:
        if pause is not None:
            await anyio.sleep(pause)
        yield item


@pytest.mark.parametrize("source", [lambda: range(100), lambda: iter(range(100)), lambda: agen(range(100))])
async def test_every_item_of_any_iterable_is_done(source) -> None:
    desk = Desk()
    assert await desk.run(source()) is True
    assert sorted(desk.of(ItemState.DONE)) == list(range(100))
    desk.check_books()


async def test_an_empty_source_ends_at_once() -> None:
    desk = Desk()
    assert await desk.run([]) is True
    assert desk.chunks == []


async def test_threads_items_are_in_hand_at_once_and_no_more() -> None:
    desk = Desk(sleep)
    assert await desk.run(range(20))
    assert desk.most_in_hand == 4
    assert anyio.current_time() - desk.times[0][0] == pytest.approx(5)


async def test_workers_are_started_when_needed_only() -> None:
    desk = Desk(limits=Limits(threads=50))
    assert await desk.run([1])
    assert desk.pipeline._workers._started <= 2


async def test_a_slow_source_is_not_waited_for_to_fill_a_chunk() -> None:
    desk = Desk(chunk=8)
    assert await desk.run(agen(range(5), pause=1.0))
    assert desk.chunks == [1] * 5


async def test_a_fast_source_is_admitted_in_full_chunks() -> None:
    desk = Desk(chunk=8)
    assert await desk.run(agen(range(80)))
    assert desk.chunks == [8] * 10


async def test_chunks_grow_up_to_their_bound_while_items_take_no_time() -> None:
    desk = Desk(limits=Limits(threads=2, batch_size=100), chunk=4, largest_chunk=20)
    assert await desk.run(agen(range(124)))
    assert desk.chunks[:5] == [4, 4, 8, 16, 20]
    assert max(desk.chunks) == 20


async def test_chunks_of_slow_items_stay_small_and_become_small_again() -> None:
    async def work(item) -> None:
        await anyio.sleep(0.0 if item < 100 else 1.0)

    desk = Desk(work, limits=Limits(threads=2, batch_size=100), chunk=4, largest_chunk=32)
    assert await desk.run(range(200))
    assert max(desk.chunks) == 32
    assert desk.chunks[-3:-1] == [4, 4]


@pytest.mark.parametrize("kind", ["sync", "async"])
async def test_the_source_is_read_at_most_one_chunk_ahead(kind) -> None:
    read = 0
    ahead = []

    def numbers():
        nonlocal read
        for number in range(200):
            read += 1
            yield number

    async def work(item) -> None:
        ahead.append(read - len(desk.states))
        await anyio.sleep(1)

    desk = Desk(work, chunk=10)
    source = numbers() if kind == "sync" else agen(numbers())
    assert await desk.run(source)
    assert max(ahead) <= 10


async def test_claims_run_at_most_one_and_a_half_chunks_ahead() -> None:
    ahead = []

    async def work(item) -> None:
        ahead.append(len(desk.states) - len(desk.began))
        await anyio.sleep(1)

    desk = Desk(work, chunk=10)
    assert await desk.run(range(200))
    assert max(ahead) <= 15


async def test_the_next_chunk_is_admitted_while_workers_still_have_items() -> None:
    async def step(name) -> None:
        if name == "admit":
            await anyio.sleep(1.0)

    desk = Desk(sleep, chunk=8, step=step)
    assert await desk.run(range(400))
    assert desk.times[-1][0] - desk.times[0][0] < 115  # 99 rounds of one second; admitting alone would add 50


async def test_no_item_begins_while_twice_the_batch_size_is_unconfirmed() -> None:
    desk = Desk(limits=Limits(threads=3, batch_size=5), commit_time=1.0)
    assert await desk.run(range(200))
    assert 10 <= desk.most_unconfirmed <= 10 + 3 - 1
    desk.check_books()


async def test_work_stops_while_nothing_is_confirmed_and_goes_on_after() -> None:
    desk = Desk(limits=Limits(threads=3, batch_size=5), commits=False)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(desk.run, range(100))
        await anyio.wait_all_tasks_blocked()
        assert len(desk.began) == 10
        while desk.tally.done < 100:
            desk.commit()
            await anyio.wait_all_tasks_blocked()
    desk.check_books()


async def test_settled_during_work_counts_once_and_holds_nothing_back() -> None:
    async def work(item) -> None:
        await anyio.sleep(0.1)

    class OnLane(Desk):
        async def work(self, ticket) -> None:
            await super().work(ticket)
            self.commit()
            await anyio.sleep(0.1)

    desk = OnLane(work, limits=Limits(threads=3, batch_size=1), commits=False)
    assert await desk.run(range(30))
    assert desk.most_unconfirmed == 0
    assert desk.tally.done == 30
    desk.check_books()


async def test_a_pipeline_serves_one_run() -> None:
    desk = Desk()
    await desk.run([1])
    with pytest.raises(RuntimeError, match="serves one run"):
        await desk.pipeline.run([2])


async def test_max_items_cuts_the_source_exactly() -> None:
    desk = Desk(chunk=8, max_items=11)
    assert await desk.run(range(100)) is True
    assert desk.pipeline.cut
    assert desk.tally.done == desk.tally.taken == 11
    desk.check_books()


async def test_a_stop_before_max_items_were_carried_is_no_complete_run() -> None:
    async def work(item) -> None:
        if item == 4:
            desk.pipeline.stop()

    desk = Desk(work, limits=Limits(threads=1), chunk=8, max_items=8)
    assert await desk.run(range(100)) is False
    assert desk.tally.done == desk.tally.taken == 5


async def test_max_items_above_the_source_cuts_nothing() -> None:
    desk = Desk(max_items=11)
    assert await desk.run(range(11)) is True
    assert not desk.pipeline.cut


async def test_max_items_does_not_wait_for_a_live_source() -> None:
    async def live():
        yield 1
        await anyio.sleep(1_000_000)

    desk = Desk(max_items=1)
    start = anyio.current_time()
    assert await desk.run(live()) is True
    assert anyio.current_time() - start < 1


async def test_items_in_flight_unconfirmed_and_waiting_are_shown_live() -> None:
    seen = []

    async def work(item) -> None:
        seen.append((desk.tally.in_flight, desk.tally.unconfirmed, desk.tally.waiting))
        if item == 0 and len(seen) == 1:
            raise Transient
        await anyio.sleep(1)

    desk = Desk(work, limits=Limits(threads=1), commits=False)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(desk.run, [0, 1, 2])
        await anyio.sleep(10)
        assert desk.tally.unconfirmed == 3
        desk.commit()
    assert seen[0] == (1, 0, 0)
    assert (1, 0, 1) in seen
    assert (1, 2, 0) in seen
    assert desk.tally.retried == 1
