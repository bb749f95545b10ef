"""Rows that a router sends to another database: committed there before their item is recorded, at least once."""

from __future__ import annotations

import io
import logging
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import anyio
import pytest
from asgiref.sync import ThreadSensitiveContext, sync_to_async
from django.apps import apps
from django.contrib.contenttypes.models import ContentType
from django.core.management import call_command
from django.db import IntegrityError, OperationalError, connection, connections, transaction
from django.test import override_settings

import async_commander as ac
from async_commander.database import dry_runs
from async_commander.database.lanes import open_lanes
from async_commander.database.unit import Unit
from async_commander.models import Run, RunItem
from async_commander.testing import InMemoryRecorder
from tests.integration.runner.conftest import transactional_db
from tests.services import reachable
from tests.settings import postgres as postgres_settings
from tests.testapp.models import Author, Book, Page, Tag

if TYPE_CHECKING:
    from collections.abc import Iterator

    from async_commander.database.lanes import LanePool

    from .conftest import Owner


__all__ = ["transactional_db"]  # in the place of pytest-django's, which forbids other databases


class ToArchive:
    def db_for_write(self, model: type, **hints: object) -> str | None:
        return "archive" if model in (Page, Author) else None

    db_for_read = db_for_write

    def allow_relation(self, *objects: object, **hints: object) -> bool:
        return True


@pytest.fixture(params=["sqlite", "postgres"])
def archive(request: pytest.FixtureRequest, transactional_db: None, tmp_path: Path) -> Iterator[None]:
    """Pages and authors have a database of their own: a file, or a schema of PostgreSQL."""
    if request.param == "postgres" and not reachable("postgres"):
        pytest.skip("no PostgreSQL")
    schema = f"archive_{uuid4().hex}"
    found = {
        "sqlite": {
            "ENGINE": "django.db.backends.sqlite3",
            "NAME": tmp_path / "archive.sqlite3",
            "OPTIONS": {"timeout": 20, "transaction_mode": "IMMEDIATE", "init_command": "PRAGMA journal_mode=WAL;"},
        },
        "postgres": {**postgres_settings(), "OPTIONS": {"options": f"-c search_path={schema}"}},
    }[request.param]
    connections.settings["archive"] = {**connections.settings["default"], **found}
    archive = connections["archive"]
    try:
        if request.param == "postgres":
            with archive.cursor() as cursor:
                cursor.execute(f"CREATE SCHEMA {schema}")
        with archive.schema_editor() as editor:
            for model in (Author, Page, Book):
                editor.create_model(model)
        with override_settings(DATABASE_ROUTERS=[ToArchive()]):
            yield
        if request.param == "postgres":
            with archive.cursor() as cursor:
                cursor.execute(f"DROP SCHEMA {schema} CASCADE")
    finally:
        archive.close()
        del connections["archive"]
        del connections.settings["archive"]


def urls() -> list[str]:
    return sorted(Page.objects.using("archive").values_list("url", flat=True))


def tags() -> list[str]:
    return sorted(Tag.objects.values_list("name", flat=True))


def unit_of(name: str, *urls: str, lane: Any = None) -> Unit:
    unit = Unit("default", outcome=name, lane=lane)
    unit.add(*(Page(url=url) for url in urls or (name,)))
    return unit


@pytest.mark.asyncio
async def test_a_batch_is_one_transaction_there_and_the_guilty_unit_fails_alone(
    archive: None, lanes: LanePool, owner: Owner
) -> None:
    await lanes.call(Page.objects.create, url="taken")
    units = [unit_of(f"u{number}", *(["taken"] if number == 3 else [])) for number in range(8)]
    page = units[3].requests[0].objects[0]
    async with owner.writer(lanes) as writer:
        for unit in units:
            writer.put(unit)
        await writer.drain()
        done = [f"u{number}" for number in range(8) if number != 3]
        assert sorted(owner.done) == done
        assert isinstance(owner.failed["u3"], IntegrityError)
        assert (await lanes.call(urls), await lanes.call(tags)) == ([*sorted(["taken", *done])], done)
    assert (page.pk, page._state.adding) == (None, True)


@pytest.mark.asyncio
async def test_what_is_committed_there_is_not_written_again_where_the_ledger_has_to_wait(
    archive: None, lanes: LanePool, owner: Owner
) -> None:
    owner.failures = [OperationalError("away"), OperationalError("away"), IntegrityError("halved")]
    async with owner.writer(lanes) as writer:
        writer.put(unit_of("u0"))
        writer.put(unit_of("u1"))
        await writer.drain()
        assert (await lanes.call(urls), await lanes.call(tags)) == (["u0", "u1"], ["u0", "u1"])


