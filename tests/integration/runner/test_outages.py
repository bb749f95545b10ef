"""A database that is away, or lacks what the models say: what it means for items and for the run."""

from __future__ import annotations

import errno
import sqlite3
from collections import Counter
from typing import Any

import pytest
from django.db import IntegrityError, InterfaceError, OperationalError, connection, transaction

import async_commander as ac
from async_commander.runner import outages
from tests.testapp.models import Tag

from .ledger import items_of, row_of

pytestmark = pytest.mark.timeout(60)
ITEMS = [f"item {number:02}" for number in range(12)]


def away() -> OperationalError:
    """As SQLite tells that its file cannot be opened."""
    cause = sqlite3.OperationalError("unable to open database file")
    cause.sqlite_errorcode = sqlite3.SQLITE_CANTOPEN
    error = OperationalError(*cause.args)
    error.__cause__ = cause
    return error


class Saves(ac.IterateDownloadCommand[str, str]):
    limits = ac.Limits(threads=4, db_lanes=2)
    retry = ac.Retry(attempts=1, initial=0.001, maximum=0.002)

    async def iterate(self):
        return ITEMS

    async def download(self, item: str) -> str:
        return item

    async def parse_and_save(self, item: str, payload: str) -> None:
        await Tag.objects.acreate(name=payload)


def failed(run: Any, command: ac.AsyncCommand) -> ac.RunResult:
    with pytest.raises(ac.RunFailed) as raised:
        run(command)
    return raised.value.result


def test_an_outage_costs_no_item_an_attempt(run: Any) -> None:
    met: Counter[str] = Counter()

    class Command(Saves):
        async def parse_and_save(self, item: str, payload: str) -> None:
            met[item] += 1
            if met[item] < 4:
                raise away() if met[item] % 2 else InterfaceError("connection already closed")
            await super().parse_and_save(item, payload)

    result = run(Command())
    assert result.status is ac.RunStatus.SUCCEEDED
    assert set(met.values()) == {4}
    assert {item.attempts for item in items_of(result)} == {1}
    assert row_of(result).logs.filter(message__contains="The database is away").exists()


def test_an_outage_that_lasts_fails_the_run(run: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outages, "OUTAGE_BUDGET", 0.05)

    class Command(Saves):
        async def parse_and_save(self, item: str, payload: str) -> None:
            raise away()

    result = failed(run, Command())
    assert result.error == "OperationalError: unable to open database file"
    assert result.counts["dead"] == 0
    row = row_of(result)
    assert row.logs.filter(message__contains="resume the run when it is there").exists()


def test_an_item_that_alone_meets_an_outage_is_judged_at_last(run: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outages, "OUTAGE_BUDGET", 0.2)

    class Command(Saves):
        limits = ac.Limits(threads=2, batch_size=1)

        async def iterate(self):
            yield "the reason itself"
            number = 0
            while not self.stopped:
                number += 1
                yield f"item {number}"

        async def parse_and_save(self, item: str, payload: str) -> None:
            if item == "the reason itself":
                raise away()

        def should_retry(self, error: Exception) -> bool:
            self.stopped = True
            return False

    command = Command()
    command.stopped = False
    result = run(command)
    assert [item.label for item in items_of(result, state="dead")] == ["the reason itself"]
    assert result.status is ac.RunStatus.PARTIAL


def test_a_source_whose_database_is_away_is_asked_again(run: Any) -> None:
    class Command(Saves):
        asked = 0

        async def iterate(self):
            self.asked += 1
            if self.asked < 4:
                raise away()
            for item in ITEMS:
                yield item

    result = run(Command())
    assert (result.status, result.counts["done"]) == (ac.RunStatus.SUCCEEDED, len(ITEMS))


def test_connections_that_are_ended_cost_nothing(run_on_lanes: Any) -> None:
    if connection.vendor != "postgresql":
        pytest.skip("needs a server that ends connections")

    class Command(Saves):
        def parse_and_save(self, item: str, payload: str) -> None:
            Tag.objects.create(name=payload)
            if item == ITEMS[5] and not self.ended:
                self.ended = True
                with connection.cursor() as cursor:
                    cursor.execute("SELECT pg_terminate_backend(pg_backend_pid())")

    command = Command()
    command.ended = False
    result = run_on_lanes(command)
    assert (result.status, result.counts["done"]) == (ac.RunStatus.SUCCEEDED, len(ITEMS))
    assert sorted(Tag.objects.values_list("name", flat=True)) == ITEMS


# -- what every item would meet ------------------------------------------------------------------------------------


def read_what_is_not_there(sql: str) -> None:
    with connection.cursor() as cursor:
        cursor.execute(sql)


@pytest.mark.parametrize("sql", ["SELECT * FROM not_there", "SELECT not_there FROM testapp_tag"])
@pytest.mark.parametrize("where", ["items", "source"])
def test_a_missing_table_or_column_fails_the_run_with_the_remedy(run: Any, sql: str, where: str) -> None:
    class Command(Saves):
        async def iterate(self):
            if where == "source":
                await self.db(read_what_is_not_there, sql)
            return ITEMS

        async def parse_and_save(self, item: str, payload: str) -> None:
            await self.db(read_what_is_not_there, sql)

    result = failed(run, Command())
    assert "not_there" in result.error
    assert result.error.endswith("run `manage.py migrate` first, then resume.")
    assert result.counts["dead"] == 0
    assert row_of(result).status == "failed"


def test_an_error_in_a_hook_leaves_the_callers_transaction_as_it_was(run: Any) -> None:
    class Command(ac.AsyncCommand):
        async def handle(self) -> str:
            await Tag.objects.acreate(name="before")
            with pytest.raises(IntegrityError):
                await Tag.objects.acreate(name="before")
            await Tag.objects.acreate(name="after")
            await self.db(self.durably)
            return "told"

        def durably(self) -> None:
            with transaction.atomic(durable=True):
                Tag.objects.create(name="durable")

    assert run(Command()).value == "told"
    assert sorted(Tag.objects.values_list("name", flat=True)) == ["after", "before", "durable"]


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT], ids=errno.errorcode.get)
def test_a_full_disk_fails_the_run(run: Any, number: int) -> None:
    class Command(Saves):
        async def download(self, item: str) -> str:
            raise OSError(number, "no room for the file")

    result = failed(run, Command())
    assert "no room for the file" in result.error
    assert result.counts["dead"] == 0
