"""`parse_and_save_many()`: many items by one call, in one unit of work, for sinks that have a bulk API."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import Any

import pytest
from django.db import connection

import async_commander as ac
from async_commander.models import RunItem
from async_commander.testing import InMemoryRecorder
from tests.testapp.models import Author, Effect

from .ledger import end_without_a_word, items_of, row_of


class Index(ac.IterateDownloadCommand[int, str]):
    """Each call is kept in `calls`; `guilty` items fail whenever they are in one."""

    batches = ac.Batches(size=8, seconds=0.05)
    limits = ac.Limits(threads=4, batch_size=20, max_failures=None)
    retry = ac.Retry(attempts=2, initial=0.001, factor=1.0)
    count = 30
    guilty: dict[int, Exception] = {}

    def iterate(self):
        return range(type(self).count)

    async def download(self, item: int) -> str:
        vars(self).setdefault("downloads", Counter())[item] += 1
        return f"payload {item}"

    async def parse_and_save_many(self, items: list[tuple[int, str]]) -> None:
        numbers = [item for item, _ in items]
        vars(self).setdefault("calls", []).append(numbers)
        await self.send(items)
        for item in numbers:
            if item in type(self).guilty:
                raise type(self).guilty[item]
            self.db.add(Effect(key=f"{item}"))

    async def send(self, items: Any) -> None:
        assert all(payload == f"payload {item}" for item, payload in items)

    def stop(self) -> None:
        from async_commander.runner.signals import open_run

        open_run.get().stops.ask()


Index.__annotations__.clear()


def effects() -> list[int]:
    return sorted(int(key) for key in Effect.objects.values_list("key", flat=True))


def test_calls_get_pairs_and_commit_together(run: Any) -> None:
    command = Index()
    result = run(command)
    assert (result.status, result.counts["done"]) == ("succeeded", 30)
    assert effects() == list(range(30))
    assert sorted(map(len, command.calls)) == [6, 8, 8, 8]
    row_of(result)
    assert {item.attempts for item in items_of(result)} == {1}


def test_without_a_download_calls_get_items_and_a_plain_hook_has_the_orm(run: Any) -> None:
    class Command(ac.DownloadIterateCommand[str, int]):
        batches = ac.Batches(size=5)

        async def download(self) -> str:
            return ""

        def iterate(self, payload: str):
            return range(12)

        def batch_key(self, item: int) -> int:
            return item % 2

        def parse_and_save_many(self, items: list[int]) -> None:
            assert len({item % 2 for item in items}) == 1
            for item in items:
                Author.objects.create(name=f"{item}")
            vars(self).setdefault("calls", []).append(len(items))

    command = Command()
    result = run(command)
    assert (result.status, Author.objects.count()) == ("succeeded", 12)
    assert sorted(command.calls) == [1, 1, 5, 5]
    row_of(result)


def test_only_the_guilty_ones_die_and_the_innocent_lose_no_attempt(run: Any) -> None:
    class Command(Index):
        guilty = {3: ValueError("bad"), 17: ConnectionError("again"), 29: ac.SkipItem("not wanted")}

    command = Command()
    result = run(command)
    counts = result.counts
    assert (counts["done"], counts["dead"], counts["skipped"]) == (27, 2, 1)
    assert effects() == [item for item in range(30) if item not in Command.guilty]
    assert {int(item.label): item.attempts for item in items_of(result, state="dead")} == {3: 1, 17: 2}
    assert command.downloads == {item: 2 if item == 17 else 1 for item in range(30)}
    row_of(result)


def test_a_row_that_does_not_fit_kills_its_item_only(run: Any) -> None:
    class Command(Index):
        async def parse_and_save_many(self, items: list[tuple[int, str]]) -> None:
            for item, _ in items:
                self.db.add(Effect(key=None if item == 11 else f"{item}"))

    result = run(Command())
    assert (result.counts["done"], result.counts["dead"]) == (29, 1)
    assert [item.label for item in items_of(result, state="dead")] == ["11"]
    assert effects() == [item for item in range(30) if item != 11]
    row_of(result)


def test_orm_calls_of_a_call_that_fails_are_rolled_back_with_it(run: Any) -> None:
    class Command(Index):
        guilty = {5: ValueError("bad")}

        async def send(self, items: Any) -> None:
            for item, _ in items:
                await Author.objects.acreate(name=f"{item}")

    result = run(Command())
    assert result.counts["done"] == 29
    assert sorted(int(name) for name in Author.objects.values_list("name", flat=True)) == effects()


def test_keys_values_and_acknowledgements_inside_a_call(run_on_lanes: Any) -> None:
    class Command(Index):
        keep_values = True
        guilty = {2: ValueError("bad")}
        keys: dict[tuple[int, ...], set[str]] = {}
        acknowledged: list[tuple[int, int]] = []

        async def parse_and_save_many(self, items: Any) -> int:
            self.keys.setdefault(tuple(item for item, _ in items), set()).add(self.idempotency_key)
            await super().parse_and_save_many(items)
            return len(items)

        async def committed(self, item: int, value: int) -> None:
            self.acknowledged.append((item, value))

    Command.__annotations__.clear()
    result = run_on_lanes(Command())
    assert sorted(item for item, _ in Command.acknowledged) == [item for item in range(30) if item != 2]
    assert sum(result.values) == 29
    assert all(len(keys) == 1 for keys in Command.keys.values())
    assert len(set().union(*Command.keys.values())) == len(Command.keys)


def test_items_may_be_brought_up_in_a_call(run: Any) -> None:
    class Command(Index):
        count = 10

        async def send(self, items: Any) -> None:
            self.follow(*(item + 100 for item, _ in items if item < 100))

    result = run(Command())
    assert effects() == [*range(10), *range(100, 110)]
    row_of(result)


def test_what_a_download_has_queued_is_written_with_the_call(run: Any) -> None:
    class Command(Index):
        guilty = {4: ValueError("bad")}

        async def download(self, item: int) -> str:
            self.db.add(Author(name=f"{item}"))
            return await super().download(item)

    run(Command())
    assert sorted(int(name) for name in Author.objects.values_list("name", flat=True)) == effects()
    assert len(effects()) == 29


def test_a_call_has_the_time_of_an_item_and_is_halved_when_it_is_over(run: Any) -> None:
    class Command(Index):
        limits = ac.Limits(threads=4, item_timeout=0.3, max_failures=None)
        count = 8

        async def send(self, items: Any) -> None:
            await asyncio.sleep(5 if any(item == 6 for item, _ in items) else 0)

    result = run(Command())
    assert (result.counts["done"], result.counts["dead"]) == (7, 1)
    assert [item.reason for item in items_of(result, state="dead")] == ["exhausted"]


def test_a_dry_run_writes_nothing_and_counts_all(run_on_lanes: Any) -> None:
    class Command(Index):
        async def download(self, item: int) -> str:
            await Author.objects.acreate(name="in the download")
            return await super().download(item)

        async def send(self, items: Any) -> None:
            await Author.objects.acreate(name="in the call")

    command = Command()
    result = run_on_lanes(command, dry_run=True)
    assert result.counts["done"] == 30
    assert not Effect.objects.exists()
    assert not Author.objects.exists()
    assert result.would["testapp.Effect"] == {"created": 30}
    assert result.would["testapp.Author"] == {"created": 30 + len(command.calls)}


def test_a_recorder_in_memory_keeps_each_item(run_on_lanes: Any) -> None:
    class Command(Index):
        async def parse_and_save_many(self, items: Any) -> None:
            pass

    recorder = InMemoryRecorder()
    assert ac.run(Command(), recorder=recorder).counts["done"] == 30
    assert len(recorder.items) == 30


def test_nothing_is_lost_or_doubled_by_a_stop_and_a_kill(run_on_lanes: Any) -> None:
    class Stops(Index):
        async def send(self, items: Any) -> None:
            if len(self.calls) == 2:
                self.stop()

    first = run_on_lanes(Stops())
    assert first.status == "interrupted"
    left = [item for item in range(30) if item not in effects()]
    assert left
    end_without_a_word(first.run_id, *left[:5])
    second = run_on_lanes(Stops, resume=True)
    while second.status == "interrupted":
        second = run_on_lanes(Stops, resume=True)
    assert second.run_id == first.run_id
    assert effects() == list(range(30))
    row_of(second)


def test_a_bot_gathers_messages_and_goes_on_without_them(run_on_lanes: Any) -> None:
    class Bot(Index):
        always_on = True
        guilty = {9: ValueError("bad")}

        async def iterate(self):
            for item in range(20):
                yield item
            await asyncio.sleep(0.3)
            self.stop()
            await asyncio.sleep(60)

    command = Bot()
    result = run_on_lanes(command)
    assert (result.counts["done"], result.counts["dead"]) == (19, 1)
    assert effects() == [item for item in range(20) if item != 9]
    assert RunItem.objects.filter(run_id=result.run_id).count() == 1


def test_items_of_one_line_are_in_calls_one_after_another(run: Any) -> None:
    class Command(Index):
        count = 24
        batches = ac.Batches(size=8, seconds=0.01)

        def order_key(self, item: int) -> int:
            return item % 6

        async def send(self, items: Any) -> None:
            lines = [item % 6 for item, _ in items]
            assert len(set(lines)) == len(lines)
            await super().send(items)

    result = run(Command())
    assert result.counts["done"] == 24
    keys = [int(key) for key in Effect.objects.order_by("pk").values_list("key", flat=True)]
    assert all([key for key in keys if key % 6 == line] == list(range(line, 24, 6)) for line in range(6))


@pytest.mark.parametrize(
    ("attributes", "told"),
    [
        (
            {"parse_and_save": lambda self, item, payload: None, "parse_and_save_many": lambda self, items: None},
            r"only one of them is called",
        ),
        ({"batches": 10}, r"batches is 10; allowed: ac.Batches"),
        ({"parse_and_save_many": None, "parse_and_save": lambda self, i, p: None}, r"parse_and_save_many is None"),
    ],
)
def test_mistakes_are_refused_with_the_remedy(attributes: Any, told: str) -> None:
    with pytest.raises(ac.InvalidCommand, match=told):
        type("Command", (Index,), {"__module__": __name__, **attributes})()


def test_of_a_class_and_its_base_the_class_has_the_last_word(run: Any) -> None:
    class Single(Index):
        batches = ac.Batches()

        async def parse_and_save(self, item: int, payload: str) -> None:
            self.db.add(Effect(key=f"{item}"))

    class Many(Single):
        parse_and_save_many = Index.parse_and_save_many

    with pytest.raises(ac.InvalidCommand, match="batches has no effect"):
        Single()
    command = Many()
    assert run(command).counts["done"] == 30
    assert command.calls


def test_what_would_have_no_effect_is_refused() -> None:
    class Command(ac.DownloadIterateCommand[str, int]):
        async def download(self) -> str:
            return ""

        def iterate(self, payload: str):
            return range(3)

        async def parse_and_save(self, item: int) -> None:
            pass

    for name, value in (("batch_key", lambda self, item: 1), ("batches", ac.Batches(size=3))):
        with pytest.raises(ac.InvalidCommand, match=f"{name}.* has no effect without parse_and_save_many"):
            type("Command", (Command,), {"__module__": __name__, name: value})()
    for words in ({"size": 0}, {"seconds": -1}, {"seconds": float("nan")}, {"size": 1.5}):
        with pytest.raises((TypeError, ValueError), match="is needed"):
            ac.Batches(**words)


def test_a_connection_that_is_lost_in_a_call_costs_nobody_an_attempt(run_on_lanes: Any) -> None:
    if connection.vendor != "postgresql":
        pytest.skip("a connection to SQLite is not lost")

    class Command(Index):
        retry = ac.Retry(attempts=1, initial=0.001)

        async def send(self, items: Any) -> None:
            if not vars(self).get("cut"):
                vars(self)["cut"] = True
                await self.db(self.cut_connection)

        def cut_connection(self) -> None:
            with connection.cursor() as cursor:
                cursor.execute("SELECT pg_terminate_backend(pg_backend_pid())")

    result = run_on_lanes(Command())
    assert (result.status, result.counts["done"]) == ("succeeded", 30)
    assert effects() == list(range(30))
