"""`async_commander.bulk`: rows in steps, two bulks compared, and a deletion that is looked at before."""

from __future__ import annotations

import random
from datetime import date
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import pytest
from asgiref.sync import sync_to_async
from django.db import IntegrityError, connection, connections, models, transaction
from django.db.models import ProtectedError, RestrictedError
from django.test.utils import CaptureQueriesContext

from async_commander import bulk
from tests.testapp.models import Author, Book, Company, Node, Person, Product, Review, Tag

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.django_db


def tags(count: int, prefix: str = "t") -> list[Tag]:
    return [Tag(name=f"{prefix}{number:04}") for number in range(count)]


# --- create


def test_a_generator_is_read_a_step_at_a_time() -> None:
    ahead: list[int] = []

    def source() -> Iterator[Tag]:
        for number, tag in enumerate(tags(7)):
            ahead.append(number - Tag.objects.count())
            yield tag

    assert bulk.create(source(), step=3) == 7
    assert max(ahead) <= 4
    assert Tag.objects.count() == 7


def test_created_objects_know_their_keys() -> None:
    made = tags(5)
    bulk.create(made, step=2)
    assert [tag.pk for tag in made] == list(Tag.objects.order_by("name").values_list("pk", flat=True))
    assert not any(tag._state.adding for tag in made)


def test_an_error_in_a_late_step_leaves_nothing_and_objects_as_they_were() -> None:
    made = [*tags(5), Tag(name="t0000")]
    with pytest.raises(IntegrityError):
        bulk.create(made, step=2)
    assert Tag.objects.count() == 0
    assert [(tag.pk, tag._state.adding) for tag in made] == [(None, True)] * 6


def test_without_atomic_the_steps_before_an_error_are_kept() -> None:
    made = [*tags(5), Tag(name="t0000")]
    with pytest.raises(IntegrityError):
        bulk.create(made, step=2, atomic=False)
    assert Tag.objects.count() == 4
    assert [tag.pk is None for tag in made] == [False] * 4 + [True] * 2


def test_nothing_is_no_error() -> None:
    assert bulk.create([]) == bulk.update(iter([]), fields=["name"]) == 0
    assert bulk.delete([]) == bulk.delete(Tag.objects.none()) == (0, {})


@pytest.mark.parametrize("step", [0, -1, True, "5"])
def test_a_step_is_at_least_one_row(step: Any) -> None:
    with pytest.raises(ValueError, match="at least 1 row"):
        bulk.create(tags(1), step=step)
    with pytest.raises(ValueError, match="at least 1 row"):
        bulk.delete(Tag.objects.all(), step=step)


def test_what_is_no_object_is_refused() -> None:
    with pytest.raises(TypeError, match="'x' is a str"):
        bulk.create(["x"])  # type: ignore[type-var]


def test_models_are_created_parents_first_whatever_their_order() -> None:
    author = Author(name="a")
    books = [Book(author=author, title="t", isbn=str(number)) for number in range(3)]
    assert bulk.create_models({Book: iter(books), Author: [author]}, step=2) == {Book: 3, Author: 1}
    assert {book.author_id for book in books} == {author.pk}


def test_parents_are_gone_where_their_children_fail() -> None:
    author = Author(name="a")
    books = [Book(author=author, title="t", isbn="same") for _ in range(2)]
    with pytest.raises(IntegrityError):
        bulk.create_models({Book: books, Author: [author]})
    assert not Author.objects.exists()
    assert author.pk is None


def test_an_object_under_another_model_is_refused() -> None:
    with pytest.raises(TypeError, match=r"is no testapp\.Tag, under which it is given"):
        bulk.create_models({Tag: [Author(name="a")]})
    assert not Author.objects.exists()


def test_a_text_in_place_of_a_list_of_fields_is_refused() -> None:
    for call in (
        lambda: bulk.upsert(tags(1), unique="name", update=[]),
        lambda: bulk.upsert(tags(1), unique=["name"], update="name"),  # type: ignore[arg-type]
        lambda: bulk.update(tags(1), fields="name"),
    ):
        with pytest.raises(TypeError, match=r"'name': a list of field names is needed: \['name'\]"):
            call()


# --- upsert, update, delete


def test_an_upsert_overwrites_what_is_there_and_objects_learn_their_keys() -> None:
    bulk.create([Product(sku="a", name="old", stock=1)])
    rows = [Product(sku=sku, name="new", stock=2) for sku in "abc"]
    assert bulk.upsert(rows, unique=["sku"], update=["name"], step=2) == 3
    assert list(Product.objects.order_by("sku").values_list("sku", "name", "stock")) == [
        ("a", "new", 1), ("b", "new", 2), ("c", "new", 2),
    ]  # fmt: skip
    assert {row.pk for row in rows} == set(Product.objects.values_list("pk", flat=True))


