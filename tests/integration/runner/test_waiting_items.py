"""Items that wait in the ledger: for their time, for the source, for a resume."""

from __future__ import annotations

from typing import Annotated, Any

import pytest
from django.db import connection

import async_commander as ac
from async_commander.command.identity import item_key
from async_commander.models import Run, RunItem
from async_commander.testing import InMemoryRecorder
from tests.testapp.models import Author, Effect

from .ledger import end_without_a_word, row_of


class Numbers(ac.IterateDownloadCommand[Any, str]):
    count: int = 40

    limits = ac.Limits(threads=1)
    retry = ac.Retry(attempts=3, initial=0.05, factor=1.0, maximum=0.1)

    def item(self, number: int) -> Any:
        return f"item {number}"

    async def iterate(self):
        for number in range(self.count):
            yield self.item(number)

    async def download(self, item: Any) -> str:
        return ""

    async def parse_and_save(self, item: Any, payload: str) -> None:
        self.db.add(Effect(key=self.item_key(item)))


class FailsOnce(Numbers):
    async def download(self, item: Any) -> str:
        if item not in vars(self).setdefault("seen", set()):
            vars(self)["seen"].add(item)
            raise ConnectionError("not yet")
        return ""


def test_more_items_than_the_heap_holds_wait_in_the_ledger_and_are_all_done(run: Any) -> None:
    result = run(FailsOnce())
    assert (result.status, result.counts["done"], result.counts["retry"]) == ("succeeded", 40, 0)
    assert Effect.objects.count() == 40
    row_of(result)


def test_more_items_than_the_heap_holds_wait_in_memory_too() -> None:
    recorder = InMemoryRecorder()

    class WritesNothing(FailsOnce):
        async def parse_and_save(self, item: Any, payload: str) -> None:
            pass

    result = ac.run(WritesNothing(), recorder=recorder)
    assert (result.status, result.counts["done"], result.counts["retry"]) == ("succeeded", 40, 0)


class Odd:
    """Nothing that JSON can keep."""

    def __init__(self, number: int) -> None:
        self.number = number


class OddItems(FailsOnce):
    count: int = 30

    def item(self, number: int) -> Any:
        return Odd(number)

    def item_key(self, item: Any) -> str:
        return f"odd {item.number}"

    async def download(self, item: Any) -> str:
        assert isinstance(item, Odd)
        return "" if self.second else await super().download(self.item_key(item))

    second: Annotated[bool, ac.Option(identity=False)] = False


def test_items_that_cannot_be_kept_wait_for_the_source(run_on_lanes: Any) -> None:
    first = run_on_lanes(OddItems())
    assert first.status == "interrupted"
    assert first.counts["done"] + first.counts["retry"] == 30
    row_of(first)
    Run.objects.update(options={})
    second = run_on_lanes(OddItems(second=True), resume=True)
    assert (second.status, second.counts["done"], second.counts["dead"]) == ("succeeded", 30, 0)
    assert Effect.objects.count() == 30
    row_of(second)


def test_a_crashed_run_with_max_items_is_resumed_to_its_bound(run_on_lanes: Any) -> None:
    first = run_on_lanes(Numbers(), max_items=16)
    assert first.counts["done"] == 16
    lost = [f"item {number}" for number in range(4, 12)]
    Effect.objects.filter(key__in=[item_key(item) for item in lost]).delete()
    RunItem.objects.filter(run_id=first.run_id, label__in=lost).delete()
    Run.objects.filter(pk=first.run_id).update(taken=8, done=8)
    end_without_a_word(first.run_id, *lost)
    second = run_on_lanes(Numbers(), resume=True)
    assert second.run_id == first.run_id
    assert (second.status, second.counts["taken"], second.counts["done"]) == ("succeeded", 16, 16)
    assert Effect.objects.count() == 16
    row_of(second)


class Overlapping(Numbers):
    """Each item follows the next ones, which the source yields as well."""

    count: int = 200
    limits = ac.Limits(threads=8, batch_size=20)

    async def parse_and_save(self, item: str, payload: str) -> None:
        await super().parse_and_save(item, payload)
        number = int(item.split()[1])
        self.follow(*(f"item {next_one}" for next_one in range(number, min(number + 40, self.count))))


def test_following_what_the_source_yields_too_runs_everything_once(run_on_lanes: Any) -> None:
    result = run_on_lanes(Overlapping())
    assert (result.status, result.counts["done"]) == ("succeeded", 200)
    assert Effect.objects.count() == 200
    assert RunItem.objects.filter(run_id=result.run_id, state="done").count() == 200
    assert Run.objects.get(pk=result.run_id).accounts


class Unspeakable(Exception):
    def __str__(self) -> str:
        raise RuntimeError("no words")


class Strange(Numbers):
    count: int = 4

    def item(self, number: int) -> Any:
        return f"https://example.org/{'x' * 160}?token=abcdefgh&n={number}"

    async def parse_and_save(self, item: str, payload: str) -> None:
        number = int(item[-1])
        if number == 0:
            raise ac.SkipItem("\x00\ud800 half a letter")
        if number == 1:
            raise Unspeakable
        if number == 2:
            raise ValueError("\x00 and \udfff")
        self.db.add(Effect(key=str(number)))


def test_no_text_of_an_item_ends_the_run(run: Any) -> None:
    result = run(Strange())
    assert (result.status, result.counts["done"], result.counts["dead"]) == ("partial", 1, 2)
    row_of(result)
    for row in RunItem.objects.filter(run_id=result.run_id):
        assert "abcdefgh" not in row.label
        assert len(row.label) <= 200
    assert RunItem.objects.get(run_id=result.run_id, state="skipped").reason.endswith("half a letter")


class Authors(ac.IterateDownloadCommand[Author, str]):
    limits = ac.Limits(threads=1)
    retry = ac.Retry(attempts=3, initial=0.01, maximum=0.02)

    async def iterate(self):
        return Author.objects.all()

    async def download(self, item: Author) -> str:
        if item.pk not in vars(self).setdefault("seen", set()):
            vars(self)["seen"].add(item.pk)
            raise ConnectionError("not yet")
        return ""

    async def parse_and_save(self, item: Author, payload: str) -> None:
        self.db.add(Effect(key=item.name))


def test_rows_that_waited_in_the_ledger_are_read_again(run: Any) -> None:
    Author.objects.bulk_create([Author(name=f"author {number}") for number in range(25)])
    result = run(Authors(), database=connection.alias)
    assert (result.status, result.counts["done"]) == ("succeeded", 25)
    assert Effect.objects.count() == 25


@pytest.mark.parametrize("threads", [1, 8])
def test_every_item_that_waits_is_counted_as_waiting_until_it_is_done(run_on_lanes: Any, threads: int) -> None:
    result = run_on_lanes(FailsOnce(), threads=threads)
    assert row_of(result).retry == 0
