"""A dry run and what is around it: other databases, other runs, time-outs, code that works on connections itself."""

from __future__ import annotations

import threading
from contextlib import suppress
from typing import Any

import anyio
import pytest
from asgiref.sync import sync_to_async
from django.core.files.base import ContentFile
from django.core.files.storage import InMemoryStorage
from django.db import IntegrityError, connection, models, transaction
from django.test import TestCase
from django.test.utils import isolate_apps
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import async_commander as ac
from async_commander.exceptions import InvalidCommand
from async_commander.models import Run
from async_commander.testing import InMemoryRecorder
from tests.testapp.models import Page, Tag

from .ledger import counts_of
from .test_dry_runs import HERE, PATHS, Numbers, nothing_is_kept, raw, save, seed


def test_items_that_others_bring_up_are_carried(run: Any) -> None:
    class Command(Numbers):
        count: int = 2

        async def parse_and_save(self, item: int, payload: str) -> None:
            if item < 10:
                self.follow(item + 10, 99)
            self.db.add(Tag(name=f"{item}"))

    with nothing_is_kept():
        result = run(Command(), dry_run=True)
    assert result.counts["done"] == result.counts["taken"] == 5
    assert result.would == {"testapp.Tag": {"created": 5}}
    assert counts_of(Run.objects.get()) == result.counts


def test_items_are_tried_again_and_duplicates_are_skipped(run: Any) -> None:
    tries: list[int] = []

    class Command(Numbers):
        retry = ac.Retry(attempts=3, initial=0.001, maximum=0.002)

        async def iterate(self):
            for number in (1, 2, 1):
                yield number

        async def parse_and_save(self, item: int, payload: str) -> None:
            tries.append(item)
            await Tag.objects.acreate(name=f"{item}")
            if tries.count(item) < 2:
                raise TimeoutError

    with nothing_is_kept():
        result = run(Command(), dry_run=True)
    assert (result.counts["done"], result.counts["skipped"], sorted(tries)) == (2, 1, [1, 1, 2, 2])
    assert result.would == {"testapp.Tag": {"created": 2}}


def test_a_dry_run_satisfies_nobody(run: Any) -> None:
    class Once(ac.AsyncCommand):
        run_once = True

        async def handle(self) -> bool:
            assert self.previous is None
            return self.dry_run

    assert run(Once(), dry_run=True).value is True
    assert run(Once()).value is False
    assert run(Once()).status is ac.RunStatus.SKIPPED
    assert run(Once(), dry_run=True).status is ac.RunStatus.SKIPPED
    with pytest.raises(InvalidCommand, match="A dry run keeps no ledger"):
        run(Numbers(), dry_run=True, resume=True)

    class Resumes(Numbers):
        option_defaults = {"resume": True}

    assert run(Resumes, dry_run=True).dry_run
    first = Run.objects.filter(command__endswith="Resumes").latest()
    with pytest.raises(InvalidCommand, match="is a dry run"):
        run(Resumes, resume_run=first.pk)
    assert run(Resumes, again=first.pk).dry_run, "a new run like it"


def test_a_run_within_a_dry_run_is_one(run: Any) -> None:
    class Outer(ac.AsyncCommand):
        async def handle(self) -> list[Any]:
            inner = await ac.arun(Numbers(count=2))
            return [inner.dry_run, inner.counts["done"], await Page.objects.acount()]

    class Plain(ac.AsyncCommand):
        def handle(self) -> list[Any]:
            inner = ac.run(Numbers(count=2))
            return [inner.dry_run, inner.counts["done"], Page.objects.count()]

    for command in (Outer(), Plain()):
        with nothing_is_kept():
            assert run(command, dry_run=True).value == [True, 2, 0]
    assert Run.objects.count() == 2


@pytest.mark.parametrize("ends", ["commit", "raw commit", "autocommit", "close"])
def test_an_item_cannot_end_its_transaction(run: Any, ends: str) -> None:
    def end() -> None:
        save("before")
        match ends:
            case "commit":
                connection.commit()
            case "raw commit":
                raw("COMMIT")
            case "autocommit":
                connection.set_autocommit(True)
            case "close":
                connection.close()
        save("after")

    class Command(Numbers):
        count: int = 1

        async def parse_and_save(self, item: int, payload: str) -> None:
            await self.db(end)

    if ends == "close" and connection.in_atomic_block:
        pytest.skip("it is the test's own connection")
    with nothing_is_kept():
        with pytest.raises(ac.RunFailed):
            run(Command(), dry_run=True)


