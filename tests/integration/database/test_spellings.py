"""Keys that differ for Python and not for the database, and the other way round: the last one wins, for every one."""

from __future__ import annotations

import datetime as dt
import math
import uuid
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import pytest
from django.db import IntegrityError, connection, models, transaction
from django.test.utils import CaptureQueriesContext, isolate_apps

from async_commander.database.unit import Unit, write_units

from .conftest import created

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.django_db(transaction=True)

COLLATIONS = {"sqlite": "NOCASE", "postgresql": "testing_ci", "mysql": "utf8mb4_general_ci"}


def write(*units: Unit) -> None:
    with transaction.atomic():
        write_units(units)
    for unit in units:
        unit.forget()


def upserts(*objects: models.Model, unique: list[str], update: Any = "__all__") -> list[Unit]:
    """A unit for each object, as items make them."""
    units = [Unit("default") for _ in objects]
    for unit, obj in zip(units, objects, strict=True):
        unit.upsert(obj, unique=unique, update=update)
    return units


class Squeezed(models.CharField):  # type: ignore[type-arg]  # any
    """Normalises its value when it is saved."""

    def pre_save(self, model_instance: models.Model, add: bool) -> Any:
        value = getattr(model_instance, self.attname).strip().lower()
        setattr(model_instance, self.attname, value)
        return value


class Returned(Squeezed):
    """Normalises what is saved, and leaves the object as it is."""

    def pre_save(self, model_instance: models.Model, add: bool) -> Any:
        return getattr(model_instance, self.attname).strip().lower()


class Prepared(models.CharField):  # type: ignore[type-arg]  # any
    """Keeps values of any type as text."""

    def get_prep_value(self, value: Any) -> Any:
        return None if value is None else str(value).casefold()


@pytest.fixture
def collation() -> Iterator[str]:
    """The name of one for which A and a are the same."""
    name = COLLATIONS[connection.vendor]
    if connection.vendor == "postgresql":
        with connection.cursor() as cursor:
            cursor.execute(
                f"CREATE COLLATION {name} (provider = icu, locale = 'und-u-ks-level1', deterministic = false)"
            )
    yield name
    if connection.vendor == "postgresql":
        with connection.cursor() as cursor:
            cursor.execute(f"DROP COLLATION {name}")


@pytest.fixture
def products(collation: str) -> Iterator[Any]:
    with isolate_apps("tests.testapp"):

        class Ware(models.Model):
            code = models.CharField(max_length=20, unique=True, db_collation=collation)
            stock = models.IntegerField(default=0)
            note = models.CharField(max_length=20, default="")

            class Meta:
                app_label = "testapp"

        with created(Ware):
            yield Ware


@pytest.mark.parametrize("codes", [("ABC", "abc"), ("abc", "ABC"), ("zz", "AA", "ZZ", "aa", "Zz")])
@pytest.mark.parametrize("is_there", [False, True])
def test_the_last_of_two_spellings_wins(products: Any, codes: tuple[str, ...], is_there: bool) -> None:
    if is_there:
        write(*upserts(*(products(code=code.swapcase(), stock=-1) for code in codes), unique=["code"]))
    before = {row.code for row in products.objects.all()}
    objects = [products(code=code, stock=number) for number, code in enumerate(codes)]
    write(*upserts(*objects, unique=["code"]))
    last = {code.lower(): number for number, code in enumerate(codes)}
    assert {row.code.lower(): row.stock for row in products.objects.all()} == last
    assert {obj.pk for obj in objects} == set(products.objects.values_list("pk", flat=True))
    if is_there:
        assert {row.code for row in products.objects.all()} == before  # what makes a row unique is not overwritten


def test_what_is_kept_is_the_same_in_one_batch_as_in_many(products: Any) -> None:
    def kept(*batches: list[Unit]) -> list[Any]:
        products.objects.all().delete()
        for batch in batches:
            write(*batch)
        return list(products.objects.values_list("code", "stock", "note"))

    def units(update: Any) -> list[Unit]:
        pairs = [("ab", 1), ("AB", 2), ("aB", 3)]
        objects = [products(code=code, stock=number, note=str(number)) for code, number in pairs]
        return upserts(*objects, unique=["code"], update=update)

    for update, expected in (([], ("ab", 1, "1")), (["stock"], ("ab", 3, "1")), ("__all__", ("ab", 3, "3"))):
        assert kept(units(update)) == kept(*([unit] for unit in units(update))) == [expected]


