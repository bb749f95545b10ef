"""SQLite: who only reads never waits, who writes stands in a queue, and nobody keeps the lock."""

from __future__ import annotations

import sqlite3
import threading
from contextlib import closing
from typing import TYPE_CHECKING, Any

import anyio
import pytest
from asgiref.sync import ThreadSensitiveContext, sync_to_async
from django.db import OperationalError, connection, connections
from django.db.backends.signals import connection_created
from django.db.backends.sqlite3.base import DatabaseWrapper

from async_commander.database.gate import GateHeldTooLong, WriteGate, gate_of
from async_commander.database.lanes import LanePool, open_lanes
from async_commander.database.lent_lane import settle
from async_commander.database.transaction import LaneTransaction
from async_commander.database.unit import Unit
from tests.testapp.models import Author, Book, Page, Tag

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .conftest import Owner

pytestmark = [pytest.mark.asyncio, pytest.mark.usefixtures("sqlite")]


@pytest.fixture
def gate(sqlite: None) -> WriteGate:
    gate = gate_of(connection)
    assert gate is not None
    return gate


@pytest.fixture
def impatient(sqlite: None, options: dict[str, Any]) -> Iterator[None]:
    """Nobody waits for a lock. One connection stays open: the first one recovers the log, and locks out the second."""
    options["timeout"] = 0
    with closing(sqlite3.connect(connection.settings_dict["NAME"])) as file:
        file.execute("SELECT count(*) FROM sqlite_master")
        yield


async def test_reading_items_do_not_take_the_gate(lanes: LanePool, gate: WriteGate) -> None:
    reader, writer = lanes.lend(), lanes.lend()
    async with ThreadSensitiveContext(executor=reader):
        await Author.objects.acount()
        assert not gate.held
        async with ThreadSensitiveContext(executor=writer):
            await Author.objects.acreate(name="a")
            assert gate.held
            assert await lanes.call(Author.objects.count) == 0
        await settle(writer.end(commit=True))  # type: ignore[arg-type]
        assert not gate.held
        assert await Author.objects.acount() == 1
    await settle(reader.end(commit=True))  # type: ignore[arg-type]


@pytest.mark.usefixtures("impatient")
async def test_nothing_is_locked_though_nobody_waits_for_locks(owner: Owner) -> None:
    async def one(number: int) -> None:
        unit = Unit("default", outcome=f"u{number}")
        if number % 3:
            unit.lane = lanes.lend()
            async with ThreadSensitiveContext(executor=unit.lane):
                await Author.objects.acount()
                author = await Author.objects.acreate(name=f"author {number}")
                await anyio.sleep(0.001)
                unit.add(Book(author=author, title="t", isbn=str(number)))
        else:
            unit.add(Page(url=str(number)))
        writer.put(unit)

    async with open_lanes("default", 8) as lanes, owner.writer(lanes) as writer:
        async with anyio.create_task_group() as group:
            for number in range(150):
                group.start_soon(one, number)
        await writer.drain()
        assert owner.failed == {}
        assert len(owner.done) == 150
        assert await lanes.call(Tag.objects.count) == 150


@pytest.mark.usefixtures("impatient")
async def test_a_transaction_of_another_thread_passes_the_gate_and_is_not_locked(gate: WriteGate) -> None:
    def beat() -> None:
        for number in range(50):
            with LaneTransaction("default"):
                Tag.objects.create(name=f"beat {number}")
        connections.close_all()

    async def save(number: int) -> None:
        unit = Unit("default", lane=lanes.lend())
        assert unit.lane is not None
        try:
            async with ThreadSensitiveContext(executor=unit.lane):
                await Author.objects.acreate(name=f"a{number}")
            await settle(unit.lane.end(commit=True))  # type: ignore[arg-type]
        finally:
            await unit.discard()

    async with open_lanes("default", 4) as lanes, anyio.create_task_group() as group:
        group.start_soon(anyio.to_thread.run_sync, beat)
        for number in range(50):
            group.start_soon(save, number)
    assert not gate.held
    async with open_lanes("default", 1) as lanes:
        assert await lanes.call(Tag.objects.count) == 50


