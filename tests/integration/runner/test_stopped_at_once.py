"""A stop that comes while a run is being opened: it is not begun, or it is closed."""

from __future__ import annotations

import asyncio
import sqlite3
import time
from collections.abc import Iterator
from typing import Any

import pytest
from django.db import OperationalError, connection

import async_commander as ac
from async_commander.database.sqlite import SLICE
from async_commander.history import runs
from async_commander.models import Run
from async_commander.runner.plan import make_plan
from async_commander.runner.reporting import Silent
from async_commander.runner.request import RunRequest
from async_commander.runner.run import execute
from async_commander.runner.signals import StopRequests
from tests.testapp.models import Tag


class Idle(ac.AsyncCommand):
    async def handle(self) -> None:
        return


@pytest.mark.asyncio
@pytest.mark.parametrize("requests", [1, 2])
@pytest.mark.usefixtures("arun_db")
async def test_a_run_that_was_just_being_begun_is_closed(monkeypatch: Any, requests: int) -> None:
    stops, loop, begin = StopRequests(), asyncio.get_running_loop(), runs.begin

    def begin_while_stops_arrive(*arguments: Any) -> Any:
        ownership = begin(*arguments)
        for _ in range(requests):
            asyncio.run_coroutine_threadsafe(asked(), loop).result(10)
        return ownership

    async def asked() -> None:
        stops.ask()
        await asyncio.sleep(0)

    monkeypatch.setattr(runs, "begin", begin_while_stops_arrive)
    result = await execute(make_plan(Idle(), RunRequest(), shared=False), Silent(), stops)
    run = await Run.objects.aget()
    assert (result.status, run.status, result.run_id) == ("interrupted", "interrupted", run.pk)


@pytest.mark.asyncio
@pytest.mark.usefixtures("arun_db")
async def test_a_run_whose_ledger_is_locked_is_interrupted_by_a_stop_and_has_not_failed(monkeypatch: Any) -> None:
    stops, loop = StopRequests(), asyncio.get_running_loop()

    def locked(*_: Any) -> Any:
        loop.call_soon_threadsafe(stops.ask)
        raise OperationalError("database is locked")

    monkeypatch.setattr(runs, "begin", locked)
    result = await execute(make_plan(Idle(), RunRequest(), shared=False), Silent(), stops)
    assert (result.status, result.run_id) == ("interrupted", None)
    assert not await Run.objects.aexists()


# SQLite, locked by somebody outside: its own patience, 20 s in these settings, is not what a stop waits for


@pytest.fixture
def outsider(arun_db: None) -> Iterator[sqlite3.Connection]:
    """A connection that may take the write lock, and keep it."""
    if connection.vendor != "sqlite":
        pytest.skip("is about the file's one lock")
    assert connection.settings_dict["OPTIONS"]["timeout"] >= 20
    other = sqlite3.connect(connection.settings_dict["NAME"], check_same_thread=False, isolation_level=None)
    yield other
    other.close()


class Writing(ac.IterateDownloadCommand[int, int]):
    """Its items have something to be written when the lock is taken: in bulk, or by calls of their own."""

    by_calls: bool = False
    limits = ac.Limits(threads=3)

    def __init__(self, **arguments: Any) -> None:
        super().__init__(**arguments)
        self.outsider: sqlite3.Connection | None = None
        self.locked = asyncio.Event()

    async def iterate(self):
        return range(10)

    async def download(self, item: int) -> int:
        if item == 5 and self.outsider is not None:
            self.outsider.execute("BEGIN IMMEDIATE")
            self.locked.set()
        return item

    async def parse_and_save(self, item: int, payload: int) -> None:
        if self.by_calls:
            await Tag.objects.acreate(name=str(item))
        else:
            self.db.add(Tag(name=str(item)))


@pytest.mark.asyncio
@pytest.mark.timeout(60)
async def test_a_stop_before_a_run_is_recorded_waits_for_no_lock(outsider: sqlite3.Connection) -> None:
    stops = StopRequests()
    outsider.execute("BEGIN IMMEDIATE")
    task = asyncio.ensure_future(execute(make_plan(Idle(), RunRequest(), shared=False), Silent(), stops))
    await asyncio.sleep(0.5)
    began = time.monotonic()
    stops.ask()
    result = await task
    assert time.monotonic() - began < 8
    assert (result.status, result.run_id) == ("interrupted", None)
    outsider.execute("ROLLBACK")
    assert not await Run.objects.aexists()


@pytest.mark.asyncio
@pytest.mark.timeout(60)
@pytest.mark.parametrize("by_calls", [False, True])
async def test_a_second_stop_waits_for_no_lock_and_a_resume_completes_the_run(
    outsider: sqlite3.Connection, by_calls: bool
) -> None:
    stops, command = StopRequests(), Writing(by_calls=by_calls)
    command.outsider = outsider
    request = RunRequest(lease_seconds=2.0)  # so that the heart beats meanwhile
    task = asyncio.ensure_future(execute(make_plan(command, request, shared=False), Silent(), stops))
    await command.locked.wait()
    await asyncio.sleep(0.5)
    began = time.monotonic()
    stops.ask()
    stops.ask()
    result = await task
    assert time.monotonic() - began < 8
    assert result.status == "failed"
    assert "when the run was asked to end" in result.error
    outsider.execute("ROLLBACK")
    resumed = await ac.arun(Writing(by_calls=by_calls), resume=True)
    assert (resumed.run_id, resumed.status, resumed.counts["done"]) == (result.run_id, "succeeded", 10)
    assert sorted([tag.name async for tag in Tag.objects.all()]) == [str(number) for number in range(10)]


@pytest.mark.asyncio
@pytest.mark.timeout(60)
async def test_a_lock_that_is_kept_for_longer_than_a_slice_is_waited_for_all_the_same(
    outsider: sqlite3.Connection,
) -> None:
    stops, command = StopRequests(), Writing()
    command.outsider = outsider
    task = asyncio.ensure_future(execute(make_plan(command, RunRequest(), shared=False), Silent(), stops))
    await command.locked.wait()
    await asyncio.sleep(5 * SLICE / 1000)
    outsider.execute("ROLLBACK")
    result = await task
    assert (result.status, result.counts["done"], result.errors) == ("succeeded", 10, [])
