"""What one item sets on its connection never reaches another item."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import Any

import pytest
from django.db import connection

import async_commander as ac
from tests.testapp.models import Effect

from .ledger import row_of

pytestmark = pytest.mark.timeout(60)

ON_POSTGRES = {
    "a path": ("SET search_path TO elsewhere, public", "SHOW search_path"),
    "a time-out": ("/* of mine */ SET SESSION statement_timeout = '1min'", "SHOW statement_timeout"),
    "a zone": ("SELECT 1; SET TIME ZONE 'Asia/Tokyo'", "SHOW TimeZone"),
    "a tenant": ("SELECT set_config('app.tenant', 'mine', false)", "SELECT current_setting('app.tenant', true)"),
    "no writes": ("SET default_transaction_read_only = on", "SHOW default_transaction_read_only"),
    "a lock": (
        "SELECT pg_advisory_lock(7)",
        "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND pid = pg_backend_pid()",
    ),
    "a table": ("CREATE TEMP TABLE mine (a int)", "SELECT to_regclass('mine') IS NULL"),
}
ON_SQLITE = {
    "a cache": ("PRAGMA cache_size = 77", "PRAGMA cache_size"),
    "a table": ("CREATE TEMP TABLE mine (a int)", "SELECT count(*) FROM sqlite_temp_master"),
}


class Setting(ac.IterateDownloadCommand[int, int]):
    """The item in the middle sets something; each looks before."""

    sets: str = ""
    looks: str = "SELECT 1"

    limits = ac.Limits(threads=1, db_lanes=1)
    retry = ac.Retry(attempts=1)

    @asynccontextmanager
    async def lifespan(self):
        self.seen: list[Any] = []
        yield

    def iterate(self):
        return range(5)

    async def download(self, item: int) -> int:
        return item

    def parse_and_save(self, item: int, payload: int) -> None:
        with connection.cursor() as cursor:
            cursor.execute(self.looks)
            self.seen.append(cursor.fetchone())
            Effect.objects.create(key=str(item))
            if item == 2:
                cursor.execute(self.sets)


@pytest.mark.parametrize("what", sorted({*ON_POSTGRES, *ON_SQLITE}))
def test_what_an_item_sets_for_its_session_ends_with_the_item(run_on_lanes: Any, what: str) -> None:
    cases = {"postgresql": ON_POSTGRES, "sqlite": ON_SQLITE}.get(connection.vendor, {})
    if what not in cases:
        pytest.skip("another database's")
    sets, looks = cases[what]
    command = Setting(sets=sets, looks=looks)
    result = run_on_lanes(command)
    row_of(result)
    assert result.counts["done"] == 5
    assert command.seen == command.seen[:1] * 5


class Changing(Setting):
    """Sets what Django keeps with the connection, and no statement shows."""

    def parse_and_save(self, item: int, payload: int) -> None:
        self.seen.append(connection.force_debug_cursor)
        Effect.objects.create(key=str(item))
        if item == 2:
            connection.force_debug_cursor = True
            connection.execute_wrappers.append(refuse)


def refuse(*_: Any) -> Any:
    raise ValueError("not a word more on this connection")


def test_what_an_item_leaves_on_djangos_connection_ends_with_the_item(run_on_lanes: Any) -> None:
    command = Changing()
    row_of(run_on_lanes(command))
    assert command.seen == [False] * 5
    assert sorted(Effect.objects.values_list("key", flat=True)) == ["0", "1", "3", "4"]


def test_what_is_set_for_one_transaction_costs_no_connection(run_on_lanes: Any) -> None:
    if connection.vendor != "postgresql":
        pytest.skip("SQLite has no such settings")
    command = Setting(sets="SET LOCAL statement_timeout = '50s'", looks="SELECT pg_backend_pid()")
    run_on_lanes(command)
    assert len(set(command.seen)) == 1


class Elsewhere(Setting):
    """Each item writes into a schema that it chooses itself."""

    def parse_and_save(self, item: int, payload: int) -> None:
        with connection.cursor() as cursor:
            cursor.execute(self.sets)
        Effect.objects.create(key=f"saved {item}")
        self.db.add(Effect(key=f"queued {item}"))


@pytest.mark.parametrize(
    "sets",
    [
        "SET search_path TO elsewhere",
        "SET LOCAL search_path TO elsewhere",
        "SELECT set_config('search_path', 'elsewhere', true)",
    ],
)
def test_an_item_may_write_into_a_schema_that_it_chooses_and_the_run_keeps_its_own(
    run_on_lanes: Any, sets: str
) -> None:
    if connection.vendor != "postgresql":
        pytest.skip("needs schemas")
    with connection.cursor() as cursor:
        cursor.execute("DROP SCHEMA IF EXISTS elsewhere CASCADE")
        cursor.execute("CREATE SCHEMA elsewhere")
        cursor.execute("CREATE TABLE elsewhere.testapp_effect (LIKE public.testapp_effect INCLUDING ALL)")
        cursor.execute("CREATE TABLE elsewhere.async_commander_runitem (LIKE async_commander_runitem INCLUDING ALL)")
        result = run_on_lanes(Elsewhere(sets=sets))
        row_of(result)
        assert result.counts["done"] == 5
        cursor.execute("SELECT count(*), count(DISTINCT key) FROM elsewhere.testapp_effect")
        assert cursor.fetchone() == (10, 10)
        assert not Effect.objects.exists()
        cursor.execute("DROP SCHEMA elsewhere CASCADE")
