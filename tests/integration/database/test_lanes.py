"""Lanes: taken when needed, one transaction per item, given back whatever happens."""

from __future__ import annotations

import asyncio
import threading
from typing import TYPE_CHECKING, Any

import anyio
import pytest
from asgiref.sync import ThreadSensitiveContext, async_to_sync, sync_to_async
from django.db import connection, connections, transaction
from django.db.transaction import TransactionManagementError
from django.db.utils import Error, IntegrityError

from async_commander.database import connections as rested
from async_commander.database.lanes import LanePool, must_share, open_lanes
from async_commander.database.lent_lane import settle
from async_commander.database.unit import Unit
from tests.testapp.models import Author, Book, Tag

if TYPE_CHECKING:
    from async_commander.database.lent_lane import LentLane

pytestmark = pytest.mark.asyncio


def backend() -> int:
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_backend_pid()")
        return int(cursor.fetchone()[0])


def end_backend(pid: int) -> None:
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_terminate_backend(%s)", [pid])


def is_alive(pid: int) -> bool:
    with connection.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM pg_stat_activity WHERE pid = %s", [pid])
        return bool(cursor.fetchone()[0])


def sessions() -> int:
    with connection.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()")
        return int(cursor.fetchone()[0])


async def end(lane: LentLane, *, commit: bool = True) -> None:
    ended = lane.end(commit=commit)
    assert ended is not None
    await settle(ended)


async def test_an_item_without_orm_calls_takes_no_lane(lanes: LanePool) -> None:
    lane = lanes.lend()
    async with ThreadSensitiveContext(executor=lane):
        await anyio.sleep(0)
    assert not lane.taken
    assert lanes.taken == 0
    assert lane.end(commit=True) is None


async def test_a_lane_is_taken_at_the_first_orm_call_and_given_back_at_the_end(lanes: LanePool) -> None:
    lane = lanes.lend()
    async with ThreadSensitiveContext(executor=lane):
        await Author.objects.acount()
        assert lane.taken
        assert lanes.taken == 1
    await end(lane)
    assert lanes.taken == 0


async def test_items_share_the_lanes_and_all_get_one(lanes: LanePool) -> None:
    threads: set[int] = set()
    most = 0

    async def one(number: int) -> None:
        nonlocal most
        lane = lanes.lend()
        async with ThreadSensitiveContext(executor=lane):
            await Author.objects.acreate(name=f"author {number}")
            most = max(most, lanes.taken)
            threads.add(await sync_to_async(threading.get_ident)())
        await end(lane)

    async with anyio.create_task_group() as group:
        for number in range(30):
            group.start_soon(one, number)
    assert await lanes.call(Author.objects.count) == 30
    assert most == 4
    assert len(threads) <= 4
    assert threading.get_ident() not in threads


async def test_all_calls_of_an_item_run_on_one_thread(lanes: LanePool) -> None:
    lane = lanes.lend()
    thread = sync_to_async(threading.get_ident)

    def nested() -> int:
        return async_to_sync(thread)()

    async with ThreadSensitiveContext(executor=lane):
        seen = {await thread(), *await asyncio.gather(thread(), thread()), await sync_to_async(nested)()}
    await end(lane)
    assert len(seen) == 1


async def test_rows_are_seen_by_others_after_the_commit_and_not_before(lanes: LanePool) -> None:
    lane = lanes.lend()
    async with ThreadSensitiveContext(executor=lane):
        await Author.objects.acreate(name="hidden")
        assert await Author.objects.acount() == 1
    assert await lanes.call(Author.objects.count) == 0
    await end(lane)
    assert lane.committed
    assert await lanes.call(Author.objects.count) == 1


async def test_a_rollback_leaves_nothing(lanes: LanePool) -> None:
    lane = lanes.lend()
    async with ThreadSensitiveContext(executor=lane):
        await Author.objects.acreate(name="gone")
    await end(lane, commit=False)
    assert not lane.committed
    assert await lanes.call(Author.objects.count) == 0


async def test_what_runs_before_the_commit_belongs_to_the_transaction(lanes: LanePool) -> None:
    def fail() -> None:
        Author.objects.create(name="b")
        raise LookupError

    lane = lanes.lend()
    async with ThreadSensitiveContext(executor=lane):
        await Author.objects.acreate(name="a")
    ended = lane.end(commit=True, before=fail)
    assert ended is not None
    with pytest.raises(LookupError):
        await settle(ended)
    assert not lane.committed
    assert await lanes.call(Author.objects.count) == 0
    assert lanes.taken == 0