def test_many_spellings_are_few_statements(products: Any) -> None:
    units = upserts(*(products(code=f"{'abAB'[number % 4]}{number // 4}") for number in range(80)), unique=["code"])
    with CaptureQueriesContext(connection) as queries:
        write(*units)
    assert products.objects.count() == 40
    assert len(queries) < 12


def test_an_add_beside_an_upsert_of_another_spelling_keeps_the_order(products: Any) -> None:
    first, second = Unit("default"), Unit("default")
    first.add(products(code="ABC", stock=1))
    second.upsert(products(code="abc", stock=2), unique=["code"], update="__all__")
    write(first, second)
    assert products.objects.get().stock == 2
    third = Unit("default")
    third.add(products(code="Abc"))
    with pytest.raises(IntegrityError):
        write(third)


@pytest.mark.usefixtures("collation")
def test_a_collation_that_only_the_table_knows_counts() -> None:
    ci = COLLATIONS[connection.vendor]
    with isolate_apps("tests.testapp"):

        class Ware(models.Model):
            code = models.CharField(max_length=20, unique=True, db_collation=ci)
            stock = models.IntegerField(default=0)

            class Meta:
                app_label = "testapp"
                db_table = "testapp_legacy"

        class Legacy(models.Model):
            code = models.CharField(max_length=20, unique=True)
            stock = models.IntegerField(default=0)

            class Meta:
                app_label = "testapp"
                managed = False
                db_table = "testapp_legacy"

        with created(Ware):
            write(*upserts(Legacy(code="ABC", stock=1), Legacy(code="abc", stock=2), unique=["code"]))
            assert list(Legacy.objects.values_list("stock", flat=True)) == [2]


def test_updates_of_a_text_key_in_two_spellings_keep_their_order(collation: str) -> None:
    with isolate_apps("tests.testapp"):

        class Shop(models.Model):
            code = models.CharField(max_length=20, primary_key=True, db_collation=collation)
            stock = models.IntegerField(default=0)

            class Meta:
                app_label = "testapp"

        with created(Shop):
            Shop.objects.create(code="shop")
            for codes in (("SHOP", "shop"), ("shop", "SHOP")):
                unit = Unit("default")
                for stock, code in enumerate(codes):
                    unit.update(Shop(code=code, stock=stock), fields=["stock"])
                write(unit)
                assert Shop.objects.get().stock == 1


def test_blanks_and_accents_count_where_the_column_says_so() -> None:
    with isolate_apps("tests.testapp"):

        class Word(models.Model):
            text = models.CharField(max_length=20, unique=True)
            number = models.IntegerField(default=0)

            class Meta:
                app_label = "testapp"

        with created(Word):
            texts = ["a ", "a", "á", "A"]
            write(*upserts(*(Word(text=text, number=number) for number, text in enumerate(texts)), unique=["text"]))
            expected = {"a ": 3} if connection.vendor == "mysql" else {"a ": 0, "a": 1, "á": 2, "A": 3}
            assert dict(Word.objects.values_list("text", "number")) == expected


@pytest.mark.parametrize("field", [Squeezed, Returned, Prepared])
def test_what_a_field_makes_of_its_value_is_the_key(field: type[models.Field[Any, Any]]) -> None:
    with isolate_apps("tests.testapp"):

        class Name(models.Model):
            name = field(max_length=20, unique=True)
            number = models.IntegerField(default=0)

            class Meta:
                app_label = "testapp"

        with created(Name):
            texts = ["b", "B", "a", "A", "b"]
            objects = [Name(name=name, number=number) for number, name in enumerate(texts)]
            write(*upserts(*objects, unique=["name"]))
            assert dict(Name.objects.values_list("name", "number")) == {"a": 3, "b": 4}
            assert {obj.pk for obj in objects} == set(Name.objects.values_list("pk", flat=True))


def test_a_try_that_failed_leaves_nothing_of_pre_save_behind() -> None:
    class Counted(models.IntegerField):  # type: ignore[type-arg]  # any
        def pre_save(self, model_instance: models.Model, add: bool) -> Any:
            model_instance.calls = getattr(model_instance, "calls", 0) + 1  # type: ignore[attr-defined]
            value = getattr(model_instance, self.attname) + 1
            setattr(model_instance, self.attname, value)
            return value

    with isolate_apps("tests.testapp"):

        class Document(models.Model):
            name = models.CharField(max_length=20, unique=True)
            version = Counted(default=0)
            changed = models.DateTimeField(auto_now=True)

            class Meta:
                app_label = "testapp"

        with created(Document):
            Document.objects.create(name="taken")
            good, guilty = Document(name="good"), Document(name="taken")
            units = [Unit("default"), Unit("default")]
            for unit, obj in zip(units, (good, guilty), strict=True):
                unit.add(obj)
            with pytest.raises(IntegrityError), transaction.atomic():
                write_units(units)
            for unit in units:
                unit.restore()
            assert (good.version, guilty.version, good.changed, good.pk) == (0, 0, None, None)
            assert not hasattr(good, "calls")
            write(units[0])
            assert Document.objects.get(name="good").version == good.version == good.calls == 1  # type: ignore[attr-defined]


