"""Commands that run for ever: what comes is handled, what fails begins again, and what is done leaves no row."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any, ClassVar

import anyio
import pytest

import async_commander as ac
from async_commander.engine import restarts
from async_commander.exceptions import RestartsSpent
from async_commander.models import Run, RunClaim, RunErrorKind, RunItem
from tests.testapp.models import Effect

from .ledger import counts_of


@pytest.fixture(autouse=True)
def short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(restarts, "SHORTEST", 0.001)
    monkeypatch.setattr(restarts, "LONGEST", 0.01)


class Bot(ac.IterateDownloadCommand[Any, None]):
    """Its source says, connection by connection, what comes and how it ends; after the last it waits for ever."""

    always_on = True
    limits = ac.Limits(threads=4)
    connections: ClassVar[list[list[Any]]] = []
    retry = ac.Retry(attempts=2, initial=0.001)

    async def iterate(self) -> AsyncIterator[Any]:
        if not self.connections:
            await anyio.sleep_forever()
        for message in self.connections.pop(0):
            if isinstance(message, Exception):
                raise message
            yield message

    async def download(self, message: Any) -> None:
        if message == "bad":
            raise ValueError("cannot be read")

    async def parse_and_save(self, message: Any, payload: None) -> None:
        self.db.add(Effect(key=str(message)))


def told_by(*connections: list[Any]) -> Bot:
    Bot.connections = list(connections)
    return Bot()


def keys() -> list[str]:
    return sorted(Effect.objects.values_list("key", flat=True))


def test_what_is_done_leaves_counts_and_no_rows(run: Any) -> None:
    result = run(told_by(["a", "b", "bad", "c"]), max_items=4)
    row = Run.objects.get(pk=result.run_id)
    assert (result.status, keys()) == ("partial", ["a", "b", "c"])
    assert counts_of(row) == result.counts == {
        "taken": 4, "done": 3, "skipped": 0, "dead": 1, "retry": 0, "claimed": 0,
    }  # fmt: skip
    assert [(one.label, one.state, one.item) for one in RunItem.objects.all()] == [("bad", "dead", "bad")]
    assert not RunClaim.objects.exists()


def test_two_equal_messages_are_two(run: Any) -> None:
    result = run(told_by(["hello"] * 5), max_items=5)
    assert (result.counts["done"], keys()) == (5, ["hello"] * 5)


def test_a_message_needs_no_key_and_no_json(run: Any) -> None:
    class Message:
        def __repr__(self) -> str:
            return "<Message>"

        def __str__(self) -> str:
            return "m"

    assert run(told_by([Message(), Message()]), max_items=2).counts["done"] == 2


class Keyed(Bot):
    def item_key(self, message: str) -> str:
        return message

    async def download(self, message: str) -> None:
        await anyio.sleep(0.05)
        await super().download(message)


def test_messages_of_one_key_are_one_while_it_is_in_hand(run: Any) -> None:
    Bot.connections = [["a", "a", "b"], [RuntimeError("cut")], ["a"]]
    result = run(Keyed(), max_items=4)
    row = Run.objects.get(pk=result.run_id)
    assert result.counts["done"] + result.counts["skipped"] == 4
    assert result.counts["skipped"] >= 1
    assert counts_of(row) == result.counts


def test_a_key_may_die_twice(run: Any) -> None:
    Bot.connections = [["bad"], [], ["bad"]]

    class Slow(Keyed):
        async def iterate(self) -> AsyncIterator[Any]:
            async for message in super().iterate():
                yield message
                while self.record_dead() == 0:
                    await anyio.sleep(0.005)

        def record_dead(self) -> int:
            current = ac.current_run()
            assert current is not None
            return current.tally.dead

    with pytest.raises(ac.RunFailed, match="No item is done: 2 items dead") as raised:
        run(Slow(), max_items=2)
    result = raised.value.result
    assert (result.counts["dead"], RunItem.objects.filter(state="dead").count()) == (2, 2)


def test_a_source_that_fails_or_ends_is_asked_again(run: Any) -> None:
    broken, away = RuntimeError("a slip"), ConnectionError("the broker is away")
    result = run(told_by(["a", broken], [away], [], [away], ["b"], ["c"]), max_items=3)
    assert (result.status, keys()) == ("succeeded", ["a", "b", "c"])
    kinds = dict(RunErrorKind.objects.values_list("kind", "count"))
    assert kinds == {"RuntimeError in iterate()": 1, "ConnectionError in iterate()": 2}


def test_a_broker_that_is_away_is_waited_for_however_often(run: Any) -> None:
    away = [[ConnectionError("away")] for _ in range(12)]
    assert run(told_by(*away, ["a"]), max_items=1).counts["done"] == 1


def test_too_many_failures_end_the_run_with_exit_code_70(run: Any) -> None:
    broken = [[RuntimeError("a slip")] for _ in range(20)]
    with pytest.raises(ac.RunFailed, match=r"iterate\(\) failed more than 5 times within 60 s.*a slip") as raised:
        run(told_by(["a"], *broken))
    result = raised.value.result
    assert isinstance(result.failure, RestartsSpent)
    assert (result.exit_code, result.counts["done"], len(Bot.connections)) == (70, 1, 14)


def test_what_no_restart_mends_ends_the_run_at_once(run: Any) -> None:
    with pytest.raises(ac.RunFailed, match="not as it should be"):
        run(told_by([ac.InvalidCommand("not as it should be")]))


def test_many_bad_messages_do_not_end_the_run(run: Any) -> None:
    result = run(told_by(["bad"] * 150 + ["good"]), max_items=151)
    assert (result.counts["dead"], result.counts["done"]) == (150, 1)


@pytest.mark.asyncio
async def test_it_stops_at_once_while_it_waits_for_messages(arun_db: None) -> None:
    task = asyncio.create_task(ac.arun(told_by(["a"], [])))
    while not await Effect.objects.aexists():
        await anyio.sleep(0.01)
    with anyio.fail_after(5):
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    row = await Run.objects.aget()
    assert (row.status, row.done) == ("interrupted", 1)


@pytest.mark.asyncio
async def test_it_stops_at_once_while_it_waits_to_begin_again(arun_db: None, monkeypatch: Any) -> None:
    monkeypatch.setattr(restarts, "SHORTEST", 60.0)
    monkeypatch.setattr(restarts, "LONGEST", 60.0)
    task = asyncio.create_task(ac.arun(told_by([ConnectionError("away")])))
    while not await Run.objects.aexists():
        await anyio.sleep(0.01)
    await anyio.sleep(0.1)
    with anyio.fail_after(5):
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    assert (await Run.objects.aget()).status == "interrupted"


@pytest.mark.asyncio
async def test_what_waits_for_another_attempt_at_the_stop_is_given_back(arun_db: None) -> None:
    class Patient(Bot):
        retry = ac.Retry(attempts=9, initial=1000.0, maximum=1000.0)

        async def download(self, message: str) -> None:
            raise ConnectionError("away")

    Bot.connections = [["a", "b"]]
    task = asyncio.create_task(ac.arun(Patient()))
    while not await Run.objects.aexists():
        await anyio.sleep(0.01)
    await anyio.sleep(0.2)
    task.cancel()
    with anyio.fail_after(5), pytest.raises(asyncio.CancelledError):
        await task
    row = await Run.objects.aget()
    assert (row.status, row.taken, row.retry) == ("interrupted", 0, 0)
    assert not await RunItem.objects.aexists()


class Line(Bot):
    """Needs its line open until the last message is acknowledged."""

    events: ClassVar[list[str]] = []

    async def iterate(self) -> AsyncIterator[Any]:
        try:
            for message in ("a", "b"):
                yield message
            await anyio.sleep_forever()
        finally:
            self.events.append("closed")

    async def download(self, message: str) -> None:
        self.events.append("begun")
        await anyio.sleep(0.3)

    async def parse_and_save(self, message: str, payload: None) -> str:
        return f"re: {message}"

    async def committed(self, message: str, value: str) -> None:
        await anyio.sleep(0.05)
        self.events.append(value)


@pytest.mark.asyncio
async def test_the_source_is_closed_after_the_last_acknowledgement(arun_db: None) -> None:
    Line.events.clear()
    task = asyncio.create_task(ac.arun(Line()))
    while Line.events.count("begun") < 2:
        await anyio.sleep(0.01)
    task.cancel()
    with anyio.fail_after(5), pytest.raises(asyncio.CancelledError):
        await task
    assert sorted(Line.events[2:4]) == ["re: a", "re: b"]
    assert Line.events[4:] == ["closed"]
    assert (await Run.objects.aget()).done == 2


class Joining(Bot):
    """Opens its connection around the work."""

    tries: ClassVar[list[int]] = []

    @asynccontextmanager
    async def lifespan(self) -> AsyncIterator[None]:
        self.tries.append(1)
        if len(self.tries) < 9:
            raise ConnectionError("not there yet")
        yield


def test_a_broker_that_is_not_there_at_the_start_is_waited_for(run: Any) -> None:
    Joining.tries.clear()
    Bot.connections = [["a"]]
    assert run(Joining(), max_items=1).counts["done"] == 1


@pytest.mark.asyncio
async def test_it_can_be_stopped_while_the_broker_is_not_there(arun_db: None) -> None:
    class Never(Bot):
        @asynccontextmanager
        async def lifespan(self) -> AsyncIterator[None]:
            raise ConnectionError("not there yet")
            yield

    task = asyncio.create_task(ac.arun(Never()))
    while not await Run.objects.aexists():
        await anyio.sleep(0.01)
    await anyio.sleep(0.05)
    task.cancel()
    with anyio.fail_after(5), pytest.raises(asyncio.CancelledError):
        await task
    assert (await Run.objects.aget()).status == "interrupted"


class Blocking(ac.DownloadIterateCommand[None, str]):
    """As an old bot is written: it blocks its thread until the next message comes."""

    always_on = True
    comes: ClassVar[threading.Event] = threading.Event()

    def download(self) -> None: ...

    def iterate(self, _: None) -> Iterator[str]:
        yield "hello"
        self.comes.wait(60)

    def parse_and_save(self, message: str) -> None:
        Effect.objects.create(key=message)


@pytest.mark.asyncio
async def test_a_plain_bot_that_waits_for_a_message_stops_at_once(arun_db: None) -> None:
    Blocking.comes.clear()
    task = asyncio.create_task(ac.arun(Blocking()))
    while not await Effect.objects.aexists():
        await anyio.sleep(0.01)
    try:
        with anyio.fail_after(10), pytest.raises(asyncio.CancelledError):
            task.cancel()
            await task
    finally:
        Blocking.comes.set()
    row = await Run.objects.aget()
    assert (row.status, row.done) == ("interrupted", 1)


class Connecting(ac.DownloadIterateCommand[list[Any], Any]):
    """download() connects: it is called again before each iterate()."""

    always_on = True
    connected: ClassVar[list[int]] = []

    async def download(self) -> list[Any]:
        self.connected.append(len(self.connected))
        if len(self.connected) == 1:
            raise ConnectionError("not there yet")
        return [len(self.connected), RuntimeError("cut")]

    async def iterate(self, connection: list[Any]) -> AsyncIterator[Any]:
        for message in connection:
            if isinstance(message, Exception):
                raise message
            yield message

    async def parse_and_save(self, message: Any) -> None:
        self.db.add(Effect(key=str(message)))


def test_each_beginning_connects_anew(run: Any) -> None:
    Connecting.connected.clear()
    assert run(Connecting(), max_items=3).counts["done"] == 3
    assert keys() == ["2", "3", "4"]


class Looping(ac.AsyncCommand):
    """An endless loop of its own."""

    always_on = True
    calls: ClassVar[list[int]] = []

    async def handle(self) -> int:
        self.calls.append(1)
        if len(self.calls) < 4:
            raise ConnectionError("away")
        async for tick in ac.every(0.01):
            await Effect.objects.acreate(key=f"call {len(self.calls)}")
            if tick >= 2:  # a slow machine misses some
                raise RuntimeError("a slip")
        return len(self.calls)


@pytest.mark.asyncio
async def test_handle_is_called_again(arun_db: None) -> None:
    Looping.calls.clear()
    task = asyncio.create_task(ac.arun(Looping()))
    with anyio.fail_after(20):
        while not await Effect.objects.filter(key="call 5").aexists():
            await anyio.sleep(0.01)
    task.cancel()
    with anyio.fail_after(5), pytest.raises(asyncio.CancelledError):
        await task
    assert (await Run.objects.aget()).status == "interrupted"
    assert len(Looping.calls) >= 5


class Unkept(ac.IterateDownloadCommand[int, None]):
    """Items that nobody will ask for again."""

    keep_history = False

    def iterate(self) -> Any:
        return [1, 2, 2, 3]

    async def download(self, item: int) -> None: ...

    async def parse_and_save(self, item: int, payload: None) -> None:
        self.db.add(Effect(key=str(item)))


def test_a_run_without_history_ends_as_any_other(run: Any) -> None:
    result = run(Unkept())
    assert (result.status, result.counts["done"], keys()) == ("succeeded", 4, ["1", "2", "2", "3"])
    assert not RunItem.objects.exists()


@pytest.mark.parametrize("option", [{"resume": True}, {"resume_run": 1}])
@pytest.mark.parametrize("command", [Unkept, Bot])
def test_there_is_nothing_to_resume(run: Any, command: Any, option: Any) -> None:
    with pytest.raises(ac.InvalidCommand, match="has no ledger"):
        run(command, **option)


def test_following_needs_a_ledger(run: Any) -> None:
    class Following(Unkept):
        async def parse_and_save(self, item: int, payload: None) -> None:
            self.follow(4)

    with pytest.raises(ac.RunFailed, match="keeps none"):
        run(Following())


def test_always_on_has_no_end_to_count_once() -> None:
    class Once(Bot):
        run_once = True

    with pytest.raises(ac.InvalidCommand, match="always_on has no end"):
        Once()
