"""Queued updates: what fields do before they are saved, and a cost in proportion to the rows."""

from __future__ import annotations

from typing import Any

import pytest
from django.core.files.base import ContentFile
from django.core.files.storage import InMemoryStorage
from django.db import connection, models, transaction
from django.db.models import F
from django.test.utils import CaptureQueriesContext, isolate_apps
from django.utils import timezone

from async_commander.database.unit import Unit, write_units
from tests.testapp.models import Author, Book, Page

from .conftest import created, write

pytestmark = pytest.mark.django_db(transaction=True)


@isolate_apps("tests.testapp")
def test_files_of_updated_fields_are_stored_once(unit: Unit) -> None:
    storage = InMemoryStorage()

    class Document(models.Model):
        file = models.FileField(storage=storage)

        class Meta:
            app_label = "testapp"

    with created(Document):
        document = Document.objects.create()
        document.file = ContentFile(b"new", name="a.txt")
        unit.update(document, fields=["file"])
        with pytest.raises(LookupError), transaction.atomic():
            write_units([unit])
            raise LookupError
        unit.restore()
        write(unit)
        assert storage.open(Document.objects.get().file.name).read() == b"new"
        added = Document(file=ContentFile(b"added", name="b.txt"))
        other = Unit("default")
        other.add(added)
        write(other)
        assert storage.open(Document.objects.get(pk=added.pk).file.name).read() == b"added"
        assert len(storage.listdir("")[1]) == 2


@isolate_apps("tests.testapp")
def test_what_a_named_field_does_before_it_is_saved_is_done(unit: Unit) -> None:
    class Title(models.CharField):  # type: ignore[type-arg]  # any
        def pre_save(self, model_instance: models.Model, add: bool) -> Any:
            return f"{getattr(model_instance, self.attname)} {add}"

    class Article(models.Model):
        title = Title(max_length=40)
        changed = models.DateTimeField(auto_now=True)
        added = models.DateTimeField(auto_now_add=True)
        seen = models.DateTimeField(null=True)

        class Meta:
            app_label = "testapp"

    with created(Article):
        article = Article.objects.create(title="a")
        before, added = article.changed, article.added
        unit.update(article, fields=["seen"])
        write(unit)
        assert Article.objects.get().changed == before  # it was not named
        article.title, article.seen = "b", timezone.now()
        unit.update(article, fields=["title", "changed", "seen", "added"])
        write(unit)
        kept = Article.objects.get()
        assert kept.title == "b False"
        assert kept.changed > before
        assert (article.changed, kept.seen, kept.added) == (kept.changed, article.seen, added)
        article.changed = before
        unit.update(article, fields=["changed"])
        with pytest.raises(LookupError), transaction.atomic():
            write_units([unit])
            raise LookupError
        unit.restore()
        assert article.changed == before


@pytest.mark.parametrize("count", [1, 30, 1_500])
def test_many_rows_are_few_statements(unit: Unit, count: int) -> None:
    pages = Page.objects.bulk_create([Page(url=str(number)) for number in range(count)])
    for number, page in enumerate(pages):
        page.title, page.body, page.url = f"t{number}", "'\"\\{},NULL" * (number % 3), f"u{number}"
    unit.update(*pages, fields=["title", "body", "url"])
    with CaptureQueriesContext(connection) as queries:
        write(unit)
    assert sorted(Page.objects.values_list("url", "title", "body")) == sorted((p.url, p.title, p.body) for p in pages)
    updates = [query["sql"] for query in queries if "UPDATE" in query["sql"]]
    assert len(updates) == 1  # or as many as the driver makes of it


def test_many_rows_with_expressions_are_statements_of_bounded_size(unit: Unit) -> None:
    author = Author.objects.create(name="a")
    books = Book.objects.bulk_create([Book(author=author, title="t", isbn=str(n), stock=n) for n in range(250)])
    for book in books:
        book.stock = F("stock") + 1  # type: ignore[assignment]  # an expression
    unit.update(*books, fields=["stock"])
    with CaptureQueriesContext(connection) as queries:
        write(unit)
    assert len([query for query in queries if query["sql"].startswith("UPDATE")]) == 3
    assert set(Book.objects.values_list("stock", flat=True)) == set(range(1, 251))


