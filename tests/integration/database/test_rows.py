"""Queued rows: parents first, equal keys merged, sorted, keys handed down, and put back after a rollback."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import pytest
from django.db import IntegrityError, connection, models, transaction
from django.db.models import F, Subquery, Value
from django.db.models.functions import Coalesce, Concat, Upper
from django.test.utils import CaptureQueriesContext, isolate_apps

from async_commander.database.unit import Unit
from tests.testapp.models import Author, Book, Node, Page, Tag

from .conftest import write

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.django_db


def test_parents_are_inserted_first_and_hand_down_their_keys(unit: Unit) -> None:
    author = Author(name="a")
    books = [Book(author=author, title=f"t{number}", isbn=str(number)) for number in range(3)]
    unit.add(*books, author)
    write(unit)
    assert [book.author_id for book in books] == [author.pk] * 3
    assert Book.objects.filter(author__name="a").count() == 3


def test_keys_are_handed_down_between_units() -> None:
    author = Author(name="a")
    first, second = Unit("default"), Unit("default")
    first.add(author)
    second.add(Book(author=author, title="t", isbn="1"))
    write(first, second)
    assert Book.objects.get().author_id == author.pk


def test_rows_of_one_table_that_refer_to_each_other_are_inserted_in_generations(unit: Unit) -> None:
    root = Node(name="c")
    child = Node(name="b", parent=root)
    grandchild = Node(name="a", parent=child)
    unit.add(grandchild, child, root)
    write(unit)
    assert Node.objects.get(name="a").parent.parent.name == "c"


@pytest.mark.parametrize("verb", ["add", "upsert"])
def test_a_child_may_be_queued_before_its_parent(unit: Unit, verb: str) -> None:
    def queue(obj: models.Model) -> None:
        unique = ["isbn" if isinstance(obj, Book) else "name"]
        unit.add(obj) if verb == "add" else unit.upsert(obj, unique=unique, update="__all__")

    author, root = Author(name="a"), Node(name="root")
    child = Node(name="child", parent=root)
    for obj in (Book(author=author, title="t", isbn="1"), Node(name="leaf", parent=child), child, author, root):
        queue(obj)
    write(unit)
    assert Book.objects.get().author.name == "a"
    assert Node.objects.get(name="leaf").parent.parent.name == "root"


def test_a_parent_may_be_saved_after_its_child_was_queued(unit: Unit) -> None:
    author = Author(name="a")
    unit.add(Book(author=author, title="t", isbn="1"))
    author.save()
    write(unit)
    assert Book.objects.get().author == author


def test_a_parent_that_nobody_saves_is_named(unit: Unit) -> None:
    book = Book(author=Author(name="a"), title="t", isbn="1")
    unit.add(book)
    message = r"add\(<Book.*\): its author <Author.*> is not saved, and nothing here saves it.*self\.db\.add\(author\)"
    with pytest.raises(ValueError, match=message):
        write(unit)
    saved = Book.objects.create(author=Author.objects.create(name="b"), title="t", isbn="2")
    saved.author = Author(name="c")
    other = Unit("default")
    other.update(saved, fields=["author"])
    with pytest.raises(ValueError, match=r"update\(<Book.*\): its author <Author.*> is not saved"):
        write(other)


def test_a_row_may_be_updated_before_it_is_added_and_not_where_nobody_adds_it(unit: Unit) -> None:
    page = Page(url="a")
    unit.update(page, fields=["title"])
    unit.add(page)
    page.title = "of the end"
    write(unit)
    assert Page.objects.get().title == "of the end"
    unit.update(Page(url="b"), fields=["title"])
    with pytest.raises(ValueError, match=r"no row to update: use add\(\) or upsert\(\)"):
        write(unit)


def test_a_circle_is_named(unit: Unit) -> None:
    first, second = Node(name="a"), Node(name="b")
    first.parent, second.parent = second, first
    unit.add(first, second)
    with pytest.raises(ValueError, match="circle"):
        write(unit)


def test_all_rows_of_a_kind_are_one_statement() -> None:
    units = [Unit("default") for _ in range(20)]
    for number, unit in enumerate(units):
        unit.add(Page(url=str(number)))
    with CaptureQueriesContext(connection) as queries:
        write(*units)
    assert len([query for query in queries if "INSERT" in query["sql"]]) == 1


def test_rows_are_sorted_by_their_unique_key(unit: Unit) -> None:
    pages = [Page(url=url) for url in "cab"]
    unit.add(*pages)
    write(unit)
    assert list(Page.objects.order_by("pk").values_list("url", flat=True)) == ["a", "b", "c"]
    assert [Page.objects.get(url=page.url).pk for page in pages] == [page.pk for page in pages]


def test_an_object_that_many_units_add_is_inserted_once() -> None:
    author = Author(name="shared")
    units = [Unit("default") for _ in range(3)]
    for number, unit in enumerate(units):
        unit.add(author, Book(author=author, title="t", isbn=str(number)))
    write(*units[:2])
    write(units[2])
    assert Author.objects.count() == 1
    assert Book.objects.filter(author=author).count() == 3


def test_upsert_inserts_or_overwrites_and_learns_the_key(unit: Unit) -> None:
    old = Page.objects.create(url="old", title="before", body="before")
    pages = [Page(url="old", title="after"), Page(url="new", title="fresh")]
    unit.upsert(*pages, unique=["url"], update="__all__")
    write(unit)
    assert pages[0].pk == old.pk
    assert pages[1].pk == Page.objects.get(url="new").pk
    old.refresh_from_db()
    assert (old.title, old.body) == ("after", "")


def test_upsert_overwrites_only_what_is_named(unit: Unit) -> None:
    Page.objects.create(url="a", title="before", body="before")
    unit.upsert(Page(url="a", title="after", body="after"), unique=["url"], update=["title"])
    write(unit)
    assert Page.objects.values_list("title", "body").get() == ("after", "before")


def test_upsert_that_overwrites_nothing_keeps_the_row_and_learns_its_key(unit: Unit) -> None:
    old = Page.objects.create(url="a", title="before")
    page, child = Page(url="a", title="after"), Page(url="b")
    unit.upsert(page, child, unique=["url"], update=[])
    write(unit)
    assert page.pk == old.pk
    old.refresh_from_db()
    assert old.title == "before"


def test_upsert_leaves_the_time_of_creation(unit: Unit) -> None:
    author = Author.objects.create(name="a")
    old = Book.objects.create(author=author, title="t", isbn="1")
    unit.upsert(Book(author=author, title="new", isbn="1"), unique=["isbn"], update="__all__")
    write(unit)
    book = Book.objects.get()
    assert (book.title, book.created) == ("new", old.created)


def test_equal_keys_are_merged_the_last_wins_and_all_get_the_key() -> None:
    units = [Unit("default") for _ in range(3)]
    authors = [Author(name="same") for _ in units]
    for number, unit in enumerate(units):
        unit.upsert(authors[number], unique=["name"], update="__all__")
        unit.upsert(Book(author=authors[number], title=str(number), isbn="same"), unique=["isbn"], update="__all__")
    write(*units)
    assert {author.pk for author in authors} == {Author.objects.get().pk}
    assert all(not author._state.adding for author in authors)
    assert Book.objects.get().title == "2"


def test_upserts_of_one_key_with_different_fields_both_count() -> None:
    first, second = Unit("default"), Unit("default")
    first.upsert(Page(url="a", title="title"), unique=["url"], update=["title"])
    second.upsert(Page(url="a", body="body"), unique=["url"], update=["body"])
    write(first, second)
    assert Page.objects.values_list("title", "body").get() == ("title", "body")


def test_writes_of_one_row_keep_their_order_and_others_share_statements() -> None:
    units = [Unit("default") for _ in range(6)]
    for number, unit in enumerate(units):
        pages = Page(url="a", title=str(number), body=str(number)), Page(url=f"other {number}")
        unit.upsert(*pages, unique=["url"], update=["title", "body"][: 1 + number % 2])
    with CaptureQueriesContext(connection) as queries:
        write(*units)
    assert Page.objects.values_list("title", "body").get(url="a") == ("5", "5")
    if connection.features.supports_update_conflicts_with_target:
        assert len([query for query in queries if "INSERT" in query["sql"]]) == 7
    assert Page.objects.count() == 7


def test_an_upsert_before_an_add_of_the_same_row_does_not_hide_that_it_is_there(unit: Unit) -> None:
    unit.upsert(Page(url="a"), unique=["url"], update="__all__")
    unit.add(Page(url="a"))
    with pytest.raises(IntegrityError):
        write(unit)
    other = Unit("default")
    other.add(Page(url="b", title="added"))
    other.upsert(Page(url="b", title="overwritten"), unique=["url"], update="__all__")
    write(other)
    assert Page.objects.get().title == "overwritten"


def test_an_object_that_is_upserted_again_is_the_last(unit: Unit) -> None:
    first, second = Page(url="a", title="first"), Page(url="a", title="second")
    for page in (first, second, first):
        unit.upsert(page, unique=["url"], update="__all__")
    write(unit)
    assert Page.objects.get().title == "first"
    assert first.pk == second.pk


def test_a_unique_value_that_an_upsert_sets_free_can_be_used_after_it(unit: Unit) -> None:
    old = Tag.objects.create(name="taken")
    unit.upsert(Tag(pk=old.pk, name="free"), unique=["pk"], update="__all__")
    unit.add(Tag(name="taken"))
    write(unit)
    assert set(Tag.objects.values_list("name", flat=True)) == {"free", "taken"}


@pytest.mark.parametrize("turned", [False, True])
def test_statements_of_one_model_come_in_one_order_whatever_was_queued_first(unit: Unit, turned: bool) -> None:
    def keep() -> None:
        unit.upsert(Page(url="a"), Page(url="b"), unique=["url"], update=[])

    def overwrite() -> None:
        unit.upsert(Page(url="c"), unique=["url"], update=["title"])

    for queue in (overwrite, keep) if turned else (keep, overwrite):
        queue()
    with CaptureQueriesContext(connection) as queries:
        write(unit)
    inserts = [query["sql"] for query in queries if "INSERT" in query["sql"]]
    assert [set(re.findall(r"\b[abc]\b", sql)) for sql in inserts] == [{"a", "b"}, {"c"}]


def test_updates_come_after_inserts_and_the_last_of_a_row_wins(unit: Unit) -> None:
    author = Author.objects.create(name="a")
    book = Book.objects.create(author=author, title="t", isbn="1")
    again, other = Book.objects.get(), Book.objects.get()
    book.stock, again.stock, other.stock, other.title = 1, 2, 3, "other"
    unit.update(book, fields=["stock"])
    unit.update(other, fields=["stock", "title"])
    unit.update(again, fields=["stock"])
    write(unit)
    book.refresh_from_db()
    assert (book.stock, book.title) == (2, "other")


def test_each_update_with_an_expression_counts() -> None:
    book = Book.objects.create(author=Author.objects.create(name="a"), title="t", isbn="1")
    units = [Unit("default") for _ in range(10)]
    for unit in units:
        unit.update(Book(pk=str(book.pk), stock=F("stock") + 1), fields=["stock"])
    write(*units)
    book.refresh_from_db()
    assert book.stock == 10
    last = Unit("default")
    last.update(Book(pk=book.pk, stock=5), fields=["stock"])
    last.update(Book(pk=str(book.pk), stock=F("stock") + 1), fields=["stock"])
    write(last)
    book.refresh_from_db()
    assert book.stock == 6


def test_updates_with_expressions_of_different_rows_are_one_statement() -> None:
    author = Author.objects.create(name="a")
    books = [Book.objects.create(author=author, title="t", isbn=str(number)) for number in range(5)]
    unit = Unit("default")
    unit.update(*(Book(pk=book.pk, stock=F("stock") + 1) for book in books), fields=["stock"])
    with CaptureQueriesContext(connection) as queries:
        write(unit)
    assert len([query for query in queries if query["sql"].startswith("UPDATE")]) == 1
    assert set(Book.objects.values_list("stock", flat=True)) == {1}


def test_each_upsert_with_an_expression_counts(unit: Unit) -> None:
    longer = Concat(Coalesce(Subquery(Page.objects.filter(url="a").values("title")), Value("")), Value("x"))
    for _ in range(3):
        unit.upsert(Page(url="a", title=longer), unique=["url"], update="__all__")
    write(unit)
    assert Page.objects.get().title == "xxx"


def test_an_update_can_point_to_a_row_of_the_same_unit(unit: Unit) -> None:
    book = Book.objects.create(author=Author.objects.create(name="a"), title="t", isbn="1")
    book.author = Author(name="b")
    unit.add(book.author)
    unit.update(book, fields=["author"])
    write(unit)
    assert Book.objects.get().author.name == "b"


def test_deletes_come_last_and_children_first(unit: Unit) -> None:
    author = Author.objects.create(name="a")
    book = Book.objects.create(author=author, title="t", isbn="1")
    unit.delete(author)
    unit.delete(book)
    unit.add(Tag(name="x"))
    with CaptureQueriesContext(connection) as queries:
        write(unit)
    deletes = [query["sql"] for query in queries if query["sql"].startswith("DELETE")]
    assert "WHERE testapp_book.id IN" in deletes[0].translate({34: None, 96: None})
    assert not Author.objects.exists()
    assert not Book.objects.exists()


@pytest.mark.usefixtures("few_parameters")
def test_more_rows_are_deleted_than_a_statement_has_parameters(unit: Unit) -> None:
    pages = Page.objects.bulk_create([Page(url=str(number)) for number in range(1_100)])
    unit.delete(*pages[:-1])
    write(unit)
    assert [page.url for page in Page.objects.all()] == ["1099"]


def test_flushing_is_for_any_other_order(unit: Unit) -> None:
    old = Page.objects.create(url="a", title="old")
    with transaction.atomic():
        unit.delete(old)
        unit._flush(unit._take())
        unit.add(Page(url="a", title="new"))
        unit.write()
    assert Page.objects.get().title == "new"


@pytest.mark.parametrize("verb", ["add", "upsert"])
def test_a_row_that_is_written_after_its_deletion_is_not_lost_unseen(unit: Unit, verb: str) -> None:
    old = Page.objects.create(url="a", title="old")
    unit.delete(old)
    if verb == "add":
        old.pk = None  # its object is used for the new row
        old.url = "b"
        unit.add(old)
    else:
        unit.upsert(Page(url="a", title="new"), unique=["url"], update=["title"])
    with pytest.raises(ValueError, match=verb + r"\(.*\) after delete\(\) of the same row.*flush\(\)"):
        write(unit)


def test_a_row_whose_key_was_taken_away_is_not_deleted_in_silence(unit: Unit) -> None:
    old = Page.objects.create(url="a")
    unit.delete(old)
    old.pk = None
    with pytest.raises(ValueError, match="its key was taken away"):
        write(unit)


def test_counts_tell_what_was_queued(unit: Unit) -> None:
    unit.add(Page(url="a"), Page(url="b"))
    unit.upsert(Tag(name="t"), unique=["name"], update="__all__")
    counts = {("add", "testapp.Page"): 2, ("upsert", "testapp.Tag"): 1}
    assert unit.counts == counts
    assert unit.has_rows
    write(unit)
    assert unit.counts == counts
    assert not unit.has_rows


def test_a_rollback_puts_the_objects_back() -> None:
    author = Author(name="a")
    book = Book(author=author, title="t", isbn="1")
    before = [(obj.pk, obj._state.adding, obj._state.db) for obj in (author, book)]
    unit = Unit("default")
    unit.add(author, book)
    with pytest.raises(LookupError), transaction.atomic():
        unit.write()
        assert book.author_id is not None
        raise LookupError
    unit.restore()
    assert [(obj.pk, obj._state.adding, obj._state.db) for obj in (author, book)] == before
    assert (book.author_id, book.author) == (None, author)
    Author.objects.create(name="in between")  # takes the key on SQLite
    write(unit)
    assert Book.objects.get().author.name == "a"


def test_a_flush_that_fails_drops_its_rows(unit: Unit) -> None:
    Page.objects.create(url="taken")
    page = Page(url="taken")
    unit.add(Page(url="first"), page)
    with pytest.raises(IntegrityError), transaction.atomic():
        unit._flush(unit._take())
    assert page.pk is None
    assert not unit.has_rows


@pytest.fixture
def tables() -> Iterator[Any]:
    """Models with keys of other kinds: made by the client, of several fields, referred to by another field."""
    with isolate_apps("tests.testapp"):

        class Shop(models.Model):
            id = models.UUIDField(primary_key=True, default=__import__("uuid").uuid4)
            code = models.CharField(max_length=10, unique=True)

            class Meta:
                app_label = "testapp"

        class Price(models.Model):
            shop = models.ForeignKey(Shop, on_delete=models.CASCADE)
            by_code = models.ForeignKey(Shop, null=True, to_field="code", related_name="+", on_delete=models.CASCADE)
            article = models.CharField(max_length=10, null=True)
            amount = models.IntegerField(default=0)

            class Meta:
                app_label = "testapp"
                constraints = [models.UniqueConstraint(fields=["shop", "article"], name="one_price")]

        with connection.schema_editor() as editor:
            editor.create_model(Shop)
            editor.create_model(Price)
        yield type("Tables", (), {"Shop": Shop, "Price": Price})
        with connection.schema_editor() as editor:
            editor.delete_model(Price)
            editor.delete_model(Shop)


@pytest.mark.django_db(transaction=True)
def test_upsert_learns_keys_that_the_database_did_not_make(unit: Unit, tables: Any) -> None:
    old = tables.Shop.objects.create(code="a")
    shop = tables.Shop(code="a")
    assert shop.pk != old.pk
    unit.upsert(shop, unique=["code"], update=[])
    unit.upsert(tables.Price(shop=shop, article="x", amount=1), unique=["shop", "article"], update="__all__")
    write(unit)
    assert shop.pk == old.pk
    assert tables.Price.objects.get().shop_id == old.pk


@pytest.mark.django_db(transaction=True)
def test_keys_of_several_fields_are_merged_and_null_equals_nothing(unit: Unit, tables: Any) -> None:
    shop = tables.Shop(code="a")
    unit.add(shop)
    for amount in range(3):
        for article in ("x", None):
            price = tables.Price(shop=shop, article=article, amount=amount)
            unit.upsert(price, unique=["article", "shop"], update="__all__")
    write(unit)
    assert list(tables.Price.objects.filter(article="x").values_list("amount", flat=True)) == [2]
    assert tables.Price.objects.filter(article=None).count() == 3


@pytest.mark.django_db(transaction=True)
def test_a_reference_to_another_field_is_handed_down(unit: Unit, tables: Any) -> None:
    shop = tables.Shop(code="a")
    unit.add(tables.Price(shop=shop, by_code=shop, article="x"), shop)
    write(unit)
    assert tables.Price.objects.get().by_code.code == "a"


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("verb", ["add", "upsert"])
def test_rows_whose_keys_are_partly_null_are_written_in_one_order(unit: Unit, tables: Any, verb: str) -> None:
    shop = tables.Shop.objects.create(code="a")
    prices = [tables.Price(shop=shop, article=article) for article in ("b", None, "a")]
    if verb == "add":
        unit.add(*prices)
    else:
        unit.upsert(*prices, unique=["shop", "article"], update="__all__")
    write(unit)
    assert sorted(tables.Price.objects.values_list("article", flat=True), key=str) == [None, "a", "b"]
    assert all(price.pk for price in prices)


def test_upsert_by_the_key_alone_keeps_the_row_that_is_there(unit: Unit) -> None:
    Tag.objects.create(pk=7, name="old")
    unit.upsert(Tag(pk=7, name="new"), Tag(pk=8, name="other"), unique=["pk"], update=[])
    write(unit)
    assert dict(Tag.objects.values_list("pk", "name")) == {7: "old", 8: "other"}


@pytest.fixture
def places() -> Iterator[Any]:
    """A model whose primary key is two fields, one of whose columns the database computes."""
    with isolate_apps("tests.testapp"):

        class Place(models.Model):
            pk = models.CompositePrimaryKey("row", "column")
            row = models.IntegerField()
            column = models.IntegerField()
            name = models.CharField(max_length=10)
            shout = models.GeneratedField(
                expression=Upper("name"), output_field=models.CharField(max_length=10), db_persist=True
            )

            class Meta:
                app_label = "testapp"

        with connection.schema_editor() as editor:
            editor.create_model(Place)
        yield Place
        with connection.schema_editor() as editor:
            editor.delete_model(Place)


@pytest.mark.django_db(transaction=True)
def test_rows_with_a_key_of_several_fields_are_written_like_others(unit: Unit, places: Any) -> None:
    unit.add(places(row=1, column=2, name="a"), places(row=1, column=1, name="b"))
    unit.upsert(places(row=1, column=3, name="c"), unique=["row", "column"], update="__all__")
    write(unit)
    again = Unit("default")
    again.upsert(places(row=1, column=3, name="new"), unique=["column", "row"], update="__all__")
    again.update(places.objects.get(pk=(1, 1)), fields=["name"])
    again.delete(places.objects.get(pk=(1, 2)))
    write(again)
    assert list(places.objects.order_by("column").values_list("column", "shout")) == [(1, "B"), (3, "NEW")]


@pytest.mark.django_db(transaction=True)
def test_what_the_database_computes_is_not_written(unit: Unit, places: Any) -> None:
    place = places.objects.create(row=1, column=1, name="a")
    with pytest.raises(ValueError, match=r"fields: 'shout' of testapp\.Place is computed by the database"):
        unit.update(place, fields=["shout"])
    with pytest.raises(ValueError, match=r"fields: 'row' is the primary key of testapp\.Place; it never changes"):
        unit.update(place, fields=["row"])
