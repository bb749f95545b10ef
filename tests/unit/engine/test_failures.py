"""Items that fail: retries, dead letters, time-outs, cancellations of their own, and what no run survives."""

from __future__ import annotations

import asyncio
import traceback
from contextlib import suppress
from itertools import pairwise

import anyio
import pytest
import sniffio

from async_commander.engine.limits import Limits, Retry
from async_commander.engine.pipeline import ItemTimeout, Ticket, Verdict
from async_commander.exceptions import SkipItem, TooManyFailures
from async_commander.results import ItemState

from .desk import Deadly, Desk, Transient, sleep

pytestmark = pytest.mark.anyio

ONE_LIMIT = Limits(threads=4, batch_size=10, max_failures=None, item_timeout=5.0)


def on_asyncio() -> bool:
    return sniffio.current_async_library() == "asyncio"


async def test_a_transient_error_is_tried_again_and_the_item_done() -> None:
    async def work(item) -> None:
        if item % 10 == 0 and desk.began.count(item) < 3:
            raise Transient

    desk = Desk(work)
    assert await desk.run(range(100))
    assert desk.tally.done == 100
    assert desk.tally.retried == 20
    desk.check_books()


async def test_an_item_that_stays_transient_dies_exhausted() -> None:
    async def work(item) -> None:
        raise Transient

    desk = Desk(work)
    assert await desk.run([1])
    assert desk.began == [1, 1, 1]
    assert desk.reasons == {1: "exhausted"}
    assert desk.of(ItemState.DEAD) == [1]
    desk.check_books()


async def test_permanent_and_skipped_items_are_tried_once() -> None:
    async def work(item) -> None:
        raise ValueError if item else SkipItem

    desk = Desk(work)
    assert await desk.run([0, 1])
    assert desk.states == {0: ItemState.SKIPPED, 1: ItemState.DEAD}
    assert len(desk.began) == 2
    desk.check_books()


async def test_a_retry_waits_as_long_as_the_server_asked_and_holds_no_worker() -> None:
    async def work(item) -> None:
        if item == 0 and desk.began.count(0) == 1:
            error = Transient()
            error.retry_after = 100.0
            raise error
        await anyio.sleep(1)

    desk = Desk(work, limits=Limits(threads=1), retry=Retry(initial=0))
    start = anyio.current_time()
    assert await desk.run(range(50))
    assert [at - start for at, item in desk.times if item == 0] == pytest.approx([0, 100])
    assert [item for _, item in desk.times] == [*range(50), 0]


async def test_retries_beyond_the_heap_go_to_the_ledger_and_come_back() -> None:
    async def work(item) -> None:
        if desk.began.count(item) == 1:
            error = Transient()
            error.retry_after = 60.0
            raise error

    desk = Desk(work, limits=Limits(threads=2, batch_size=10))
    assert await desk.run(range(50))
    assert desk.most_waiting <= 20
    assert len(desk.postponed) == 30
    assert all(59 < delay <= 61 for _, delay in desk.postponed)
    assert desk.tally.done == 50
    desk.check_books()


async def test_a_group_of_one_error_is_judged_as_that_error() -> None:
    async def work(item) -> None:
        async with anyio.create_task_group() as tasks:
            async with anyio.create_task_group() as inner:
                inner.start_soon(fail)
            tasks.start_soon(anyio.sleep, 1)

    async def fail() -> None:
        raise KeyError("inside")

    desk = Desk(work)
    assert await desk.run([1])
    assert isinstance(desk.errors[1], KeyError)
    assert desk.of(ItemState.DEAD) == [1]


# Time-outs


async def test_an_item_that_takes_too_long_fails_and_the_others_do_not() -> None:
    async def work(item) -> None:
        await anyio.sleep(1000 if item == 3 else 4)

    desk = Desk(work, limits=ONE_LIMIT)
    start = anyio.current_time()
    assert await desk.run(range(20))
    assert desk.of(ItemState.DEAD) == [3]
    assert desk.reasons == {3: "exhausted"}
    assert desk.began.count(3) == 3
    assert isinstance(desk.errors[3], ItemTimeout)
    assert "item_timeout=5.0" in str(desk.errors[3])
    begins = [at - start for at, item in desk.times if item == 3]
    assert all(later - earlier >= 5 for earlier, later in pairwise(begins))
    desk.check_books()


