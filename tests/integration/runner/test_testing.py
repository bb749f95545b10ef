"""What the tests of commands are written with."""

from __future__ import annotations

from typing import Any

import pytest
from django.test import TestCase

import async_commander as ac
from async_commander.models import Run
from async_commander.results import ItemState
from async_commander.testing import InMemoryRecorder, run_command
from tests.testapp.models import Author, Effect

from .ledger import row_of


class CopyAuthors(ac.IterateDownloadCommand[Author, str]):
    async def iterate(self):
        return Author.objects.all()

    async def download(self, item: Author) -> str:
        return item.name

    async def parse_and_save(self, item: Author, payload: str) -> None:
        self.db.add(Effect(key=payload))
        await Effect.objects.acreate(key=f"{payload} by the orm")


class TestInADjangoTestCase(TestCase):
    @classmethod
    def setUpTestData(cls) -> None:
        Author.objects.create(name="of the class")

    def test_1_sees_the_rows_of_the_test(self) -> None:
        Author.objects.create(name="of the test")
        result = run_command(CopyAuthors())
        assert result.counts["done"] == 2
        assert Effect.objects.count() == 4
        assert row_of(result).accounts

    def test_2_nothing_is_left_of_it(self) -> None:
        assert not Effect.objects.exists()
        assert not Run.objects.exists()
        assert Author.objects.get().name == "of the class"


@pytest.mark.django_db
@pytest.mark.parametrize("time", [1, 2])
def test_a_run_in_a_plain_database_test_rolls_back(time: int) -> None:
    assert not Run.objects.exists()
    Author.objects.create(name="of the test")
    assert run_command(CopyAuthors()).counts["done"] == 1
    assert Effect.objects.count() == 2


class Letters(ac.IterateDownloadCommand[str, str]):
    """Needs no database."""

    retry = ac.Retry(attempts=2, initial=0.001)
    keep_values = True

    async def iterate(self):
        return list("abca")

    async def download(self, item: str) -> str:
        self.log.info("downloading %s", item)
        return item.upper()

    async def parse_and_save(self, item: str, payload: str) -> str:
        return payload


def outcomes(recorder: InMemoryRecorder) -> dict[str, ItemState]:
    return {outcome.label: outcome.state for outcome in recorder.items.values()}


def test_a_run_recorded_in_memory_touches_no_database() -> None:
    recorder = InMemoryRecorder()
    result = run_command(Letters(), recorder=recorder)
    assert sorted(result.values) == ["A", "B", "C"]
    assert result.counts == {"taken": 4, "done": 3, "skipped": 1, "dead": 0, "retry": 0, "claimed": 0}
    assert outcomes(recorder) == dict.fromkeys("abc", ItemState.DONE)
    assert recorder.ending is not None
    assert recorder.ending.status is ac.RunStatus.SUCCEEDED


def test_what_a_recorder_in_memory_was_told_can_be_looked_at(caplog: pytest.LogCaptureFixture) -> None:
    class Fails(Letters):
        async def download(self, item: str) -> str:
            self.log.warning("downloading %s", item)
            if item == "b":
                raise TimeoutError("slow")
            return item

    recorder = InMemoryRecorder()
    result = run_command(Fails(), recorder=recorder)
    assert result.status is ac.RunStatus.PARTIAL
    assert outcomes(recorder)["b"] is ItemState.DEAD
    assert recorder.errors["TimeoutError"].count == 2
    assert any(line.message == "downloading a" for line in recorder.logs)
    assert {one.stage for one in recorder.slices} >= {"download", "parse", "item"}


@pytest.mark.asyncio
async def test_arun_is_recorded_in_memory_too() -> None:
    recorder = InMemoryRecorder()
    result = await ac.arun(Letters(), recorder=recorder)
    assert result.counts["done"] == 3


def test_followed_items_run_in_memory() -> None:
    class Follows(Letters):
        async def parse_and_save(self, item: str, payload: str) -> str:
            if len(item) < 3:
                self.follow(item + "x")
            return payload

    recorder = InMemoryRecorder()
    assert run_command(Follows(), recorder=recorder).counts["done"] == 9
    assert outcomes(recorder)["axx"] is ItemState.DONE


def test_a_run_in_memory_is_resumed() -> None:
    class Breaks(Letters):
        broken = True

        async def iterate(self):
            for item in "abcdef":
                if item == "d" and self.broken:
                    raise ValueError("the source broke")
                yield item

    recorder = InMemoryRecorder()
    with pytest.raises(ac.RunFailed):
        run_command(Breaks(), recorder=recorder)
    first = len(recorder.items)
    again = Breaks()
    again.broken = False
    result = run_command(again, recorder=recorder, resume=True)
    assert result.counts["done"] == 6
    assert len(result.values) == 6 - first
    assert recorder.epoch == 2


@pytest.mark.django_db
def test_rows_are_written_by_a_run_in_memory_all_the_same() -> None:
    Author.objects.create(name="a")
    recorder = InMemoryRecorder()
    run_command(CopyAuthors(), recorder=recorder)
    assert Effect.objects.count() == 2
    assert not Run.objects.exists()


def test_there_is_no_row_of_a_run_in_memory() -> None:
    class Asks(ac.AsyncCommand):
        async def handle(self) -> Any:
            assert self.previous is None
            return self.record

    with pytest.raises(ac.RunFailed, match="not recorded in a database"):
        run_command(Asks(), recorder=InMemoryRecorder())
