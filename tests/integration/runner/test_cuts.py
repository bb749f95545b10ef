"""A connection that is lost is an outage wherever that shows: nobody's attempt, nobody dead, nothing doubled."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Callable, Iterator
from typing import Any

import anyio
import pytest
from django.db import IntegrityError, InternalError, connection, connections, transaction
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.backends.utils import CursorWrapper

import async_commander as ac
from tests.testapp.models import Author, Tag

from .ledger import items_of, row_of

pytestmark = pytest.mark.timeout(60)
ITEMS = [f"item {number}" for number in range(6)]


class Cut:
    """Cuts one connection, once, before the first statement, commit, rollback … of this process that fits."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.place = ""
        self.fits: Callable[[str], bool] = lambda _: True
        self.fired = threading.Event()
        self.armed = threading.Event()
        for owner, name, place in (
            (CursorWrapper, "_execute", "statement"),
            (CursorWrapper, "_executemany", "statement"),
            (CursorWrapper, "__exit__", "fetch"),
            (BaseDatabaseWrapper, "_commit", "commit"),
            (BaseDatabaseWrapper, "_rollback", "rollback"),
            (BaseDatabaseWrapper, "_cursor", "cursor"),
            (type(connections["default"]), "_close", "close"),
            (type(connections["default"]), "is_usable", "health check"),
            (type(connections["default"]), "get_new_connection", "connect"),
        ):
            self._wrap(monkeypatch, owner, name, place)

    def at(self, place: str, fits: Callable[[str], bool] = lambda _: True) -> None:
        self.place, self.fits = place, fits
        self.armed.set()

    def _wrap(self, monkeypatch: pytest.MonkeyPatch, owner: type, name: str, place: str) -> None:
        original = getattr(owner, name)

        def trapped(subject: Any, *args: Any, **kwargs: Any) -> Any:
            text = str(args[0]) if place == "statement" else ""
            # An answer can be lost when it was given only, and what fails to close is closed all the same.
            if self._is_due(f"answer to {place}", text):
                original(subject, *args, **kwargs)
                self._fire(subject)
            elif self._is_due(place, text):
                self._fire(subject)
            return original(subject, *args, **kwargs)

        monkeypatch.setattr(owner, name, trapped)

    def _is_due(self, place: str, text: str) -> bool:
        of_ours = threading.current_thread() is not threading.main_thread()
        due = place == self.place and of_ours and self.armed.is_set() and self.fits(text) and not self.fired.is_set()
        if due:
            self.fired.set()
        return due

    def _fire(self, subject: Any) -> None:
        wrapper = getattr(subject, "db", subject)
        with wrapper.wrap_database_errors:
            if connection.vendor == "sqlite":
                error = sqlite3.OperationalError("disk I/O error")
                error.sqlite_errorcode = sqlite3.SQLITE_IOERR
                raise error
            import psycopg

            if self.place in ("connect", "health check", "answer to close"):
                raise psycopg.OperationalError("connection failed")
            with psycopg.connect(wrapper.connection.info.dsn, autocommit=True, password="") as other:
                other.execute("SELECT pg_terminate_backend(%s, 5000)", [wrapper.connection.info.backend_pid])
            if self.place == "answer to commit":
                raise psycopg.errors.AdminShutdown("terminating connection due to administrator command")


@pytest.fixture
def cut(monkeypatch: pytest.MonkeyPatch, run_on_lanes: Any) -> Iterator[Cut]:
    if connection.vendor not in ("sqlite", "postgresql"):
        pytest.skip("these two are cut here")
    yield Cut(monkeypatch)
    connections.close_all()


def save(name: str) -> None:
    """Statements of each kind: a savepoint that is released, one that is rolled back to, and a read."""
    if Author.objects.filter(name=name).exists():
        raise AssertionError("a rolled back row is there")
    with transaction.atomic():
        Tag.objects.create(name=name)
    with pytest.raises(IntegrityError), transaction.atomic():
        Tag.objects.create(name=name)
    Author.objects.create(name=name)


class Saves(ac.IterateDownloadCommand[str, str]):
    limits = ac.Limits(threads=3, db_lanes=2)
    retry = ac.Retry(attempts=1, initial=0.001, maximum=0.002)

    async def iterate(self):
        return ITEMS

    async def download(self, item: str) -> str:
        return item

    async def parse_and_save(self, item: str, payload: str) -> None:
        raise NotImplementedError


class Plain(Saves):
    def parse_and_save(self, item: str, payload: str) -> None:
        save(payload)


class ByFunction(Saves):
    async def parse_and_save(self, item: str, payload: str) -> None:
        await self.db(save, payload)


class ByCoroutine(Saves):
    async def parse_and_save(self, item: str, payload: str) -> None:
        async with self.db.atomic():
            await Tag.objects.acreate(name=payload)
        with pytest.raises(IntegrityError):
            async with self.db.atomic():
                await Tag.objects.acreate(name=payload)
        await Author.objects.acreate(name=payload)


class Queues(Saves):
    async def parse_and_save(self, item: str, payload: str) -> None:
        self.db.add(Tag(name=payload), Author(name=payload))


def begins(*words: str) -> Callable[[str], bool]:
    return lambda sql: sql.startswith(words)


def has(*words: str) -> Callable[[str], bool]:
    return lambda sql: all(word in sql for word in words)