@pytest.mark.asyncio
async def test_an_outage_there_is_waited_out(
    archive: None, lanes: LanePool, owner: Owner, monkeypatch: pytest.MonkeyPatch
) -> None:
    from async_commander.database import bulk

    write, failures = bulk.write, [OperationalError("server closed the connection")] * 2

    def failing(alias: str, requests: Any, undo: Any) -> None:
        write(alias, requests, undo)
        if alias == "archive" and failures:
            raise failures.pop()

    monkeypatch.setattr(bulk, "write", failing)
    async with owner.writer(lanes) as writer:
        unit = unit_of("u")
        unit.add(Tag(name="of the unit"))
        writer.put(unit)
        await writer.drain()
        assert (await lanes.call(urls), await lanes.call(tags)) == (["u"], ["of the unit", "u"])


@pytest.mark.asyncio
async def test_an_item_on_its_lane_commits_there_before_itself(archive: None, lanes: LanePool, owner: Owner) -> None:
    seen: list[list[str]] = []
    owner.finish = lambda units: seen.append(urls())  # type: ignore[method-assign]
    unit = unit_of("u", lane=lanes.lend())
    async with owner.writer(lanes) as writer:
        assert unit.lane is not None
        async with ThreadSensitiveContext(executor=unit.lane):
            await Tag.objects.acreate(name="lane")
        writer.put(unit)
        await writer.drain()
        assert (owner.failed, seen, await lanes.call(tags)) == ({}, [["u"]], ["lane"])
        guilty = unit_of("u", lane=lanes.lend())
        assert guilty.lane is not None
        async with ThreadSensitiveContext(executor=guilty.lane):
            await Tag.objects.acreate(name="rolled back")
        writer.put(guilty)
        await writer.drain()
        assert isinstance(owner.failed["u"], IntegrityError)
        assert (await lanes.call(urls), await lanes.call(tags)) == (["u"], ["lane"])


@pytest.mark.asyncio
async def test_a_flush_commits_there_and_gives_keys(archive: None, lanes: LanePool, owner: Owner) -> None:
    unit = Unit("default", lane=lanes.lend())
    page = Page(url="flushed")
    assert unit.lane is not None
    async with ThreadSensitiveContext(executor=unit.lane):
        unit.upsert(page, unique=["url"], update="__all__")
        unit.add(Tag(name="t"))
        await unit.flush()
        assert page.pk is not None
        unit.update(page, fields=["title"])
        unit.delete(page)
        await unit.flush()
        unit.add(Page(url="kept"))
        await unit.flush()
    await unit.discard()
    assert (await lanes.call(urls), await lanes.call(tags)) == (["kept"], [])
    assert unit.counts["add", "testapp.Page"] == 1


@pytest.mark.asyncio
async def test_rows_of_other_hooks_are_committed_there_first(archive: None, lanes: LanePool, owner: Owner) -> None:
    async with owner.writer(lanes) as writer:
        unit = Unit("default", committer=writer)
        unit.add(Page(url="a"), Tag(name="a"))
        await unit.flush()
        unit.add(Page(url="b"), Tag(name="a"))
        with pytest.raises(IntegrityError):
            await unit.flush()
        assert (await lanes.call(urls), await lanes.call(tags)) == (["a", "b"], ["a"])


@pytest.mark.asyncio
async def test_a_parent_there_is_saved_before_its_child_here(archive: None, lanes: LanePool, owner: Owner) -> None:
    if connection.vendor != "sqlite":
        pytest.skip("no constraint of PostgreSQL may refer to another database")
    author = Author(name="a")
    unit = Unit("default", outcome="u")
    unit.add(Book(author=author, title="t", isbn="1"))
    unit.add(author)

    def write() -> int | None:
        with connection.constraint_checks_disabled():
            unit.write()
        return unit.requests[0].objects[0].author_id  # type: ignore[attr-defined]

    async with open_lanes("default", 1) as lanes:
        assert await lanes.call(write) == author.pk is not None
        await lanes.call(Book.objects.all().delete)


class Pages(ac.IterateDownloadCommand[str, str]):
    limits = ac.Limits(threads=4, db_lanes=2)

    def __init__(self, *, lane: bool = False) -> None:
        self.__dict__["lane"] = lane
        super().__init__()

    async def iterate(self):
        return [f"p{number}" for number in range(12)]

    async def download(self, item: str) -> str:
        return item

    async def parse_and_save(self, item: str, payload: str) -> None:
        if self.__dict__["lane"]:
            await Tag.objects.acreate(name=item)
        self.db.add(Page(url="p0" if item == "p5" else item))
        self.db.update(Page(pk=-1, title="nobody"), fields=["title"])
        if not self.__dict__["lane"]:
            self.db.upsert(Tag(name=item), unique=["name"], update="__all__")