async def test_a_cancelled_item_leaves_the_queue_at_the_gate_at_once(lanes: LanePool, gate: WriteGate) -> None:
    holding, waiting = lanes.lend(), lanes.lend()
    async with ThreadSensitiveContext(executor=holding):
        await Author.objects.acreate(name="in")
        with anyio.CancelScope() as scope:
            async with anyio.create_task_group() as group:

                async def cancel() -> None:
                    while not gate.waiting:
                        await anyio.sleep(0.001)
                    scope.cancel()

                group.start_soon(cancel)
                async with ThreadSensitiveContext(executor=waiting):
                    await Author.objects.acreate(name="never")
        ended = waiting.end(commit=False)
        assert ended is not None
        with anyio.fail_after(5):
            await settle(ended)
        assert gate.waiting == 0
        assert lanes.taken == 1
        assert gate.held
    await settle(holding.end(commit=True))  # type: ignore[arg-type]
    assert await lanes.call(lambda: [author.name for author in Author.objects.all()]) == ["in"]


async def test_an_item_that_keeps_the_gate_too_long_is_rolled_back(
    transactional_db: None, gate: WriteGate, owner: Owner
) -> None:
    async with open_lanes("default", 4, gate_limit=0.1) as lanes, owner.writer(lanes) as writer:
        unit = Unit("default", lane=lanes.lend(), outcome="slow")
        assert unit.lane is not None
        async with ThreadSensitiveContext(executor=unit.lane):
            await Author.objects.acreate(name="too early")
            with anyio.fail_after(10):
                await lanes.call(_save_a_tag)  # waits until the lane gives the gate up by itself
            with pytest.raises(GateHeldTooLong, match="write last"):
                await Author.objects.acount()
        writer.put(unit)
        await writer.drain()
        assert isinstance(owner.failed["slow"], GateHeldTooLong)
        assert await lanes.call(Author.objects.count) == 0
        assert lanes.taken == 0


def _save_a_tag() -> None:
    with LaneTransaction("default"):
        Tag.objects.create(name="after it")


async def test_an_item_within_the_limit_is_left_alone(transactional_db: None) -> None:
    async with open_lanes("default", 1, gate_limit=30) as lanes:
        lane = lanes.lend()
        async with ThreadSensitiveContext(executor=lane):
            await Author.objects.acreate(name="a")
            await anyio.sleep(0.02)
            await Author.objects.acreate(name="b")
        await settle(lane.end(commit=True))  # type: ignore[arg-type]
        assert await lanes.call(Author.objects.count) == 2


@pytest.mark.usefixtures("impatient")
async def test_an_open_iterator_does_not_lock_the_item_out() -> None:
    async with open_lanes("default", 2) as lanes:
        await lanes.call(lambda: Tag.objects.bulk_create(Tag(name=str(number)) for number in range(300)))
        reader, other = lanes.lend(), lanes.lend()
        async with ThreadSensitiveContext(executor=reader):
            async for tag in Tag.objects.aiterator(chunk_size=10):
                if tag.name == "5":
                    async with ThreadSensitiveContext(executor=other):
                        await Author.objects.acreate(name="other")
                    await settle(other.end(commit=True))  # type: ignore[arg-type]
                    await Author.objects.acreate(name="own")
        await settle(reader.end(commit=True))  # type: ignore[arg-type]
        assert await lanes.call(Author.objects.count) == 2


@pytest.mark.usefixtures("impatient")
async def test_locked_by_another_process_is_waited_out_by_the_writer(owner: Owner) -> None:
    locked, go_on = threading.Event(), threading.Event()

    def lock() -> None:
        with connection.cursor() as cursor:
            cursor.execute("BEGIN IMMEDIATE")
            locked.set()
            go_on.wait(20)
            cursor.execute("ROLLBACK")
        connection.close()

    async with open_lanes("default", 1) as lanes, owner.writer(lanes) as writer, anyio.create_task_group() as group:
        group.start_soon(anyio.to_thread.run_sync, lock)
        await anyio.to_thread.run_sync(locked.wait)
        unit = Unit("default", outcome="u")
        unit.add(Page(url="u"))
        writer.put(unit)
        await anyio.sleep(0.2)
        assert owner.settled == []
        go_on.set()
        await writer.drain()
        assert owner.done == ["u"]


