"""Read, change, write: `select_for_update()` holds from the read to the commit, on SQLite as on PostgreSQL."""

from __future__ import annotations

from typing import Any

import pytest
from django.db import connection, transaction
from django.db.models import F, OuterRef, QuerySet, Subquery
from django.db.transaction import TransactionManagementError

import async_commander as ac
from async_commander.database.sqlite import without_for_update
from tests.testapp.models import Author, Book, Effect

pytestmark = pytest.mark.timeout(60)
TIMES, FEW = 100, 20


class Increments(ac.IterateDownloadCommand[int, int]):
    limits = ac.Limits(threads=20, db_lanes=4)
    retry = ac.Retry(attempts=30, initial=0.001, maximum=0.01)

    async def iterate(self):
        return range(TIMES)

    async def download(self, item: int) -> int:
        return item

    async def parse_and_save(self, item: int, payload: int) -> None:
        raise NotImplementedError


def the_row(how: str) -> Book:
    """The row, read in order to be changed."""
    books = Book.objects.select_related("author")
    return {
        "plain": lambda: books.select_for_update().get(),
        "nowait": lambda: books.select_for_update(nowait=True).get(),
        "skip_locked": lambda: books.select_for_update(skip_locked=True).get(),
        "of": lambda: books.select_for_update(of=("self", "author")).get(),
        "no_key": lambda: books.select_for_update(no_key=True).get(),
        "first": lambda: books.select_for_update().order_by("pk").first(),
        "subquery": lambda: in_a_subquery(books),
        "related manager": lambda: Author.objects.get().books.select_for_update().get(),
        "raw": lambda: Book.objects.raw("SELECT * FROM testapp_book FOR UPDATE")[0],
        "raw with parameters": lambda: Book.objects.raw(
            "SELECT * FROM testapp_book WHERE isbn = %s ORDER BY id FOR NO KEY UPDATE ;", ["counter"]
        )[0],
        "cursor": by_cursor,
    }[how]()


def in_a_subquery(books: QuerySet[Book]) -> Book:
    locked = Book.objects.filter(pk=OuterRef("pk")).select_for_update()
    return books.annotate(again=Subquery(locked.values("pk")[:1])).get(again__isnull=False)


def by_cursor() -> Book:
    with connection.cursor() as cursor:
        cursor.execute("SELECT id FROM testapp_book FOR UPDATE")
        cursor.fetchone()
    return Book.objects.get()


ON_SQLITE_ONLY = ["nowait", "skip_locked", "subquery"]
"""On PostgreSQL `nowait` raises and `skip_locked` finds nothing where another item has the row, and a subquery locks
nothing of the query around it."""
HOW = ["plain", "of", "no_key", "first", "related manager", "raw", "raw with parameters", "cursor", *ON_SQLITE_ONLY]


def increment(how: str) -> None:
    book = the_row(how)
    book.stock += 1
    book.save()


class Plain(Increments):
    def parse_and_save(self, item: int, payload: int) -> None:
        increment("plain")


class ByFunction(Increments):
    how = "plain"

    async def parse_and_save(self, item: int, payload: int) -> None:
        await self.db(increment, self.how)


class ByCoroutine(Increments):
    async def parse_and_save(self, item: int, payload: int) -> None:
        book = await Book.objects.select_for_update().aget(isbn="counter")
        book.stock += 1
        await book.asave()


@pytest.fixture
def counter(run: Any) -> None:
    Book.objects.create(isbn="counter", author=Author.objects.create(name="a"))


def value() -> int:
    return Book.objects.values_list("stock", flat=True).get()


@pytest.mark.parametrize("command", [Plain, ByFunction, ByCoroutine])
def test_no_increment_is_lost(run: Any, counter: None, command: type[Increments]) -> None:
    result = run(command())
    assert (result.status, result.counts["done"]) == (ac.RunStatus.SUCCEEDED, TIMES)
    assert value() == TIMES


@pytest.mark.parametrize("how", HOW)
def test_every_way_to_lock_a_row_locks_it(run: Any, counter: None, how: str) -> None:
    if connection.vendor == "postgresql" and how in ON_SQLITE_ONLY:
        pytest.skip("means something else there")

    class Command(ByFunction):
        async def iterate(self):
            return range(FEW)

    command = Command()
    command.how = how
    assert run(command).status is ac.RunStatus.SUCCEEDED
    assert value() == FEW


def test_an_expression_needs_no_lock(run: Any) -> None:
    Effect.objects.create(key="0", run="x")

    class Command(Increments):
        async def parse_and_save(self, item: int, payload: int) -> None:
            await Effect.objects.aupdate(run=F("run"))

    assert run(Command()).status is ac.RunStatus.SUCCEEDED


def test_a_lock_outside_of_a_transaction_is_refused_on_every_database(run_on_lanes: Any) -> None:
    class Command(ac.AsyncCommand):
        async def handle(self) -> None:
            await Author.objects.select_for_update().afirst()

    with pytest.raises(ac.RunFailed, match="select_for_update cannot be used outside of a transaction") as raised:
        run_on_lanes(Command())
    assert isinstance(raised.value.__cause__, TransactionManagementError)


def test_a_block_of_a_hook_of_the_run_locks(run: Any, counter: None) -> None:
    class Command(ac.AsyncCommand):
        async def handle(self) -> int:
            await self.db(self.change)
            return await self.db(value)

        def change(self) -> None:
            with transaction.atomic():
                increment("plain")

    assert run(Command()).value == 1


def test_the_callers_connection_is_left_as_it_was(db: None) -> None:
    before, seen = connection.features.has_select_for_update, []

    class Command(ac.AsyncCommand):
        def handle(self) -> None:
            seen.append(connection.features.has_select_for_update)

    ac.run(Command())
    assert (seen, connection.features.has_select_for_update) == ([True], before)
    assert "for_update_sql" not in vars(connection.ops)


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT 1 FROM a",
        "SELECT 'FOR UPDATE'",
        "INSERT INTO a VALUES ('x') -- FOR UPDATE",
        "UPDATE a SET b = 1",
        'SELECT "FOR UPDATE" FROM a',
    ],
)
def test_other_sql_is_left_alone(sql: str) -> None:
    assert without_for_update(sql) == sql