@pytest.mark.parametrize("how", ["awaited", "plain"])
def test_a_refused_statement_that_handle_catches_breaks_nothing(run: Any, how: str) -> None:
    class Awaited(ac.AsyncCommand):
        async def handle(self) -> int:
            await Tag.objects.acreate(name="a")
            with pytest.raises(IntegrityError):
                await Tag.objects.acreate(name="a")
            with pytest.raises(IntegrityError):
                await Tag.objects.abulk_create([Tag(name="b"), Tag(name="a")])
            await Tag.objects.acreate(name="c")
            return await Tag.objects.acount()

    class Plain(ac.AsyncCommand):
        def handle(self) -> int:
            Tag.objects.create(name="a")
            with pytest.raises(IntegrityError):
                Tag.objects.create(name="a")
            with pytest.raises(IntegrityError):
                Tag.objects.bulk_create([Tag(name="b"), Tag(name="a")])
            Tag.objects.create(name="c")
            return Tag.objects.count()

    with nothing_is_kept():
        result = run({"awaited": Awaited, "plain": Plain}[how](), dry_run=True)
    assert result.value == 2
    assert result.would == {"testapp.Tag": {"created": 2}}


def test_a_time_out_is_recorded_once(run_on_lanes: Any) -> None:
    class Command(ac.AsyncCommand):
        async def handle(self) -> None:
            await Tag.objects.acreate(name="a")
            await anyio.sleep(30)

        def on_timeout(self) -> None:
            HERE.append("time out")
            if connection.vendor != "sqlite":  # where handle() has the only lock
                Tag.objects.create(name="b")

    with nothing_is_kept(), pytest.raises(ac.RunFailed):
        run_on_lanes(Command(), dry_run=True, timeout=0.2, grace=0.1)
    assert HERE == ["time out"]
    assert Run.objects.get().status == "failed"


def test_a_generator_of_rows_goes_on_over_the_end_of_its_transactions(run: Any) -> None:
    class Command(ac.IterateDownloadCommand[Tag, str]):
        def iterate(self):
            yield from Tag.objects.iterator(chunk_size=100)

        async def download(self, item: Tag) -> str:
            return item.name

        async def parse_and_save(self, item: Tag, payload: str) -> None:
            self.db.delete(item)

    Tag.objects.bulk_create([Tag(name=f"{number}") for number in range(220)])
    with nothing_is_kept():
        result = run(Command(), dry_run=True)
    assert result.counts["done"] == 220
    assert result.would == {"testapp.Tag": {"deleted": 220}}


def test_another_recorder_may_keep_the_run(run: Any) -> None:
    recorder = InMemoryRecorder()
    with nothing_is_kept():
        result = run(Numbers(), dry_run=True, recorder=recorder)
    assert result.would == {"testapp.Page": {"created": 4}}
    assert len(recorder.items) == 4


def test_what_runs_beside_a_dry_run_is_kept(transactional_db: None) -> None:
    """A server may make one: its other threads are nobody's."""
    goes_on, ended = threading.Event(), threading.Event()

    def request() -> None:
        goes_on.wait(20)
        try:
            save("of a request")
        finally:
            connection.close()
            ended.set()

    class Command(Numbers):
        count: int = 1

        async def parse_and_save(self, item: int, payload: str) -> None:
            goes_on.set()
            assert await sync_to_async(ended.wait, thread_sensitive=False)(20)
            self.db.add(Tag(name="of the run"))

    thread = threading.Thread(target=request)
    thread.start()
    result = ac.run(Command(), dry_run=True)
    thread.join()
    assert result.would == {"testapp.Tag": {"created": 1}}
    assert Tag.objects.get().name == "of a request"


class InATestCase(TestCase):
    def test_call_command(self) -> None:
        seed()
        with nothing_is_kept():
            result = ac.run(Numbers(), dry_run=True)
        assert result.would == {"testapp.Page": {"created": 4}}
        save("afterwards")
        assert Tag.objects.count() == 2


def test_what_mariadb_does_not_roll_back_is_refused(transactional_db: None) -> None:
    if connection.vendor != "mysql":
        pytest.skip("the others roll it back")
    raw("CREATE TABLE keeps_all (name varchar(20)) ENGINE = MyISAM")

    class Command(Numbers):
        count: int = 4

        async def parse_and_save(self, item: int, payload: str) -> None:
            await Tag.objects.acreate(name=payload)
            await self.db(raw, STATEMENTS[item])

    try:
        with nothing_is_kept():
            result = ac.run(Command(), dry_run=True)
    finally:
        raw("DROP TABLE keeps_all")
    assert (result.counts["done"], result.counts["dead"]) == (1, 3)
    assert {kind.kind for kind in result.errors} == {"NotSupportedError"}
    assert result.would == {"testapp.Tag": {"created": 1}}


