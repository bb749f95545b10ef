"""Querysets as sources: every row comes once, as the queryset itself gives it, whatever it carries."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from django.contrib.sessions.models import Session
from django.db import connection
from django.db.models import Count, F, Max, Model, OuterRef, Q, QuerySet, Subquery, Sum, Value, Window
from django.db.models.expressions import RawSQL
from django.db.models.functions import RowNumber
from django.utils import timezone

import async_commander as ac
from async_commander.runner import sources
from tests.testapp.models import Author, Book

from .ledger import row_of

pytestmark = pytest.mark.timeout(30)

AUTHORS = 40
NUMBERED = {"number": Window(RowNumber(), order_by="id")}


class Reads(ac.IterateDownloadCommand[Any, None]):
    """Each row has a key of its own, even where a join gives several of one primary key."""

    source: str

    async def iterate(self):
        self.rows: list[str] = []
        return QUERYSETS[self.source]()

    def item_key(self, item: Any) -> str:
        return content_of(item)

    async def download(self, item: Any) -> None:
        self.rows.append(content_of(item))

    async def parse_and_save(self, item: Any, payload: None) -> None: ...


def content_of(row: Any) -> str:
    """All that is loaded of a row, by name, and of what came with it."""
    if not isinstance(row, Model):
        return repr(row)
    values = {name: value for name, value in vars(row).items() if not name.startswith("_")}
    related = {name: content_of(value) for name, value in row._state.fields_cache.items()}
    prefetched = {
        name: sorted(each.pk for each in value)
        for name, value in vars(row).get("_prefetched_objects_cache", {}).items()
    }
    return repr((type(row).__name__, sorted(values.items()), related, prefetched))


@pytest.fixture
def library(transactional_db: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sources, "PAGE_SIZE", 7)
    authors = Author.objects.bulk_create([Author(name=f"name {number * 17 % AUTHORS:02}") for number in range(AUTHORS)])
    Book.objects.bulk_create(
        [
            Book(author=author, title=f"title {number}", isbn=f"{author.pk}-{number}", stock=index % 3)
            for index, author in enumerate(authors[:20])
            for number in range(index)
        ]
    )
    names = ["_", "10", "9", "B", "Z", "a", "c", "dE", "df", "y", "é", "ü"]
    Session.objects.bulk_create([Session(session_key=name, expire_date=timezone.now()) for name in names])


BY_KEY = {
    "all": Author.objects.all,
    "reverse": Author.objects.reverse,
    "ordered": lambda: Author.objects.order_by("-name"),
    "ordered and reversed": lambda: Author.objects.order_by("name").reverse(),
    "text as key": Session.objects.reverse,
    "joined": lambda: Author.objects.annotate(title=F("books__title")).filter(title__isnull=False),
    "joined and distinct": lambda: Author.objects.filter(books__stock=1).distinct(),
    "grouped": lambda: Author.objects.annotate(volumes=Count("books"), last=Max("books__title")).filter(volumes__gt=2),
    "subquery": lambda: Author.objects.annotate(
        first=Subquery(Book.objects.filter(author=OuterRef("pk")).order_by("title").values("title")[:1])
    ),
    "only": lambda: Book.objects.only("title"),
    "deferred": lambda: Book.objects.defer("title"),
    "select_related": lambda: Book.objects.select_related("author"),
    "prefetch_related": lambda: Author.objects.prefetch_related("books"),
    "extra": lambda: Author.objects.extra(select={"five": "5"}, where=["name > 'name 2'"], order_by=["-name"]),
    "either": lambda: Author.objects.filter(name="name 03") | Author.objects.filter(Q(name="name 04")),
    "none": Author.objects.none,
    "using": lambda: Author.objects.using("default"),
}
AT_ONCE = {
    "slice": lambda: Author.objects.annotate(five=Value(5)).order_by("-name")[5:30],
    "values": lambda: Author.objects.values("id", "name"),
    "flat": lambda: Author.objects.values_list("id", flat=True),
    "union": lambda: Author.objects.filter(pk__gt=9).union(Author.objects.filter(name__lt="name 3")),
    "numbered": lambda: Author.objects.annotate(**NUMBERED),
    "numbered, and some of that": lambda: Author.objects.annotate(number=F("pk") + NUMBERED["number"]),
    "filtered by number": lambda: Author.objects.alias(**NUMBERED).filter(number__lte=13),
    "summed up": lambda: Book.objects.annotate(sum=Window(Sum("stock"), partition_by="author")),
    "slice of numbered": lambda: Author.objects.annotate(**NUMBERED).order_by("name")[3:20],
    "numbered in raw SQL": lambda: Author.objects.annotate(number=RawSQL("row_number() OVER (ORDER BY id)", ())),
    "numbered by extra": lambda: Author.objects.extra(select={"number": "row_number() over(order by id)"}),
    "distinct on": lambda: Book.objects.annotate(five=Value(5)).order_by("stock", "id").distinct("stock"),
}
QUERYSETS: dict[str, Callable[[], QuerySet[Any]]] = {**BY_KEY, **AT_ONCE}


@pytest.mark.parametrize("name", QUERYSETS)
def test_every_row_comes_once_as_the_queryset_gives_it(run_on_lanes: Any, library: None, name: str) -> None:
    if name == "distinct on" and not connection.features.can_distinct_on_fields:
        pytest.skip("not on this database")
    queryset = QUERYSETS[name]()
    assert sources.may_be_filtered_by_key(queryset) is (name in BY_KEY)
    expected = sorted(map(content_of, queryset))
    command = Reads(source=name)
    row = row_of(run_on_lanes(command))
    assert sorted(command.rows) == expected
    assert (row.status, row.total, row.done) == ("succeeded", len(expected), len(expected))


@pytest.mark.parametrize("name", [name for name in QUERYSETS if name not in ("values", "flat")])
def test_rows_of_the_ledger_come_back_as_the_queryset_gives_them(run_on_lanes: Any, library: None, name: str) -> None:
    if name == "distinct on" and not connection.features.can_distinct_on_fields:
        pytest.skip("not on this database")
    queryset = QUERYSETS[name]()
    expected = sorted(map(content_of, queryset))
    seen: set[str] = set()

    class Once(Reads):
        limits = ac.Limits(threads=1, max_failures=None)
        retry = ac.Retry(attempts=2, initial=0.01)

        async def download(self, item: Any) -> None:
            if content_of(item) not in seen:
                seen.add(content_of(item))
                raise TimeoutError
            await super().download(item)

    command = Once(source=name)
    row = row_of(run_on_lanes(command))
    assert sorted(command.rows) == expected
    assert (row.status, row.done) == ("succeeded", len(expected))


def test_more_rows_of_one_key_than_a_page_holds(run_on_lanes: Any, library: None) -> None:
    author = Author.objects.order_by("pk").last()
    Book.objects.bulk_create([Book(author=author, title=f"more {n}", isbn=f"more {n}") for n in range(16)])
    command = Reads(source="joined")
    result = run_on_lanes(command)
    assert (result.status, result.counts["done"], result.counts["skipped"]) == ("succeeded", 190 + 16, 0)


@pytest.mark.asyncio
async def test_who_has_a_row_may_take_its_key_from_it(arun_db: None, library: None) -> None:
    """As `delete()` does, and who copies a row."""
    count = 0
    async for piece in sources.in_pieces(Author.objects.all()):
        for author in piece:
            author.pk = None
            count += 1
    assert count == AUTHORS