async def test_a_backend_that_begins_past_the_wrappers_passes_the_gate_first(
    transactional_db: None, gate: WriteGate, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        DatabaseWrapper,
        "_start_transaction_under_autocommit",
        lambda wrapper: wrapper.connection.execute("BEGIN IMMEDIATE"),
    )
    async with open_lanes("default", 1) as lanes:
        lane = lanes.lend()
        async with ThreadSensitiveContext(executor=lane):
            await Author.objects.acount()
            assert gate.held
            await Author.objects.acreate(name="a")
        await settle(lane.end(commit=True))  # type: ignore[arg-type]
        assert not gate.held
        assert await lanes.call(Author.objects.count) == 1


async def test_statements_at_the_opening_of_a_connection_are_not_lost(transactional_db: None) -> None:
    def tune(connection: DatabaseWrapper, **_: object) -> None:
        with connection.cursor() as cursor:
            cursor.execute("PRAGMA cache_size = -1234")

    def cache_size() -> int:
        with connection.cursor() as cursor:
            cursor.execute("PRAGMA cache_size")
            return int(cursor.fetchone()[0])

    connection_created.connect(tune)
    try:
        async with open_lanes("default", 1) as lanes:
            lane = lanes.lend()
            async with ThreadSensitiveContext(executor=lane):
                assert await sync_to_async(cache_size)() == -1234
            await settle(lane.end(commit=True))  # type: ignore[arg-type]
    finally:
        connection_created.disconnect(tune)


@pytest.mark.usefixtures("impatient")
async def test_a_locked_database_fails_an_item_as_an_operational_error() -> None:
    async with open_lanes("default", 2) as lanes:
        blocker, lane = threading.Event(), lanes.lend()
        locked = threading.Event()

        def lock() -> None:
            with connection.cursor() as cursor:
                cursor.execute("BEGIN IMMEDIATE")
                locked.set()
                blocker.wait(20)
                cursor.execute("ROLLBACK")

        async with anyio.create_task_group() as group:
            group.start_soon(lanes.call, lock)
            await anyio.to_thread.run_sync(locked.wait)
            async with ThreadSensitiveContext(executor=lane):
                with pytest.raises(OperationalError):
                    await Author.objects.acreate(name="a")
            await settle(lane.end(commit=False))  # type: ignore[arg-type]
            blocker.set()


async def test_a_write_after_a_begin_that_failed_is_part_of_the_transaction(
    options: dict[str, Any], gate: WriteGate
) -> None:
    """An item that catches "locked" and tries again: its row is not committed on its own."""
    options["timeout"] = 0
    unlock, locked, unlocked = threading.Event(), threading.Event(), threading.Event()

    def lock() -> None:
        with connection.cursor() as cursor:
            cursor.execute("BEGIN IMMEDIATE")
            locked.set()
            unlock.wait(20)
            cursor.execute("ROLLBACK")
        unlocked.set()

    def insert() -> None:
        with connection.cursor() as cursor:
            cursor.execute("INSERT INTO testapp_author (name) VALUES ('again')")

    async with open_lanes("default", 2) as lanes, anyio.create_task_group() as group:
        lane = lanes.lend()
        group.start_soon(lanes.call, lock)
        await anyio.to_thread.run_sync(locked.wait)
        async with ThreadSensitiveContext(executor=lane):
            with pytest.raises(OperationalError):
                await sync_to_async(insert)()
            assert not gate.held
            unlock.set()
            await anyio.to_thread.run_sync(unlocked.wait)
            await sync_to_async(insert)()
            assert gate.held
        await settle(lane.end(commit=False))  # type: ignore[arg-type]
        assert not gate.held
        assert await lanes.call(Author.objects.count) == 0