def test_an_update_counts_the_rows_that_are_there() -> None:
    made = tags(5)
    bulk.create(made)
    Tag.objects.filter(pk=made[0].pk).delete()
    for tag in made:
        tag.name += "!"
    assert bulk.update(made, fields=["name"], step=2) == 4
    assert Tag.objects.filter(name__endswith="!").count() == 4


@pytest.mark.parametrize("atomic", [True, False])
def test_objects_are_deleted_with_what_cascades(atomic: bool) -> None:
    author = Author.objects.create(name="a")
    bulk.create([Book(author=author, title="t", isbn=str(number)) for number in range(5)])
    bulk.create(tags(3))
    doomed: list[models.Model] = [author, *Tag.objects.all()]
    assert bulk.delete(doomed, step=2, atomic=atomic) == (9, {"testapp.Author": 1, "testapp.Book": 5, "testapp.Tag": 3})


def test_rows_of_a_queryset_are_deleted_by_their_keys() -> None:
    bulk.create(tags(7))
    assert bulk.delete(Tag.objects.filter(name__gt="t0001"), step=2)[0] == 5
    assert list(Tag.objects.order_by("name").values_list("name", flat=True)) == ["t0000", "t0001"]


def test_a_reversed_queryset_is_deleted_whole() -> None:
    bulk.create(tags(7))
    assert bulk.delete(Tag.objects.order_by("name").reverse(), step=3)[0] == 7
    assert not Tag.objects.exists()


def test_a_sliced_queryset_deletes_its_slice() -> None:
    bulk.create(tags(5))
    assert bulk.delete(Tag.objects.order_by("-name")[:2], step=1)[0] == 2
    assert Tag.objects.order_by("name").last() == Tag.objects.get(name="t0002")


def test_a_deletion_that_is_forbidden_late_leaves_everything() -> None:
    bulk.create([Company(name=str(number)) for number in range(5)])
    last = Company.objects.order_by("pk").last()
    Product.objects.create(sku="a", supplier=last)
    with pytest.raises(ProtectedError):
        bulk.delete(Company.objects.all(), step=2)
    assert Company.objects.count() == 5


def test_an_error_leaves_the_transaction_around_it_usable() -> None:
    Tag.objects.create(name="t0000")
    for atomic in (True, False):
        with transaction.atomic():
            with pytest.raises(IntegrityError):
                bulk.create(tags(1), atomic=atomic)
            assert Tag.objects.count() == 1


@pytest.mark.asyncio
@pytest.mark.django_db(transaction=True)
async def test_the_same_in_async_code() -> None:
    made = tags(3)
    assert await bulk.acreate(made, step=2) == 3
    assert await bulk.aupsert(tags(4), unique=["name"], update=[]) == 4
    made[0].name = "x"
    assert await bulk.aupdate(made[:1], fields=["name"]) == 1
    found = await bulk.adiff(Tag.objects.all(), tags(3), key=["name"])
    assert (len(found.added), len(found.removed), len(found.same)) == (1, 2, 2)
    assert (await bulk.apreview_deletion(made)).total == 3
    assert await bulk.acreate_models({Author: [Author(name="a")]}) == {Author: 1}
    assert (await bulk.adelete(Tag.objects.all()))[0] == 4
    await sync_to_async(connections.close_all)()


# --- the difference of two bulks


def product(sku: str | None, **values: Any) -> Product:
    return Product(**{"sku": sku, "name": "n", "price": Decimal("1.50"), **values})


def test_saved_rows_match_unsaved_ones_by_their_key() -> None:
    bulk.create([product("a"), product("b"), product("c")])
    new = [product("b"), product("c", name="other", facts={"x": [1]}), product("d")]
    found = bulk.diff(Product.objects.order_by("sku"), new, key=["sku"])
    assert [one.sku for one in found.added] == ["d"]
    assert [one.sku for one in found.removed] == ["a"]
    assert [one.sku for one in found.same] == ["b"]
    assert [(one.old.sku, one.fields) for one in found.changed] == [("c", ("name", "facts"))]
    assert found.added[0] is new[2]