@pytest.mark.parametrize("lane", [False, True], ids=["queued", "lane"])
def test_a_run_warns_once_for_each_model_and_only_the_guilty_item_dies(
    archive: None, lane: bool, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        result = ac.run(Pages(lane=lane))
    run = Run.objects.get(pk=result.run_id)
    assert (run.status, run.done, run.dead) == ("partial", 11, 1)
    (dead,) = RunItem.objects.filter(run=run, state="dead")
    assert dead.label in ("p0", "p5")
    assert urls() == sorted({f"p{number}" for number in range(12)} - {"p5"})
    assert len(tags()) == 11
    warnings = [record.getMessage() for record in caplog.records if "self.db.add() of" in record.getMessage()]
    assert len(warnings) == 1
    assert "'archive'" in warnings[0]
    assert "self.db.upsert()" in warnings[0]
    assert run.logs.filter(message=warnings[0]).count() == 1


@pytest.mark.parametrize("lane", [False, True], ids=["queued", "lane"])
def test_the_database_of_a_run_is_no_router_of_its_rows(archive: None, lane: bool) -> None:
    """`--database` says where the record is; rows go where the project's router sends them."""
    with connections["archive"].schema_editor() as editor:
        for model in (ContentType, *apps.get_app_config("async_commander").get_models()):
            editor.create_model(model)
    result = ac.run(Pages(lane=lane), database="archive")
    run = Run.objects.using("archive").get(pk=result.run_id)
    assert (run.status, run.done, run.dead) == ("partial", 11, 1)
    assert not Run.objects.using("default").exists()
    assert urls() == sorted({f"p{number}" for number in range(12)} - {"p5"})
    assert not Page.objects.using("default").exists()
    assert set(tags()) >= {page for page in urls() if page != "p0"}, "those are in `default`, as without the option"


@pytest.mark.parametrize("recorder", [None, InMemoryRecorder])
def test_in_a_test_all_of_it_is_rolled_back(archive: None, recorder: Any) -> None:
    with transaction.atomic(), transaction.atomic(using="archive"):
        result = ac.run(Pages(), recorder=recorder and recorder())
        assert (result.counts["done"], len(urls()), len(tags())) == (11, 11, 11)
        transaction.set_rollback(True)
        transaction.set_rollback(True, using="archive")
    assert (urls(), tags()) == ([], [])


@pytest.mark.asyncio
async def test_items_that_wait_for_each_others_gates_do_not_wait_for_ever(
    archive: None, sqlite: None, request: pytest.FixtureRequest, owner: Owner
) -> None:
    if "postgres" in request.node.name:
        pytest.skip("no gate")
    async with open_lanes("default", 1, gate_limit=0.2) as here, open_lanes("archive", 1, gate_limit=0.2) as there:
        first, second = unit_of("u", lane=here.lend()), Unit("archive", lane=there.lend())
        second.add(Tag(name="t"))
        assert first.lane is not None
        assert second.lane is not None
        async with ThreadSensitiveContext(executor=first.lane):
            await sync_to_async(Tag.objects.create)(name="here")
        async with ThreadSensitiveContext(executor=second.lane):
            await sync_to_async(Page.objects.create)(url="there")
        ended = [unit.lane.end(commit=True, before=unit.write) for unit in (first, second) if unit.lane is not None]
        with anyio.fail_after(20):
            errors = [await sync_to_async(future.exception, thread_sensitive=False)() for future in ended if future]
    assert any(isinstance(error, OperationalError) for error in errors)


def test_a_dry_run_of_a_plain_command_is_rolled_back_there_too(archive: None) -> None:
    class Command(ac.ManagedCommand):
        def execute_command(self, *args: Any, **options: Any) -> list[int]:
            Tag.objects.create(name="here")
            Page.objects.create(url="there")
            with transaction.atomic(using="archive"):
                Author.objects.create(name="Ann")
            return [Tag.objects.count(), Page.objects.count(), Author.objects.count()]

    connections["archive"].close()
    assert call_command(Command(), dry_run=True, stdout=io.StringIO()) == [1, 1, 1]
    assert (tags(), urls(), Author.objects.using("archive").count()) == ([], [], 0)
    run = Run.objects.latest()
    assert (run.status, run.dry_run) == ("succeeded", True)
    assert run.would == {one: {"created": 1} for one in ("testapp.Author", "testapp.Page", "testapp.Tag")}
    Page.objects.create(url="afterwards")
    assert urls() == ["afterwards"]


def test_rows_there_are_recorded_here_with_the_item_that_wrote_them(archive: None) -> None:
    class Command(ac.IterateDownloadCommand[int, int]):
        provenance = True
        limits = ac.Limits(max_failures=100)

        def iterate(self) -> Any:
            return range(6)

        async def download(self, item: int) -> int:
            return item

        async def parse_and_save(self, item: int, payload: int) -> None:
            if item % 2:
                await Author.objects.acreate(name=f"a{item}")
                raise ValueError
            self.db.upsert(Page(url=f"u{item}", title="x"), unique=["url"], update=["title"])

    result = ac.run(Command())
    run: Any = Run.objects.get(pk=result.run_id)
    assert result.counts["dead"] == 3
    pages = set(Page.objects.using("archive").values_list("pk", flat=True))
    authors = set(Author.objects.using("archive").values_list("pk", flat=True))
    told = {(kind, int(key)) for kind, key in run.object_logs.values_list("content_type__model", "object_id")}
    assert told == {*(("page", key) for key in pages), *(("author", key) for key in authors)}
    assert len(told) == 6  # what is committed there by itself is there, whatever becomes of its item
    assert {page.url for page in run.objects(Page)} == {"u0", "u2", "u4"}
    assert set(run.object_logs.values_list("action", flat=True)) == {"created"}


def raw_page(url: str) -> None:
    with connections["archive"].cursor() as cursor:
        cursor.execute("INSERT INTO testapp_page (url, title, body) VALUES (%s, '', '')", [url])


class WritesEverywhere(ac.IterateDownloadCommand[int, str]):
    limits = ac.Limits(threads=3)
    retry = ac.Retry(attempts=1)

    async def iterate(self):
        await Page.objects.acreate(url="of the source")
        for number in range(4):
            yield number

    async def download(self, item: int) -> str:
        await Author.objects.acreate(name=f"a{item}")
        return f"p{item}"

    async def parse_and_save(self, item: int, payload: str) -> None:
        await Tag.objects.acreate(name=f"t{item}")
        await self.db(raw_page, f"raw {payload}")
        self.db.upsert(Page(url=payload), unique=["url"], update=[])
        await self.db.flush()
        assert await Page.objects.acount() == 2, "those of this item, and no other"
        assert await Author.objects.aget() == await Author.objects.aget(name=f"a{item}")
        if item == 3:
            raise ValueError("no")

    async def cleanup(self) -> None:
        with pytest.raises(IntegrityError):
            await Page.objects.abulk_create([Page(url="twice"), Page(url="twice")])
        await Page.objects.acreate(url="of the end")


def test_a_dry_run_is_rolled_back_there_too(archive: None) -> None:
    connections["archive"].close()
    result = ac.run(WritesEverywhere(), dry_run=True)
    assert (result.counts["done"], result.counts["dead"]) == (3, 1)
    assert (tags(), urls(), Author.objects.using("archive").count()) == ([], [], 0)
    assert result.would == {
        "testapp.Author": {"created": 3},
        "testapp.Page": {"created": 2 + 3, "upserted": 3},
        "testapp.Tag": {"created": 3},
    }
    Page.objects.create(url="afterwards")
    assert urls() == ["afterwards"]


def test_so_it_is_in_a_test(archive: None) -> None:
    with transaction.atomic(), transaction.atomic(using="archive"):
        Page.objects.create(url="before")
        Page.objects.all().delete()
        result = ac.run(WritesEverywhere(), dry_run=True)
        assert (result.counts["done"], urls(), tags()) == (3, [], [])
        transaction.set_rollback(True)
        transaction.set_rollback(True, using="archive")


def test_a_plain_hook_that_is_left_on_its_thread_keeps_nothing_there_either(archive: None) -> None:
    goes_on, ended = threading.Event(), threading.Event()

    class Command(ac.AsyncCommand):
        def handle(self) -> None:
            goes_on.wait(60)
            try:
                Page.objects.create(url="too late")
                Tag.objects.create(name="too late")
            finally:
                connections["archive"].close()
                ended.set()

    with pytest.raises(ac.RunFailed):
        ac.run(Command(), dry_run=True, timeout=0.2, grace=0.2)
    goes_on.set()
    assert ended.wait(20)
    deadline = time.monotonic() + 20
    while dry_runs.is_watching() and time.monotonic() < deadline:
        time.sleep(0.01)
    assert (urls(), tags(), dry_runs.is_watching()) == ([], [], False)
