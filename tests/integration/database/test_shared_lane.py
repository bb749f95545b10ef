"""Shared mode: the caller's thread is the only lane, and the caller's transaction takes everything along."""

from __future__ import annotations

import threading
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

import anyio
import pytest
from asgiref.sync import ThreadSensitiveContext, async_to_sync, sync_to_async
from django.db import IntegrityError, connection, connections, transaction
from django.db.backends.sqlite3.base import DatabaseWrapper
from django.test import TestCase

from async_commander.database.lanes import LanePool, must_share, open_shared_lane
from async_commander.database.lent_lane import settle
from async_commander.database.unit import Unit
from tests.testapp.models import Author, Book, Page, Tag

from .conftest import Owner

if TYPE_CHECKING:
    from async_commander.database.writer import Writer

Body = Callable[[LanePool, "Writer"], Awaitable[None]]


def drive(body: Body, owner: Owner) -> None:
    """As `call_command` does: from a synchronous caller, on its thread."""

    async def main() -> None:
        async with open_shared_lane("default") as lanes, owner.writer(lanes) as writer:
            await body(lanes, writer)
            await writer.drain()

    async_to_sync(main)()


async def mixed(lanes: LanePool, writer: Writer) -> None:
    """Twelve items, four of which only queue rows, two of which fail."""

    async def one(number: int) -> None:
        unit = Unit("default", lane=lanes.lend(), outcome=f"u{number}")
        assert unit.lane is not None
        async with ThreadSensitiveContext(executor=unit.lane):
            if number % 3:
                author = await Author.objects.acreate(name=f"author {number}")
                await anyio.sleep(0.001)
                unit.add(Book(author=author, title="t", isbn="same" if number in {4, 7} else str(number)))
            else:
                unit.add(Page(url=str(number)))
        writer.put(unit)

    writer.put(await queued("same", lanes))
    async with anyio.create_task_group() as group:
        for number in range(12):
            group.start_soon(one, number)


async def queued(isbn: str, lanes: LanePool) -> Unit:
    author = Author(name="first")
    unit = Unit("default", outcome="first")
    unit.add(author, Book(author=author, title="t", isbn=isbn))
    return unit


@pytest.mark.django_db
def test_everything_happens_on_the_callers_thread_inside_its_transaction() -> None:
    owner, threads = Owner(), set[int]()

    async def body(lanes: LanePool, writer: Writer) -> None:
        await mixed(lanes, writer)
        threads.add(await lanes.call(threading.get_ident))
        threads.add(await writer.call(threading.get_ident))
        lane = lanes.lend()
        async with ThreadSensitiveContext(executor=lane):
            threads.add(await sync_to_async(threading.get_ident)())
        await settle(lane.end(commit=True))  # type: ignore[arg-type]

    assert must_share("default")
    drive(body, owner)
    assert threads == {threading.get_ident()}
    assert set(owner.failed) == {"u4", "u7"}
    assert all(isinstance(error, IntegrityError) for error in owner.failed.values())
    assert len(owner.done) == 11
    assert Tag.objects.count() == 11
    assert Page.objects.count() == 4
    assert Author.objects.count() == Book.objects.count() == 7
    assert connection.in_atomic_block


class InATestCase(TestCase):
    def test_1_rows_are_seen_by_the_test(self) -> None:
        owner = Owner()
        with self.captureOnCommitCallbacks() as callbacks:
            drive(mixed, owner)
        assert Tag.objects.count() == 11
        assert callbacks == []

    def test_2_rows_of_the_test_before_are_gone(self) -> None:
        assert not Tag.objects.exists()

    async def test_3_a_coroutine_test_shares_its_connection_too(self) -> None:
        owner = Owner()
        assert await sync_to_async(must_share)("default")
        async with open_shared_lane("default") as lanes, owner.writer(lanes) as writer:
            await mixed(lanes, writer)
            await writer.drain()
        assert await Tag.objects.acount() == 11

    def test_4_on_commit_hooks_belong_to_the_callers_transaction(self) -> None:
        owner = Owner()

        async def body(lanes: LanePool, writer: Writer) -> None:
            unit = Unit("default", lane=lanes.lend(), outcome="u")
            assert unit.lane is not None
            async with ThreadSensitiveContext(executor=unit.lane):
                await unit(transaction.on_commit, seen.clear)
            writer.put(unit)

        seen: list[int] = [1]
        with self.captureOnCommitCallbacks() as callbacks:
            drive(body, owner)
        assert len(callbacks) == 1
        assert seen == [1]


