"""References of every kind to rows that are queued in the same item: the key is handed down, or the remedy is named."""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING, Any

import pytest
from django.contrib.contenttypes.fields import GenericForeignKey, GenericRelation
from django.contrib.contenttypes.models import ContentType
from django.db import connection, models, transaction
from django.db.models.functions import Abs
from django.test.utils import isolate_apps

from async_commander.database.unit import Unit
from tests.testapp.models import Author, Book, Page

from .conftest import created, write

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def links() -> Iterator[Any]:
    with isolate_apps("tests.testapp"):

        class Link(models.Model):
            content_type = models.ForeignKey(ContentType, on_delete=models.CASCADE, null=True)
            object_id = models.CharField(max_length=40, null=True)
            target = GenericForeignKey("content_type", "object_id")
            name = models.CharField(max_length=20, default="")

            class Meta:
                app_label = "testapp"

        with created(Link):
            yield Link


@pytest.mark.parametrize("is_first", [True, False])
@pytest.mark.parametrize("verb", ["add", "upsert"])
def test_a_generic_reference_to_a_queued_row_is_handed_down(unit: Unit, links: Any, verb: str, is_first: bool) -> None:
    page = Page(url="a")
    link = links(target=page)
    for obj in (link, page) if is_first else (page, link):
        if verb == "upsert" and obj is page:
            unit.upsert(page, unique=["url"], update="__all__")
        else:
            unit.add(obj)
    write(unit)
    kept = links.objects.get()
    assert (kept.target, kept.object_id) == (page, str(page.pk))


def test_a_generic_reference_is_handed_down_between_units_and_batches(links: Any) -> None:
    page = Page(url="a")
    first, second, third = Unit("default"), Unit("default"), Unit("default")
    links_of_it = [links(target=page), links(target=page)]
    first.add(links_of_it[0])
    second.add(page)
    third.add(links_of_it[1])
    write(first, second)
    write(third)
    assert [link.target for link in links.objects.all()] == [page, page]


def test_a_generic_reference_to_a_row_that_nobody_saves_is_refused(unit: Unit, links: Any) -> None:
    unit.add(links(target=Page(url="a")))
    message = r"its target <Page.*> is not saved, and nothing here saves it.*self\.db\.add\(target\)"
    with pytest.raises(ValueError, match=message):
        write(unit)
    unit.requests.clear()
    link = links.objects.create()
    link.target = Page(url="b")
    unit.update(link, fields=["content_type", "object_id"])
    with pytest.raises(ValueError, match="its target <Page"):
        write(unit)


def test_an_update_can_point_to_a_queued_row_generically(unit: Unit, links: Any) -> None:
    link = links.objects.create()
    page = Page(url="a")
    link.target = page
    unit.add(page)
    unit.update(link, fields=["content_type", "object_id"])
    write(unit)
    assert links.objects.get().target == page


def test_a_key_that_was_given_by_hand_is_kept(unit: Unit, links: Any) -> None:
    page, other = Page.objects.create(url="a"), Page.objects.create(url="b")
    link = links(target=page)
    link.object_id = str(other.pk)
    unit.add(link)
    write(unit)
    assert links.objects.get().target == other


def test_a_rollback_takes_a_generic_reference_back(unit: Unit, links: Any) -> None:
    page = Page(url="a")
    link = links(target=page)
    unit.add(page, link)
    with pytest.raises(LookupError), transaction.atomic():
        unit.write()
        raise LookupError
    unit.restore()
    assert (link.object_id, link.target) == (None, page)
    Page.objects.create(url="in between")
    write(unit)
    assert links.objects.get().target == page


@isolate_apps("tests.testapp")
def test_a_generic_reference_follows_the_row_that_an_upsert_found(unit: Unit) -> None:
    class Shop(models.Model):
        id = models.UUIDField(primary_key=True, default=uuid.uuid4)
        code = models.CharField(max_length=9, unique=True)
        marks = GenericRelation("Mark")

        class Meta:
            app_label = "testapp"

    class Mark(models.Model):
        content_type = models.ForeignKey(ContentType, on_delete=models.CASCADE)
        object_id = models.UUIDField(null=True)
        target = GenericForeignKey()
        target.name = "target"

        class Meta:
            app_label = "testapp"

    with created(Shop, Mark):
        old = Shop.objects.create(code="a")
        shop = Shop(code="a")
        unit.upsert(shop, unique=["code"], update=[])
        unit.add(Mark(target=shop))
        write(unit)
        assert (shop.pk, Mark.objects.get().object_id) == (old.pk, old.pk)


@isolate_apps("tests.testapp")
def test_a_one_to_one_key_is_handed_down_through_generations(unit: Unit) -> None:
    class Profile(models.Model):
        author = models.OneToOneField(Author, on_delete=models.CASCADE, primary_key=True)
        text = models.CharField(max_length=9, default="")

        class Meta:
            app_label = "testapp"

    class Photo(models.Model):
        profile = models.OneToOneField(Profile, on_delete=models.CASCADE, primary_key=True)

        class Meta:
            app_label = "testapp"

    class Comment(models.Model):
        photo = models.ForeignKey(Photo, on_delete=models.CASCADE)

        class Meta:
            app_label = "testapp"

    with created(Profile, Photo, Comment):
        author = Author(name="a")
        profile = Profile(author=author, text="x")
        photo = Photo(profile=profile)
        unit.add(Comment(photo=photo))
        unit.upsert(photo, unique=["profile"], update=[])
        unit.upsert(profile, unique=["author"], update=["text"])
        unit.add(author)
        write(unit)
        assert Comment.objects.get().photo.profile.author == author
        again = Unit("default")
        again.upsert(Profile(author=author, text="y"), unique=["pk"], update="__all__")
        write(again)
        assert Profile.objects.get().text == "y"


