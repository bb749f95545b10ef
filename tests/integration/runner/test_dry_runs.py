"""A dry run: everything happens, nothing is kept but the run."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, contextmanager
from typing import Any

import anyio
import pytest
from asgiref.sync import sync_to_async
from django.core.management import call_command
from django.db import IntegrityError, connection, connections, transaction
from django.db.models.signals import post_save

import async_commander as ac
from async_commander.models import Run, RunClaim, RunItem
from tests.testapp.models import Author, Book, Effect, Node, Page, Product, Tag

from . import work

HERE: list[str] = []
"""What happened outside of any database."""


def dump() -> dict[str, list[Any]]:
    """All rows of the project, by table."""
    rows = {}
    with connection.cursor() as cursor:
        for table in connection.introspection.table_names(cursor):
            if not table.startswith("async_commander_"):
                cursor.execute(f"SELECT * FROM {connection.ops.quote_name(table)}")
                rows[table] = sorted(map(repr, cursor.fetchall()))
    return rows


@contextmanager
def nothing_is_kept() -> Iterator[None]:
    """Nor is there a row of the ledger."""
    HERE.clear()
    before = dump()
    yield
    assert dump() == before
    assert not RunItem.objects.exists()
    assert not RunClaim.objects.exists()


class Numbers(ac.IterateDownloadCommand[int, str]):
    count: int = 4
    retry = ac.Retry(attempts=1)
    limits = ac.Limits(max_failures=None)

    async def iterate(self):
        for number in range(self.count):
            yield number

    async def download(self, item: int) -> str:
        return f"page {item}"

    async def parse_and_save(self, item: int, payload: str) -> None:
        self.db.add(Page(url=payload))


def test_queued_rows_are_counted_and_rolled_back(run: Any) -> None:
    with nothing_is_kept():
        result = run(Numbers(), dry_run=True)
    assert (result.status, result.counts["done"], result.dry_run) == (ac.RunStatus.SUCCEEDED, 4, True)
    row = Run.objects.get(pk=result.run_id)
    assert (row.dry_run, row.status, row.done, row.accounts) == (True, "succeeded", 4, True)
    assert result.would == row.would == {"testapp.Page": {"created": 4}}


# -- every path of an item -----------------------------------------------------------------------------------------

PATHS: dict[str, Callable[..., Any]] = {}


def path(function: Callable[..., Any]) -> Callable[..., Any]:
    PATHS[function.__name__] = function
    return function


def raw(sql: str) -> None:
    with connection.cursor() as cursor:
        cursor.execute(sql)


def save(name: str) -> None:
    Tag.objects.create(name=name)


@path
async def queue(self: Any, item: int) -> None:
    self.db.add(Tag(name=f"new {item}"))
    self.db.upsert(Page(url="old", title=str(item)), unique=["url"], update=["title"])
    self.db.update(await Author.objects.aget(), fields=["name"])
    self.db.delete(await Effect.objects.aget())


@path
async def awaited_orm(self: Any, item: int) -> None:
    await Tag.objects.acreate(name=f"new {item}")
    await Page.objects.aupdate_or_create(url="old", defaults={"title": "new"})
    assert await Tag.objects.filter(name=f"new {item}").aexists(), "it sees its own rows"
    await Effect.objects.all().adelete()


@path
async def bulk_operations(self: Any, item: int) -> None:
    await Tag.objects.abulk_create([Tag(name=f"a {item}"), Tag(name=f"b {item}")])
    await Page.objects.aupdate(title="all of them")
    await sync_to_async(Author.objects.all().delete)()  # with its books


@path
async def raw_sql(self: Any, item: int) -> None:
    await self.db(raw, f"INSERT INTO testapp_tag (name) VALUES ('raw {item}')")
    await self.db(raw, "UPDATE testapp_page SET title = 'raw'")
    await self.db(raw, "DELETE FROM testapp_effect")


@path
async def many_to_many(self: Any, item: int) -> None:
    product = await Product.objects.acreate(sku=f"s{item}")
    await product.tags.aadd(await Tag.objects.acreate(name=f"t{item}"))


@path
async def savepoints(self: Any, item: int) -> None:
    async with self.db.atomic():
        await Tag.objects.acreate(name=f"new {item}")
    try:
        async with self.db.atomic():
            await Tag.objects.acreate(name=f"undone {item}")
            await Tag.objects.acreate(name="old")
    except IntegrityError:
        HERE.append("refused")


@path
async def on_commit(self: Any, item: int) -> None:
    def register() -> None:
        transaction.on_commit(lambda: HERE.append("committed"))
        save(f"new {item}")

    await self.db(register)


@path
async def durable_blocks(self: Any, item: int) -> None:
    @transaction.atomic(durable=True)
    def durable() -> None:
        save(f"new {item}")

    await self.db(durable)


@path
async def locks(self: Any, item: int) -> None:
    def lock() -> None:
        page = Page.objects.select_for_update().get()
        page.title = "locked"
        page.save()

    await self.db(lock)


@path
async def flushed(self: Any, item: int) -> None:
    self.db.add(Tag(name=f"new {item}"))
    await self.db.flush()
    assert await Tag.objects.filter(name=f"new {item}").aexists()


@path
async def signals(self: Any, item: int) -> None:
    def on_save(sender: Any, instance: Any, **_: Any) -> None:
        if isinstance(instance, Tag):
            Effect.objects.create(key="of a signal")

    def saved() -> None:
        post_save.connect(on_save)
        try:
            save(f"new {item}")
        finally:
            post_save.disconnect(on_save)

    await self.db(saved)


@pytest.mark.parametrize("name", PATHS)
def test_no_path_of_an_item_changes_a_row(run: Any, name: str) -> None:
    class Command(Numbers):
        count: int = 3

        async def parse_and_save(self, item: int, payload: str) -> None:
            await PATHS[name](self, item)

    seed()
    with nothing_is_kept():
        result = run(Command(), dry_run=True, threads=1)
    assert (result.status, result.counts["done"], result.errors) == (ac.RunStatus.SUCCEEDED, 3, [])
    assert result.would == WOULD[name]
    assert "committed" not in HERE


def seed() -> None:
    author = Author.objects.create(name="old")
    Book.objects.create(author=author, title="old", isbn="1")
    Tag.objects.create(name="old")
    Page.objects.create(url="old")
    Effect.objects.create(key="old")


WOULD: dict[str, Any] = {
    "queue": {
        "testapp.Author": {"updated": 3},
        "testapp.Effect": {"deleted": 3},
        "testapp.Page": {"upserted": 3},
        "testapp.Tag": {"created": 3},
    },
    "awaited_orm": {
        "testapp.Effect": {"deleted": 3},
        "testapp.Page": {"updated": 3},
        "testapp.Tag": {"created": 3},
    },
    "bulk_operations": {
        "testapp.Author": {"deleted": 3},
        "testapp.Book": {"deleted": 3},
        "testapp.Page": {"updated": 3},
        "testapp.Tag": {"created": 6},
    },
    "raw_sql": {
        "testapp.Effect": {"deleted": 3},
        "testapp.Page": {"updated": 3},
        "testapp.Tag": {"created": 3},
    },
    "many_to_many": {
        "testapp.Product": {"created": 3},
        "testapp.Product_tags": {"created": 3},
        "testapp.Tag": {"created": 3},
    },
    "savepoints": {"testapp.Tag": {"created": 3}},
    "on_commit": {"testapp.Tag": {"created": 3}},
    "durable_blocks": {"testapp.Tag": {"created": 3}},
    "locks": {"testapp.Page": {"updated": 3}},
    "flushed": {"testapp.Tag": {"created": 3}},
    "signals": {"testapp.Effect": {"created": 3}, "testapp.Tag": {"created": 3}},
}


# -- what an item would fail with ----------------------------------------------------------------------------------


def test_what_a_commit_would_refuse_is_dead_here_too(run: Any) -> None:
    class Command(Numbers):
        async def parse_and_save(self, item: int, payload: str) -> None:
            match item:
                case 0:
                    self.db.add(Tag(name="fine"))
                case 1:
                    self.db.add(Tag(name="old"))
                case 2:
                    self.db.add(Node(name="an orphan", parent_id=987_654_321))
                case 3:
                    await Node.objects.acreate(name="another one", parent_id=987_654_321)

    seed()
    with nothing_is_kept():
        result = run(Command(), dry_run=True)
    assert (result.status, result.counts["done"], result.counts["dead"]) == (ac.RunStatus.PARTIAL, 1, 3)
    assert [(kind.kind, kind.count) for kind in result.errors] == [("IntegrityError", 3)]
    assert result.would == {"testapp.Tag": {"created": 1}}


def test_references_that_were_wrong_before_are_nobodys_fault(run: Any) -> None:
    if connection.vendor != "sqlite":
        pytest.skip("no such rows can be there")

    class Command(Numbers):
        count: int = 1

        async def parse_and_save(self, item: int, payload: str) -> None:
            self.db.add(Node(name="fine"))

    if connection.in_atomic_block:
        pytest.skip("the references are checked there")
    raw("PRAGMA foreign_keys = OFF")
    raw("INSERT INTO testapp_node (id, name, parent_id) VALUES (5, 'x', 77)")
    raw("PRAGMA foreign_keys = ON")
    assert run(Command(), dry_run=True).counts["done"] == 1


def test_an_item_that_fails_counts_for_nothing(run: Any) -> None:
    class Command(Numbers):
        async def parse_and_save(self, item: int, payload: str) -> None:
            await Tag.objects.acreate(name=payload)
            self.db.add(Page(url=payload))
            if item:
                raise ValueError("no")

    with nothing_is_kept():
        result = run(Command(), dry_run=True)
    assert (result.counts["done"], result.counts["dead"]) == (1, 3)
    assert result.would == {"testapp.Page": {"created": 1}, "testapp.Tag": {"created": 1}}


def test_units_do_not_see_each_others_rows(run: Any) -> None:
    class Command(Numbers):
        async def parse_and_save(self, item: int, payload: str) -> None:
            assert not await Tag.objects.aexists()
            await Tag.objects.acreate(name="the same")

    with nothing_is_kept():
        assert run(Command(), dry_run=True).counts["done"] == 4


# -- the other hooks -----------------------------------------------------------------------------------------------


class EachHook(ac.DownloadIterateCommand[str, int]):
    retry = ac.Retry(attempts=1)

    @asynccontextmanager
    async def lifespan(self):
        await Tag.objects.acreate(name="lifespan begins")
        self.db.add(Tag(name="queued in lifespan"))
        yield
        await Tag.objects.acreate(name="lifespan ends")

    async def download(self) -> str:
        await Tag.objects.acreate(name="download")
        return "payload"

    async def iterate(self, payload: str):
        await Tag.objects.acreate(name="iterate")
        yield 1
        await Tag.objects.acreate(name="iterate again")
        yield 2
        self.db.add(Tag(name="queued at the end of iterate"))

    def total(self) -> int:
        Tag.objects.create(name="total")
        return 2

    async def parse_and_save(self, item: int) -> None:
        self.db.add(Tag(name=f"item {item}"))

    async def committed(self, item: int) -> None:
        HERE.append("committed")

    def cleanup(self) -> None:
        Tag.objects.create(name="cleanup")
        self.db.add(Tag(name="queued in cleanup"))


def test_no_hook_changes_a_row(run: Any) -> None:
    with nothing_is_kept():
        result = run(EachHook(), dry_run=True)
    assert result.status is ac.RunStatus.SUCCEEDED
    assert result.would == {"testapp.Tag": {"created": 12}}
    assert HERE == [], "nothing was committed"


class PlainHooks(ac.IterateDownloadCommand[int, str]):
    retry = ac.Retry(attempts=1)

    def iterate(self):
        Tag.objects.create(name="iterate")
        yield from (1, 2)

    def download(self, item: int) -> str:
        Tag.objects.create(name=f"download {item}")
        return "payload"

    def parse_and_save(self, item: int, payload: str) -> None:
        Tag.objects.create(name=f"item {item}")


def test_plain_hooks_do_not_either(run: Any) -> None:
    with nothing_is_kept():
        result = run(PlainHooks(), dry_run=True)
    assert (result.status, result.errors) == (ac.RunStatus.SUCCEEDED, [])
    assert result.would == {"testapp.Tag": {"created": 5}}


def test_handle_sees_what_it_has_written_and_keeps_nothing(run: Any) -> None:
    class Command(ac.AsyncCommand):
        async def handle(self) -> list[Any]:
            await Tag.objects.acreate(name="a")
            self.db.add(Tag(name="b"))
            await self.db.flush()
            await self.db(transaction.atomic(durable=True)(save), "c")
            self.db.add(Tag(name="d"))
            return [self.dry_run, await Tag.objects.acount()]

    with nothing_is_kept():
        result = run(Command(), dry_run=True)
    assert result.value == [True, 3]
    assert result.would == {"testapp.Tag": {"created": 4}}


def test_a_plain_handle_keeps_nothing(run: Any) -> None:
    class Command(ac.AsyncCommand):
        def handle(self) -> int:
            with transaction.atomic():
                save("a")
            raw("INSERT INTO testapp_tag (name) VALUES ('b')")
            call_command("plain_seed", "eu", verbosity=0)
            return Tag.objects.count()

    with nothing_is_kept():
        assert run(Command(), dry_run=True).value == 2


def test_a_handle_that_fails_keeps_nothing(run: Any) -> None:
    class Command(ac.AsyncCommand):
        async def handle(self) -> None:
            await Tag.objects.acreate(name="a")
            self.db.add(Tag(name="b"))
            raise ValueError("no")

    with nothing_is_kept(), pytest.raises(ac.RunFailed):
        run(Command(), dry_run=True)
    assert Run.objects.get().dry_run


# -- threads, processes, other databases ---------------------------------------------------------------------------


def save_there(name: str) -> None:
    try:
        save(name)
    finally:
        connection.close()


def on_a_thread(name: str) -> None:
    thread = threading.Thread(target=save_there, args=[name])
    thread.start()
    thread.join()


def in_a_pool(name: str) -> None:
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(save_there, [f"{name} {number}" for number in range(3)]))


def on_a_thread_that_closes(name: str) -> None:
    def work() -> None:
        save(name)
        connection.close()
        save(f"{name} again")
        connections.close_all()

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()


async def by_asyncio(name: str) -> None:
    await asyncio.to_thread(save_there, name)


async def by_anyio(name: str) -> None:
    await anyio.to_thread.run_sync(save_there, name)


async def by_asgiref(name: str) -> None:
    await sync_to_async(save_there, thread_sensitive=False)(name)


THREADS = {
    "a thread": (on_a_thread, 1),
    "a pool": (in_a_pool, 3),
    "a thread that closes its connection": (on_a_thread_that_closes, 2),
    "asyncio": (by_asyncio, 1),
    "anyio": (by_anyio, 1),
    "asgiref": (by_asgiref, 1),
}


@pytest.mark.parametrize("how", THREADS)
def test_what_threads_write_is_rolled_back(run_on_lanes: Any, how: str) -> None:
    function, rows = THREADS[how]

    class Command(Numbers):
        count: int = 3

        async def parse_and_save(self, item: int, payload: str) -> None:
            if asyncio.iscoroutinefunction(function):
                await function(f"{how} {item}")
            else:
                await self.db(function, f"{how} {item}")
            await Tag.objects.acreate(name=f"lane {item}")

    with nothing_is_kept():
        result = run_on_lanes(Command(), dry_run=True)
    assert (result.counts["done"], result.errors) == (3, [])
    assert result.would["testapp.Tag"] == {"created": 3 * rows + 3}
    save("afterwards")
    assert Tag.objects.get().name == "afterwards", "this thread is nobody's"


def test_what_processes_of_the_pool_write_is_rolled_back(run_on_lanes: Any) -> None:
    class Command(Numbers):
        count: int = 2
        limits = ac.Limits(processes=1)

        async def parse_and_save(self, item: int, payload: str) -> None:
            database = str(connection.settings_dict["NAME"])
            assert await self.cpu(work.save_tag, f"in a process {item}", database) == 1

    with nothing_is_kept():
        result = run_on_lanes(Command(), dry_run=True)
    assert (result.counts["done"], result.errors) == (2, [])
    assert result.would == {"testapp.Tag": {"created": 2}}


def test_steps_of_a_dry_run_are_part_of_it(run: Any) -> None:
    def step(name: str) -> int:
        HERE.append(name)
        save(name)
        return Tag.objects.count()

    def failing() -> None:
        save("undone")
        raise ValueError("no")

    class Command(ac.AsyncCommand):
        async def handle(self) -> list[Any]:
            await Tag.objects.acreate(name="before")
            done = [await self.step("count", step, name) for name in ("a", "b", "a")]
            with pytest.raises(ValueError):
                await self.step("fail", failing)
            return [*done, await Tag.objects.acount()]

    with nothing_is_kept():
        result = run(Command(), dry_run=True)
    assert (result.value, HERE) == ([2, 3, 2, 3], ["a", "b"])
    assert result.would == {"testapp.Tag": {"created": 3}}