@pytest.mark.django_db
def test_a_batch_never_lands_in_an_open_item() -> None:
    owner = Owner()

    async def body(lanes: LanePool, writer: Writer) -> None:
        lane = lanes.lend()
        async with ThreadSensitiveContext(executor=lane):
            await Author.objects.acreate(name="rolled back")
            unit = Unit("default", outcome="queued meanwhile")
            unit.add(Page(url="kept"))
            writer.put(unit)
            await anyio.sleep(0.02)
            assert owner.settled == []
        await settle(lane.end(commit=False))  # type: ignore[arg-type]

    drive(body, owner)
    assert owner.done == ["queued meanwhile"]
    assert not Author.objects.exists()
    assert Page.objects.exists()


@pytest.mark.django_db(transaction=True)
def test_a_command_called_inside_an_item_is_rolled_back_with_it() -> None:
    outer = Owner()

    def nested() -> None:
        assert must_share("default")
        drive(mixed, Owner())
        assert Tag.objects.count() == 11

    async def main() -> None:
        from async_commander.database.lanes import open_lanes

        async with open_lanes("default", 2) as lanes, outer.writer(lanes):
            unit = Unit("default", lane=lanes.lend())
            assert unit.lane is not None
            async with ThreadSensitiveContext(executor=unit.lane):
                await unit(nested)
            await unit.discard()
            assert await lanes.call(Tag.objects.count) == 0

    if not must_share("default"):
        async_to_sync(main)()


@pytest.mark.django_db
def test_errors_of_the_block_come_out_as_they_are() -> None:
    async def body(lanes: LanePool, writer: Writer) -> None:
        raise LookupError("plain")

    with pytest.raises(LookupError, match="plain"):
        drive(body, Owner())


@pytest.mark.django_db
def test_a_cancelled_run_still_ends_what_it_has_started() -> None:
    owner = Owner()

    async def body(lanes: LanePool, writer: Writer) -> None:
        unit = Unit("default", outcome="u")
        unit.add(Page(url="a"))
        writer.put(unit)
        with anyio.CancelScope() as scope:
            scope.cancel()
            await anyio.sleep(1)

    async def main() -> None:
        with anyio.CancelScope() as scope:
            async with open_shared_lane("default") as lanes, owner.writer(lanes) as writer:
                await body(lanes, writer)
                scope.cancel()

    async_to_sync(main)()
    assert owner.done == ["u"]


@pytest.fixture
def memory(sqlite: None, transactional_db: None, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The suite's alias, for the length of a test on a database in memory."""
    settings = connections.settings["default"]
    before, name = connections["default"], settings["NAME"]
    settings["NAME"] = ":memory:"
    fresh = DatabaseWrapper(settings, "default")
    connections["default"] = fresh
    with fresh.schema_editor() as editor:
        for model in (Author, Book, Page, Tag):
            editor.create_model(model)
    yield
    fresh.connection.close()
    settings["NAME"] = name
    connections["default"] = before


def test_a_database_in_memory_is_shared_and_its_items_are_real_transactions(memory: None) -> None:
    owner = Owner()
    assert not connection.in_atomic_block
    assert must_share("default")
    drive(mixed, owner)
    assert set(owner.failed) == {"u4", "u7"}
    assert Tag.objects.count() == 11
    assert connection.connection is not None
