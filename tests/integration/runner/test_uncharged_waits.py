"""Waiting for a lane, for its connection or for SQLite's write lock is charged to nobody: neither time nor attempts."""

from __future__ import annotations

import threading
from typing import Any

import anyio
import pytest
from django.db import connection, connections

import async_commander as ac
from async_commander.database.gate import gate_of
from tests.testapp.models import Tag

from .ledger import items_of

pytestmark = pytest.mark.timeout(60)
ITEMS = [f"item {number}" for number in range(5)]
ONE = 0.5
"""Seconds for which an item keeps what the others wait for; all of them together wait longer than an item may take."""


class Saves(ac.IterateDownloadCommand[str, str]):
    limits = ac.Limits(threads=5, db_lanes=1, item_timeout=1.6)
    retry = ac.Retry(attempts=1)

    async def iterate(self):
        return ITEMS

    async def download(self, item: str) -> str:
        return item

    async def parse_and_save(self, item: str, payload: str) -> None:
        await Tag.objects.acreate(name=item)
        await anyio.sleep(ONE)


class AtTheGate(Saves):
    limits = ac.Limits(threads=5, db_lanes=5, item_timeout=1.6)


class Plain(Saves):
    def parse_and_save(self, item: str, payload: str) -> None:
        Tag.objects.create(name=item)
        threading.Event().wait(ONE)


def assert_all_done_at_once(result: ac.RunResult) -> None:
    assert (result.status, result.counts["done"]) == (ac.RunStatus.SUCCEEDED, len(ITEMS))
    assert {item.attempts for item in items_of(result)} == {1}


@pytest.mark.parametrize("command", [Saves, Plain, AtTheGate])
def test_items_that_wait_for_each_other_pass_no_time_out(run: Any, command: type[Saves]) -> None:
    assert_all_done_at_once(run(command()))


def test_items_that_wait_for_a_writer_elsewhere_pass_no_time_out(run_on_lanes: Any) -> None:
    if connection.vendor != "sqlite":
        pytest.skip("the write gate is for SQLite")
    gate = gate_of(connections["default"])
    assert gate is not None
    taken, leave = threading.Event(), threading.Event()

    def hold() -> None:
        gate.enter()
        taken.set()
        leave.wait(20)
        gate.leave()

    class Command(Saves):
        limits = ac.Limits(threads=2, db_lanes=2, item_timeout=0.7)

        async def parse_and_save(self, item: str, payload: str) -> None:
            if item == ITEMS[0]:
                threading.Thread(target=hold).start()
                taken.wait(20)
                threading.Timer(1.5, leave.set).start()
            await Tag.objects.acreate(name=item)

    assert_all_done_at_once(run_on_lanes(Command()))


def test_a_download_that_waits_for_a_lane_passes_no_time_out(run: Any) -> None:
    class Command(Saves):
        async def download(self, item: str) -> str:
            await self.db(threading.Event().wait, ONE)
            return item

        async def parse_and_save(self, item: str, payload: str) -> None: ...

    assert_all_done_at_once(run(Command()))


def test_what_an_item_does_itself_is_charged(run: Any) -> None:
    class Command(Saves):
        limits = ac.Limits(threads=5, db_lanes=1, item_timeout=0.3)

        async def parse_and_save(self, item: str, payload: str) -> None:
            await Tag.objects.acount()
            await anyio.sleep(30 if item == ITEMS[2] else 0)

    result = run(Command())
    assert (result.status, result.counts["dead"]) == (ac.RunStatus.PARTIAL, 1)
    assert [(item.label, item.reason) for item in items_of(result, state="dead")] == [(ITEMS[2], "exhausted")]
