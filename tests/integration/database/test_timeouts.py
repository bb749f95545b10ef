"""PostgreSQL's time-outs: for one transaction, and never in the place of what the project has set up."""

from __future__ import annotations

import threading
import time
from collections import Counter
from typing import TYPE_CHECKING, Any

import anyio
import pytest
from asgiref.sync import ThreadSensitiveContext, sync_to_async
from django.db import OperationalError, connection, connections, transaction

import async_commander as ac
from async_commander.command.shapes import is_passing
from async_commander.database.lanes import open_lanes
from async_commander.database.lent_lane import settle
from async_commander.database.outage import is_transient
from async_commander.database.timeouts import IdleTooLong, LockedTooLong, Timeouts
from tests.testapp.models import Author, Page, Tag

from .conftest import Owner

if TYPE_CHECKING:
    from async_commander.database.lanes import LanePool
    from async_commander.database.lent_lane import LentLane

NAMES = ("idle_in_transaction_session_timeout", "lock_timeout", "statement_timeout")
OF_ITEMS = Timeouts.of_items(lease_seconds=30, item_timeout=90)
pytestmark = pytest.mark.usefixtures("postgres")


def settings_now() -> dict[str, str]:
    with connection.cursor() as cursor:
        cursor.execute("SELECT name, current_setting(name) FROM pg_settings WHERE name = ANY(%s)", [list(NAMES)])
        return dict(cursor.fetchall())


def backend() -> int:
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_backend_pid()")
        return int(cursor.fetchone()[0])


async def end(lane: LentLane, *, commit: bool = True) -> None:
    ended = lane.end(commit=commit)
    if ended is not None:
        await settle(ended)


async def of_an_item(lanes: LanePool) -> dict[str, str]:
    lane = lanes.lend()
    async with ThreadSensitiveContext(executor=lane):
        found = await sync_to_async(settings_now)()
    await end(lane)
    return found


@pytest.mark.asyncio
@pytest.mark.parametrize(
    "more", [{}, {"pool": {"min_size": 1, "max_size": 2, "timeout": 20}}, {"server_side_binding": True}]
)
async def test_they_hold_in_a_lanes_transaction_and_nowhere_else(options: dict[str, Any], more: dict[str, Any]) -> None:
    options.update(more)
    async with open_lanes("default", 1, timeouts=OF_ITEMS) as lanes:
        before = await lanes.call(settings_now)
        assert await of_an_item(lanes) == dict(zip(NAMES, ("30s", "30s", "2min"), strict=True))
        assert await lanes.call(settings_now) == before == dict.fromkeys(NAMES, "0")
    await sync_to_async(connections.close_all)()


@pytest.mark.asyncio
async def test_what_the_project_has_set_up_stays(options: dict[str, Any]) -> None:
    options["options"] = "-c lock_timeout=2s -c statement_timeout=7s"
    async with open_lanes("default", 1, timeouts=OF_ITEMS) as lanes:
        assert await of_an_item(lanes) == dict(zip(NAMES, ("30s", "2s", "7s"), strict=True))
    await sync_to_async(connections.close_all)()


@pytest.mark.asyncio
async def test_the_writer_waits_for_locks_but_holds_none_for_ever(transactional_db: None, owner: Owner) -> None:
    async with open_lanes("default", 1, timeouts=OF_ITEMS) as lanes, owner.writer(lanes) as writer:
        assert await writer.call(settings_now) == dict(zip(NAMES, ("30s", "0", "0"), strict=True))
    await sync_to_async(connections.close_all)()


@pytest.mark.parametrize(("item_timeout", "lock"), [(None, 30.0), (90, 30.0), (60, 30.0), (2, 1.0)])
def test_a_wait_for_a_lock_ends_before_the_time_of_the_item(item_timeout: float | None, lock: float) -> None:
    assert Timeouts.of_items(lease_seconds=30, item_timeout=item_timeout).lock == lock


def test_a_short_lease_leaves_items_ten_seconds() -> None:
    assert Timeouts.of_items(lease_seconds=0.5, item_timeout=None) == Timeouts(idle=10.0, lock=30.0)


@pytest.mark.asyncio
async def test_an_item_that_leaves_its_transaction_open_too_long_is_told_what_to_do(transactional_db: None) -> None:
    async with open_lanes("default", 1, timeouts=Timeouts(idle=0.2)) as lanes:
        lane = lanes.lend()
        async with ThreadSensitiveContext(executor=lane):
            await gone(await sync_to_async(begin)())
            with pytest.raises(IdleTooLong, match=r"more than 0.2 s without a database call.*write last") as raised:
                await Author.objects.acount()
        await end(lane, commit=False)
        assert is_passing(raised.value)
        assert is_transient(raised.value)
        assert await lanes.call(Author.objects.count) == 0
    await sync_to_async(connections.close_all)()


def begin() -> int:
    Author.objects.create(name="a")
    return backend()


async def gone(pid: int) -> None:
    """Wait until the server has ended this session."""
    async with open_lanes("default", 1) as others:
        with anyio.fail_after(20):
            while await others.call(is_there, pid):
                await anyio.sleep(0.01)


def is_there(pid: int) -> bool:
    with connection.cursor() as cursor:
        cursor.execute("SELECT 1 FROM pg_stat_activity WHERE pid = %s", [pid])
        return cursor.fetchone() is not None