async def test_a_second_end_changes_nothing(lanes: LanePool) -> None:
    lane = lanes.lend()
    async with ThreadSensitiveContext(executor=lane):
        await Author.objects.acreate(name="kept")
    first = lane.end(commit=True)
    assert lane.end(commit=False) is first
    assert first is not None
    await settle(first)
    assert await lanes.call(Author.objects.count) == 1


async def test_a_timeout_waits_for_the_running_call_and_rolls_it_back(lanes: LanePool) -> None:
    entered, leave = threading.Event(), threading.Event()

    def slow() -> None:
        Author.objects.create(name="slow")
        entered.set()
        leave.wait(10)

    lane = lanes.lend()
    with anyio.CancelScope() as scope:
        async with anyio.create_task_group() as group:

            async def cancel() -> None:
                await anyio.to_thread.run_sync(entered.wait)
                scope.cancel()

            group.start_soon(cancel)
            async with ThreadSensitiveContext(executor=lane):
                await sync_to_async(slow)()
    assert scope.cancelled_caught
    ended = lane.end(commit=False)
    assert ended is not None
    assert lanes.taken == 1
    assert not ended.done()
    leave.set()
    await settle(ended)
    assert lanes.taken == 0
    assert await lanes.call(Author.objects.count) == 0


async def test_settling_outlasts_native_cancels_and_then_lets_them_through(lanes: LanePool) -> None:
    leave, reached = threading.Event(), asyncio.Event()
    lane = lanes.lend()
    ended = lane.end(commit=True, before=lambda: leave.wait(10), take=True)

    async def wait() -> None:
        reached.set()
        assert ended is not None
        await settle(ended)

    task = asyncio.ensure_future(wait())
    await reached.wait()
    for _ in range(3):
        task.cancel()
        await asyncio.sleep(0)
        await asyncio.sleep(0)
    assert not task.done()
    leave.set()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert ended is not None
    assert ended.done()
    assert lane.committed


async def test_a_cancelled_item_that_waits_for_a_lane_leaves_at_once(transactional_db: None) -> None:
    async with open_lanes("default", 1) as lanes:
        holder, waiting = lanes.lend(), lanes.lend()
        async with ThreadSensitiveContext(executor=holder):
            await Author.objects.acount()
            with anyio.move_on_after(0.05) as scope:
                async with ThreadSensitiveContext(executor=waiting):
                    await Author.objects.acreate(name="never")
            assert scope.cancelled_caught
            assert lanes.waiting == 1
            assert waiting.end(commit=False) is None
            assert lanes.waiting == 0
        await end(holder)
        assert await lanes.call(Author.objects.count) == 0


async def test_a_withdrawn_call_is_no_use_of_a_lane(transactional_db: None) -> None:
    async with open_lanes("default", 1) as lanes:
        holder, waiting = lanes.lend(), lanes.lend()
        async with ThreadSensitiveContext(executor=holder):
            await Author.objects.acount()
            async with ThreadSensitiveContext(executor=waiting):
                with anyio.move_on_after(0.02):
                    await Author.objects.acount()
                await anyio.sleep(0)
            assert not waiting.taken
            assert waiting.end(commit=True) is None
        await end(holder)


async def test_a_task_that_outlives_its_item_cannot_write(lanes: LanePool) -> None:
    finished = asyncio.Event()

    async def late() -> None:
        await finished.wait()
        await Author.objects.acreate(name="late")

    lane = lanes.lend()
    async with ThreadSensitiveContext(executor=lane):
        await Author.objects.acount()
        task = asyncio.ensure_future(late())
    await end(lane)
    finished.set()
    with pytest.raises(RuntimeError):
        await task
    with pytest.raises(RuntimeError, match="lane was given back"):
        lane.submit(Author.objects.count)


async def test_on_commit_hooks_run_after_the_commit_and_see_the_context(lanes: LanePool) -> None:
    seen: list[int] = []

    def save() -> None:
        Author.objects.create(name="a")
        transaction.on_commit(lambda: seen.append(Author.objects.count()))

    lane = lanes.lend()
    async with ThreadSensitiveContext(executor=lane):
        await sync_to_async(save)()
        assert seen == []
    await end(lane)
    assert seen == [1]


async def test_a_failing_on_commit_hook_is_logged_and_the_item_stays_done(
    lanes: LanePool, caplog: pytest.LogCaptureFixture
) -> None:
    def save() -> None:
        Author.objects.create(name="a")
        transaction.on_commit(lambda: 1 / 0)

    lane = lanes.lend()
    async with ThreadSensitiveContext(executor=lane):
        await sync_to_async(save)()
    await end(lane)
    assert lane.committed
    assert "on_commit hook failed" in caplog.text
    assert await lanes.call(Author.objects.count) == 1
    assert lanes.taken == 0


