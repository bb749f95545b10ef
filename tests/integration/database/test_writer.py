"""The writer: batches, the guilty unit, outages, commits in doubt, take-over."""

from __future__ import annotations

import asyncio
import threading
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import anyio
import pytest
from asgiref.sync import ThreadSensitiveContext
from django.db import IntegrityError, InterfaceError, OperationalError, connection
from django.db.backends.base.base import BaseDatabaseWrapper

from async_commander.database import writer as writer_module
from async_commander.database.outage import OutageTooLong
from async_commander.database.unit import Unit
from tests.testapp.models import Author, Book, Page, Tag

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Sequence

    from async_commander.database.lanes import LanePool
    from async_commander.database.writer import Writer

    from .conftest import Owner

pytestmark = pytest.mark.asyncio


class Fenced(Exception):
    pass


def page_unit(name: str, *urls: str) -> Unit:
    unit = Unit("default", outcome=name)
    unit.add(*(Page(url=url) for url in urls or (name,)))
    return unit


async def lane_unit(lanes: LanePool, name: str, url: str | None = None) -> Unit:
    unit = Unit("default", lane=lanes.lend(), outcome=name)
    assert unit.lane is not None
    async with ThreadSensitiveContext(executor=unit.lane):
        await Page.objects.acreate(url=url or name)
    return unit


class Block:
    """Keeps the writer busy, so that what is put meanwhile is one batch."""

    def __init__(self, writer: Writer) -> None:
        self._writer = writer
        self._go_on = threading.Event()

    async def __aenter__(self) -> None:
        started = threading.Event()

        def wait() -> None:
            started.set()
            self._go_on.wait(20)

        self._task = asyncio.ensure_future(self._writer.call(wait))
        await anyio.to_thread.run_sync(started.wait)

    async def __aexit__(self, *_: object) -> None:
        self._go_on.set()
        await self._task


