"""A wrong request fails where it is made, and says what to do."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import pytest
from django.contrib.auth.models import User
from django.db import models
from django.test import override_settings
from django.test.utils import isolate_apps

from async_commander.database.unit import Unit
from tests.testapp.models import Author, Book, Page, Tag

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator


async def pages() -> AsyncIterator[Page]:
    yield Page(url="a")


class Later:
    def __await__(self) -> Iterator[None]:
        yield


@pytest.fixture
def unit() -> Unit:
    return Unit("default")


def saved(model: type[models.Model], **values: object) -> models.Model:
    return model.from_db("default", list(values), list(values.values()))


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ([Page(url="a")], r"a list is not a model instance\. Unpack it: add\(\*objects\)"),
        (Page, r"the class Page is not a model instance\. Make one: add\(Page\(\.\.\.\)\)"),
        (None, "a NoneType is not a model instance"),
        ({"url": "a"}, r"a dict is not a model instance\.$"),
        ("a", r"a str is not a model instance\.$"),
        ((Page(url=url) for url in "ab"), r"a generator is not a model instance\. Unpack it: add\(\*objects\)"),
        (Page.objects.all(), r"a QuerySet is not a model instance\. Unpack it: add\(\*objects\)"),
        (Later(), r"a Later is not a model instance\. Await it first"),
        (pages(), r"async_generator is not a model instance\. Unpack it: add\(\*\[obj async for obj in objects\]\)"),
    ],
)
def test_only_model_instances_can_be_queued(unit: Unit, given: object, message: str) -> None:
    with pytest.raises(TypeError, match=message):
        unit.add(given)  # type: ignore[arg-type]


def test_a_saved_object_is_not_added_again(unit: Unit) -> None:
    with pytest.raises(ValueError, match=r"already: use update\(\) or upsert\(\)"):
        unit.add(saved(Page, id=1, url="a"))


def test_a_copy_without_its_key_can_be_added(unit: Unit) -> None:
    page = saved(Page, id=1, url="a")
    page.pk = None
    unit.add(page)
    assert unit.has_rows


@pytest.mark.parametrize(
    ("unique", "message"),
    [
        (["title"], r"no unique constraint on exactly these fields.*It has: \['id'\], \['url'\]"),
        (["url", "title"], "no unique constraint"),
        ([], "no unique constraint"),
        (["address"], r"no field 'address' that is a column\. It has: id, url, title, body"),
    ],
)
def test_upsert_needs_a_unique_constraint(unit: Unit, unique: list[str], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        unit.upsert(Page(url="a"), unique=unique, update="__all__")


@pytest.mark.parametrize("given", [{}, {"update": None}])
def test_what_an_upsert_overwrites_has_to_be_said(unit: Unit, given: dict[str, None]) -> None:
    message = r"unique=\['url'\]\) needs update=\[\.\.\.\].*testapp\.Page has: title, body\..*update=\[\].*\"__all__\""
    with pytest.raises(TypeError, match=message):
        unit.upsert(Page(url="a"), unique=["url"], **given)  # type: ignore[call-overload]
    with pytest.raises(TypeError, match="needs update="):
        unit.upsert(unique=["url"], **given)  # type: ignore[call-overload]
    assert not unit.has_rows


def test_all_others_are_all_that_can_be_overwritten(unit: Unit) -> None:
    unit.upsert(Book(title="t"), unique=["isbn"], update="__all__")
    assert [request.fields for request in unit.requests] == [("author", "title", "stock")]


def test_nothing_to_upsert_is_nothing(unit: Unit) -> None:
    unit.upsert(unique=["url"], update=[])
    assert not unit.has_rows


def test_a_text_is_not_a_list_of_names(unit: Unit) -> None:
    with pytest.raises(TypeError, match=r"unique=\['url'\]"):
        unit.upsert(Page(url="a"), unique="url", update=["title"])
    with pytest.raises(TypeError, match=r"update=\['title'\]"):
        unit.upsert(Page(url="a"), unique=["url"], update="title")
    with pytest.raises(TypeError, match=r"fields=\['title'\]"):
        unit.update(saved(Page, id=1, url="a"), fields="title")


@pytest.mark.parametrize("given", [{}, {"fields": None}, {"fields": "__all__"}])
def test_what_an_update_writes_has_to_be_said(unit: Unit, given: dict[str, Any]) -> None:
    message = r"update\(\) needs fields=\[\.\.\.\].*testapp\.Page has: url, title, body\."
    with pytest.raises(TypeError, match=message):
        unit.update(saved(Page, id=1, url="a"), **given)
    with pytest.raises(TypeError, match="needs fields="):
        unit.update(**given)


def test_fields_by_position_are_told_how_they_are_given(unit: Unit) -> None:
    with pytest.raises(TypeError, match=r"needs fields=.*testapp\.Page has: url"):
        unit.update(saved(Page, id=1, url="a"), ["title"])  # type: ignore[arg-type]


@pytest.mark.parametrize("given", [{}, {"unique": None}])
def test_which_row_an_upsert_overwrites_has_to_be_said(unit: Unit, given: dict[str, Any]) -> None:
    with pytest.raises(TypeError, match=r"needs unique=\[\.\.\.\].*testapp\.Page has: \['id'\], \['url'\]"):
        unit.upsert(Page(url="a"), update=[], **given)


@pytest.mark.parametrize("names", [5, [5], [["title"]], [Page._meta.get_field("title")]])
def test_names_are_texts(unit: Unit, names: Any) -> None:
    with pytest.raises(TypeError, match="is no field name"):
        unit.update(saved(Page, id=1, url="a"), fields=names)
    with pytest.raises(TypeError, match="is no field name"):
        unit.upsert(Page(url="a"), unique=names, update=[])


@pytest.mark.asyncio
@isolate_apps("tests.testapp")
async def test_a_message_asks_no_database(unit: Unit) -> None:
    class Talkative(Author):
        def __str__(self) -> str:
            return str(Author.objects.count())

        class Meta:
            app_label = "testapp"
            proxy = True

    with pytest.raises(ValueError, match=r"<Talkative 5> is in the database already"):
        unit.add(saved(Talkative, id=5, name="a"))


@isolate_apps("tests.testapp")
def test_constraints_of_several_fields_are_known_in_any_order(unit: Unit) -> None:
    class Price(models.Model):
        shop = models.ForeignKey(Author, on_delete=models.CASCADE)
        article = models.CharField(max_length=10)
        day = models.DateField(null=True)

        class Meta:
            app_label = "testapp"
            unique_together = [("article", "day")]
            constraints = [
                models.UniqueConstraint(fields=["shop", "article"], name="one_price"),
                models.UniqueConstraint(fields=["day"], condition=models.Q(shop=1), name="partial"),
            ]

    unit.upsert(Price(shop_id=1, article="a"), unique=["article", "shop_id"], update=[])
    unit.upsert(Price(shop_id=1, article="a"), unique=["day", "article"], update=[])
    with pytest.raises(ValueError, match=r"no unique constraint.*cannot use 'partial': it is deferrable or has a cond"):
        unit.upsert(Price(shop_id=1, article="a"), unique=["day"], update=[])


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ([], "name the fields"),
        (["nothing"], "no field 'nothing'"),
        (["id"], "primary key"),
        (["pk"], "primary key"),
    ],
)
def test_update_needs_fields_that_can_be_written(unit: Unit, fields: list[str], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        unit.update(saved(Page, id=1, url="a"), fields=fields)


def test_what_was_never_saved_is_not_deleted(unit: Unit) -> None:
    with pytest.raises(ValueError, match="no row to delete"):
        unit.delete(Page(url="a"))


def test_one_call_is_for_one_model_where_it_names_fields(unit: Unit) -> None:
    with pytest.raises(ValueError, match=r"several models at once \(testapp.Author, testapp.Tag\)"):
        unit.upsert(Tag(name="a"), Author(name="a"), unique=["name"], update="__all__")


@isolate_apps("tests.testapp")
def test_a_row_in_several_tables_cannot_be_bulk(unit: Unit) -> None:
    class Editor(Author):
        class Meta:
            app_label = "testapp"

    with pytest.raises(ValueError, match=r"several tables.*await obj\.asave\(\)"):
        unit.add(Editor(name="a"))


@isolate_apps("tests.testapp")
def test_a_proxy_is_written_as_what_it_stands_for(unit: Unit) -> None:
    class Address(Page):
        class Meta:
            app_label = "testapp"
            proxy = True

    unit.add(Address(url="a"))
    assert unit.has_rows


def test_an_object_of_another_database_is_queued_for_that(unit: Unit) -> None:
    page, here = Page(id=1, url="a"), Page(url="b")
    page._state.db = "archive"
    unit.add(page, here)
    assert [(request.alias, *request.objects) for request in unit.requests] == [("archive", page), ("default", here)]


class ToArchive:
    def db_for_write(self, model: type[models.Model], **hints: object) -> str | None:
        return "archive" if model is User else None


@override_settings(DATABASE_ROUTERS=[ToArchive()])
def test_an_object_that_is_routed_elsewhere_is_queued_for_there(unit: Unit) -> None:
    unit.add(Page(url="a"))
    unit.upsert(User(username="a"), unique=["username"], update=[])
    assert [request.alias for request in unit.requests] == ["default", "archive"]


@pytest.mark.asyncio
async def test_an_asynchronous_function_needs_no_lane(unit: Unit) -> None:
    async def save() -> None: ...

    class Saving:
        async def __call__(self) -> None: ...

    for given in (save, partial(save), Saving(), save()):
        with pytest.raises(TypeError, match="await it directly"):
            await unit(given)  # type: ignore[arg-type]


@pytest.mark.asyncio
async def test_only_functions_can_be_called(unit: Unit) -> None:
    with pytest.raises(TypeError, match=r"self\.db\(5\): int cannot be called\. Give a synchronous function"):
        await unit(5)  # type: ignore[arg-type]


@pytest.mark.asyncio
async def test_a_finished_unit_takes_nothing_any_more(unit: Unit) -> None:
    unit.add(Page(url="a"))
    unit.close()
    page = saved(Page, id=1, url="a")
    for refused in (
        lambda: unit.add(Page(url="b")),
        lambda: unit.upsert(Page(url="b"), unique=["url"], update="__all__"),
        lambda: unit.update(page, fields=["title"]),
        lambda: unit.delete(page),
        unit.atomic,
    ):
        with pytest.raises(RuntimeError, match=r"is finished.*Await every task that an item starts before"):
            refused()
    with pytest.raises(RuntimeError, match="is finished"):
        await unit.flush()
    assert unit.counts == {("add", "testapp.Page"): 1}


@pytest.mark.asyncio
async def test_a_discarded_unit_is_closed(unit: Unit) -> None:
    await unit.discard()
    with pytest.raises(RuntimeError, match="is finished"):
        unit.add(Page(url="a"))


def test_a_savepoint_needs_an_items_transaction(unit: Unit) -> None:
    with pytest.raises(RuntimeError, match=r"which there is in parse_and_save\(\), and in a step"):
        unit.atomic()


@pytest.mark.asyncio
async def test_flushing_nothing_does_nothing(unit: Unit) -> None:
    await unit.flush()
    assert unit.counts == {}