async def test_a_database_error_that_is_caught_without_a_savepoint_fails_the_item(lanes: LanePool) -> None:
    def swallow() -> None:
        Author.objects.create(name="a")
        try:
            with transaction.atomic(savepoint=False):
                Author.objects.create(name="a")
        except IntegrityError:
            pass

    lane = lanes.lend()
    async with ThreadSensitiveContext(executor=lane):
        await sync_to_async(swallow)()
    ended = lane.end(commit=True)
    assert ended is not None
    with pytest.raises(TransactionManagementError, match=r"async with self\.db\.atomic"):
        await settle(ended)
    assert await lanes.call(Author.objects.count) == 0
    assert lanes.taken == 0


async def test_a_savepoint_undoes_its_block_only(lanes: LanePool) -> None:
    lane = lanes.lend()
    unit = Unit("default", lane=lane)
    async with ThreadSensitiveContext(executor=lane):
        await Author.objects.acreate(name="kept")
        with pytest.raises(IntegrityError):
            async with unit.atomic():
                unit.add(Tag(name="queued in the block"))
                await Tag.objects.acreate(name="undone")
                await Author.objects.acreate(name="kept")
        await Tag.objects.acreate(name="after")
    await settle(lane.end(commit=True, before=unit.write))  # type: ignore[arg-type]
    assert await lanes.call(lambda: [*Tag.objects.values_list("name", flat=True)]) == ["after"]
    assert await lanes.call(Author.objects.count) == 1


async def test_a_savepoint_is_closed_though_its_block_is_cancelled(lanes: LanePool) -> None:
    lane = lanes.lend()
    unit = Unit("default", lane=lane)
    async with ThreadSensitiveContext(executor=lane):
        with anyio.move_on_after(0.05):
            async with unit.atomic():
                await Tag.objects.acreate(name="undone")
                await anyio.sleep_forever()
        await Tag.objects.acreate(name="after")
    await end(lane)
    assert await lanes.call(lambda: [*Tag.objects.values_list("name", flat=True)]) == ["after"]


async def test_an_item_that_is_cancelled_while_it_makes_a_savepoint_is_rolled_back(lanes: LanePool) -> None:
    """The savepoint is made after its maker has gone; its end is never called."""
    entered, leave = threading.Event(), threading.Event()
    lane = lanes.lend()
    unit = Unit("default", lane=lane)

    def hold() -> None:
        Author.objects.create(name="gone")
        entered.set()
        leave.wait(10)

    async with ThreadSensitiveContext(executor=lane):
        held = lane.submit(hold)
        await anyio.to_thread.run_sync(entered.wait)
        with anyio.move_on_after(0.01):
            async with unit.atomic():
                pytest.fail("it cannot be entered yet")
    savepoint = lane.submit(transaction.atomic().__enter__)
    ended = lane.end(commit=False)
    leave.set()
    assert ended is not None
    await settle(ended)
    assert held.done()
    assert savepoint.done()
    for number in range(4):
        lane = lanes.lend()
        async with ThreadSensitiveContext(executor=lane):
            await Author.objects.acreate(name=f"after {number}")
        await end(lane)
    assert await lanes.call(Author.objects.count) == 4


@pytest.mark.parametrize("commit", [True, False])
async def test_a_block_that_is_left_open_takes_its_item_along_and_no_other(lanes: LanePool, commit: bool) -> None:
    lane = lanes.lend()
    async with ThreadSensitiveContext(executor=lane):
        await Author.objects.acreate(name="gone")
        await sync_to_async(transaction.atomic().__enter__)()
        await Author.objects.acreate(name="gone too")
    ended = lane.end(commit=commit)
    assert ended is not None
    if commit:
        with pytest.raises(TransactionManagementError, match="still open"):
            await settle(ended)
    else:
        await settle(ended)
    lane = lanes.lend()
    async with ThreadSensitiveContext(executor=lane):
        await Author.objects.acreate(name="after")
    await end(lane)
    assert await lanes.call(lambda: [*Author.objects.values_list("name", flat=True)]) == ["after"]


async def test_a_durable_block_is_refused_in_an_item(lanes: LanePool) -> None:
    def durable() -> None:
        with transaction.atomic(durable=True):
            pass

    lane = lanes.lend()
    async with ThreadSensitiveContext(executor=lane):
        with pytest.raises(RuntimeError, match="durable"):
            await sync_to_async(durable)()
    await end(lane, commit=False)


