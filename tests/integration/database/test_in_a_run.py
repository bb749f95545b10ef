"""What the database room promises, seen through whole runs."""

from __future__ import annotations

import asyncio
import time
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import anyio
import pytest
from asgiref.sync import sync_to_async
from django.db import connection, connections

import async_commander as ac
from async_commander.database.outage import MemoryHeld
from async_commander.models import Run, RunItem
from async_commander.testing import InMemoryRecorder
from tests.integration.database import child_work as work
from tests.integration.runner.conftest import run, transactional_db
from tests.testapp.models import Author, Book, Node, Page, Tag

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["run", "transactional_db"]


class Letters(ac.IterateDownloadCommand[str, str]):
    async def iterate(self):
        return list("abc")

    async def download(self, item: str) -> str:
        return item


def run_out() -> str:
    result: str = next(iter([]))
    return result


class Handles(ac.AsyncCommand):
    def handle(self) -> str:
        return run_out()


class Iterates(ac.IterateDownloadCommand[str, str]):
    def iterate(self):
        return run_out()

    async def download(self, item: str) -> str:
        return item

    async def parse_and_save(self, item: str, payload: str) -> None: ...


@pytest.mark.parametrize("command", [Handles, Iterates])
def test_a_plain_hook_that_raises_stop_iteration_fails_the_run(run: Any, command: Any) -> None:
    with pytest.raises(ac.RunFailed, match="StopIteration"):
        run(command())


@pytest.mark.parametrize("plain", [True, False])
def test_a_plain_function_that_raises_stop_iteration_fails_its_item(run: Any, plain: bool) -> None:
    class Plain(Letters):
        def parse_and_save(self, item: str, payload: str) -> None:
            if item == "b":
                run_out()

    class OnTheLane(Letters):
        async def parse_and_save(self, item: str, payload: str) -> None:
            if item == "b":
                await self.db(run_out)

    result = run(Plain() if plain else OnTheLane())
    assert (result.status, result.counts["done"], result.counts["dead"]) == ("partial", 2, 1)
    assert "StopIteration" in RunItem.objects.get(run_id=result.run_id, state="dead").error


@pytest.mark.parametrize("recorder", [None, InMemoryRecorder])
def test_what_a_task_queues_after_its_item_has_ended_is_refused(run: Any, recorder: Any) -> None:
    refused: list[str] = []

    class LeavesATask(Letters):
        async def parse_and_save(self, item: str, payload: str) -> None:
            self.db.add(Tag(name=item))
            vars(self).setdefault("left", []).append(asyncio.ensure_future(self.later(item)))

        async def later(self, item: str) -> None:
            await vars(self)["ended"].wait()
            try:
                self.db.add(Tag(name=f"late {item}"))
            except RuntimeError as error:
                refused.append(str(error))

        @asynccontextmanager
        async def lifespan(self):
            vars(self)["ended"] = anyio.Event()
            yield

        async def cleanup(self) -> None:
            vars(self)["ended"].set()
            await asyncio.gather(*vars(self)["left"])
            self.db.add(Tag(name="of the clean-up"))

    result = run(LeavesATask(), recorder=recorder and recorder())
    assert (result.status, len(refused)) == ("succeeded", 3)
    assert "Await every task that an item starts before its hook returns" in refused[0]
    assert sorted(Tag.objects.values_list("name", flat=True)) == ["a", "b", "c", "of the clean-up"]


@pytest.mark.parametrize("lane", [False, True])
@pytest.mark.parametrize("recorder", [None, InMemoryRecorder])
def test_children_are_queued_before_their_parents_and_only_orphans_fail(run: Any, recorder: Any, lane: bool) -> None:
    class Children(Letters):
        async def parse_and_save(self, item: str, payload: str) -> None:
            author, root = Author(name=item), Node(name=f"root {item}")
            self.db.add(Book(author=author, title="t", isbn=item))
            self.db.upsert(Node(name=f"leaf {item}", parent=root), unique=["name"], update="__all__")
            self.db.upsert(root, unique=["name"], update="__all__")
            if lane and item != "b":
                await author.asave()
            elif item != "b":
                self.db.add(author)

    result = run(Children(), recorder=recorder and recorder())
    assert (result.status, result.counts["done"], result.counts["dead"]) == ("partial", 2, 1)
    assert sorted(Book.objects.values_list("author__name", flat=True)) == ["a", "c"]
    assert sorted(Node.objects.exclude(parent=None).values_list("parent__name", flat=True)) == ["root a", "root c"]
    (error,) = result.errors
    assert "its author <Author" in error.example
    assert "is not saved, and nothing here saves it" in error.example


@pytest.fixture
def memory(sqlite: None, transactional_db: None, django_db_blocker: Any) -> Any:
    """The suite's alias, for the length of a test on a database in memory that threads share, as Django's tests do."""
    from django.core.management import call_command
    from django.db.backends.sqlite3.base import DatabaseWrapper

    settings = connections.settings["default"]
    before, name = connections["default"], settings["NAME"]
    settings["NAME"] = "file:memorydb_of_a_test?mode=memory&cache=shared"
    fresh = DatabaseWrapper(settings, "default")
    connections["default"] = fresh
    call_command("migrate", verbosity=0)
    yield fresh
    fresh.connection.close()
    settings["NAME"] = name
    connections["default"] = before