@pytest.mark.asyncio
async def test_a_lock_that_somebody_keeps_fails_the_item_in_a_way_that_passes(transactional_db: None) -> None:
    async with open_lanes("default", 2, timeouts=Timeouts(lock=0.05)) as lanes:
        await lanes.call(Tag.objects.create, name="t")
        holder, waiter = lanes.lend(), lanes.lend()
        async with ThreadSensitiveContext(executor=holder):
            await Tag.objects.filter(name="t").aupdate(name="u")
        async with ThreadSensitiveContext(executor=waiter):
            with pytest.raises(OperationalError, match="kept a lock for longer") as raised:
                await Tag.objects.filter(name="t").aupdate(name="v")
        assert is_passing(raised.value)
        await end(waiter, commit=False)
        await end(holder)
    await sync_to_async(connections.close_all)()


@pytest.mark.django_db(transaction=True)
def test_the_lanes_of_a_run_have_them() -> None:
    seen: list[dict[str, str]] = []

    class Command(ac.IterateDownloadCommand[str, str]):
        limits = ac.Limits(item_timeout=20)

        async def iterate(self):
            yield "a"

        async def download(self, item: str) -> str:
            return item

        async def parse_and_save(self, item: str, payload: str) -> None:
            seen.append(await self.db(settings_now))
            self.db.add(Page(url=item))

    assert ac.run(Command()).status == "succeeded"
    assert seen == [dict(zip(NAMES, ("30s", "10s", "30s"), strict=True))]


class Locked(ac.IterateDownloadCommand[str, str]):
    """Its items meet a table that somebody else keeps locked until each has waited twice for as long as it may."""

    limits = ac.Limits(threads=3, item_timeout=1, max_failures=None)
    retry = ac.Retry(attempts=1, initial=0.05)

    def __init__(self) -> None:
        super().__init__()
        self.let_go = threading.Event()
        self.waits: Counter[str] = Counter()

    async def iterate(self):
        return list("abc")

    async def download(self, item: str) -> str:
        return item

    async def parse_and_save(self, item: str, payload: str) -> None:
        try:
            await Tag.objects.acreate(name=item)
        except LockedTooLong:
            self.waits[item] += 1
            if len(self.waits) == 3 and min(self.waits.values()) >= 2:
                self.let_go.set()
            raise


@pytest.mark.django_db(transaction=True)
def test_who_waits_for_somebodys_lock_for_longer_than_its_time_pays_nothing() -> None:
    command, begun = Locked(), threading.Event()

    def keep_the_table() -> None:
        try:
            with transaction.atomic(), connection.cursor() as cursor:
                cursor.execute(f"LOCK TABLE {Tag._meta.db_table}")
                begun.set()
                command.let_go.wait(30)
        finally:
            connection.close()

    keeper = threading.Thread(target=keep_the_table)
    keeper.start()
    try:
        assert begun.wait(10)
        result = ac.run(command)
    finally:
        command.let_go.set()
        keeper.join()
    assert (result.counts["done"], result.counts["dead"]) == (3, 0)
    assert {one.kind for one in result.errors} == {"LockedTooLong"}
    assert sorted(Tag.objects.values_list("name", flat=True)) == ["a", "b", "c"]


class Working(ac.IterateDownloadCommand[str, str]):
    """Its item works for most of its time, waits for a row that somebody else has, and works a little more."""

    work: float = 0.7
    limits = ac.Limits(threads=1, item_timeout=1)
    retry = ac.Retry(attempts=1)

    def __init__(self, **arguments: Any) -> None:
        super().__init__(**arguments)
        self.attempts = 0
        self.meets = threading.Event()

    async def iterate(self):
        return ["a"]

    async def download(self, item: str) -> str:
        return item

    async def parse_and_save(self, item: str, payload: str) -> None:
        self.attempts += 1
        await anyio.sleep(self.work)
        self.meets.set()
        await Tag.objects.filter(name="shared").aupdate(name="shared")


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize(("work", "wait"), [(0.7, 0.45), (0.3, 0.45), (0.95, 0.3), (0.6, 1.5)])
def test_a_wait_for_a_lock_is_not_charged_to_an_item_that_worked_before_it(work: float, wait: float) -> None:
    """The last one waits for longer than it may at once, and is tried again at no cost."""
    Tag.objects.create(name="shared")
    command, locked = Working(work=work), threading.Event()

    def keep_the_row() -> None:
        try:
            with transaction.atomic():
                Tag.objects.select_for_update().get(name="shared")
                locked.set()
                command.meets.wait(30)
                time.sleep(wait)
        finally:
            connection.close()

    keeper = threading.Thread(target=keep_the_row)
    keeper.start()
    try:
        assert locked.wait(10)
        result = ac.run(command)
    finally:
        command.meets.set()
        keeper.join()
    assert (result.counts["done"], result.counts["dead"]) == (1, 0)
    assert {one.kind for one in result.errors} <= ({"LockedTooLong"} if wait > 0.5 else set())


class Slow(Working):
    """Its own statement takes too long: no lock is in the way."""

    in_pieces: bool = False

    async def parse_and_save(self, item: str, payload: str) -> None:
        for _ in range(300 if self.in_pieces else 1):
            await self.db(sleep_there, 0.02 if self.in_pieces else 30.0)


def sleep_there(seconds: float) -> None:
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_sleep(%s)", [seconds])


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("in_pieces", [False, True])
def test_an_items_own_statements_are_charged(in_pieces: bool) -> None:
    began = time.monotonic()
    with pytest.raises(ac.RunFailed) as raised:
        ac.run(Slow(in_pieces=in_pieces))
    assert time.monotonic() - began < 5
    assert {one.kind for one in raised.value.result.errors} <= {"ItemTimeout", "StatementTooLong"}