async def test_a_plain_call_commits_by_itself(lanes: LanePool) -> None:
    await lanes.call(Author.objects.create, name="a")
    assert await lanes.call(Author.objects.count) == 1
    with pytest.raises(LookupError):
        await lanes.call({}.__getitem__, "missing")
    assert lanes.taken == 0


async def test_closed_lanes_say_so(transactional_db: None) -> None:
    async with open_lanes("default", 1) as lanes:
        await lanes.call(Author.objects.count)
    with pytest.raises(RuntimeError, match="closed"):
        await lanes.call(Author.objects.count)


async def test_no_lanes_is_an_error() -> None:
    with pytest.raises(ValueError, match="at least 1"):
        LanePool("default", 0)


async def test_no_thread_is_left_after_the_end(transactional_db: None) -> None:
    async with open_lanes("default", 3) as lanes:
        await asyncio.gather(*(lanes.call(Author.objects.count) for _ in range(9)))
        named = [thread for thread in threading.enumerate() if thread.name == "async-commander-lane"]
        assert len(named) == 3
    for thread in named:
        thread.join(5)
        assert not thread.is_alive()


async def test_sharing_is_not_needed_outside_of_a_transaction(lanes: LanePool) -> None:
    assert await lanes.call(must_share, "default") is False
    lane = lanes.lend()
    async with ThreadSensitiveContext(executor=lane):
        assert await sync_to_async(must_share)("default") is True
    await end(lane)


async def test_no_connection_is_left_after_the_end(postgres: None, transactional_db: None) -> None:
    before = await sync_to_async(sessions)()
    async with open_lanes("default", 3) as lanes:
        await asyncio.gather(*(lanes.call(Author.objects.count) for _ in range(9)))
        assert await sync_to_async(sessions)() == before + 3
    with anyio.fail_after(10):
        while await sync_to_async(sessions)() > before:  # the server ends them in its own time
            await anyio.sleep(0.01)
    await sync_to_async(connections.close_all)()


async def test_a_lane_keeps_its_connection_between_items(postgres: None, transactional_db: None) -> None:
    async with open_lanes("default", 1) as lanes:
        assert len({await lanes.call(backend) for _ in range(10)}) == 1


async def test_a_connection_lost_in_an_item_fails_that_item_only(postgres: None, lanes: LanePool) -> None:
    lane = lanes.lend()
    async with ThreadSensitiveContext(executor=lane):
        pid = await sync_to_async(backend)()
        await lanes.call(end_backend, pid)
        with pytest.raises(Error):
            await Author.objects.acount()
    await end(lane, commit=False)
    for _ in range(4):
        lane = lanes.lend()
        async with ThreadSensitiveContext(executor=lane):
            await Author.objects.acount()
        await end(lane)


async def test_who_waits_for_a_lane_when_the_pool_closes_is_refused(transactional_db: None) -> None:
    begun, go_on = threading.Event(), threading.Event()

    def block() -> None:
        begun.set()
        go_on.wait(20)

    async with open_lanes("default", 1) as lanes:
        running = lanes.post(block)
        await anyio.to_thread.run_sync(begun.wait)
        call, lane = lanes.post(Author.objects.count), lanes.lend()
        query = lane.submit(Author.objects.count)
        async with anyio.create_task_group() as group:
            group.start_soon(lanes.aclose)
            for refused in (call, query):
                with anyio.fail_after(10), pytest.raises(RuntimeError, match="lanes are closed"):
                    await settle(refused)
            go_on.set()
        assert running.result() is None
        assert lane.end(commit=False) is None


async def test_what_an_item_left_open_is_rolled_back_when_the_pool_closes(transactional_db: None) -> None:
    async with open_lanes("default", 1) as lanes, ThreadSensitiveContext(executor=lanes.lend()):
        await Author.objects.acreate(name="never ended")
    async with open_lanes("default", 1) as lanes, ThreadSensitiveContext(executor=(lane := lanes.lend())):
        with anyio.fail_after(10):
            await Author.objects.acreate(name="the next")
        await end(lane)
    assert await sync_to_async(lambda: [author.name for author in Author.objects.all()])() == ["the next"]
    await sync_to_async(connections.close_all)()


