"""A hook that stands still on its thread keeps no other hook waiting."""

from __future__ import annotations

import threading
from contextlib import asynccontextmanager
from typing import Any

import anyio
import pytest
from asgiref.sync import sync_to_async

import async_commander as ac
from async_commander.runner.sources import CHUNK_SECONDS, in_pieces
from tests.testapp.models import Effect, Tag

from .ledger import row_of

polars = pytest.importorskip("polars")

from async_commander.imports import ImportCommand  # noqa: E402 - it needs the extra

LONG = 20.0
"""Seconds after which who waits for another hook gives up."""


class Told(ac.IterateDownloadCommand[int, int]):
    """Its source goes on when `heard` is set."""

    limits = ac.Limits(threads=2, db_lanes=1)

    def __init__(self) -> None:
        super().__init__()
        self.heard = threading.Event()
        self.in_time = False

    def iterate(self):
        yield 1
        self.in_time = self.heard.wait(LONG)
        yield 2

    async def download(self, item: int) -> int:
        return item

    async def parse_and_save(self, item: int, payload: int) -> None:
        self.db.add(Effect(key=str(item)))


class Plain(Told):
    def committed(self, item: int) -> None:
        Tag.objects.create(name=f"committed {item}")
        self.heard.set()


class Asynchronous(Told):
    async def committed(self, item: int) -> None:
        await Tag.objects.acreate(name=f"committed {item}")
        self.heard.set()


class FromHandWithRows(Told):
    """ORM calls of a `download()` take no lane of an item's."""

    async def download(self, item: int) -> int:
        await Tag.objects.acreate(name=f"download {item}")
        self.heard.set()
        return item


class Restored(Told):
    """An item comes back from the ledger, where the first one put it."""

    async def parse_and_save(self, item: int, payload: int) -> None:
        if item == 1:
            self.follow(7)
        if item == 7:
            self.heard.set()


class BesideAnIterator(Plain):
    """No generator of ours: whatever iterates."""

    def iterate(self):
        return iter([1, 2]) if self.heard.is_set() else self._items()

    def _items(self):
        return Told.iterate(self)


class BesideDatabaseCalls(Plain):
    """An asynchronous source that waits in a synchronous function."""

    async def iterate(self):
        yield 1
        self.in_time = await self.db(self.heard.wait, LONG)
        yield 2


class BesideADownload(Plain):
    """A synchronous function on the thread for hooks, in the item behind the one that was committed."""

    def iterate(self):
        yield from (1, 2)

    async def download(self, item: int) -> int:
        if item == 2:
            self.in_time = await sync_to_async(self.heard.wait)(LONG)
        return item


class InLifespan(Told):
    """A synchronous function of lifespan()'s own, while the source stands still."""

    @asynccontextmanager
    async def lifespan(self):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self.call)
            yield

    async def call(self) -> None:
        await Tag.objects.acreate(name="in lifespan")
        self.heard.set()


@pytest.mark.parametrize(
    "shape",
    [
        Plain, Asynchronous, FromHandWithRows, Restored, BesideAnIterator, BesideDatabaseCalls, BesideADownload,
        InLifespan,
    ],
)  # fmt: skip
def test_a_hook_is_called_while_another_one_stands_still(run_on_lanes: Any, shape: type[Told]) -> None:
    command = shape()
    result = run_on_lanes(command)
    assert command.in_time
    assert result.counts["done"] >= 2
    row_of(result)


class Load(ImportCommand):
    """Frames come one by one; between them the source waits."""

    rows_per_batch = 1
    limits = ac.Limits(threads=1, db_lanes=1)

    def __init__(self) -> None:
        super().__init__()
        self.heard = threading.Event()
        self.in_time = False

    def extract(self):
        yield polars.DataFrame({"name": ["a"]})
        self.in_time = self.heard.wait(LONG)
        yield polars.DataFrame({"name": ["b"]})

    def transform(self, frame: Any):
        return {Tag: [Tag(name=name) for name in frame["name"]]}

    def committed(self, batch: Any) -> None:
        self.heard.set()


def test_committed_is_called_while_extract_stands_still(run_on_lanes: Any) -> None:
    command = Load()
    result = run_on_lanes(command)
    assert command.in_time
    assert set(Tag.objects.values_list("name", flat=True)) == {"a", "b"}
    row_of(result)


def test_on_timeout_is_called_while_everything_stands_still(run_on_lanes: Any) -> None:
    class Late(Told):
        limits = ac.Limits(threads=2, timeout=0.5)

        def on_timeout(self) -> None:
            Tag.objects.create(name="time-out")
            self.heard.set()

    command = Late()
    with pytest.raises(ac.RunFailed):
        run_on_lanes(command)
    assert command.in_time
    assert Tag.objects.filter(name="time-out").exists()


def test_on_timeout_is_called_while_a_plain_handle_stands_still(run_on_lanes: Any) -> None:
    class Late(ac.AsyncCommand):
        limits = ac.Limits(timeout=0.5)

        def __init__(self) -> None:
            super().__init__()
            self.heard = threading.Event()
            self.in_time = False

        def handle(self) -> None:
            self.in_time = self.heard.wait(LONG)

        def on_timeout(self) -> None:
            self.heard.set()

    command = Late()
    with pytest.raises(ac.RunFailed):
        run_on_lanes(command)
    assert command.in_time


def test_a_source_keeps_its_thread(run_on_lanes: Any) -> None:
    """From its first step to its end, and from iterate() on: what it opened may belong to the thread."""

    class Watched(Told):
        def __init__(self) -> None:
            super().__init__()
            self.threads: set[int] = set()

        def iterate(self):
            self.threads.add(threading.get_ident())
            return self.items()

        def items(self):
            try:
                for number in range(300):
                    self.threads.add(threading.get_ident())
                    yield number
            finally:
                self.threads.add(threading.get_ident())

        async def committed(self, item: int) -> None:
            await Tag.objects.acount()

    command = Watched()
    assert run_on_lanes(command).counts["done"] == 300
    assert len(command.threads) == 1


@pytest.mark.asyncio
async def test_no_item_is_lost_between_a_slow_source_and_a_slow_reader() -> None:
    """The source goes on while the reader has what came before."""
    goes_on = threading.Event()

    def items():
        yield 0
        assert goes_on.wait(LONG)
        yield from range(1, 10)

    seen = []
    async for piece in in_pieces(items()):
        seen.extend(piece)
        if piece[0] == 0:
            goes_on.set()
            await anyio.sleep(2 * CHUNK_SECONDS)
    assert seen == list(range(10))


@pytest.mark.asyncio
async def test_what_came_before_an_error_is_given_first() -> None:
    def items():
        yield from range(3)
        raise ValueError("broken")

    seen = []
    with pytest.raises(ValueError, match="broken"):
        async for piece in in_pieces(items()):
            seen.extend(piece)
    assert seen == [0, 1, 2]


@pytest.mark.asyncio
async def test_a_reader_that_leaves_waits_for_no_step_and_the_generator_is_closed_behind_it() -> None:
    goes_on, closed = threading.Event(), threading.Event()

    def items():
        try:
            yield 0
            assert goes_on.wait(LONG)
            yield 1
        finally:
            closed.set()

    with anyio.move_on_after(0.3):
        async for piece in in_pieces(items()):
            assert list(piece) == [0]
            threading.Timer(0.6, goes_on.set).start()
    assert goes_on.is_set()
    assert closed.wait(LONG)
