"""Hooks that ignore their cancellation: the run has its end all the same, and says the truth."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Iterator
from contextlib import asynccontextmanager, suppress
from typing import Any, ClassVar

import anyio
import pytest

import async_commander as ac
from async_commander.engine import leaving
from async_commander.engine.awake import awake
from async_commander.runner import stopping
from tests.testapp.models import Effect

from .ledger import items_of, row_of

SHORT = {"timeout": 3.0, "grace": 0.2}


class Clock:
    """Lets a run's time-out pass when its hook is where it stays, however slow or quick the machine is."""

    def __init__(self) -> None:
        self.stuck = threading.Event()

    async def sleep(self, seconds: float) -> None:
        if seconds != SHORT["timeout"]:
            await awake.sleep(seconds)
            return
        while not self.stuck.is_set():
            await anyio.sleep(0.002)


clock = Clock()


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(leaving, "STUBBORN_SECONDS", 0.0)
    monkeypatch.setattr(stopping, "awake", clock)
    clock.stuck.clear()


async def wait() -> None:
    clock.stuck.set()
    await asyncio.sleep(3600)


async def swallow() -> None:
    clock.stuck.set()
    while True:
        with suppress(asyncio.CancelledError):
            await asyncio.sleep(3600)


async def hide() -> None:
    with anyio.CancelScope(shield=True):
        await wait()


STUBBORN = {"swallow": swallow, "hide": hide}


class Handled(ac.AsyncCommand):
    how: str

    async def handle(self) -> None:
        await STUBBORN[self.how]()


class Carried(ac.IterateDownloadCommand[str, str]):
    how: str
    where: str = "download"
    limits = ac.Limits(threads=3)

    async def iterate(self):
        return list("abc")

    async def download(self, item: str) -> str:
        await self.at("download", item)
        return item

    async def parse_and_save(self, item: str, payload: str) -> None:
        await Effect.objects.acreate(key=item)
        await self.at("parse_and_save", item)

    async def at(self, where: str, item: str) -> None:
        if where == self.where and item == "b":
            await STUBBORN[self.how]()


@pytest.mark.parametrize("how", STUBBORN)
def test_a_handle_that_goes_on_ends_with_the_time_out(run: Any, how: str) -> None:
    with pytest.raises(ac.RunFailed) as raised:
        run(Handled(how=how), **SHORT)
    row = row_of(raised.value.result)
    assert row.status == "failed"
    assert "passed its time-out of 3 s" in row.error
    assert row.logs.filter(message__startswith="handle() went on when it was cancelled").exists()


@pytest.mark.parametrize("how", STUBBORN)
@pytest.mark.parametrize("where", ["download", "parse_and_save"])
def test_an_item_that_goes_on_is_given_back_and_its_rows_are_rolled_back(run: Any, where: str, how: str) -> None:
    with pytest.raises(ac.RunFailed) as raised:
        run(Carried(how=how, where=where), **SHORT)
    row = row_of(raised.value.result)
    assert (row.status, row.dead, row.claimed) == ("failed", 0, 0)
    done = set(Effect.objects.values_list("key", flat=True))
    assert "b" not in done
    assert len(done) == row.done
    assert row.logs.filter(message__startswith=f"{where}() went on when it was cancelled").exists()


def test_an_item_that_swallows_its_item_timeout_is_dead_and_the_others_are_done(run: Any) -> None:
    class Impatient(Carried):
        limits = ac.Limits(threads=1, item_timeout=0.2)
        retry = ac.Retry(attempts=1)

    result = run(Impatient(how="swallow"))
    assert result.counts["done"] == 2
    assert [(one.label, one.error_kind) for one in items_of(result, state="dead")] == [("b", "ItemTimeout")]


@pytest.mark.parametrize("how", STUBBORN)
def test_a_clean_up_that_goes_on_ends_after_its_grace(run: Any, how: str) -> None:
    class Tidied(Carried):
        async def download(self, item: str) -> str:
            await wait()
            return item

        async def cleanup(self) -> None:
            await STUBBORN[self.how]()

    with pytest.raises(ac.RunFailed) as raised:
        run(Tidied(how=how, where="nowhere"), **SHORT)
    row = row_of(raised.value.result)
    assert row.status == "failed"
    assert row.logs.filter(message__startswith="cleanup() went on when it was cancelled").exists()