@isolate_apps("tests.testapp")
def test_a_reference_of_several_fields_is_handed_down(unit: Unit) -> None:
    class Cell(models.Model):
        id = models.BigAutoField(primary_key=True)
        sheet = models.IntegerField(db_default=4)

        class Meta:
            app_label = "testapp"
            unique_together = [("sheet", "id")]

    class Remark(models.Model):
        sheet = models.IntegerField(null=True)
        cell_id = models.IntegerField(null=True)
        cell = models.ForeignObject(
            Cell, on_delete=models.CASCADE, from_fields=["sheet", "cell_id"], to_fields=["sheet", "id"]
        )

        class Meta:
            app_label = "testapp"

    with created(Cell, Remark):
        cell = Cell()
        unit.add(remark := Remark(cell=cell), cell)
        with pytest.raises(LookupError), transaction.atomic():
            unit.write()
            raise LookupError
        unit.restore()
        assert remark.cell_id is None
        write(unit)
        assert (remark.sheet, remark.cell_id) == (4, cell.pk)
        assert Remark.objects.get().cell == cell


@isolate_apps("tests.testapp")
def test_rows_between_two_queued_rows_are_written_after_both(unit: Unit) -> None:
    class Topic(models.Model):
        name = models.CharField(max_length=9, unique=True)

        class Meta:
            app_label = "testapp"

    class Shelf(models.Model):
        name = models.CharField(max_length=9, unique=True)
        tags = models.ManyToManyField(Topic)

        class Meta:
            app_label = "testapp"

    with created(Topic, Shelf):
        shelf, tag = Shelf(name="a"), Topic(name="t")
        through: Any = Shelf.tags.through
        between = [through(shelf=shelf, topic=tag) for _ in range(2)]
        unit.upsert(*between, unique=["shelf", "topic"], update=[])
        unit.upsert(shelf, unique=["name"], update=[])
        unit.upsert(tag, unique=["name"], update=[])
        write(unit)
        assert list(shelf.tags.all()) == [tag]


@isolate_apps("tests.testapp")
def test_a_proxy_and_a_child_in_several_tables_are_parents_like_others(unit: Unit) -> None:
    class Writer(Author):
        class Meta:
            app_label = "testapp"
            proxy = True

    class Editor(Author):
        desk = models.IntegerField(default=0)

        class Meta:
            app_label = "testapp"

    with created(Editor):
        unit.add(Book(author=(writer := Writer(name="w")), title="t", isbn="1"), writer)
        editor = Editor.objects.create(name="e")
        unit.add(Book(author=editor, title="t", isbn="2"))
        editor.name, editor.desk = "new", 3
        unit.update(editor, fields=["name", "desk"])
        write(unit)
        assert [book.author.name for book in Book.objects.order_by("isbn")] == ["w", "new"]
        assert Editor.objects.get().desk == 3


@isolate_apps("tests.testapp")
def test_a_key_that_the_database_does_not_tell_is_named_with_the_remedy(
    unit: Unit, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on MySQL, which has no RETURNING."""

    class OwnParent(models.Model):
        id = models.IntegerField(primary_key=True, db_default=Abs(models.Value(-7)))

        class Meta:
            app_label = "testapp"

    class OwnChild(models.Model):
        parent = models.ForeignKey(OwnParent, on_delete=models.CASCADE)

        class Meta:
            app_label = "testapp"

    with created(OwnParent, OwnChild):
        monkeypatch.setattr(connection.features, "can_return_columns_from_insert", False)
        parent = OwnParent()
        unit.add(OwnChild(parent=parent), parent)
        if connection.vendor == "postgresql":
            pytest.skip("it always returns rows")
        with pytest.raises(ValueError, match=r"the database made the key of its parent .*await parent\.asave"):
            write(unit)


def test_keys_come_back_one_by_one_where_the_database_returns_no_rows(
    unit: Unit, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on MySQL, which has no RETURNING."""

    if connection.vendor == "postgresql":
        pytest.skip("it always returns rows")
    monkeypatch.setattr(connection.features, "can_return_columns_from_insert", False)
    monkeypatch.setattr(type(connection.features), "can_return_rows_from_bulk_insert", False)
    there = Author.objects.create(name="there")
    authors = [Author(name="new"), Author(name="there"), Author(name="new")]
    for author in authors:
        unit.upsert(author, unique=["name"], update=[])
    unit.add(*(Book(author=author, title="t", isbn=str(number)) for number, author in enumerate(authors)))
    write(unit)
    assert authors[0].pk == authors[2].pk == Author.objects.get(name="new").pk
    assert authors[1].pk == there.pk
    assert Book.objects.filter(author__name="new").count() == 2
