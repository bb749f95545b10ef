"""With DEBUG on, Django remembers statements; a run's own connections forget them after each use."""

from __future__ import annotations

from typing import Any

import pytest
from asgiref.sync import sync_to_async
from django.db import connection, connections, transaction

import async_commander as ac
from async_commander.database.connections import close_all
from async_commander.database.lanes import LanePool
from async_commander.database.unit import Unit
from tests.testapp.models import Page, Tag

from .conftest import Owner


@pytest.fixture(autouse=True)
def debug(settings: Any) -> None:
    settings.DEBUG = True


def remembered() -> int:
    return len(connection.queries_log)


def save_two() -> int:
    Tag.objects.create(name="a")
    Tag.objects.create(name="b")
    return remembered()


@pytest.mark.asyncio
async def test_a_lane_forgets_what_its_last_tenant_sent(lanes: LanePool) -> None:
    assert await lanes.call(save_two) >= 2
    assert await lanes.call(remembered) == 0


@pytest.mark.asyncio
async def test_the_writer_forgets_each_batch(lanes: LanePool, owner: Owner) -> None:
    async with owner.writer(lanes) as writer:
        for number in range(3):
            unit = Unit("default", outcome=str(number))
            unit.add(Page(url=str(number)))
            writer.put(unit)
            await writer.drain()
        await writer._idle()
        assert await writer.call(remembered) <= 1  # its own BEGIN


@pytest.mark.asyncio
async def test_a_thread_that_may_be_used_again_forgets_when_it_closes(lanes: LanePool) -> None:
    def close() -> int:
        save_two()
        close_all()
        return remembered()

    assert await lanes.call(close) == 0
    await sync_to_async(connections.close_all)()


class SavesTags(ac.IterateDownloadCommand[int, int]):
    async def iterate(self):
        return range(5)

    async def download(self, item: int) -> int:
        return item

    async def parse_and_save(self, item: int, payload: int) -> None:
        await Tag.objects.acreate(name=str(item))


@pytest.mark.django_db
def test_the_callers_connection_forgets_nothing() -> None:
    with transaction.atomic():
        before = remembered()
        ac.run(SavesTags())
        assert sum("testapp_tag" in query["sql"] for query in list(connection.queries)[before:]) >= 5