STATEMENTS = (
    "CREATE TABLE another (name varchar(20))",
    "INSERT INTO keeps_all VALUES ('x')",
    "TRUNCATE TABLE testapp_effect",
    "SELECT COUNT(*) FROM keeps_all",
)


def test_tables_that_are_made_are_gone(run: Any) -> None:
    if connection.vendor == "mysql":
        pytest.skip("it is refused there")

    class Command(Numbers):
        count: int = 1

        async def parse_and_save(self, item: int, payload: str) -> None:
            await self.db(raw, "CREATE TABLE another (name varchar(20))")
            await self.db(raw, "INSERT INTO another VALUES ('x')")

    with nothing_is_kept():
        assert run(Command(), dry_run=True).would == {"another": {"created": 1}}


def test_files_of_models_get_no_further_than_their_objects(run: Any) -> None:
    if connection.vendor == "mysql" and connection.in_atomic_block:
        pytest.skip("to make a table would end the test's transaction")
    storage = InMemoryStorage()
    with isolate_apps("tests.testapp"):

        class Upload(models.Model):
            file = models.FileField(storage=storage, upload_to="uploads")

            class Meta:
                app_label = "testapp"
                db_table = "upload"

    with connection.cursor() as cursor:
        cursor.execute("CREATE TABLE upload (id integer primary key, file varchar(100))")
    old = Upload(pk=9)
    old.file.save("old.txt", ContentFile(b"kept"), save=False)

    class Command(Numbers):
        count: int = 1

        async def parse_and_save(self, item: int, payload: str) -> None:
            upload = Upload(pk=1)
            upload.file = ContentFile(b"gone", name="new.txt")
            self.db.add(upload)
            await self.db.flush()
            HERE.append(upload.file.name)
            assert upload.file.read() == b"gone"
            await self.db(old.file.delete, False)

    try:
        with nothing_is_kept():
            result = run(Command(), dry_run=True)
            assert HERE == ["uploads/new.txt"]
    finally:
        raw("DROP TABLE upload")
    assert (result.errors, result.would) == ([], {"upload": {"created": 1}})
    assert storage.listdir("uploads") == ([], ["old.txt"])


STEPS = [PATHS[name] for name in sorted(PATHS)]


@pytest.mark.django_db
@settings(max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.lists(st.sampled_from(STEPS), max_size=3, unique=True), min_size=1, max_size=3), st.booleans())
def test_whatever_items_do_a_dump_is_the_same_afterwards(items: list[list[Any]], failing: bool) -> None:
    class Command(Numbers):
        async def iterate(self):
            for number in range(len(items)):
                yield number

        async def parse_and_save(self, item: int, payload: str) -> None:
            for step in items[item]:
                async with self.db.atomic():
                    await step(self, item)
                    if failing and item:
                        raise ValueError("no")

    with transaction.atomic():
        seed()
        with nothing_is_kept():
            with suppress(ac.RunFailed):
                ac.run(Command(), dry_run=True)
        transaction.set_rollback(True)


class OnAThread(ac.AsyncCommand):
    """What `how` does with a connection, on the lane of handle()."""

    how: str

    async def handle(self) -> None:
        await self.db(getattr(self, self.how))

    def by_a_script(self) -> None:
        with connection.cursor() as cursor:
            cursor.executescript("INSERT INTO testapp_tag (name) VALUES ('script')")

    def by_a_copy(self) -> None:
        copy = connection.copy()
        try:
            with copy.cursor() as cursor:
                cursor.execute("INSERT INTO testapp_tag (name) VALUES ('copy')")
        finally:
            copy.close()


@pytest.mark.parametrize(
    ("how", "told"), [("by_a_script", "executescript"), ("by_a_copy", "A second connection to 'default'")]
)
def test_what_would_be_kept_is_refused(run: Any, how: str, told: str) -> None:
    if how == "by_a_script" and connection.vendor != "sqlite":
        pytest.skip("a method of SQLite's cursors")
    with nothing_is_kept(), pytest.raises(ac.RunFailed, match=told):
        run(OnAThread(how=how), dry_run=True)


def test_what_an_inner_run_would_write_the_outer_one_would(run: Any) -> None:
    class Inner(ac.AsyncCommand):
        async def handle(self) -> None:
            await Tag.objects.acreate(name="inner")

    class Outer(ac.AsyncCommand):
        async def handle(self) -> None:
            await Page.objects.acreate(url="outer")
            await ac.arun(Inner())

    with nothing_is_kept():
        result = run(Outer(), dry_run=True)
    assert result.would == {"testapp.Page": {"created": 1}, "testapp.Tag": {"created": 1}}