async def test_a_timed_out_item_tells_where_the_time_went() -> None:
    async def the_slow_part() -> None:
        await anyio.sleep(1000)

    async def work(item) -> None:
        await the_slow_part()

    desk = Desk(work, limits=ONE_LIMIT)
    await desk.run([1])
    assert "the_slow_part" in "".join(traceback.format_exception(desk.errors[1]))


async def test_every_worker_can_time_out_again_and_again() -> None:
    async def work(item) -> None:
        await anyio.sleep(1000 if item % 2 else 1)

    desk = Desk(work, limits=ONE_LIMIT, retry=Retry(attempts=1))
    assert await desk.run(range(60))
    assert sorted(desk.of(ItemState.DEAD)) == list(range(1, 60, 2))
    desk.check_books()


async def test_an_item_that_ignores_its_time_out_and_finishes_is_done() -> None:
    async def work(item) -> None:
        with suppress(BaseException):
            await anyio.sleep(1000)

    desk = Desk(work, limits=ONE_LIMIT)
    assert await desk.run(range(10))
    assert desk.tally.done == 10
    desk.check_books()


async def test_an_error_raised_in_answer_to_the_time_out_is_still_a_time_out() -> None:
    async def work(item) -> None:
        try:
            await anyio.sleep(1000)
        finally:
            raise ValueError("while cleaning up")

    desk = Desk(work, limits=ONE_LIMIT)
    assert await desk.run([1])
    assert isinstance(desk.errors[1], ItemTimeout)
    assert isinstance(desk.errors[1].__cause__, ValueError)


async def test_a_timed_out_group_of_tasks_is_one_time_out() -> None:
    async def work(item) -> None:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(anyio.sleep, 1000)
            tasks.start_soon(anyio.sleep, 1000)

    desk = Desk(work, limits=ONE_LIMIT)
    assert await desk.run([1])
    assert isinstance(desk.errors[1], ItemTimeout)
    desk.check_books()


async def test_a_time_out_of_the_items_own_is_its_own_error() -> None:
    async def work(item) -> None:
        with anyio.fail_after(1):
            await anyio.sleep(1000)

    desk = Desk(work, limits=ONE_LIMIT)
    assert await desk.run([1])
    assert type(desk.errors[1]) is TimeoutError


# Cancellations of an item's own making


async def raise_cancelled() -> None:
    raise asyncio.CancelledError


async def cancel_own_task() -> None:
    if on_asyncio():
        asyncio.current_task().cancel()
        await anyio.sleep(1)
    raise asyncio.CancelledError


async def cancel_own_task_twice() -> None:
    if on_asyncio():
        asyncio.current_task().cancel()
        asyncio.current_task().cancel()
        try:
            await anyio.sleep(1)
        except asyncio.CancelledError:
            asyncio.current_task().cancel()
    raise ValueError


async def await_a_cancelled_future() -> None:
    if on_asyncio():
        future = asyncio.get_running_loop().create_future()
        future.cancel()
        await future
    raise asyncio.CancelledError


@pytest.mark.parametrize("fault", [raise_cancelled, cancel_own_task, cancel_own_task_twice, await_a_cancelled_future])
@pytest.mark.parametrize("limits", [ONE_LIMIT, ONE_LIMIT.replace(item_timeout=None)])
async def test_an_item_that_cancels_itself_fails_and_the_other_99_are_done(fault, limits) -> None:
    async def work(item) -> None:
        if item == 50:
            await fault()
        await anyio.sleep(1)

    desk = Desk(work, limits=limits)
    assert await desk.run(range(100)) is True
    assert desk.of(ItemState.DEAD) == [50]
    assert desk.tally.done == 99
    desk.check_books()


async def test_every_item_cancelling_itself_fails_every_item() -> None:
    async def work(item) -> None:
        await cancel_own_task()

    desk = Desk(work)
    assert await desk.run(range(100))
    assert desk.tally.dead == 100
    desk.check_books()


async def test_a_cancellation_that_an_item_leaves_behind_hits_nobody() -> None:
    async def work(item) -> None:
        if on_asyncio():
            asyncio.current_task().cancel()

    desk = Desk(work)
    assert await desk.run(range(100))
    assert desk.tally.done == 100
    desk.check_books()


