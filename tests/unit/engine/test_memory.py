"""Memory does not grow with the number of items."""

from __future__ import annotations

import gc
import os
import tracemalloc

import pytest

from async_commander.engine.limits import Limits, Retry
from async_commander.engine.pace import Pace
from async_commander.engine.pipeline import Due, Pipeline, Ticket, Verdict
from async_commander.results import ItemState, Tally

pytestmark = pytest.mark.anyio

ITEMS = int(os.environ.get("ENGINE_ITEMS", "30000"))
MEGABYTE = 2**20


class Nothing:
    """Ports without a ledger, settled at once; every `failing`-th item fails with 100 KB in its traceback's frames."""

    has_ledger = True

    def __init__(self, failing: int = 0, pace: Pace | None = None) -> None:
        self.failing = failing
        self.paced = pace is not None
        self.tally = Tally()
        limits = Limits(threads=50, max_failures=None, item_timeout=60.0)
        self.pipeline: Pipeline[int] = Pipeline(
            self, limits=limits, retry=Retry(attempts=2, initial=0.01), tally=self.tally, pace=pace
        )

    async def admit(self, items):
        self.tally.taken += len(items)
        return [Ticket(item, throttle=f"host{item}" if self.paced else None) for item in items]

    async def work(self, ticket) -> None:
        if self.failing and ticket.item % self.failing == 0:
            body = bytes(100_000)
            raise ValueError(len(body))
        ticket.state = ItemState.DONE
        self.pipeline.settled([ticket])

    def failed(self, ticket, error, verdict) -> None:
        pass

    def keepable(self, ticket) -> bool:
        return False

    def verdict(self, ticket, error) -> Verdict:
        return Verdict("retry" if ticket.item % 2 else "dead")

    async def give_up(self, ticket, error, verdict) -> None:
        ticket.state = ItemState.DEAD
        self.pipeline.settled([ticket])

    async def postpone(self, ticket, delay, error) -> None:
        ticket.state = ItemState.DEAD
        self.pipeline.settled([ticket])

    async def release(self, tickets) -> None:
        raise AssertionError

    async def due(self, room, called=()) -> Due:
        return Due()


async def growth(ports: Nothing, items: int) -> tuple[int, int]:
    """Bytes more than before: at the most and at the end of the second half."""
    marks = []

    def source():
        for number in range(items):
            if number == items // 2:
                gc.collect()
                tracemalloc.reset_peak()
                marks.append(tracemalloc.get_traced_memory()[0])
            yield number

    tracemalloc.start()
    try:
        assert await ports.pipeline.run(source())
        gc.collect()
        end, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    return peak - marks[0], end - marks[0]


async def test_items_leave_nothing_behind() -> None:
    peak, end = await growth(Nothing(), ITEMS)
    assert peak < MEGABYTE
    assert end < MEGABYTE // 10


async def test_failing_items_leave_nothing_behind() -> None:
    peak, end = await growth(Nothing(failing=10), ITEMS)
    assert peak < 25 * MEGABYTE  # 50 workers may each hold a failure of 100 KB while they rest
    assert end < MEGABYTE // 2


async def test_a_new_host_for_each_item_leaves_nothing_behind() -> None:
    peak, end = await growth(Nothing(pace=Pace(per_key=1)), ITEMS)
    assert peak < 2 * MEGABYTE
    assert end < MEGABYTE // 2
