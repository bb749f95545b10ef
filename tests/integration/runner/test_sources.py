"""Sources that ask a database only when they are looked at: that happens on a lane, never on the loop's thread."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from typing import Any

import pytest
from asgiref.sync import sync_to_async
from django.db import transaction

import async_commander as ac
from async_commander.runner.sources import in_pieces
from tests.testapp.models import Author, Tag

from .ledger import row_of

pytestmark = pytest.mark.timeout(30)

NAMES = [f"name {number}" for number in range(7)]


class SavesTags(ac.IterateDownloadCommand[Author, str]):
    async def download(self, item: Author) -> str:
        return item.name

    async def parse_and_save(self, item: Author, payload: str) -> None:
        self.db.add(Tag(name=payload))


class Names(ac.IterateDownloadCommand[str, str]):
    async def download(self, item: str) -> str:
        return item

    async def parse_and_save(self, item: str, payload: str) -> None: ...


def raw(where: str = "") -> Any:
    return Author.objects.raw(f"SELECT id, name FROM testapp_author {where} ORDER BY id")


def tags() -> list[str]:
    return sorted(Tag.objects.values_list("name", flat=True))


@pytest.fixture
def authors(run: Any) -> None:
    Author.objects.bulk_create([Author(name=name) for name in NAMES])


@pytest.mark.parametrize("written", ["async def", "def"])
def test_a_raw_query_gives_its_rows_and_is_counted(run: Any, authors: None, written: str) -> None:
    class Awaited(SavesTags):
        async def iterate(self):
            return raw()

    class Plain(SavesTags):
        def iterate(self):
            return raw("WHERE name <> 'name 3'")

    result = run(Awaited() if written == "async def" else Plain())
    expected = [name for name in NAMES if written == "async def" or name != "name 3"]
    row = row_of(result)
    assert (row.status, row.total, row.done) == ("succeeded", len(expected), len(expected))
    assert tags() == expected


def test_a_raw_query_without_rows_is_counted_too(run: Any) -> None:
    class Command(SavesTags):
        async def iterate(self):
            return raw()

    row = row_of(run(Command()))
    assert (row.status, row.total, row.done) == ("succeeded", 0, 0)


@pytest.mark.parametrize("where", ["returned", "read in a generator"])
def test_a_raw_query_that_the_database_refuses_fails_the_run(run_on_lanes: Any, where: str) -> None:
    class Returns(SavesTags):
        async def iterate(self):
            return raw("WHERE nonsense")

    class Reads(SavesTags):
        def iterate(self):
            yield from raw("WHERE nonsense")

    with pytest.raises(ac.RunFailed, match="nonsense") as raised:
        run_on_lanes(Returns() if where == "returned" else Reads())
    row = row_of(raised.value.result)
    assert "SynchronousOnlyOperation" not in row.error
    assert (row.total, row.done) == (None, 0)


class Noted:
    """Notes the threads that count it and read it; each asks the database, as lazy collections do."""

    def __init__(self) -> None:
        self.threads: set[threading.Thread] = set()

    def __iter__(self) -> Iterator[Author]:
        self.threads.add(threading.current_thread())
        return iter(list(Author.objects.order_by("pk")))


class Sized(Noted):
    def __len__(self) -> int:
        self.threads.add(threading.current_thread())
        return Author.objects.count()


@pytest.mark.parametrize(("source", "total"), [(Sized(), 7), (Noted(), None)], ids=["sized", "not sized"])
def test_a_lazy_source_is_counted_and_read_on_a_lane(run_on_lanes: Any, source: Noted, total: int | None) -> None:
    class Command(SavesTags):
        async def iterate(self):
            self.loop_thread = threading.current_thread()
            return source

    Author.objects.bulk_create([Author(name=name) for name in NAMES])
    command = Command()
    row = row_of(run_on_lanes(command))
    assert (row.total, row.done) == (total, 7)
    assert command.loop_thread not in source.threads
    assert {thread.name for thread in source.threads} == {"async-commander-lane"}


def test_a_generator_over_a_raw_query_has_no_total(run: Any, authors: None) -> None:
    class Command(SavesTags):
        def iterate(self):
            yield from raw()

    row = row_of(run(Command()))
    assert (row.total, row.done) == (None, 7)


def test_a_bound_cuts_the_total_of_a_raw_query(run: Any, authors: None) -> None:
    class Command(SavesTags):
        async def iterate(self):
            return raw()

    row = row_of(run(Command(), max_items=3))
    assert (row.total, row.done) == (3, 3)
    assert tags() == NAMES[:3]


def test_a_length_that_cannot_be_told_fails_the_run(run: Any) -> None:
    class Endless(Noted):
        def __len__(self) -> int:
            raise OverflowError("too many to count")

    class Command(SavesTags):
        async def iterate(self):
            return Endless()

    with pytest.raises(ac.RunFailed, match="OverflowError: too many to count") as raised:
        run(Command())
    assert row_of(raised.value.result).taken == 0


@pytest.mark.parametrize("written", ["async def", "def"])
def test_what_a_source_gave_before_an_error_is_not_lost(run: Any, written: str) -> None:
    """Each pass breaks twenty items further: that is progress, however the generator is written."""
    passes: list[int] = []

    def numbers() -> Iterator[str]:
        passes.append(len(passes))
        for number in range(300):
            if number == 20 * len(passes):
                raise ConnectionResetError
            yield f"number {number:03}"

    class Numbers(ac.IterateDownloadCommand[str, str]):
        retry = ac.Retry(attempts=2, initial=0.001, maximum=0.002)

        async def download(self, item: str) -> str:
            return item

        async def parse_and_save(self, item: str, payload: str) -> None:
            self.db.add(Tag(name=payload))

    class Plain(Numbers):
        def iterate(self):
            yield from numbers()

    class Awaited(Numbers):
        async def iterate(self):
            for number in numbers():
                yield number

    row = row_of(run(Plain() if written == "def" else Awaited()))
    assert (row.status, row.done, len(passes)) == ("succeeded", 300, 15)
    assert tags() == [f"number {number:03}" for number in range(300)]


def test_what_a_plain_generator_gave_comes_before_its_error() -> None:
    def broken() -> Iterator[str]:
        yield from NAMES
        raise ValueError("it broke")

    async def read() -> None:
        async for piece in in_pieces(broken()):
            came.extend(piece)

    came: list[str] = []
    with pytest.raises(ValueError, match="it broke"):
        asyncio.run(read())
    assert came == NAMES


def rows_of_a_block(names: list[str]) -> Iterator[str]:
    with transaction.atomic():
        Tag.objects.create(name="inside")
        yield from names


def rows_of_a_cursor(names: list[str]) -> Iterator[str]:
    Tag.objects.bulk_create(Tag(name=name) for name in names)
    with transaction.atomic():
        for tag in Tag.objects.order_by("name").iterator(chunk_size=2):
            yield tag.name


@pytest.mark.parametrize("rows", [rows_of_a_block, rows_of_a_cursor])
@pytest.mark.parametrize("count", [3, 1000])
def test_a_source_that_yields_inside_of_a_transaction_is_refused(run: Any, rows: Any, count: int) -> None:
    class Command(Names):
        def iterate(self):
            yield from rows([f"{number:04}" for number in range(count)])

    with pytest.raises(ac.RunFailed, match=r"yields inside transaction\.atomic\(\).*Leave the block before") as raised:
        run(Command())
    assert raised.value.result.counts["taken"] == 0
    assert not Tag.objects.filter(name="inside").exists()


def test_a_coroutine_that_yields_inside_of_a_transaction_is_refused(run_on_lanes: Any) -> None:
    class Command(Names):
        async def iterate(self):
            block = transaction.atomic()
            await sync_to_async(block.__enter__)()
            try:
                yield "a"
            finally:
                await sync_to_async(block.__exit__)(None, None, None)

    with pytest.raises(ac.RunFailed, match=r"block was still open.*iterate\(\) may not yield inside"):
        run_on_lanes(Command())


def test_a_block_that_is_left_before_the_first_item_is_fine(run: Any) -> None:
    class Command(Names):
        def iterate(self):
            with transaction.atomic():
                names = [Tag.objects.create(name=name).name for name in "abc"]
            yield from names

    assert run(Command()).counts["done"] == 3
