"""`--delete`: what a command finds to be deleted goes where it is said, and is counted where it is not."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import pytest

import async_commander as ac
from async_commander.exceptions import InvalidCommand
from async_commander.models import Run
from tests.testapp.models import Page, Tag


class TidyUp(ac.IterateDownloadCommand[Tag, str]):
    """Delete tags that nobody wants."""

    deletes = True
    retry = ac.Retry(attempts=2, initial=0.001)

    async def iterate(self):
        return Tag.objects.all()

    async def download(self, item: Tag) -> str:
        return item.name

    async def parse_and_save(self, item: Tag, payload: str) -> None:
        self.db.add(Page(url=f"seen {payload}"))
        self.db.delete(item)
        if payload == "broken":
            raise ValueError("no")

    async def cleanup(self) -> None:
        self.db.delete(await Page.objects.aget(url="old"))


@pytest.fixture
def tags() -> None:
    Tag.objects.bulk_create([Tag(name=name) for name in ("a", "b", "broken")])
    Page.objects.create(url="old")


def names() -> set[str]:
    return set(Tag.objects.values_list("name", flat=True))


def test_without_it_nothing_is_deleted_and_what_would_be_is_told(run: Any, request: Any) -> None:
    request.getfixturevalue("tags")
    result = run(TidyUp(), max_failures=None)
    assert result.counts["done"] == 2
    assert names() == {"a", "b", "broken"}
    assert set(Page.objects.values_list("url", flat=True)) == {"old", "seen a", "seen b"}
    would = {"testapp.Page": {"undeleted": 1}, "testapp.Tag": {"undeleted": 2}}
    assert result.would == Run.objects.get().would == would


def test_with_it_they_go(run: Any, request: Any) -> None:
    request.getfixturevalue("tags")
    result = run(TidyUp(), max_failures=None, delete=True)
    assert (names(), result.would) == ({"broken"}, {})
    assert Run.objects.get().options == {"delete": True}
    assert not Page.objects.filter(url="old").exists()


def test_a_dry_run_tells_the_two_apart(run: Any, request: Any) -> None:
    request.getfixturevalue("tags")
    with_it = run(TidyUp(), max_failures=None, dry_run=True, delete=True)
    without = run(TidyUp(), max_failures=None, dry_run=True)
    assert with_it.would == {"testapp.Page": {"created": 2, "deleted": 1}, "testapp.Tag": {"deleted": 2}}
    assert without.would == {"testapp.Page": {"created": 2, "undeleted": 1}, "testapp.Tag": {"undeleted": 2}}
    assert (len(names()), Page.objects.count()) == (3, 1)


def test_a_class_may_delete_by_default(run: Any, request: Any) -> None:
    class Deletes(TidyUp):
        option_defaults = {"delete": True}

    request.getfixturevalue("tags")
    run(Deletes, max_failures=None)
    assert names() == {"broken"}


def test_a_command_without_it_deletes_as_ever(run: Any, request: Any) -> None:
    class Plain(ac.AsyncCommand):
        async def handle(self) -> bool:
            self.db.delete(*[tag async for tag in Tag.objects.all()])
            return self.delete

    request.getfixturevalue("tags")
    with pytest.raises(InvalidCommand, match=r"delete=True has no effect here: .* has no `deletes = True`"):
        run(Plain(), delete=True)
    assert run(Plain()).value is False
    assert names() == set()


def test_a_plain_command_and_its_steps_hold_it_back_too(run: Any, request: Any) -> None:
    class Plain(ac.AsyncCommand):
        deletes = True

        async def handle(self) -> bool:
            self.db.delete(*[tag async for tag in Tag.objects.filter(name="a")])
            await self.step("rest", self.rest)
            return self.delete

        async def rest(self) -> None:
            self.db.delete(*[tag async for tag in Tag.objects.exclude(name="a")])

    request.getfixturevalue("tags")
    assert run(Plain()).would == {"testapp.Tag": {"undeleted": 3}}
    assert run(Plain(), dry_run=True).would == {"testapp.Tag": {"undeleted": 3}}
    assert len(names()) == 3
    assert run(Plain(), delete=True).value is True
    assert names() == set()


def test_a_resume_does_what_the_run_was_asked_for(run: Any, request: Any) -> None:
    class Stops(TidyUp):
        stops = True

        async def download(self, item: Tag) -> str:
            if Stops.stops and item.name == "b":
                raise RuntimeError("the run is broken")
            return item.name

    request.getfixturevalue("tags")
    with pytest.raises(ac.RunFailed):
        run(Stops(), threads=1, max_failures=0)
    Stops.stops = False
    result = run(Stops(), resume=True, delete=True, max_failures=None)
    assert len(names()) == 3
    assert Run.objects.get().would["testapp.Tag"] == {"undeleted": 1}
    assert "testapp.Tag" not in result.would


def test_what_a_savepoint_took_back_and_what_is_there_twice_does_not_count(run: Any, request: Any) -> None:
    class Twice(ac.IterateDownloadCommand[Tag, None]):
        deletes = True

        def iterate(self) -> Any:
            return Tag.objects.filter(name="a")

        async def download(self, tag: Tag) -> None: ...

        async def parse_and_save(self, tag: Tag, payload: None) -> None:
            self.db.delete(tag)
            self.db.delete(tag)
            with suppress(ValueError):
                async with self.db.atomic():
                    self.db.delete(await Tag.objects.aget(name="b"))
                    raise ValueError("taken back")

    request.getfixturevalue("tags")
    assert run(Twice()).would == {"testapp.Tag": {"undeleted": 1}}