def test_one_null_equals_another_where_the_constraint_says_so() -> None:
    if not connection.features.supports_nulls_distinct_unique_constraints:
        pytest.skip("this database has no such constraints")
    with isolate_apps("tests.testapp"):

        class Price(models.Model):
            shop = models.IntegerField()
            day = models.IntegerField(null=True)
            amount = models.IntegerField(default=0)

            class Meta:
                app_label = "testapp"
                constraints = [
                    models.UniqueConstraint(fields=["shop", "day"], name="price_of_day", nulls_distinct=False)
                ]

        with created(Price):
            prices = [Price(shop=1, day=day, amount=amount) for amount, day in enumerate([None, 2, None, 2, None])]
            write(*upserts(*prices, unique=["shop", "day"]))
            assert dict(Price.objects.values_list("day", "amount")) == {None: 4, 2: 3}
            assert len({price.pk for price in prices}) == 2


KEYS: dict[str, tuple[models.Field[Any, Any], list[Any], int]] = {
    "numbers": (models.IntegerField(unique=True), [1, "1", 1.0, True, 2], 2),
    "texts of numbers": (models.CharField(max_length=9, unique=True), [1, "1", "2"], 2),
    "identifiers": (models.UUIDField(unique=True), [uuid.UUID(int=1), str(uuid.UUID(int=1)), uuid.UUID(int=1).hex], 1),
    "floats": (models.FloatField(unique=True), [0.1, 0.1 + 1e-18, 0.0, -0.0, "0.1"], 2),
    "addresses": (models.GenericIPAddressField(unique=True), ["::1", "0:0:0::1", "1.2.3.4"], 2),
    "days": (models.DateField(unique=True), ["2026-01-02", dt.date(2026, 1, 2)], 1),
    "durations": (
        models.DurationField(unique=True),
        [dt.timedelta(days=1), dt.timedelta(hours=24)],
        1,
    ),
}


@pytest.mark.parametrize("kind", KEYS)
def test_the_same_value_in_other_clothes_is_the_same_key(kind: str) -> None:
    field, given, count = KEYS[kind]
    with isolate_apps("tests.testapp"):
        meta = type("Meta", (), {"app_label": "testapp"})
        body = {"__module__": __name__, "key": field.clone(), "value": models.IntegerField(default=0), "Meta": meta}
        model: Any = type("Keyed", (models.Model,), body)
        with created(model):
            objects = [model(key=key, value=number) for number, key in enumerate(given)]
            write(*upserts(*objects, unique=["key"]))
            assert model.objects.count() == count
            for obj, number in {obj.pk: number for number, obj in enumerate(objects)}.items():
                assert model.objects.get(pk=obj).value == number


def test_no_number_equals_itself_only_where_the_database_says_so() -> None:
    if connection.vendor != "postgresql":
        pytest.skip("only PostgreSQL keeps it")
    with isolate_apps("tests.testapp"):

        class Sample(models.Model):
            key = models.FloatField(unique=True)
            value = models.IntegerField(default=0)

            class Meta:
                app_label = "testapp"

        with created(Sample):
            write(*upserts(*(Sample(key=math.nan, value=number) for number in range(3)), unique=["key"]))
            assert Sample.objects.get().value == 2


def test_decimals_beyond_what_sqlite_tells_apart_are_one_row_there() -> None:
    with isolate_apps("tests.testapp"):

        class Amount(models.Model):
            key = models.DecimalField(max_digits=30, decimal_places=2, unique=True)
            value = models.IntegerField(default=0)

            class Meta:
                app_label = "testapp"

        with created(Amount):
            keys = [
                Decimal("12345678901234567890.01"),
                Decimal("12345678901234567890.02"),
                Decimal("-0.00"),
                Decimal(0),
            ]
            write(*upserts(*(Amount(key=key, value=number) for number, key in enumerate(keys)), unique=["key"]))
            values = [1, 3] if connection.vendor == "sqlite" else [0, 1, 3]
            assert sorted(Amount.objects.values_list("value", flat=True)) == values