async def test_a_connection_lost_while_it_rested_harms_nobody(
    postgres: None, transactional_db: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rested, "REST_SECONDS", 0.0)
    async with open_lanes("default", 1) as lanes:
        await sync_to_async(end_backend)(await lanes.call(backend))
        await sync_to_async(connections.close_all)()
        lane = lanes.lend()
        async with ThreadSensitiveContext(executor=lane):
            await Author.objects.acreate(name="a")
        await end(lane)
        assert lane.committed


@pytest.mark.parametrize("lane_count", [2, 8])
async def test_idle_lanes_leave_djangos_pool_to_others(
    postgres: None, options: dict[str, Any], lane_count: int
) -> None:
    options["pool"] = {"min_size": 1, "max_size": 3, "timeout": 20}

    async def one(number: int) -> None:
        lane = lanes.lend()
        async with ThreadSensitiveContext(executor=lane):
            await Author.objects.acreate(name=f"author {number}")
        await end(lane)

    async with open_lanes("default", lane_count) as lanes:
        async with anyio.create_task_group() as group:
            for number in range(40):
                group.start_soon(one, number)
        pool = connection.pool
        assert pool.get_stats()["pool_available"] == pool.get_stats()["pool_size"]
        assert await lanes.call(Author.objects.count) == 40
        assert pool.get_stats()["pool_size"] <= 3


async def test_a_process_that_closes_all_keeps_no_connection_of_djangos_pool(
    postgres: None, options: dict[str, Any]
) -> None:
    options["pool"] = {"min_size": 1, "max_size": 3, "timeout": 20}

    def use_and_close() -> tuple[Any, int]:
        pid, pool = backend(), connection.pool
        rested.close_all_of_process()
        rested.close_all_of_process()
        return pool, pid

    pool, pid = await asyncio.to_thread(use_and_close)
    assert pool.closed
    del options["pool"]
    assert not await sync_to_async(is_alive)(pid)
    await sync_to_async(connections.close_all)()


async def test_stop_iteration_comes_out_of_a_call_and_of_a_commit(lanes: LanePool) -> None:
    def run_out() -> None:
        next(iter([]))

    lane = lanes.lend()
    with anyio.fail_after(10):
        async with ThreadSensitiveContext(executor=lane):
            with pytest.raises(RuntimeError, match="StopIteration"):
                await Unit("default")(run_out)
        ended = lane.end(commit=True, before=run_out)
        assert ended is not None
        with pytest.raises(RuntimeError, match="StopIteration") as raised:
            await settle(ended)
    assert isinstance(raised.value.__cause__, StopIteration)
    assert lanes.taken == 0


@pytest.mark.parametrize("guilty", ["flush", "block"])
async def test_rows_queued_before_a_savepoint_survive_it(lanes: LanePool, guilty: str) -> None:
    await lanes.call(Tag.objects.create, name="taken")
    unit = Unit("default", lane=lanes.lend())
    author = Author(name="before")
    assert unit.lane is not None
    async with ThreadSensitiveContext(executor=unit.lane):
        unit.add(Tag(name="flushed before"))
        await unit.flush()
        unit.add(author, Book(author=author, title="t", isbn="1"))
        with pytest.raises(IntegrityError if guilty == "flush" else LookupError):
            async with unit.atomic():
                unit.add(Tag(name="taken" if guilty == "flush" else "of the block"))
                await unit.flush()
                unit.add(Tag(name="of the block, too"))
                raise LookupError
        assert (author.pk, author._state.adding) == (None, True)
        assert unit.counts == {("add", "testapp.Tag"): 1, ("add", "testapp.Author"): 1, ("add", "testapp.Book"): 1}
    ended = unit.lane.end(commit=True, before=unit.write)
    assert ended is not None
    await settle(ended)
    unit.forget()
    assert unit.counts["add", "testapp.Tag"] == 1
    assert await lanes.call(lambda: list(Book.objects.values_list("author__name", flat=True))) == ["before"]
    assert await lanes.call(lambda: sorted(Tag.objects.values_list("name", flat=True))) == ["flushed before", "taken"]


async def test_a_connection_in_a_transaction_is_left_alone(lanes: LanePool, monkeypatch: pytest.MonkeyPatch) -> None:
    """An item that writes to another database looks after that connection, and not after its own."""
    tried: list[bool] = []

    def freshen_inside() -> bool:
        with transaction.atomic():
            Tag.objects.create(name="kept")
            monkeypatch.setattr(type(connections["default"]), "is_usable", tried.append)
            rested.freshen("default")
        return Tag.objects.exists()

    monkeypatch.setattr(rested, "REST_SECONDS", -1.0)
    assert await lanes.call(freshen_inside)
    assert tried == []
