"""PostgreSQL's isolation levels: the transactions of a run are READ COMMITTED, as all of them count in one row."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from asgiref.sync import ThreadSensitiveContext, sync_to_async
from django.core.checks import run_checks
from django.db import connection, connections, transaction

import async_commander as ac
from async_commander.checks import TAG
from async_commander.database.lanes import open_lanes
from async_commander.database.lent_lane import settle
from async_commander.database.timeouts import Timeouts
from async_commander.models import RunItem
from tests.testapp.models import Page, Tag

from .conftest import Owner

if TYPE_CHECKING:
    from async_commander.database.lanes import LanePool

TIMEOUTS = Timeouts(idle=30.0)
pytestmark = pytest.mark.usefixtures("postgres")


@pytest.fixture(params=["REPEATABLE_READ", "SERIALIZABLE"])
def strict(request: pytest.FixtureRequest, postgres: None, options: dict[str, Any]) -> None:
    from django.db.backends.postgresql.psycopg_any import IsolationLevel

    options["isolation_level"] = IsolationLevel[request.param]


def level() -> str:
    with connection.cursor() as cursor:
        cursor.execute("SHOW transaction_isolation")
        return str(cursor.fetchone()[0])


def level_of_the_project() -> str:
    with transaction.atomic():
        return level()


def level_told() -> tuple[str, bool]:
    """The level, and whether this transaction was told it."""
    return level(), any("SET TRANSACTION" in query["sql"] for query in connection.queries)


async def of_an_item(lanes: LanePool) -> tuple[str, bool]:
    lane = lanes.lend()
    async with ThreadSensitiveContext(executor=lane):
        found = await sync_to_async(level_told)()
    ended = lane.end(commit=True)
    assert ended is not None
    await settle(ended)
    return found


@pytest.mark.asyncio
@pytest.mark.parametrize("more", [{}, {"pool": {"min_size": 1, "max_size": 2, "timeout": 20}}])
async def test_our_transactions_are_read_committed_and_the_projects_are_not(
    strict: None, options: dict[str, Any], owner: Owner, more: dict[str, Any], settings: Any
) -> None:
    settings.DEBUG = True
    options.update(more)
    async with open_lanes("default", 1, timeouts=TIMEOUTS) as lanes, owner.writer(lanes) as writer:
        assert await of_an_item(lanes) == ("read committed", True)
        assert await writer.call(level) == "read committed"
        assert await lanes.call(level_of_the_project) in {"repeatable read", "serializable"}
    await sync_to_async(connections.close_all)()


@pytest.mark.asyncio
async def test_with_the_default_level_nothing_is_sent(transactional_db: None, settings: Any) -> None:
    settings.DEBUG = True
    async with open_lanes("default", 1, timeouts=TIMEOUTS) as lanes:
        assert await of_an_item(lanes) == ("read committed", False)
    await sync_to_async(connections.close_all)()


class Saves(ac.IterateDownloadCommand[int, int]):
    limits = ac.Limits(threads=20, db_lanes=10)

    async def iterate(self):
        return range(80)

    async def download(self, item: int) -> int:
        return item

    async def parse_and_save(self, item: int, payload: int) -> None:
        await Page.objects.acreate(url=str(item))
        self.db.add(Tag(name=str(item)))


@pytest.mark.usefixtures("strict")
def test_items_on_lanes_cost_each_other_no_attempt() -> None:
    result = ac.run(Saves())
    assert (result.status, result.counts["done"], Page.objects.count()) == ("succeeded", 80, 80)
    assert set(RunItem.objects.values_list("attempts", flat=True)) == {1}


@pytest.mark.usefixtures("strict")
def test_the_callers_transaction_keeps_its_level() -> None:
    with transaction.atomic():
        before = level()
        assert ac.run(Saves()).status == "succeeded"
        assert level() == before != "read committed"


def warned() -> list[Any]:
    return [message for message in run_checks(tags=[TAG]) if message.id == "async_commander.W004"]


@pytest.mark.usefixtures("strict")
def test_w004_a_level_that_does_not_hold_for_items_is_told() -> None:
    (message,) = warned()
    assert "items are READ COMMITTED all the same" in message.msg
    assert "select_for_update()" in message.hint
    assert not message.is_serious()


def test_w004_the_default_level_and_its_equal_are_not_told(options: dict[str, Any]) -> None:
    from django.db.backends.postgresql.psycopg_any import IsolationLevel

    assert not warned()
    options["isolation_level"] = IsolationLevel.READ_UNCOMMITTED
    assert not warned()