def test_values_are_compared_as_they_are_stored() -> None:
    bulk.create([product("a", released=date(2024, 5, 1), stock=3)])
    same = Product(sku="a", name="n", price="1.5", released="2024-05-01", stock="3")
    assert len(bulk.diff(Product.objects.all(), [same], key=["sku"]).same) == 1


def test_a_difference_is_applied_in_three_steps() -> None:
    bulk.create([product("a"), product("b"), product("c")])
    new = [product("b"), product("c", name="other"), product("d")]
    found = bulk.diff(Product.objects.all(), new, key=["sku"])
    bulk.delete(found.removed)
    bulk.update([one.applied() for one in found.changed], fields=["name"])
    bulk.create(found.added)
    assert list(Product.objects.order_by("sku").values_list("sku", "name")) == [("b", "n"), ("c", "other"), ("d", "n")]
    again = bulk.diff(Product.objects.all(), new, key=["sku"])
    assert (again.added, again.removed, again.changed) == ([], [], [])


def test_a_key_may_have_several_fields_and_values_that_cannot_be_hashed() -> None:
    old, new = [product("a", facts={"x": [1]})], [product("a", facts={"x": [2]})]
    assert len(bulk.diff(old, new, key=["sku", "facts"]).added) == 1
    assert len(bulk.diff(old, new, key=["sku"], fields=["name"]).same) == 1


def test_json_is_compared_to_its_end_and_the_order_of_its_keys_says_nothing() -> None:
    long = {"text": "x" * 500, "number": 1}
    bulk.create([product("a", facts=long), product("b", facts=long), product("c", facts=[True])])
    new = [product("a", facts=dict(reversed(long.items()))), product("b", facts={**long, "number": 2})]
    found = bulk.diff(Product.objects.all(), [*new, product("c", facts=[1])], key=["sku"])
    assert [one.sku for one in found.same] == ["a"]
    assert sorted((one.new.sku, one.fields) for one in found.changed) == [("b", ("facts",)), ("c", ("facts",))]


def test_an_empty_side_and_keys_without_a_value_match_nothing() -> None:
    rows = [product("a"), product("b")]
    assert bulk.diff([], rows, key=["sku"]).added == rows
    assert bulk.diff(rows, [], key=["sku"]).removed == rows
    assert bulk.diff([], [], key=["sku"]).same == []
    nameless = bulk.diff([product(None)], [product(None)], key=["sku"])
    assert (len(nameless.added), len(nameless.removed)) == (1, 1)


def test_a_key_that_is_there_twice_is_refused_with_its_values() -> None:
    with pytest.raises(ValueError, match=r"new bulk has testapp.Product twice with sku='a'"):
        bulk.diff([], [product("a"), product("a")], key=["sku"])


def test_other_models_and_unknown_fields_are_refused() -> None:
    with pytest.raises(ValueError, match=r"several models: testapp.Product and testapp.Tag"):
        bulk.diff([product("a")], tags(1), key=["name"])  # type: ignore[type-var]
    with pytest.raises(ValueError, match=r"no field 'isbn' that is a column. It has: id, sku"):
        bulk.diff([], [product("a")], key=["isbn"])
    with pytest.raises(TypeError, match="a list of field names"):
        bulk.diff([], [product("a")], key="sku")
    with pytest.raises(TypeError, match=r"is a dict; diff\(\) compares model instances"):
        bulk.diff(Product.objects.values(), [{"sku": "a"}], key=["sku"])  # type: ignore[list-item,type-var]
    with pytest.raises(TypeError, match="'a' is a str; an iterable of model instances"):
        bulk.preview_deletion("a")  # type: ignore[arg-type]


# --- the preview of a deletion


@pytest.fixture
def firm() -> Company:
    firm = Company.objects.create(name="firm")
    firm.boss = Person.objects.create(email="b", company=firm)
    firm.save()
    return firm


def test_a_preview_tells_what_goes_and_what_refers_to_nothing(firm: Company) -> None:
    other = Company.objects.create(name="other", boss=firm.boss)
    product = Product.objects.create(sku="a", supplier=other)
    Review.objects.create(product=product, by=firm.boss)
    preview = bulk.preview_deletion([firm])
    assert (preview.deleted, preview.cascaded, preview.is_possible) == ({Company: 1}, {Person: 1}, True)
    told = {(one.model, one.field): (one.count, one.examples[0].pk) for one in preview.nulled}
    assert set(told) == {(Company, "boss"), (Review, "by")}
    assert told[Company, "boss"] == (1, other.pk)  # not the firm's own, which goes as well
    assert preview.total == bulk.delete([firm])[0]
    assert str(preview).splitlines()[:2] == ["1 × testapp.Company deleted", "1 × testapp.Person deleted with them"]