async def test_a_worker_cancelled_from_outside_between_items_ends_the_run_loudly() -> None:
    workers = []

    async def work(item) -> None:
        workers.append(asyncio.current_task())

    if not on_asyncio():
        pytest.skip("trio has no native cancellation of tasks")
    desk = Desk(work, commits=False)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(expect_the_end, desk)
        await anyio.wait_all_tasks_blocked()
        workers[0].cancel()


async def expect_the_end(desk: Desk) -> None:
    with pytest.raises(RuntimeError, match="_worker was cancelled from outside"):
        await desk.run([1])


# Failures of the run


async def test_a_fatal_verdict_ends_the_run_and_gives_back_the_rest() -> None:
    async def work(item) -> None:
        await anyio.sleep(1)
        if item == 5:
            raise Deadly("boom")

    desk = Desk(work, chunk=4)
    with pytest.raises(Deadly, match="boom"):
        await desk.run(range(100))
    assert 5 in desk.released
    assert desk.tally.done + desk.tally.dead <= 8


@pytest.mark.parametrize("error", [MemoryError, SystemExit, KeyboardInterrupt, GeneratorExit])
async def test_what_no_item_may_survive_ends_the_run_as_itself(error) -> None:
    async def work(item) -> None:
        await anyio.sleep(1)
        if item == 5:
            raise error

    desk = Desk(work)
    with pytest.raises(error):
        await desk.pipeline.run(range(100))
    assert desk.tally.in_flight == 0
    assert 5 in desk.released


@pytest.mark.parametrize("port", ["admit", "admitted", "give_up", "gave_up", "postpone", "due"])
async def test_an_error_of_a_port_ends_the_run_as_itself(port) -> None:
    async def work(item) -> None:
        raise Transient if item % 2 else ValueError

    async def step(name) -> None:
        if name == port:
            raise LookupError(port)

    desk = Desk(work, step=step, limits=Limits(threads=1), retry=Retry(retry_after_cap=0))
    with pytest.raises(LookupError, match=port):
        await desk.run(range(100))


async def test_an_error_of_release_does_not_hide_what_ended_the_run(caplog) -> None:
    async def work(item) -> None:
        raise Deadly

    async def step(name) -> None:
        if name == "release":
            raise LookupError

    desk = Desk(work, step=step)
    with pytest.raises(Deadly):
        await desk.run(range(10))
    assert "could not be given back" in caplog.text


async def test_an_error_of_release_alone_is_raised() -> None:
    async def work(item) -> None:
        desk.pipeline.stop()

    async def step(name) -> None:
        if name == "release":
            raise LookupError

    desk = Desk(work, step=step)
    with pytest.raises(LookupError):
        await desk.run(range(10))


async def test_an_error_of_the_source_is_raised_after_the_items_in_hand() -> None:
    async def source():
        for number in range(4):
            yield number
        await anyio.sleep(0.5)
        raise OSError("lost the source")

    desk = Desk(sleep)
    with pytest.raises(OSError, match="lost the source"):
        await desk.run(source())
    assert desk.tally.done == 4
    desk.check_books()


async def test_a_source_that_raises_cancelled_is_an_error() -> None:
    async def source():
        yield 1
        raise asyncio.CancelledError

    desk = Desk()
    with pytest.raises(RuntimeError, match="source of the items raised CancelledError"):
        await desk.run(source())


async def test_passing_a_number_of_failures_ends_the_run_in_order() -> None:
    async def work(item) -> None:
        await anyio.sleep(1)
        raise ValueError

    desk = Desk(work, limits=Limits(threads=4, max_failures=10))
    with pytest.raises(TooManyFailures, match=r"1[1-4] items failed, 10 allowed \(max_failures=10"):
        await desk.run(range(1000))
    assert len(desk.began) < 25
    desk.check_books()


async def test_a_share_of_failures_counts_from_100_items_on() -> None:
    async def work(item) -> None:
        if item < 50:
            raise ValueError

    desk = Desk(work, limits=Limits(threads=4, max_failures="60%"))
    assert await desk.run(range(1000))
    desk = Desk(work, limits=Limits(threads=4, max_failures="40%"))
    with pytest.raises(TooManyFailures, match="40%"):
        await desk.run([*range(100, 150), *range(50), *range(200, 300)])


# Rejections


async def test_writes_that_fail_are_tried_again() -> None:
    desk = Desk()
    for item in (3, 30):
        desk.dud(item)
    assert await desk.run(range(100))
    assert desk.began.count(3) == desk.began.count(30) == 2
    assert desk.tally.done == 100
    desk.check_books()


