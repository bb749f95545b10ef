"""Queued updates: what fields do before they are saved, and a cost in proportion to the rows."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest
from django.core.files.base import ContentFile
from django.core.files.storage import InMemoryStorage
from django.db import DataError, connection, models, transaction
from django.db.models import F, Value
from django.test.utils import CaptureQueriesContext, isolate_apps
from django.utils import timezone
from django.utils.safestring import mark_safe

from async_commander.database.unit import Unit, write_units
from tests.testapp.models import Author, Book, Page, Tag

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


@isolate_apps("tests.testapp")
@pytest.mark.usefixtures("postgres")
def test_a_table_in_another_schema_is_written_like_others(unit: Unit) -> None:
    class Reading(models.Model):
        Code = models.CharField(max_length=20, unique=True, db_column="The Code")
        value = models.TextField(db_column="Value")

        class Meta:
            app_label = "testapp"
            managed = False
            db_table = '"Other"."My readings"'

    with connection.cursor() as cursor:
        cursor.execute('CREATE SCHEMA "Other"')
        cursor.execute(
            'CREATE TABLE "Other"."My readings" (id bigserial PRIMARY KEY, "The Code" varchar(20) UNIQUE, "Value" text)'
        )
    try:
        rows = [Reading(Code=code, value="") for code in "abc"]
        unit.add(*rows)
        unit.upsert(*[Reading(Code=code, value=code) for code in "bcd"], unique=["Code"], update=["value"])
        unit.upsert(Reading(Code="a", value="not written"), unique=["Code"], update=[])
        write(unit)
        assert dict(Reading.objects.values_list("Code", "value")) == {"a": "", "b": "b", "c": "c", "d": "d"}
        for row in rows:
            row.value = "updated"
        again = Unit("default")
        again.update(*rows, fields=["value"])
        again.delete(Reading.objects.get(Code="d"))
        write(again)
        assert dict(Reading.objects.values_list("Code", "value")) == dict.fromkeys("abc", "updated")
    finally:
        with connection.cursor() as cursor:
            cursor.execute('DROP SCHEMA "Other" CASCADE')


@isolate_apps("tests.testapp")
def test_null_of_json_is_not_null_of_the_database(unit: Unit) -> None:
    class Document(models.Model):
        code = models.CharField(max_length=20, unique=True)
        data = models.JSONField(null=True)
        number = models.IntegerField(default=0)

        class Meta:
            app_label = "testapp"

    def rows() -> list[Document]:
        values = {"null": None, "json": Value(None, models.JSONField()), "dict": {"a": None}, "text": "b"}
        return [Document(code=code, data=value) for code, value in values.items()]

    def kept() -> dict[str, Any]:
        null = set(Document.objects.filter(data__isnull=True).values_list("code", flat=True))
        return {row.code: "NULL" if row.code in null else row.data for row in Document.objects.all()}

    wanted = {"null": "NULL", "json": None, "dict": {"a": None}, "text": "b"}
    with created(Document):
        unit.add(*(added := rows()))
        write(unit)
        assert kept() == wanted
        for number in (1, F("number") + 1):  # the values themselves, and by an expression of the database
            for some in (added, added[1:2]):
                Document.objects.update(data=7)
                for row, new in zip(some, rows() if some is added else rows()[1:2], strict=True):
                    row.data, row.number = new.data, number
                again = Unit("default")
                again.update(*some, fields=["data", "number"])
                write(again)
                assert kept() == (wanted if some is added else dict.fromkeys(wanted, 7) | {"json": None})
        again = Unit("default")
        again.upsert(*rows(), unique=["code"], update=["data"])
        write(again)
        assert kept() == wanted


@isolate_apps("tests.testapp")
def test_texts_and_addresses_of_different_types_share_a_statement(unit: Unit) -> None:
    class Colour(models.TextChoices):
        RED = "red"

    class Host(models.Model):
        name = models.CharField(max_length=20, unique=True)
        address = models.GenericIPAddressField(null=True)

        class Meta:
            app_label = "testapp"

    with created(Host):
        hosts = [Host(name=Colour.RED, address="::1"), Host(name=mark_safe("b"), address="10.0.0.1"), Host(name="c")]
        unit.add(*hosts)
        unit.upsert(Host(name="red", address="::2"), Host(name=mark_safe("d")), unique=["name"], update=["address"])
        write(unit)
        hosts[0].address, hosts[1].address, hosts[2].address = "10.0.0.2", "::3", None
        hosts[0].name, hosts[1].name = "r", Colour.RED
        again = Unit("default")
        again.update(*hosts, fields=["name", "address"])
        write(again)
        kept = {"r": "10.0.0.2", "red": "::3", "c": None, "d": None}
        assert dict(Host.objects.values_list("name", "address")) == kept


@isolate_apps("tests.testapp")
def test_a_number_that_does_not_fit_is_refused_on_every_database(unit: Unit) -> None:
    class Price(models.Model):
        amount = models.DecimalField(max_digits=5, decimal_places=2)

        class Meta:
            app_label = "testapp"

    with created(Price):
        price = Price(amount=Decimal("999.99"))
        unit.add(price)
        write(unit)
        for given in (Decimal(1000), 1000, Decimal("999.999"), Decimal("1E+400")):
            wrong = Unit("default")
            wrong.add(Price(amount=given))
            price.amount = given
            changed = Unit("default")
            changed.update(price, fields=["amount"])
            for one in (wrong, changed):
                with pytest.raises((DataError, ValueError)) as raised:
                    write(one)
                if connection.vendor == "sqlite":  # where Django could not read it any more
                    assert "testapp.Price.amount: " in str(raised.value)
                    assert "does not fit into max_digits=5, decimal_places=2" in str(raised.value)
        assert Price.objects.get().amount == Decimal("999.99")


@isolate_apps("tests.testapp")
def test_a_row_in_several_tables_is_updated_and_deleted(unit: Unit) -> None:
    class Place(models.Model):
        name = models.CharField(max_length=20)

        class Meta:
            app_label = "testapp"

    class Inn(Place):
        beds = models.IntegerField()

        class Meta:
            app_label = "testapp"

    with created(Place, Inn):
        inns = [Inn.objects.create(name=name, beds=1) for name in "abc"]
        for inn in inns:
            inn.name, inn.beds = f"{inn.name}!", 2
        unit.update(*inns[:2], fields=["beds", "name"])
        unit.update(inns[2], fields=["beds"])
        write(unit)
        assert list(Inn.objects.order_by("pk").values_list("name", "beds")) == [("a!", 2), ("b!", 2), ("c", 2)]
        again = Unit("default")
        again.delete(*inns)
        write(again)
        assert not Place.objects.exists()


def test_a_unique_value_that_an_update_sets_free_can_be_used_after_it(unit: Unit) -> None:
    tags = [Tag.objects.create(name=name) for name in "abcd"]
    for tag, name in zip(reversed(tags), "edcb", strict=True):
        tag.name = name
    unit.update(*reversed(tags), fields=["name"])
    write(unit)
    assert list(Tag.objects.order_by("pk").values_list("name", flat=True)) == ["b", "c", "d", "e"]