class Commits:
    """Makes COMMITs fail: before they are done, or after."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.failures: list[tuple[str, BaseException]] = []
        commit = BaseDatabaseWrapper._commit

        def failing(wrapper: BaseDatabaseWrapper) -> None:
            at, error = self.failures.pop(0) if self.failures else ("", None)
            if at != "before":
                commit(wrapper)
            if error is not None:
                raise error

        monkeypatch.setattr(BaseDatabaseWrapper, "_commit", failing)


@pytest.fixture
def commits(monkeypatch: pytest.MonkeyPatch) -> Commits:
    return Commits(monkeypatch)


async def urls(lanes: LanePool) -> list[str]:
    return await lanes.call(lambda: sorted(Page.objects.values_list("url", flat=True)))


async def tags(lanes: LanePool) -> list[str]:
    return await lanes.call(lambda: sorted(Tag.objects.values_list("name", flat=True)))


async def test_units_are_written_in_batches_with_their_outcomes(lanes: LanePool, owner: Owner) -> None:
    async with owner.writer(lanes, batch_size=10) as writer:
        async with Block(writer):
            for number in range(25):
                writer.put(page_unit(f"u{number:02}"))
        await writer.drain()
        assert owner.done == [f"u{number:02}" for number in range(25)]
        assert [len(batch) for batch in owner.batches] == [10, 10, 5]
        assert len(await urls(lanes)) == 25
        assert await tags(lanes) == owner.done


async def test_a_deletion_does_not_reach_the_row_of_the_next_unit(lanes: LanePool, owner: Owner) -> None:
    old = await lanes.call(lambda: Page.objects.create(url="a", title="old"))
    async with owner.writer(lanes) as writer:
        async with Block(writer):
            first, second = Unit("default", outcome="first"), Unit("default", outcome="second")
            first.delete(old)
            second.upsert(Page(url="a", title="new"), unique=["url"], update=["title"])
            writer.put(first)
            writer.put(second)
        await writer.drain()
    assert owner.done == ["first", "second"]
    assert await lanes.call(lambda: Page.objects.get().title) == "new"


async def test_a_batch_is_not_waited_for(lanes: LanePool, owner: Owner) -> None:
    async with owner.writer(lanes) as writer:
        writer.put(page_unit("alone"))
        with anyio.fail_after(10):
            await writer.drain()
    assert owner.batches == [["alone"]]


async def test_units_are_settled_on_the_event_loop(lanes: LanePool, owner: Owner) -> None:
    threads: list[int] = []
    owner.units_settled = lambda units, error: threads.append(threading.get_ident())  # type: ignore[method-assign]
    async with owner.writer(lanes) as writer:
        writer.put(page_unit("queued"))
        writer.put(await lane_unit(lanes, "on a lane"))
        await writer.drain()
    assert threads == [threading.get_ident()] * 2


async def test_a_unit_without_rows_gets_its_outcome(lanes: LanePool, owner: Owner) -> None:
    async with owner.writer(lanes) as writer:
        writer.put(Unit("default", outcome="nothing to write"))
        await writer.drain()
        assert await tags(lanes) == ["nothing to write"]


@pytest.mark.parametrize("size", [1, 2, 7, 8])
async def test_only_the_guilty_units_fail(lanes: LanePool, owner: Owner, size: int) -> None:
    await lanes.call(Page.objects.create, url="taken")
    guilty = {f"u{size - 1}", "u0"}
    units = [page_unit(f"u{number}", *(["taken"] if f"u{number}" in guilty else [])) for number in range(size)]
    async with owner.writer(lanes) as writer:
        async with Block(writer):
            for unit in units:
                writer.put(unit)
        await writer.drain()
        assert set(owner.failed) == guilty
        assert all(isinstance(error, IntegrityError) for error in owner.failed.values())
        assert set(owner.done) == {f"u{number}" for number in range(size)} - guilty
        assert await tags(lanes) == sorted(owner.done)
        assert len(owner.settled) == size


async def test_the_innocent_keep_their_own_keys_after_a_redo(lanes: LanePool, owner: Owner) -> None:
    await lanes.call(Page.objects.create, url="taken")
    units = []
    for number in range(6):
        author = Author(name=f"author {number}")
        unit = Unit("default", outcome=f"u{number}")
        unit.add(author, Book(author=author, title=author.name, isbn=str(number)))
        units.append(unit)
    units[3].add(Page(url="taken"))
    async with owner.writer(lanes) as writer:
        async with Block(writer):
            for unit in units:
                writer.put(unit)
        await writer.drain()
        pairs = await lanes.call(lambda: list(Book.objects.values_list("title", "author__name")))
    assert len(pairs) == 5
    assert all(title == name for title, name in pairs)
    guilty = units[3].requests[0].objects
    assert [obj.pk for obj in guilty] == [None, None]
    assert guilty[1].author_id is None  # type: ignore[attr-defined]


async def test_a_shared_parent_survives_halving(lanes: LanePool, owner: Owner) -> None:
    await lanes.call(Page.objects.create, url="taken")
    author = Author(name="shared")
    units = []
    for number in range(4):
        unit = Unit("default", outcome=f"u{number}")
        unit.add(author, Book(author=author, title="t", isbn=str(number)))
        units.append(unit)
    units[2].add(Page(url="taken"))
    async with owner.writer(lanes) as writer:
        async with Block(writer):
            for unit in units:
                writer.put(unit)
        await writer.drain()
        assert owner.done == ["u0", "u1", "u3"]
        assert await lanes.call(Author.objects.count) == 1
        assert await lanes.call(Book.objects.filter(author__name="shared").count) == 3


@pytest.mark.parametrize("error", [OperationalError("server closed the connection"), InterfaceError("closed")])
async def test_an_outage_is_waited_out(lanes: LanePool, owner: Owner, error: BaseException) -> None:
    owner.failures = [error] * 3
    async with owner.writer(lanes) as writer:
        async with Block(writer):
            owner.failures = []
            for number in range(3):
                writer.put(page_unit(f"u{number}"))
            owner.failures = [error] * 3
        await writer.drain()
        assert owner.batches == [["u0", "u1", "u2"]] * 4
        assert owner.done == ["u0", "u1", "u2"]
        assert await urls(lanes) == owner.done


async def test_a_statement_that_commits_itself_is_looked_for_where_its_answer_was_lost(
    lanes: LanePool, owner: Owner
) -> None:
    def lost_once(units: Any) -> None:
        owner.finish(units)
        if len(owner.batches) == 1:
            raise OperationalError("the connection was lost")

    owner.at_once = True
    async with owner.writer(lanes, finish=lost_once) as writer:
        writer.put(Unit("default", outcome="u"))
        await writer.drain()
    assert owner.done == ["u"]
    assert await tags(lanes) == ["u"]
    assert owner.asked == ([["u"]] if connection.vendor == "postgresql" else [])


async def test_a_call_at_once_comes_before_units_that_wait_and_parts_no_batch(lanes: LanePool, owner: Owner) -> None:
    async with owner.writer(lanes, batch_size=10) as writer:
        async with Block(writer):
            for number in range(3):
                writer.put(page_unit(f"u{number}"))
            found = asyncio.ensure_future(writer.call_at_once(lambda: list(owner.batches)))
            await anyio.sleep(0)
            for number in range(3, 6):
                writer.put(page_unit(f"u{number}"))
        assert await found == []
        await writer.drain()
        assert [len(batch) for batch in owner.batches] == [6]


async def test_an_outage_that_is_too_long_is_fatal(lanes: LanePool, owner: Owner) -> None:
    def away(units: Any) -> None:
        raise OperationalError("connection refused")

    async with owner.writer(lanes, finish=away, outage_budget=0.2) as writer:
        writer.put(page_unit("u"))
        await writer.drain()
        await anyio.sleep(0)
        assert [type(error) for error in owner.fatal] == [OutageTooLong]
        assert "connection refused" in str(owner.fatal[0])
        assert owner.settled == []
        assert await writer.call(lambda: "the status") == "the status"


async def test_in_a_hurry_no_outage_is_waited_out(lanes: LanePool, owner: Owner) -> None:
    failed = threading.Event()

    def away(units: Any) -> None:
        failed.set()
        raise OperationalError("connection refused")

    async with owner.writer(lanes, finish=away) as writer:
        writer.put(page_unit("u"))
        await anyio.to_thread.run_sync(failed.wait)
        writer.hurry()
        with anyio.fail_after(5):
            await writer.drain()
    assert len(owner.fatal) == 1


async def test_a_database_error_that_does_not_pass_is_not_waited_out(lanes: LanePool, owner: Owner) -> None:
    def finish(units: Any) -> None:
        with connection.cursor() as cursor:
            cursor.execute("SELECT no_such_column FROM testapp_tag")

    async with owner.writer(lanes, finish=finish) as writer:
        writer.put(page_unit("u"))
        with anyio.fail_after(10):
            await writer.drain()
        assert "no_such_column" in str(owner.failed["u"])
        assert await urls(lanes) == []


async def test_take_over_ends_all_writing(lanes: LanePool, owner: Owner) -> None:
    def fenced(units: Any) -> None:
        raise Fenced

    async with owner.writer(lanes, finish=fenced, fatal=(Fenced,), batch_size=2) as writer:
        async with Block(writer):
            for number in range(6):
                writer.put(page_unit(f"u{number}"))
        await writer.drain()
        assert [type(error) for error in owner.fatal] == [Fenced]
        writer.put(page_unit("later"))
        await writer.drain()
        assert owner.settled == []
        assert await urls(lanes) == []


async def test_take_over_is_noticed_on_a_lane_too(lanes: LanePool, owner: Owner) -> None:
    def fenced(units: Any) -> None:
        raise Fenced

    async with owner.writer(lanes, finish=fenced, fatal=(Fenced,)) as writer:
        writer.put(await lane_unit(lanes, "u"))
        await writer.drain()
        assert [type(error) for error in owner.fatal] == [Fenced]
        assert owner.settled == []
        assert await urls(lanes) == []


@pytest.mark.parametrize("error", [OperationalError("connection lost"), RuntimeError("who knows")])
@pytest.mark.parametrize("at", ["before", "after"])
async def test_a_commit_in_doubt_is_looked_up_and_never_done_twice(
    lanes: LanePool, owner: Owner, commits: Commits, at: str, error: BaseException
) -> None:
    async with owner.writer(lanes) as writer:
        async with Block(writer):
            for number in range(4):
                writer.put(page_unit(f"u{number}", f"u{number}"))
            commits.failures = [("", None), (at, error)]  # type: ignore[list-item]
        await writer.drain()
        assert owner.done == ["u0", "u1", "u2", "u3"]
        assert owner.asked[0] == owner.done
        assert await urls(lanes) == owner.done
        assert await tags(lanes) == owner.done


@pytest.mark.parametrize(("at", "done"), [("before", False), ("after", True)])
async def test_a_commit_in_doubt_on_a_lane_is_what_the_database_says(
    lanes: LanePool, owner: Owner, commits: Commits, at: str, done: bool
) -> None:
    async with owner.writer(lanes) as writer:
        unit = await lane_unit(lanes, "u")
        commits.failures = [(at, OperationalError("connection lost"))]
        writer.put(unit)
        await writer.drain()
        assert owner.done == (["u"] if done else [])
        assert list(owner.failed) == ([] if done else ["u"])
        assert await urls(lanes) == owner.done
        assert lanes.taken == 0


async def test_a_constraint_that_is_checked_at_commit_fails_its_unit_only(lanes: LanePool, owner: Owner) -> None:
    guilty = Unit("default", outcome="guilty")
    guilty.add(Book(author_id=12345, title="t", isbn="1"))
    async with owner.writer(lanes) as writer:
        async with Block(writer):
            for unit in (page_unit("a"), guilty, page_unit("b")):
                writer.put(unit)
        await writer.drain()
        assert set(owner.done) == {"a", "b"}
        assert isinstance(owner.failed["guilty"], IntegrityError)
        assert owner.asked == []


async def test_an_item_with_orm_calls_commits_on_its_lane_with_its_rows(lanes: LanePool, owner: Owner) -> None:
    async with owner.writer(lanes) as writer:
        unit = Unit("default", lane=lanes.lend(), outcome="mixed")
        assert unit.lane is not None
        async with ThreadSensitiveContext(executor=unit.lane):
            author = await Author.objects.acreate(name="a")
            unit.add(Book(author=author, title="t", isbn="1"))
            await unit.flush()
            assert await unit(Book.objects.count) == 1
            unit.add(Book(author=author, title="t", isbn="2"))
        writer.put(unit)
        await writer.drain()
        assert owner.done == ["mixed"]
        assert await lanes.call(Book.objects.count) == 2
        assert await tags(lanes) == ["mixed"]
        assert unit.counts == {("add", "testapp.Book"): 2}


async def test_an_item_that_fails_on_its_lane_leaves_nothing(lanes: LanePool, owner: Owner) -> None:
    async with owner.writer(lanes) as writer:
        unit = await lane_unit(lanes, "bad")
        page = Page(url="bad")
        unit.add(page)
        writer.put(unit)
        await writer.drain()
        assert isinstance(owner.failed["bad"], IntegrityError)
        assert await urls(lanes) == []
        assert page.pk is None
        assert lanes.taken == 0


async def test_a_lease_that_was_not_used_goes_to_the_writer(lanes: LanePool, owner: Owner) -> None:
    async with owner.writer(lanes) as writer:
        unit = page_unit("queued")
        unit.lane = lanes.lend()
        async with ThreadSensitiveContext(executor=unit.lane):
            await anyio.sleep(0)
        writer.put(unit)
        await writer.drain()
    assert owner.done == ["queued"]
    assert not unit.lane.taken


async def test_discarding_gives_the_lane_back_and_restores(lanes: LanePool, owner: Owner) -> None:
    unit = Unit("default", lane=lanes.lend())
    assert unit.lane is not None
    page = Page(url="a")
    async with ThreadSensitiveContext(executor=unit.lane):
        unit.add(page)
        await unit.flush()
        assert page.pk is not None
    await unit.discard()
    assert page.pk is None
    assert lanes.taken == 0
    assert await urls(lanes) == []


async def test_calls_come_after_what_was_put_before(lanes: LanePool, owner: Owner) -> None:
    async with owner.writer(lanes) as writer:
        async with Block(writer):
            writer.put(page_unit("a"))
            task = asyncio.ensure_future(writer.call(Page.objects.count))
            await asyncio.sleep(0)
            writer.put(page_unit("b"))
        assert await task == 1
        await writer.drain()
    assert owner.batches == [["a"], ["b"]]


async def test_a_call_is_a_transaction_and_its_error_is_the_callers(lanes: LanePool, owner: Owner) -> None:
    def fail() -> None:
        Page.objects.create(url="gone")
        raise LookupError

    async with owner.writer(lanes) as writer:
        with pytest.raises(LookupError):
            await writer.call(fail)
        assert await urls(lanes) == []
        assert owner.fatal == []


async def test_a_call_is_done_again_after_an_outage(lanes: LanePool, owner: Owner) -> None:
    tries: list[int] = []

    def work(url: str) -> int:
        Page.objects.create(url=url)
        tries.append(1)
        if len(tries) < 3:
            raise OperationalError("deadlock detected")
        return len(tries)

    async with owner.writer(lanes) as writer:
        assert await writer.call(work, url="a") == 3
        assert await urls(lanes) == ["a"]


async def test_a_cancelled_call_that_waits_is_withdrawn(lanes: LanePool, owner: Owner) -> None:
    async with owner.writer(lanes) as writer:
        async with Block(writer):
            with anyio.move_on_after(0.02) as scope:
                await writer.call(Page.objects.create, url="never")
            assert scope.cancelled_caught
        assert await urls(lanes) == []


async def test_a_cancelled_call_that_runs_is_waited_for(lanes: LanePool, owner: Owner) -> None:
    started, leave = threading.Event(), threading.Event()

    def work() -> None:
        started.set()
        leave.wait(10)
        raise LookupError

    async with owner.writer(lanes) as writer:
        for call in (writer.call, lanes.call):
            started.clear()
            leave.clear()
            task = asyncio.ensure_future(call(work))
            await anyio.to_thread.run_sync(started.wait)
            for _ in range(3):
                task.cancel()
                await asyncio.sleep(0)
            assert not task.done()
            leave.set()
            with pytest.raises(asyncio.CancelledError):
                await task


async def test_rows_of_other_hooks_are_committed_at_the_flush(lanes: LanePool, owner: Owner) -> None:
    async with owner.writer(lanes) as writer:
        unit = Unit("default", committer=writer)
        unit.add(Page(url="a"))
        await unit.flush()
        assert await urls(lanes) == ["a"]
        unit.add(Page(url="b"))
        unit.add(Page(url="a"))
        with pytest.raises(IntegrityError):
            await unit.flush()
        assert await urls(lanes) == ["a"]
        assert not unit.has_rows
        assert unit.counts == {("add", "testapp.Page"): 1}
        assert owner.settled == []


async def test_closing_writes_what_was_put(lanes: LanePool, owner: Owner) -> None:
    with anyio.CancelScope() as scope:
        async with owner.writer(lanes) as writer:
            for number in range(50):
                writer.put(page_unit(f"u{number}"))
            scope.cancel()
    assert len(owner.done) == 50
    assert len(await urls(lanes)) == 50


async def test_an_error_of_the_owner_is_fatal_and_does_not_hang(lanes: LanePool, owner: Owner) -> None:
    def broken(units: Sequence[Unit], error: BaseException | None) -> None:
        raise LookupError("a bug")

    owner.units_settled = broken  # type: ignore[method-assign]
    async with owner.writer(lanes) as writer:
        writer.put(page_unit("u"))
        with anyio.fail_after(5):
            await writer.drain()
    assert [type(error) for error in owner.fatal] == [LookupError]


def pid() -> int:
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_backend_pid()")
        return int(cursor.fetchone()[0])


def terminate(pid: int) -> None:
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_terminate_backend(%s)", [pid])


async def test_a_unit_that_cannot_be_restored_is_fatal_and_does_not_hang(lanes: LanePool, owner: Owner) -> None:
    class Stubborn(Unit):
        def restore(self) -> None:
            raise ValueError("not this one")

    async with owner.writer(lanes) as writer:
        unit = Stubborn("default", lane=lanes.lend(), outcome="u")
        assert unit.lane is not None
        async with ThreadSensitiveContext(executor=unit.lane):
            await Author.objects.acreate(name="a")
        owner.failures.append(ValueError("no"))
        writer.put(unit)
        with anyio.fail_after(10):
            await writer.drain()
    assert [str(error) for error in owner.fatal] == ["not this one"]


async def test_ended_backends_cost_nothing(postgres: None, lanes: LanePool, owner: Owner) -> None:
    pids: set[int] = set()

    def finish(units: Any) -> None:
        pids.add(pid())
        owner.finish(units)

    async with owner.writer(lanes, finish=finish, batch_size=5) as writer:
        for number in range(200):
            writer.put(page_unit(f"u{number}"))
            if number % 10 == 9:
                for victim in [pids.pop() for _ in range(len(pids))]:
                    await lanes.call(terminate, victim)
        await writer.drain()
        assert len(owner.done) == 200
        assert owner.fatal == []
        assert len(await urls(lanes)) == 200


async def test_two_writers_with_the_same_keys_do_not_wait_for_ever(
    postgres: None, lanes: LanePool, owner: Owner
) -> None:
    names = [f"page {number:03}" for number in range(100)]

    async def write(order: Callable[[list[str]], list[str]]) -> None:
        async with owner.writer(lanes, finish=lambda units: None) as writer:
            for _ in range(10):
                unit = Unit("default", outcome="u")
                for url in order(names):
                    unit.upsert(Page(url=url), unique=["url"], update="__all__")
                writer.put(unit)
            await writer.drain()

    async with anyio.create_task_group() as group:
        group.start_soon(write, list)
        group.start_soon(write, lambda names: names[::-1])
    assert len(owner.done) == 20
    assert await lanes.call(Page.objects.count) == 100


async def test_the_writer_works_on_djangos_pool(
    postgres: None, options: dict[str, Any], lanes: LanePool, owner: Owner
) -> None:
    options["pool"] = {"min_size": 1, "max_size": 2, "timeout": 20}
    async with owner.writer(lanes) as writer:
        for number in range(50):
            writer.put(page_unit(f"u{number}"))
            if number % 5 == 0:
                writer.put(await lane_unit(lanes, f"lane {number}"))
        await writer.drain()
    assert len(owner.done) == 60


class Clock:
    """A clock that transactions move."""

    def __init__(self) -> None:
        self.now = 0.0

    def monotonic(self) -> float:
        return self.now


async def batches_of(lanes: LanePool, owner: Owner, monkeypatch: pytest.MonkeyPatch, seconds_each: float) -> list[int]:
    """How many units each batch has, of 600 that are there at once, where each takes so long to write."""
    clock = Clock()
    monkeypatch.setattr(writer_module, "time", clock)
    monkeypatch.setattr(writer_module, "BATCH_SECONDS", 0.05)

    def finish(units: Sequence[Unit]) -> None:
        clock.now += seconds_each * len(units)
        owner.finish(units)

    async with owner.writer(lanes, finish=finish, batch_size=200) as writer:
        for number in range(600):
            unit = Unit("default", outcome=f"u{number}")
            writer.put(unit)
        await writer.drain()
    assert len(owner.done) == 600
    return [len(batch) for batch in owner.batches]


async def test_batches_grow_to_their_bound_while_they_are_quick(
    lanes: LanePool, owner: Owner, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes = await batches_of(lanes, owner, monkeypatch, 0.0001)
    assert sizes[-2] == max(sizes) == 200


async def test_batches_of_slow_units_take_no_longer_than_their_time(
    lanes: LanePool, owner: Owner, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes = await batches_of(lanes, owner, monkeypatch, 0.005)
    assert sizes[0] <= 16
    assert set(sizes[2:-1]) <= {9, 10}


@asynccontextmanager
async def resting(lanes: LanePool, owner: Owner, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Writer]:
    """A writer whose first transaction took an hour, and that would rest for as long."""
    clock = Clock()
    monkeypatch.setattr(writer_module, "time", clock)
    monkeypatch.setattr(writer_module, "BATCH_SECONDS", 3_600.0)

    def finish(units: Sequence[Unit]) -> None:
        clock.now = 3_600.0
        owner.finish(units)

    async with owner.writer(lanes, finish=finish, batch_size=4) as writer:
        writer.put(page_unit("first"))
        await writer.drain()
        for name in ("second", "third", "fourth"):
            writer.put(page_unit(name))
            await anyio.sleep(0.01)  # nothing is to happen: so nothing can be waited for
        yield writer
        with anyio.fail_after(20):
            await writer.drain()


async def test_units_gather_while_the_writer_rests_until_somebody_calls(
    lanes: LanePool, owner: Owner, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with resting(lanes, owner, monkeypatch) as writer:
        await writer.call(lambda: None)
    assert owner.batches == [["first"], ["second", "third", "fourth"]]


async def test_a_full_batch_ends_the_rest(lanes: LanePool, owner: Owner, monkeypatch: pytest.MonkeyPatch) -> None:
    async with resting(lanes, owner, monkeypatch) as writer:
        writer.put(page_unit("fifth"))
    assert owner.batches == [["first"], ["second", "third", "fourth", "fifth"]]
