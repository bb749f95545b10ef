"""Rows that wait in the ledger come back from the database that they are in, with all that the source gave them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Annotated, Any

import pytest
from django.db import connections
from django.db.models import QuerySet, Value
from django.test import override_settings
from django.utils import timezone

import async_commander as ac
from async_commander.command.items import item_from_json, item_to_json
from async_commander.models import Run, RunItem
from tests.testapp.models import Author, Book, Effect

from .ledger import items_of, row_of

pytestmark = pytest.mark.timeout(30)

COUNT = 40
"""More than the ten that wait in memory for one worker."""


class FailsOnce(ac.IterateDownloadCommand[Any, str]):
    limits = ac.Limits(threads=1, max_failures=None)
    retry = ac.Retry(attempts=3, initial=0.01)

    @asynccontextmanager
    async def lifespan(self):
        self.seen: set[str] = set()
        yield

    async def download(self, item: Any) -> str:
        if self.item_key(item) not in self.seen:
            self.seen.add(self.item_key(item))
            raise TimeoutError
        return self.look_at(item)

    def look_at(self, item: Any) -> str:
        return item.name

    async def parse_and_save(self, item: Any, payload: str) -> None:
        self.db.add(Effect(key=payload))


def effects() -> list[str]:
    return sorted(Effect.objects.values_list("key", flat=True))


def names(prefix: str) -> list[str]:
    return [f"{prefix} {number:02}" for number in range(COUNT)]


@pytest.fixture
def authors(transactional_db: None) -> list[Author]:
    return Author.objects.bulk_create([Author(name=name) for name in names("here")])


class ToElsewhere:
    def db_for_read(self, model: type, **hints: object) -> str | None:
        return "elsewhere" if model is Author else None


@pytest.fixture
def elsewhere(transactional_db: None, tmp_path: Path) -> Iterator[None]:
    """A second database, whose authors have the same primary keys and other names."""
    connections.settings["elsewhere"] = {
        **connections.settings["default"],
        "ENGINE": "django.db.backends.sqlite3",
        "NAME": tmp_path / "elsewhere.sqlite3",
        "OPTIONS": {"timeout": 20, "transaction_mode": "IMMEDIATE"},
    }
    try:
        with connections["elsewhere"].schema_editor() as editor:
            editor.create_model(Author)
        here = Author.objects.bulk_create([Author(name=name) for name in names("here")])
        there = [Author(pk=author.pk, name=author.name.replace("here", "there")) for author in here]
        Author.objects.using("elsewhere").bulk_create(there)
        yield
    finally:
        connections["elsewhere"].close()
        del connections["elsewhere"]
        del connections.settings["elsewhere"]


@pytest.mark.parametrize("how", ["by a router", "by using()", "in a generator"])
def test_rows_of_another_database_come_back_from_there(run_on_lanes: Any, elsewhere: None, how: str) -> None:
    class Returned(FailsOnce):
        async def iterate(self):
            return Author.objects.all() if how == "by a router" else Author.objects.using("elsewhere")

    class Yielded(FailsOnce):
        def iterate(self):
            yield from Author.objects.using("elsewhere")

    with override_settings(DATABASE_ROUTERS=[ToElsewhere()] if how == "by a router" else []):
        row = row_of(run_on_lanes(Yielded() if how == "in a generator" else Returned()))
    assert (row.status, row.done, row.skipped) == ("succeeded", COUNT, 0)
    assert effects() == names("there")


def test_a_router_does_not_redirect_what_was_read_past_it(run_on_lanes: Any, elsewhere: None) -> None:
    class Command(FailsOnce):
        async def iterate(self):
            return Author.objects.using("default")

    with override_settings(DATABASE_ROUTERS=[ToElsewhere()]):
        row = row_of(run_on_lanes(Command()))
    assert (row.status, row.done) == ("succeeded", COUNT)
    assert effects() == names("here")


def test_an_item_that_is_stored_without_its_database_is_read_where_its_model_is(elsewhere: None) -> None:
    author = Author.objects.first()
    assert author is not None
    stored = item_to_json(author)
    assert stored == {"model": "testapp.Author", "pk": author.pk}
    assert item_from_json(stored).name == "here 00"
    with override_settings(DATABASE_ROUTERS=[ToElsewhere()]):
        assert item_from_json(stored).name == "there 00"
        assert item_from_json(item_to_json(author)).name == "here 00"
    there = Author.objects.using("elsewhere").get(pk=author.pk)
    assert item_from_json(item_to_json([there])) == [there]
    assert item_from_json(item_to_json([there]))[0].name == "there 00"


class WithFive(FailsOnce):
    async def iterate(self):
        return Author.objects.annotate(five=Value(5)).filter(name__startswith="here")

    def look_at(self, item: Any) -> str:
        return f"{item.five} {item.name}"


def test_annotations_come_back(run_on_lanes: Any, authors: list[Author]) -> None:
    row = row_of(run_on_lanes(WithFive()))
    assert (row.status, row.done, row.dead) == ("succeeded", COUNT, 0)
    assert effects() == [f"5 {name}" for name in names("here")]


def test_related_rows_come_back(run_on_lanes: Any, authors: list[Author]) -> None:
    class Command(FailsOnce):
        async def iterate(self):
            return Book.objects.select_related("author")

        def look_at(self, item: Any) -> str:
            return item.author.name

    Book.objects.bulk_create([Book(author=author, title="", isbn=author.name) for author in authors])
    row = row_of(run_on_lanes(Command()))
    assert (row.status, row.done, row.dead) == ("succeeded", COUNT, 0)
    assert effects() == names("here")


def test_a_resume_reads_what_waits_as_the_source_gives_it(run_on_lanes: Any, authors: list[Author]) -> None:
    class Command(WithFive):
        at_last: Annotated[bool, ac.Option(identity=False)] = False

        retry = ac.Retry(attempts=3, initial=60)

        async def download(self, item: Any) -> str:
            if self.at_last:
                return self.look_at(item)
            if len(self.seen) == COUNT - 1:
                raise MemoryError
            return await super().download(item)

    with pytest.raises(ac.RunFailed) as raised:
        run_on_lanes(Command())
    assert RunItem.objects.filter(state="retry").count() >= COUNT // 2
    RunItem.objects.filter(state="retry").update(next_at=timezone.now())
    Run.objects.update(options={})
    result = run_on_lanes(Command(at_last=True), resume=True)
    assert result.run_id == raised.value.result.run_id
    assert (result.status, result.counts["done"]) == ("succeeded", COUNT)
    assert effects() == [f"5 {name}" for name in names("here")]


def test_a_row_that_left_the_queryset_is_run_and_one_that_is_gone_is_not(
    run_on_lanes: Any, authors: list[Author]
) -> None:
    class Command(FailsOnce):
        async def iterate(self):
            return Author.objects.annotate(five=Value(5)).filter(name__startswith="here")

        async def download(self, item: Any) -> str:
            if self.item_key(item) == self.item_key(authors[-1]) and len(self.seen) == COUNT - 1:
                await Author.objects.filter(pk=authors[20].pk).aupdate(name="left")
                await Author.objects.filter(pk=authors[21].pk).adelete()
            return await super().download(item)

        def look_at(self, item: Any) -> str:
            return f"{getattr(item, 'five', None)} {item.name}"

    result = run_on_lanes(Command())
    row = row_of(result)
    assert (row.status, row.done, row.skipped) == ("succeeded", COUNT - 1, 1)
    assert [(one.reason, one.label) for one in items_of(result, state="skipped")] == [
        ("gone", f"testapp.Author {authors[21].pk}")
    ]
    assert "None left" in effects()
    assert effects().count("5 here 00") == 1


def test_rows_of_one_chunk_are_read_in_one_query(run_on_lanes: Any, authors: list[Author]) -> None:
    asked: list[int] = []

    class Asked(QuerySet[Author]):
        def filter(self, *args: Any, **kwargs: Any) -> Any:
            asked.extend(len(value) for name, value in kwargs.items() if name == "pk__in")
            return super().filter(*args, **kwargs)

    class Command(WithFive):
        async def iterate(self):
            return Asked(Author).annotate(five=Value(5)).filter(name__startswith="here")

    assert run_on_lanes(Command()).counts["done"] == COUNT
    assert asked
    assert RunItem.objects.count() == COUNT
    assert max(asked) > 1


def test_an_item_that_another_one_brought_up_need_not_be_in_the_queryset(
    run_on_lanes: Any, authors: list[Author]
) -> None:
    class Command(FailsOnce):
        async def iterate(self):
            return Author.objects.annotate(five=Value(5)).filter(name="here 00")

        def look_at(self, item: Any) -> str:
            if hasattr(item, "five"):
                self.follow(*authors[1:3], {"author": authors[3]}, "a text")
            return str(item["author"].name) if isinstance(item, dict) else getattr(item, "name", item)

    row = row_of(run_on_lanes(Command()))
    assert (row.status, row.done) == ("succeeded", 5)
    assert effects() == ["a text", "here 00", "here 01", "here 02", "here 03"]