async def test_a_rejection_while_the_item_is_still_in_hand_is_judged_when_it_returns() -> None:
    class OnLane(Desk):
        async def work(self, ticket: Ticket) -> None:
            await super().work(ticket)
            self.commit()
            await anyio.sleep(1)

    desk = OnLane(commits=False)
    desk.dud(7)
    assert await desk.run(range(10))
    assert desk.began.count(7) == 2
    assert desk.tally.done == 10
    desk.check_books()


async def test_a_rejection_of_an_attempt_that_failed_anyway_does_not_count_for_the_next() -> None:
    class Hasty(Desk):
        async def work(self, ticket: Ticket) -> None:
            self.began.append(ticket.item)
            if len(self.began) == 1:
                self.pipeline.rejected(ticket, ValueError("commit failed"))
                raise Transient
            self.hand_over(ticket, ItemState.DONE)

    desk = Hasty()
    assert await desk.run([7])
    assert desk.began == [7, 7]
    assert desk.of(ItemState.DONE) == [7]
    desk.check_books()


async def test_an_item_settled_while_it_waits_for_another_attempt_is_not_run_again() -> None:
    class Hasty(Desk):
        async def work(self, ticket: Ticket) -> None:
            self.began.append(ticket.item)
            self.hand_over(ticket, ItemState.DONE)
            raise Transient

    desk = Hasty(commit_time=0.1, limits=Limits(threads=1))
    desk.verdict = lambda ticket, error: Verdict("retry", retry_after=10.0)
    assert await desk.run([7])
    assert desk.began == [7]
    assert desk.of(ItemState.DONE) == [7]
    desk.check_books()


async def test_a_rejected_outcome_ends_the_run() -> None:
    async def work(item) -> None:
        raise ValueError

    desk = Desk(work)
    desk.dud(1)
    with pytest.raises(Transient, match="commit failed"):
        await desk.run([1])


async def test_an_error_after_the_item_was_settled_is_logged_and_changes_nothing(caplog) -> None:
    class OnLane(Desk):
        async def work(self, ticket: Ticket) -> None:
            await super().work(ticket)
            self.commit()
            raise ValueError("in committed()")

    desk = OnLane(commits=False)
    assert await desk.run(range(10))
    assert desk.tally.done == 10
    assert "in committed()" in caplog.text
    desk.check_books()


# The books


async def test_settling_twice_ends_the_run() -> None:
    class Twice(Desk):
        def commit(self, batch=None) -> None:
            super().commit(batch)
            for ticket in batch:
                self.pipeline.settled([ticket])

    with pytest.raises(RuntimeError, match="twice"):
        await Twice().run(range(3))


async def test_settling_without_an_outcome_ends_the_run() -> None:
    class Stateless(Desk):
        def commit(self, batch=None) -> None:
            for ticket in batch:
                ticket.state = ItemState.CLAIMED
                self.pipeline.settled([ticket])

    with pytest.raises(RuntimeError, match="without an outcome"):
        await Stateless().run(range(3))


async def test_books_that_do_not_balance_are_an_error() -> None:
    class Forgetful(Desk):
        async def admit(self, items):
            return (await super().admit(items))[1:]

    with pytest.raises(RuntimeError, match=r"books do not balance: .*'claimed': 1"):
        await Forgetful(chunk=50).run(range(10))


async def test_an_attempt_that_was_no_fault_of_the_items_is_not_counted() -> None:
    class Away(Desk):
        async def work(self, ticket: Ticket) -> None:
            self.began.append(ticket.attempts)
            if len(self.began) < 6:
                raise Transient
            self.hand_over(ticket, ItemState.DONE)

        def failed(self, ticket: Ticket, error: BaseException, verdict: Verdict) -> None:
            super().failed(ticket, error, verdict)
            self.reported.append(ticket.attempts)

    desk = Away(retry=Retry(attempts=1))
    desk.reported = []
    desk.verdict = lambda ticket, error: Verdict("retry", free=True)
    assert await desk.run([7])
    assert desk.began == [1] * 6
    assert desk.reported == [1] * 5  # the attempt that failed has its number, though it is not counted
    assert desk.of(ItemState.DONE) == [7]
    desk.check_books()