@isolate_apps("tests.testapp")
def test_values_of_every_type_are_updated(unit: Unit) -> None:
    import datetime as dt
    import uuid
    from decimal import Decimal

    class Everything(models.Model):
        id = models.UUIDField(primary_key=True, default=uuid.uuid4)
        whole = models.BigIntegerField(null=True)
        number = models.FloatField(null=True)
        amount = models.DecimalField(max_digits=9, decimal_places=2, null=True)
        flag = models.BooleanField(null=True)
        day = models.DateField(null=True)
        at = models.DateTimeField(null=True)
        clock = models.TimeField(null=True)
        span = models.DurationField(null=True)
        data = models.JSONField(null=True)
        blob = models.BinaryField(null=True)
        text = models.CharField(max_length=9, null=True)
        address = models.GenericIPAddressField(null=True)
        author = models.ForeignKey(Author, null=True, on_delete=models.CASCADE)

        class Meta:
            app_label = "testapp"

    values: dict[str, Any] = {
        "whole": 2**40, "number": 0.1, "amount": Decimal("1.25"), "flag": True, "day": dt.date(2026, 1, 2),
        "at": dt.datetime(2026, 1, 2, 3, 4, 5, 6, tzinfo=dt.UTC), "clock": dt.time(1, 2, 3, 4),
        "span": dt.timedelta(days=2, microseconds=5), "data": {"a": [1, None, "é"]}, "blob": b"\x00\xff",
        "text": "é'\"", "address": "::1",
    }  # fmt: skip
    with created(Everything):
        rows = [Everything.objects.create() for _ in range(4)]
        for row in rows[:2]:
            vars(row).update(values)
            row.author = Author.objects.create(name=str(row.pk)[:9])
        unit.update(*rows, fields=[*values, "author"])
        write(unit)
        for row in rows:
            kept = Everything.objects.get(pk=row.pk)
            for name in values:
                found = getattr(kept, name)
                assert (bytes(found) if isinstance(found, memoryview) else found) == getattr(row, name)
            assert kept.author_id == row.author_id


@isolate_apps("tests.testapp")
def test_rows_with_a_key_of_several_fields_are_updated_together(unit: Unit) -> None:
    class Cell(models.Model):
        pk = models.CompositePrimaryKey("row", "column")
        row = models.IntegerField()
        column = models.IntegerField()
        text = models.CharField(max_length=9, default="")

        class Meta:
            app_label = "testapp"

    with created(Cell):
        cells = [Cell.objects.create(row=row, column=column) for row in range(3) for column in range(3)]
        for cell in cells:
            cell.text = f"{cell.row} {cell.column}"
        unit.update(*cells, fields=["text"])
        write(unit)
        assert {cell.text for cell in Cell.objects.all()} == {
            f"{row} {column}" for row in range(3) for column in range(3)
        }


def test_a_server_that_binds_parameters_itself_takes_as_many_rows(options: dict[str, Any]) -> None:
    if connection.vendor != "postgresql":
        pytest.skip("a setting of psycopg")
    options["server_side_binding"] = True
    pages = Page.objects.bulk_create([Page(url=str(number)) for number in range(300)])
    author = Author.objects.create(name="a")
    unit = Unit("default")
    for number, page in enumerate(pages):
        page.title = str(number)
    unit.update(*pages, fields=["title"])
    unit.upsert(*(Page(url=str(number), body="b") for number in range(23_000)), unique=["url"], update=["body"])
    unit.add(*(Book(author=author, title="t", isbn=str(number)) for number in range(100)))
    write(unit)
    assert Page.objects.filter(body="b").count() == 23_000
    assert set(Page.objects.exclude(title="").values_list("title", flat=True)) == {str(number) for number in range(300)}