def test_a_preview_tells_what_is_protected_without_an_error(firm: Company) -> None:
    bulk.create([Product(sku=str(number), supplier=firm) for number in range(9)])
    preview = bulk.preview_deletion(Company.objects.all())
    assert not preview.is_possible
    (protected,) = preview.protected
    assert (protected.model, protected.field, protected.effect, protected.count) == (
        Product, "supplier", "protected", 9,
    )  # fmt: skip
    assert len(protected.examples) == 5
    with pytest.raises(ProtectedError):
        bulk.delete([firm])


def test_a_protecting_row_that_is_named_as_well_forbids_nothing(firm: Company) -> None:
    supplied = Product.objects.create(sku="a", supplier=firm)
    both = [firm, supplied]
    assert bulk.preview_deletion(both).is_possible
    assert bulk.preview_deletion(both).total == bulk.delete(both)[0]


def test_restricted_rows_are_told_unless_they_go_as_well() -> None:
    tag, product = Tag.objects.create(name="t"), Product.objects.create(sku="a")
    Review.objects.create(product=product, about=tag)
    assert [one.effect for one in bulk.preview_deletion([tag]).protected] == ["restricted"]
    both = bulk.preview_deletion([tag, product])
    assert both.is_possible
    assert both.cascaded == {Review: 1}


@pytest.mark.parametrize("seed", range(25))
def test_a_preview_says_what_a_deletion_in_such_steps_comes_to(firm: Company, seed: int) -> None:
    rng = random.Random(seed)
    firms = [firm, Company.objects.create(name="other")]
    labels = [Tag.objects.create(name=name) for name in "ab"]
    products = [Product.objects.create(sku=str(n), supplier=rng.choice([None, *firms])) for n in range(4)]
    reviews = [Review.objects.create(product=one, about=rng.choice([None, *labels])) for one in products]
    rows: list[models.Model] = [*firms, *labels, *products, *reviews]
    named = rng.sample(rows, rng.randint(1, len(rows)))
    step = rng.choice([1, 2, 3, 100])
    preview = bulk.preview_deletion(named, step=step)
    try:
        with transaction.atomic():
            total = bulk.delete(named, step=step)[0]
    except (ProtectedError, RestrictedError):
        assert not preview.is_possible
    else:
        assert preview.is_possible
        assert preview.total == total


def test_a_row_that_goes_in_a_later_step_protects_what_it_refers_to(firm: Company) -> None:
    supplied = Product.objects.create(sku="a", supplier=firm)
    assert not bulk.preview_deletion([firm, supplied], step=1).is_possible
    assert bulk.preview_deletion([supplied, firm], step=1).is_possible
    with pytest.raises(ProtectedError), transaction.atomic():
        bulk.delete([firm, supplied], step=1)
    assert bulk.delete([supplied, firm], step=1)[0] == 3


@pytest.mark.parametrize("step", [0, -1, True, 1.5, "7"])
def test_a_preview_takes_the_steps_that_a_deletion_takes(step: Any) -> None:
    with pytest.raises(ValueError, match="at least 1 row at a time"):
        bulk.preview_deletion([], step=step)


def test_rows_of_a_many_to_many_table_and_generations_are_counted() -> None:
    product = Product.objects.create(sku="a")
    product.tags.set([Tag.objects.create(name=name) for name in "xy"])
    assert bulk.preview_deletion([product]).cascaded == {Product.tags.through: 2}
    parent: Node | None = None
    for number in range(4):
        parent = Node.objects.create(name=str(number), parent=parent)
    assert bulk.preview_deletion(Node.objects.filter(name="0")) == bulk.DeletionPreview({Node: 1}, {Node: 3}, ())


def test_a_preview_of_nothing_and_of_rows_that_are_gone() -> None:
    tag = Tag.objects.create(name="t")
    Tag.objects.all().delete()
    for nothing in ([], Tag.objects.none(), [tag]):
        preview = bulk.preview_deletion(nothing)
        assert (preview.total, str(preview)) == (0, "nothing to delete")
    with pytest.raises(ValueError, match="was never saved"):
        bulk.preview_deletion(tags(1))


def test_a_preview_asks_in_chunks_and_not_per_row() -> None:
    bulk.create(tags(1200))
    with CaptureQueriesContext(connection) as queries:
        assert bulk.preview_deletion(Tag.objects.all()).total == 1200
    assert len(queries) < 20
