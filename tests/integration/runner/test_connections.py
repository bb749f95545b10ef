"""Connections: as few as promised while a run is open, as found when it is over."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import asynccontextmanager
from typing import Any

import anyio
import pytest
from asgiref.sync import sync_to_async
from django.db import connection, connections

import async_commander as ac
from async_commander.checks import SPARE_CONNECTIONS
from tests.testapp.models import Author, Effect, Tag

from .ledger import row_of


@pytest.fixture
def postgres(transactional_db: None) -> None:
    if connection.vendor != "postgresql":
        pytest.skip("needs a server whose connections can be counted")


def backends() -> int:
    """Connections to the test's database but the one that asks."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )
        return int(cursor.fetchone()[0])


def assert_back_to(before: int) -> None:
    """The server notices within moments that a client has gone."""
    for _ in range(200):
        if backends() == before:
            return
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_sleep(0.01)")
    assert backends() == before


class Busy(ac.IterateDownloadCommand[int, int]):
    """Many items, half of which take a lane, in hooks of every kind; counts connections as it goes."""

    limits = ac.Limits(threads=30, db_lanes=3)

    def __init__(self) -> None:
        super().__init__()
        self.most = 0

    @asynccontextmanager
    async def lifespan(self):
        await Author.objects.acreate(name="in lifespan")
        yield

    def iterate(self):
        Author.objects.count()
        yield from range(120)

    async def download(self, item: int) -> int:
        await anyio.sleep(0)
        return item

    async def parse_and_save(self, item: int, payload: int) -> None:
        self.db.add(Effect(key=str(item)))
        if item % 2:
            self.most = max(self.most, await self.db(backends) + 1)

    async def committed(self, item: int) -> None:
        await Tag.objects.acount()


def test_a_run_holds_few_connections_and_leaves_none(postgres: None, run_on_lanes: Any) -> None:
    connection.ensure_connection()
    before = backends()
    command = Busy()
    result = run_on_lanes(command)
    assert result.counts["done"] == 120
    assert before + 1 <= command.most <= before + 1 + 3 + SPARE_CONNECTIONS
    assert_back_to(before)
    row_of(result)


def test_plain_downloads_leave_no_connection(postgres: None, run_on_lanes: Any) -> None:
    class Command(Busy):
        def download(self, item: int) -> int:
            return item + Author.objects.count() - Author.objects.count()

    before = backends()
    assert run_on_lanes(Command()).counts["done"] == 120
    assert_back_to(before)


def test_a_failed_run_leaves_no_connection(postgres: None, run_on_lanes: Any) -> None:
    class Command(Busy):
        def iterate(self):
            Author.objects.count()
            yield from range(20)
            raise ValueError("the source broke")

    before = backends()
    with pytest.raises(ac.RunFailed):
        run_on_lanes(Command())
    assert_back_to(before)


@pytest.mark.asyncio
async def test_arun_leaves_no_connection(postgres: None, arun_db: None) -> None:
    before = await sync_to_async(backends)()
    assert (await ac.arun(Busy())).counts["done"] == 120
    await sync_to_async(assert_back_to)(before)


def test_a_run_inside_a_transaction_opens_no_connection(postgres: None) -> None:
    from django.db import transaction

    before = backends()
    with transaction.atomic():
        command = Busy()
        assert ac.run(command).counts["done"] == 120
        assert command.most == before + 1
    assert_back_to(before)


def test_the_callers_connection_stays_as_it_was(run_on_lanes: Any) -> None:
    connection.ensure_connection()
    before = connection.connection
    run_on_lanes("pages", count=3)
    assert connection.connection is before


@pytest.fixture
def pooled(postgres: None) -> Iterator[None]:
    """Django's connection pool, just large enough: db_lanes and the spare ones, and the caller's."""
    options = connections.settings["default"]["OPTIONS"]
    connection.close()
    options["pool"] = {"min_size": 0, "max_size": 3 + SPARE_CONNECTIONS + 1, "timeout": 10}
    yield
    connections.close_all()
    connection.close_pool()
    del options["pool"]


def test_a_small_pool_of_django_is_enough(pooled: None, run_on_lanes: Any) -> None:
    command = Busy()
    result = run_on_lanes(command)
    assert (result.counts["done"], result.counts["dead"]) == (120, 0)
    assert command.most <= 3 + SPARE_CONNECTIONS + 1
    row_of(result)


def test_a_small_pool_of_django_is_enough_for_any_number_of_threads(pooled: None, run_on_lanes: Any) -> None:
    class Command(Busy):
        limits = ac.Limits(threads=500, db_lanes=3)

        def iterate(self):
            yield from range(600)

    command = Command()
    assert run_on_lanes(command).counts["done"] == 600
    assert command.most <= 3 + SPARE_CONNECTIONS + 1


def test_a_source_that_reads_rows_bit_by_bit_works_with_a_pool(pooled: None, run_on_lanes: Any) -> None:
    Tag.objects.bulk_create([Tag(name=f"{number:04}") for number in range(500)])
    connection.close()

    class Command(Busy):
        def iterate(self):
            for tag in Tag.objects.order_by("pk").iterator(chunk_size=10):
                yield tag.pk

    assert run_on_lanes(Command()).counts["done"] == 500