POINTS = {
    "connect": ("connect", has()),
    "begin and its time-outs": ("statement", has("set_config")),
    "insert": ("statement", has("INSERT", "testapp_tag")),
    "savepoint": ("statement", begins("SAVEPOINT")),
    "release of a savepoint": ("statement", begins("RELEASE")),
    "rollback to a savepoint": ("statement", begins("ROLLBACK TO")),
    "ledger": ("statement", has("async_commander_runitem", "INSERT")),
    "counts": ("statement", has("async_commander_run", "UPDATE", "done")),
    "fence": ("statement", has("SELECT 1 FROM", "async_commander_lease")),
    "commit": ("commit", has()),
    "answer to commit": ("answer to commit", has()),
    "cursor": ("cursor", has()),
    "fetch": ("fetch", has()),
    "close": ("answer to close", has()),
}
OF_SAVEPOINTS = [name for name in POINTS if "savepoint" in name]
OF_POSTGRES = ["begin and its time-outs"]


@pytest.mark.parametrize("command", [Plain, ByFunction, ByCoroutine, Queues])
@pytest.mark.parametrize("point", POINTS)
def test_an_item_that_loses_its_connection_is_done_again_at_no_cost(
    cut: Cut, run_on_lanes: Any, command: type[Saves], point: str
) -> None:
    if point in OF_SAVEPOINTS and command is Queues:
        pytest.skip("the writer makes no savepoints")
    if point == "connect" and command is Queues:
        pytest.skip("the writer is connected before the first item")
    if point in OF_POSTGRES and connection.vendor == "sqlite":
        pytest.skip("no statement of its own")

    class Armed(command):  # type: ignore[misc,valid-type]
        def total(self) -> None:
            cut.at(*POINTS[point])

    result = run_on_lanes(Armed())
    assert cut.fired.is_set()
    assert_nothing_happened(result)


def assert_nothing_happened(result: ac.RunResult) -> None:
    assert (result.status, result.counts["done"], result.counts["dead"]) == (ac.RunStatus.SUCCEEDED, len(ITEMS), 0)
    assert sorted(Tag.objects.values_list("name", flat=True)) == ITEMS
    assert sorted(Author.objects.values_list("name", flat=True)) == ITEMS
    assert {item.attempts for item in items_of(result)} == {1}
    row_of(result)


@pytest.mark.parametrize(
    "word", ["async_commander_runclaim", "heartbeat", "async_commander_runlog", "status", "async_commander_lease"]
)
def test_the_record_outlives_a_lost_connection(cut: Cut, run_on_lanes: Any, word: str) -> None:
    class Command(Queues):
        limits = ac.Limits(threads=1)

        def total(self) -> None:
            cut.at("statement", has(word))

        async def download(self, item: str) -> str:
            if word == "heartbeat" and not cut.fired.is_set():
                for _ in range(200):
                    if cut.fired.is_set():
                        break
                    await anyio.sleep(0.01)
            self.log.info("something to be kept")
            return item

    result = run_on_lanes(Command(), lease_seconds=1.0)
    assert cut.fired.is_set()
    assert_nothing_happened(result)


@pytest.mark.parametrize("raised", [ValueError, InternalError, None], ids=str)
def test_whatever_the_hook_makes_of_a_lost_connection_it_is_an_outage(
    cut: Cut, run_on_lanes: Any, raised: type[Exception] | None
) -> None:
    class Command(Saves):
        def parse_and_save(self, item: str, payload: str) -> None:
            try:
                save(payload)
            except Exception:
                if raised is not None:
                    raise raised("the project's own words") from None

        def total(self) -> None:
            cut.at("statement", has("INSERT", "testapp_author"))

    result = run_on_lanes(Command())
    assert cut.fired.is_set()
    if connection.vendor == "postgresql":
        assert_nothing_happened(result)


def test_a_connection_that_is_lost_at_a_rollback_costs_only_what_the_item_itself_costs(
    cut: Cut, run_on_lanes: Any
) -> None:
    tried: list[str] = []

    class Command(Saves):
        retry = ac.Retry(attempts=2, initial=0.001, maximum=0.002)

        def parse_and_save(self, item: str, payload: str) -> None:
            save(payload)
            tried.append(item)
            if tried.count(item) == 1:
                raise TimeoutError("once each")

        def total(self) -> None:
            cut.at("rollback")

    result = run_on_lanes(Command())
    assert cut.fired.is_set()
    assert (result.status, result.counts["done"]) == (ac.RunStatus.SUCCEEDED, len(ITEMS))
    assert sorted(Tag.objects.values_list("name", flat=True)) == ITEMS
    assert {item.attempts for item in items_of(result)} == {2}


def test_a_connection_that_is_ended_between_two_calls_of_handle_is_replaced(run_on_lanes: Any) -> None:
    if connection.vendor != "postgresql":
        pytest.skip("needs a server that ends connections")

    class Command(ac.AsyncCommand):
        async def handle(self) -> int:
            for number in range(5):
                await Tag.objects.acreate(name=str(number))
                await self.db(end_all_others)
                await anyio.sleep(0.05)
            return await Tag.objects.acount()

    assert run_on_lanes(Command()).value == 5


def end_all_others() -> None:
    """From a connection of its own, so that this one is idle when its end comes."""
    import psycopg

    connection.ensure_connection()
    with psycopg.connect(connection.connection.info.dsn, autocommit=True) as other:
        other.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
            "WHERE pid <> pg_backend_pid() AND datname = current_database()"
        )
