"""The file of an SQLite database, while a run has it open: deleted, replaced, read-only for a while, without room."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from django.db import connection, connections
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.backends.utils import CursorWrapper

import async_commander as ac
from async_commander.database import outage
from tests.testapp.models import Tag

from .ledger import items_of

pytestmark = pytest.mark.timeout(60)
ITEMS = [f"item {number}" for number in range(12)]


@pytest.fixture
def file(transactional_db: None, tmp_path: Path) -> Iterator[Path]:
    """A database of the test's own, with the tables of the suite's."""
    if connection.vendor != "sqlite":
        pytest.skip("is about the files of SQLite")
    path, settings = tmp_path / "db.sqlite3", connections.settings
    with connection.cursor() as cursor:
        cursor.execute("VACUUM INTO %s", [str(path)])
    before = settings["default"]
    settings["default"] = {**before, "NAME": path}
    forget_connection()
    yield path
    forget_connection()
    settings["default"] = before


def forget_connection() -> None:
    connections["default"].close()
    del connections["default"]


class Saves(ac.IterateDownloadCommand[str, str]):
    limits = ac.Limits(threads=2, db_lanes=2, batch_size=2)
    retry = ac.Retry(attempts=1, initial=0.001, maximum=0.01)

    async def iterate(self):
        return ITEMS

    async def download(self, item: str) -> str:
        return item

    async def parse_and_save(self, item: str, payload: str) -> None:
        await self.save(item)

    async def save(self, item: str) -> None:
        self.db.add(Tag(name=item))


class ByCalls(Saves):
    async def save(self, item: str) -> None:
        await Tag.objects.acreate(name=item)


def delete(path: Path) -> None:
    for suffix in ("", "-wal", "-shm"):
        Path(f"{path}{suffix}").unlink(missing_ok=True)


def replace(path: Path) -> None:
    other = path.with_name("other.sqlite3")
    with closing(sqlite3.connect(path)) as copy:
        copy.execute("VACUUM INTO ?", [str(other)])
    delete(path)
    other.rename(path)


@pytest.mark.parametrize("command", [Saves, ByCalls])
@pytest.mark.parametrize("harm", [delete, replace])
@pytest.mark.parametrize("when", [ITEMS[5], "the end"])
def test_a_file_that_is_deleted_or_replaced_fails_the_run(
    file: Path, command: type[Saves], harm: Any, when: str
) -> None:
    class Command(command):  # type: ignore[misc,valid-type]
        async def parse_and_save(self, item: str, payload: str) -> None:
            if item == when:
                await self.db(harm, file)
            await super().parse_and_save(item, payload)

        async def cleanup(self) -> None:
            if when == "the end":
                await self.db(harm, file)

    with pytest.raises(ac.RunFailed, match=r"was (deleted|replaced).*Put the file back and resume") as raised:
        ac.run(Command())
    assert raised.value.result.status is ac.RunStatus.FAILED
    assert raised.value.result.counts["dead"] == 0


class Failing:
    """Each write fails, until it does not any more."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, text: str, code: int) -> None:
        self.failed = 0
        self.times = 0
        self._error = text, code
        self._wrap(monkeypatch, CursorWrapper, "_execute")
        self._wrap(monkeypatch, CursorWrapper, "_executemany")
        self._wrap(monkeypatch, BaseDatabaseWrapper, "_commit")

    def _wrap(self, monkeypatch: pytest.MonkeyPatch, owner: type, name: str) -> None:
        original = getattr(owner, name)

        def trapped(subject: Any, *args: Any) -> Any:
            writes = not args or str(args[0]).startswith(("INSERT", "UPDATE", "DELETE"))
            if writes and self.failed < self.times and threading.current_thread().name == "async-commander-lane":
                self.failed += 1
                self._raise(getattr(subject, "db", subject))
            return original(subject, *args)

        monkeypatch.setattr(owner, name, trapped)

    def _raise(self, wrapper: BaseDatabaseWrapper) -> None:
        text, code = self._error
        raw: Any = wrapper.connection
        if code == sqlite3.SQLITE_FULL and raw.in_transaction:
            raw.execute("ROLLBACK")  # as SQLite itself does
        with wrapper.wrap_database_errors:
            error = sqlite3.OperationalError(text)
            error.sqlite_errorcode = code
            raise error


TROUBLES = {
    "attempt to write a readonly database": sqlite3.SQLITE_READONLY,
    "database or disk is full": sqlite3.SQLITE_FULL,
    "disk I/O error": sqlite3.SQLITE_IOERR,
    "interrupted": sqlite3.SQLITE_INTERRUPT,
}


@pytest.mark.parametrize("command", [Saves, ByCalls])
@pytest.mark.parametrize("text", TROUBLES)
def test_trouble_that_passes_is_waited_out(
    file: Path, monkeypatch: pytest.MonkeyPatch, command: type[Saves], text: str
) -> None:
    failing = Failing(monkeypatch, text, TROUBLES[text])

    class Command(command):  # type: ignore[misc,valid-type]
        def total(self) -> None:
            failing.times = 3

    result = ac.run(Command())
    assert failing.failed == 3
    assert (result.status, result.counts["done"]) == (ac.RunStatus.SUCCEEDED, len(ITEMS))
    assert sorted(Tag.objects.values_list("name", flat=True)) == sorted(ITEMS)
    assert {item.attempts for item in items_of(result)} == {1}


def test_a_disk_that_stays_full_fails_the_run_and_a_resume_completes_it(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    failing = Failing(monkeypatch, "database or disk is full", sqlite3.SQLITE_FULL)
    monkeypatch.setattr(outage.Outage, "wait_out", in_a_hurry)

    class Command(Saves):
        def total(self) -> None:
            failing.times = 10_000

    with pytest.raises(ac.RunFailed, match="did not come back"):
        ac.run(Command())
    failing.times = 0
    result = ac.run(Saves(), resume=True)
    assert (result.status, result.counts["done"]) == (ac.RunStatus.SUCCEEDED, len(ITEMS))


def in_a_hurry(patience: Any, error: BaseException) -> None:
    raise outage.OutageTooLong(60, error) from error


@pytest.mark.parametrize("caught", [False, True])
def test_what_sqlite_rolled_back_by_itself_is_not_half_saved(
    file: Path, monkeypatch: pytest.MonkeyPatch, caught: bool
) -> None:
    failing = Failing(monkeypatch, "database or disk is full", sqlite3.SQLITE_FULL)

    class Command(ByCalls):
        def parse_and_save(self, item: str, payload: str) -> None:
            with connection.cursor() as cursor:
                cursor.execute("INSERT INTO testapp_author (name) VALUES (%s)", [item])
                failing.times += item == ITEMS[3] and not failing.times
                try:
                    cursor.execute("INSERT INTO testapp_tag (name) VALUES (%s)", [item])
                except Exception:
                    if not caught:
                        raise
                cursor.execute("INSERT INTO testapp_effect (key, run) VALUES (%s, 'x')", [item])

    result = ac.run(Command())
    assert failing.failed == 1
    assert (result.status, result.counts["done"]) == (ac.RunStatus.SUCCEEDED, len(ITEMS))
    with connection.cursor() as cursor:
        for table in ("author", "tag", "effect"):
            cursor.execute(f"SELECT count(*) FROM testapp_{table}")
            assert cursor.fetchone() == (len(ITEMS),)