@pytest.mark.asyncio
async def test_a_test_that_keeps_a_database_in_memory_locked_is_told(memory: Any) -> None:
    memory.connection.execute("BEGIN IMMEDIATE")
    with anyio.fail_after(20), pytest.raises(MemoryHeld, match=r"transaction=True.*run_command\(\)"):
        await ac.arun(Handles())
    memory.connection.execute("ROLLBACK")
    await sync_to_async(connections.close_all)()


@pytest.fixture
def read_only(transactional_db: None) -> Any:
    """The suite's database, as one that nobody may write to."""
    settings = connections.settings["default"]
    before = dict(settings)
    match connections["default"].vendor:
        case "sqlite":
            settings["NAME"] = f"file:{settings['NAME']}?mode=ro"
        case "postgresql":
            settings["OPTIONS"] = {"options": "-c default_transaction_read_only=on"}
        case _:
            pytest.skip("a server is read-only there, not a connection")
    connections.close_all()
    yield
    connections.close_all()
    settings.update(before)


def test_a_database_that_cannot_be_written_to_is_told_in_a_sentence(read_only: None) -> None:
    message = r"^The database 'default' cannot be written to \(.*\)\. No run was begun: .* --database ALIAS .*$"
    with pytest.raises(ac.AsyncCommanderError, match=message):
        ac.run(Handles())
    assert not Run.objects.exists()


class Counts(ac.AsyncCommand):
    limits = ac.Limits(processes=1)

    async def handle(self) -> list[tuple[bool, int]]:
        return [await self.cpu(work.query) for _ in range(3)]


def test_a_child_of_the_pool_keeps_no_connection(run: Any) -> None:
    calls = run(Counts()).value
    assert [was_open for was_open, _ in calls] == [False] * 3
    if connection.vendor == "postgresql":
        ours, there = [pid for _, pid in calls], 1
        end = time.monotonic() + 20  # the server's processes take a moment to end
        while there and time.monotonic() < end:
            with connection.cursor() as cursor:
                cursor.execute(
                    "SELECT pg_stat_clear_snapshot(), (SELECT count(*) FROM pg_stat_activity WHERE pid = ANY(%s))",
                    [ours],
                )
                there = cursor.fetchone()[1]
        assert there == 0


@pytest.fixture
def without_autocommit(transactional_db: None) -> Iterator[None]:
    """The project's setting, as the connections of other threads find it."""
    settings = connections.settings["default"]
    connection.close()
    settings["AUTOCOMMIT"] = False
    yield
    settings["AUTOCOMMIT"] = True
    connection.close()


class Commits(ac.IterateDownloadCommand[int, int]):
    """Writes in every way there is."""

    async def iterate(self):
        await Author.objects.acreate(name="iterate")
        return range(4)

    def download(self, item: int) -> int:
        Author.objects.create(name=f"download {item}")
        return item

    async def parse_and_save(self, item: int, payload: int) -> None:
        self.db.add(Tag(name=f"queued {item}"))
        if item % 2:
            await Author.objects.acreate(name=f"lane {item}")

    async def cleanup(self) -> None:
        self.db.add(Tag(name="cleanup"))


@pytest.mark.usefixtures("without_autocommit")
def test_a_run_commits_where_the_project_does_not_by_itself() -> None:
    result = ac.run(Commits())
    connection.rollback()  # begin to see what others have committed
    assert (result.status, result.counts["done"]) == ("succeeded", 4)
    assert Author.objects.count() == 1 + 4 + 2
    assert Tag.objects.count() == 5
    assert not connection.get_autocommit()
    assert connection.settings_dict["AUTOCOMMIT"] is False
    connection.rollback()


class Groups(ac.IterateDownloadCommand[int, int]):
    """Two upserts of one model in each item."""

    turned: bool = False

    async def iterate(self):
        return range(300)

    async def download(self, item: int) -> int:
        return item

    async def parse_and_save(self, item: int, payload: int) -> None:
        for verb in (self.keep, self.overwrite) if self.turned else (self.overwrite, self.keep):
            verb(item)

    def overwrite(self, item: int) -> None:
        self.db.upsert(*(Page(url=f"a {i}", title=str(item)) for i in range(10)), unique=["url"], update=["title"])

    def keep(self, item: int) -> None:
        self.db.upsert(*(Page(url=f"b {i}") for i in range(10)), unique=["url"], update=[])


def deadlocks() -> int:
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT pg_stat_clear_snapshot(), deadlocks FROM pg_stat_database WHERE datname = current_database()"
        )
        return int(cursor.fetchone()[1])


def test_two_writers_of_the_same_rows_cannot_deadlock(transactional_db: None) -> None:
    if connection.vendor != "postgresql":
        pytest.skip("counts the server's deadlocks")
    before = deadlocks()

    async def both() -> list[Any]:
        return await asyncio.gather(*(ac.arun(Groups(turned=turned), batch_size=10) for turned in (False, True)))

    results = asyncio.run(both())
    assert [result.counts["done"] for result in results] == [300, 300]
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_sleep(1.1)")  # the statistics are told once a second
    assert deadlocks() == before