class Yielding(ac.IterateDownloadCommand[str, str]):
    """A generator that goes on where it is asked to: between two items, or at its end."""

    how: str
    at_its_end: bool = False

    async def iterate(self):
        try:
            yield "a"
            while not await Effect.objects.aexists():
                await asyncio.sleep(0.005)
            await (wait() if self.at_its_end else STUBBORN[self.how]())
        finally:
            if self.at_its_end:
                await STUBBORN[self.how]()

    async def download(self, item: str) -> str:
        return item

    async def parse_and_save(self, item: str, payload: str) -> None:
        await Effect.objects.acreate(key=item)


@pytest.mark.timeout(60)
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("how", STUBBORN)
@pytest.mark.parametrize("at_its_end", [False, True])
def test_an_iterate_that_goes_on_ends_with_the_time_out(run: Any, how: str, at_its_end: bool) -> None:
    with pytest.raises(ac.RunFailed) as raised:
        run(Yielding(how=how, at_its_end=at_its_end), **SHORT)
    row = row_of(raised.value.result)
    assert "passed its time-out of 3 s" in row.error
    assert row.logs.filter(message__startswith="iterate() went on when it was cancelled").exists()
    assert row.done == 1


class Opened(ac.AsyncCommand):
    """Goes on in `lifespan()`: before, or after, the work."""

    how: str
    at_its_end: bool = False

    @asynccontextmanager
    async def lifespan(self):
        if not self.at_its_end:
            await STUBBORN[self.how]()
        try:
            yield
        finally:
            await STUBBORN[self.how]()

    async def handle(self) -> None:
        await wait()


class Manager:
    """No generator: its author wrote both methods."""

    def __init__(self, how: str, *, at_its_end: bool) -> None:
        self._how, self._at_its_end = how, at_its_end

    async def __aenter__(self) -> None:
        if not self._at_its_end:
            await STUBBORN[self._how]()

    async def __aexit__(self, *error: object) -> None:
        await STUBBORN[self._how]()


class Managed(Opened):
    def lifespan(self):
        return Manager(self.how, at_its_end=self.at_its_end)


class Nested(Opened):
    """What goes on is a generator inside of the author's, of which the event loop knows."""

    @asynccontextmanager
    async def lifespan(self):
        async with Opened.lifespan(self):
            yield


@pytest.mark.timeout(60)
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize(
    ("command", "how", "at_its_end"),
    [
        *((Opened, how, at_its_end) for how in STUBBORN for at_its_end in (False, True)),
        (Managed, "swallow", False),
        (Managed, "hide", True),
        (Nested, "hide", False),
        (Nested, "swallow", True),
    ],
)
def test_a_lifespan_that_goes_on_ends_with_the_time_out(
    run_on_lanes: Any, command: type[Opened], how: str, at_its_end: bool
) -> None:
    with pytest.raises(ac.RunFailed) as raised:
        run_on_lanes(command(how=how, at_its_end=at_its_end), **SHORT)
    row = row_of(raised.value.result)
    assert row.status == "failed"
    assert "lifespan() went on when it was cancelled" in row.error
    assert row.logs.filter(message__startswith="lifespan() went on when it was cancelled").exists()


class Plain(ac.IterateDownloadCommand[str, str]):
    """Plain hooks, one of which waits on its thread for what does not come before the test is over."""

    where: str
    comes: ClassVar[threading.Event] = threading.Event()
    limits = ac.Limits(threads=3)

    def iterate(self):
        yield from "abc"
        self.at("iterate", "b")

    async def download(self, item: str) -> str:
        return item

    def parse_and_save(self, item: str, payload: str) -> None:
        self.at("parse_and_save", item)
        Effect.objects.create(key=item)

    def cleanup(self) -> None:
        self.at("cleanup", "b")

    def at(self, where: str, item: str) -> None:
        if where == self.where and item == "b":
            self.comes.wait(60)


class PlainHandle(ac.AsyncCommand):
    where: str

    def handle(self) -> None:
        Plain.comes.wait(60)


@pytest.fixture
def comes_at_last() -> Iterator[None]:
    Plain.comes.clear()
    yield
    Plain.comes.set()


@pytest.mark.parametrize(
    ("command", "where", "done"),
    [(Plain, "iterate", 3), (Plain, "parse_and_save", 2), (Plain, "cleanup", 3), (PlainHandle, "", 0)],
)
def test_a_plain_hook_that_does_not_return_is_left(
    run_on_lanes: Any, comes_at_last: None, command: Any, where: str, done: int
) -> None:
    began = time.monotonic()
    with pytest.raises(ac.RunFailed, match="time-out of 1 s") as raised:
        run_on_lanes(command(where=where), timeout=1.0, grace=0.5)
    assert time.monotonic() - began < 50  # it would be waited for, for a minute
    row = row_of(raised.value.result)
    assert (row.done, row.claimed) == (done, 0)
