"""`order_key()`: items of one key one after another, in the order of the source, whatever happens in between."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from contextlib import asynccontextmanager
from typing import Any

import pytest
from django.db import models

import async_commander as ac
from async_commander.command.identity import item_key, key_uuid
from async_commander.models import Run, RunItem
from async_commander.testing import InMemoryRecorder
from tests.testapp.models import Effect

from .ledger import end_without_a_word, items_of, row_of


class Chats(ac.DownloadIterateCommand[str, list[Any]]):
    """Messages are `[chat, number]`. Each commit is a row; `began` is the order of the attempts."""

    limits = ac.Limits(threads=4, max_failures=None)
    retry = ac.Retry(attempts=3, initial=0.001, factor=1.0)
    source: tuple[Any, ...] = ()
    fails: dict[tuple[str, int], int] = {}
    stops_at: tuple[str, int] | None = None

    def order_key(self, message: list[Any]) -> str:
        return message[0]

    @asynccontextmanager
    async def lifespan(self):
        self.began, self.attempts, self.in_hand = [], defaultdict(int), set()
        self.others = set()
        yield

    async def download(self) -> str:
        return ""

    async def iterate(self, payload: str):
        for message in type(self).source:
            yield list(message)

    async def parse_and_save(self, message: list[Any]) -> None:
        chat, number = message
        assert chat not in self.in_hand
        self.in_hand.add(chat)
        self.began.append((chat, number))
        self.attempts[chat, number] += 1
        await asyncio.sleep(0)
        self.in_hand.discard(chat)
        if self.attempts[chat, number] <= self.fails.get((chat, number), 0):
            raise ConnectionError("not yet")
        if (chat, number) == self.stops_at:
            self.stop()
        self.db.add(Effect(key=f"{chat} {number}"))

    def stop(self) -> None:
        from async_commander.runner.signals import open_run

        open_run.get().stops.ask()  # as Ctrl-C does


# What an annotated attribute would make an option of.
for name in ("source", "fails", "stops_at"):
    Chats.__annotations__.pop(name)


def committed(chat: str) -> list[int]:
    """The numbers of a chat, in the order of their rows."""
    keys = Effect.objects.order_by("pk").values_list("key", flat=True)
    return [int(number) for name, number in map(str.split, keys) if name == chat]


def of(*chats: str, count: int = 20) -> tuple[tuple[str, int], ...]:
    return tuple((chat, number) for number in range(count) for chat in chats)


def test_messages_of_a_chat_are_committed_in_their_order(run: Any) -> None:
    class Command(Chats):
        source = of("a", "b", "c")
        fails = {("a", 3): 2, ("b", 0): 1, ("c", 19): 9}

    command = Command()
    result = run(command)
    assert (result.counts["done"], result.counts["dead"]) == (59, 1)
    assert committed("a") == committed("b") == list(range(20))
    assert committed("c") == list(range(19))
    row_of(result)


class Hot(Chats):
    """A long line first, and others behind it: its first message waits for theirs."""

    limits = ac.Limits(threads=2, batch_size=20)
    source = (*(("hot", number) for number in range(70)), *((f"other{number}", 0) for number in range(10)))

    async def parse_and_save(self, message: list[Any]) -> None:
        if message[0] != "hot":
            self.others.add(message[0])
        while message[0] == "hot" and len(self.others) < 10 and not self.record.done:
            await asyncio.sleep(0.001)
        await super().parse_and_save(message)


def test_a_long_line_does_not_keep_others_from_being_read(run: Any) -> None:
    result = run(Hot())
    assert (result.status, result.counts["done"]) == ("succeeded", 80)
    assert committed("hot") == list(range(70))
    row_of(result)
    assert not RunItem.objects.filter(run_id=result.run_id).exclude(state="done").exists()


def test_what_was_put_by_comes_in_order_after_a_stop_and_a_kill(run_on_lanes: Any) -> None:
    class Stops(Hot):
        stops_at = ("hot", 5)

    first = run_on_lanes(Stops())
    assert first.status == "interrupted"
    waiting = RunItem.objects.filter(run_id=first.run_id, state="retry", line=key_uuid("hot"))
    assert waiting.count() > 30
    assert waiting.filter(next_at=None).exists()
    second = run_on_lanes(Stops, resume=True)
    assert (second.run_id, second.status, second.counts["done"]) == (first.run_id, "succeeded", 80)
    assert committed("hot") == list(range(70))
    row_of(second)


def test_after_a_kill_the_ones_in_hand_and_the_ones_in_the_ledger_come_in_the_order_of_the_source(
    run_on_lanes: Any,
) -> None:
    class Stops(Chats):
        source = of("a", "b", count=40)
        stops_at = ("a", 4)
        fails = {("a", 9): 1}

    first = run_on_lanes(Stops())
    assert first.status == "interrupted"
    done = set(committed("a"))
    # as if killed with two in hand, and with later ones in the ledger, as retries and as put by
    rest = [number for number in range(40) if number not in done]
    RunItem.objects.filter(run_id=first.run_id, line__isnull=False).delete()
    for number, next_at in ((rest[2], models.functions.Now()), (rest[4], None), (rest[3], None)):
        message = ["a", number]
        RunItem.objects.create(
            run_id=first.run_id, key=key_uuid(item_key(message)), item=message, label=str(message),
            state="retry", line=key_uuid("a"), next_at=next_at, attempts=1,
        )  # fmt: skip
    Run.objects.filter(pk=first.run_id).update(taken=models.F("done") + 3, retry=3, claimed=0)
    end_without_a_word(first.run_id, ["a", rest[0]], ["a", rest[1]])
    second = run_on_lanes(Stops, resume=True)
    assert second.status == "succeeded"
    assert committed("a") == committed("b") == list(range(40))
    row_of(second)


def test_those_that_a_kill_found_in_hand_keep_their_order_when_they_are_put_by(run_on_lanes: Any) -> None:
    class Stops(Chats):
        source = of("a", count=60)
        stops_at = ("a", 4)

    first = run_on_lanes(Stops())
    assert first.status == "interrupted"
    done = committed("a")
    RunItem.objects.filter(run_id=first.run_id, line__isnull=False).delete()
    Run.objects.filter(pk=first.run_id).update(taken=models.F("done"), retry=0, claimed=0)
    # of these only the keys are known: what the ledger writes of them has no order
    end_without_a_word(first.run_id, *(["a", number] for number in range(len(done), 50)))
    second = run_on_lanes(Stops, resume=True)
    assert second.status == "succeeded"
    assert committed("a") == list(range(60))
    row_of(second)


def test_retried_failures_come_in_the_order_of_the_source(run_on_lanes: Any) -> None:
    class Fails(Chats):
        source = of("a", "b", count=12)
        fails = {("a", 9): 3, ("a", 2): 3, ("a", 5): 3, ("b", 1): 3}

    first = run_on_lanes(Fails())
    assert (first.status, first.counts["dead"]) == ("partial", 4)
    assert {item.line for item in items_of(first, state="dead")} == {key_uuid("a"), key_uuid("b")}

    class Works(Fails):
        fails = {}

    Works.__qualname__, Works.__name__ = Fails.__qualname__, Fails.__name__
    command = Works()
    second = ac.run(command, retry_failed=first.run_id)
    assert (second.status, second.counts["dead"]) == ("succeeded", 0)
    assert [message for message in command.began if message[0] == "a"] == [("a", 2), ("a", 5), ("a", 9)]
    row_of(second)


class Follows(Chats):
    """Each parent brings up messages of one chat."""

    source = (("parent", 0), ("parent", 1))

    async def parse_and_save(self, message: list[Any]) -> None:
        await super().parse_and_save(message)
        if message[0] == "parent":
            self.follow(*(["child", number + 30 * message[1]] for number in range(30)))


def test_followed_items_come_after_their_parent_in_the_order_given(run: Any) -> None:
    class Fails(Follows):
        fails = {("child", 7): 2, ("child", 40): 1}

    result = run(Fails())
    assert (result.status, result.counts["done"]) == ("succeeded", 62)
    assert committed("child") == list(range(60))
    row_of(result)


def test_followed_items_come_in_order_after_a_stop(run_on_lanes: Any) -> None:
    class Stops(Follows):
        stops_at = ("child", 20)
        fails = {("child", 21): 1, ("child", 22): 1}

    first = run_on_lanes(Stops())
    assert first.status == "interrupted"
    end_without_a_word(first.run_id, ["child", max(committed("child")) + 1], source_ended=True)
    second = run_on_lanes(Stops, resume=True)
    assert (second.status, second.counts["done"]) == ("succeeded", 62)
    assert committed("child") == list(range(60))


class Cursor(Chats):
    limits = ac.Limits(threads=2, batch_size=5)

    async def iterate(self, payload: str, after: int | None = None):
        self.after = after
        for place, message in enumerate(type(self).source):
            if after is None or place > after:
                yield ac.At(list(message), place)


def test_a_cursor_does_not_pass_what_waits_in_a_line(run_on_lanes: Any) -> None:
    class Stops(Cursor):
        source = (*of("a", count=3), *(("slow", number) for number in range(5)), *of("b", "c", count=30))
        fails = {("slow", 0): 1}
        retry = ac.Retry(attempts=3, initial=1e6, factor=1.0, maximum=1e6)
        stops_at = ("c", 29)

    first = run_on_lanes(Stops())
    assert first.status == "interrupted"
    assert committed("c") == list(range(30))
    Stops.fails = {}
    again = Stops()
    second = ac.run(again, resume=True)
    assert (second.run_id, second.status) == (first.run_id, "succeeded")
    assert again.after == 2
    assert committed("slow") == list(range(5))
    row_of(second)


def test_the_key_may_be_awaited_and_none_needs_no_order(run: Any) -> None:
    class Command(Chats):
        source = of("a", "free", count=30)

        async def order_key(self, message: list[Any]) -> int | None:
            await asyncio.sleep(0)
            return 17 if message[0] == "a" else None

        async def parse_and_save(self, message: list[Any]) -> None:
            self.db.add(Effect(key=" ".join(map(str, message))))

    result = run(Command())
    assert result.counts["done"] == 60
    assert committed("a") == list(range(30))


def test_an_item_whose_key_cannot_be_told_is_dead_and_the_others_go_on(run: Any) -> None:
    class Command(Chats):
        source = of("a", count=8)

        def order_key(self, message: list[Any]) -> str:
            return {3: {}}.get(message[1], {"chat": message[0]})["chat"]

    result = run(Command())
    assert (result.counts["done"], result.counts["dead"]) == (7, 1)
    assert committed("a") == [0, 1, 2, 4, 5, 6, 7]


def test_a_key_of_a_wrong_type_ends_the_run_with_what_is_allowed(run: Any) -> None:
    class Command(Chats):
        source = of("a", count=8)

        def order_key(self, message: list[Any]) -> Any:
            return [message[0]]

    with pytest.raises(ac.RunFailed, match=r"order_key\(\) returned list; allowed: a text, a whole number or a UUID"):
        run(Command())


def test_a_dry_run_and_a_recorder_in_memory_keep_the_order_too(run_on_lanes: Any) -> None:
    class Command(Chats):
        source = of("a", "b", count=60)

    command = Command()
    assert run_on_lanes(command, dry_run=True).counts["done"] == 120
    assert [number for chat, number in command.began if chat == "a"] == list(range(60))

    class Memory(Command):
        async def parse_and_save(self, message: list[Any]) -> None:
            self.began.append(tuple(message))

    command, recorder = Memory(), InMemoryRecorder()
    assert ac.run(command, recorder=recorder).counts["done"] == 120
    assert [number for chat, number in command.began if chat == "a"] == list(range(60))


def test_a_bot_answers_the_messages_of_a_chat_in_their_order(run_on_lanes: Any) -> None:
    class Bot(Chats):
        always_on = True
        source = of("a", "b", count=30)
        replied: list[tuple[str, int]] = []

        async def committed(self, message: list[Any]) -> None:
            await asyncio.sleep(0.001 if message[1] % 3 else 0.0)
            self.replied.append(tuple(message))
            if len(self.replied) == 60:
                self.stop()

        async def parse_and_save(self, message: list[Any]) -> None:
            before = [number for chat, number in self.replied if chat == message[0]]
            assert before == list(range(message[1])), "the one before has no answer yet"
            await super().parse_and_save(message)

    Bot.__annotations__.pop("replied")
    assert run_on_lanes(Bot()).counts["done"] == 60
    assert committed("a") == committed("b") == list(range(30))
