"""Unique fields of every kind: what the database takes for one row is written as one, and no item fails for its key."""

from __future__ import annotations

import uuid
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import pytest
from django.db import connection, models, transaction
from django.db.models import Value
from django.test.utils import isolate_apps

from async_commander.database.keys import UNKNOWN, in_order
from async_commander.database.unit import Unit, write_units

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.django_db(transaction=True)


def upsert(*objects: models.Model, unique: str = "key") -> None:
    unit = Unit("default")
    unit.upsert(*objects, unique=[unique], update="__all__")
    with transaction.atomic():
        write_units([unit])
    unit.forget()


@pytest.fixture
def tables() -> Iterator[Any]:
    """A model for each kind of key, all with a value to overwrite."""
    kinds: dict[str, models.Field[Any, Any]] = {
        "Json": models.JSONField(unique=True),
        "Default": models.IntegerField(unique=True, db_default=5),
        "Price": models.DecimalField(max_digits=6, decimal_places=2, unique=True),
        "Digest": models.BinaryField(max_length=32, unique=True),
        "Name": models.CharField(max_length=20, unique=True),
    }
    if connection.vendor == "postgresql":
        from django.contrib.postgres.fields import ArrayField

        kinds["Array"] = ArrayField(models.DecimalField(max_digits=6, decimal_places=2), unique=True)
    with isolate_apps("tests.testapp"):
        meta = type("Meta", (), {"app_label": "testapp"})
        made = {kind: type(kind, (models.Model,), _columns(key) | {"Meta": meta}) for kind, key in kinds.items()}
        with connection.schema_editor() as editor:
            for model in made.values():
                editor.create_model(model)
        yield type("Tables", (), made)
        with connection.schema_editor() as editor:
            for model in made.values():
                editor.delete_model(model)


def _columns(key: models.Field[Any, Any]) -> dict[str, Any]:
    return {
        "__module__": __name__,
        "id": models.UUIDField(primary_key=True, default=uuid.uuid4),  # which no statement tells
        "key": key,
        "value": models.IntegerField(default=0),
    }


@pytest.fixture
def postgres() -> None:
    if connection.vendor != "postgresql":
        pytest.skip("needs types of PostgreSQL")


def test_json_is_merged_as_the_database_compares_it(tables: Any) -> None:
    rows = [tables.Json(key=key, value=value) for value, key in enumerate([{"a": 1, "b": [1]}, {"a": 2}, {"a": 2}])]
    upsert(*rows)
    upsert(again := tables.Json(key={"a": 1, "b": [1]}, value=7))
    assert {row.pk: row.value for row in tables.Json.objects.all()} == {rows[0].pk: 7, rows[2].pk: 2}
    assert again.pk == rows[0].pk
    assert rows[1].pk == rows[2].pk


@pytest.mark.usefixtures("postgres")
def test_json_of_another_spelling_is_the_same_row_for_postgresql(tables: Any) -> None:
    upsert(tables.Json(key={"a": 1, "b": 1e23}, value=1), tables.Json(key={"b": 10**23, "a": 1.0}, value=2))
    upsert(tables.Json(key=True), tables.Json(key=1), tables.Json(key="1"), tables.Json(key=1.5))
    assert tables.Json.objects.get(key__a=1).value == 2
    assert tables.Json.objects.count() == 5


def test_json_null_is_a_value(tables: Any) -> None:
    null = Value(None, models.JSONField())
    upsert(tables.Json(key=null, value=1), tables.Json(key=null, value=2))
    assert [row.value for row in tables.Json.objects.all()] == [2]


def test_decimals_are_merged_as_the_database_rounds_them(tables: Any) -> None:
    given = [Decimal("1.501"), Decimal("1.502"), 1.5, "1.50", Decimal(-2), Decimal("123.4")]
    rows = [tables.Price(key=key, value=value) for value, key in enumerate(given)]
    upsert(*rows)
    assert dict(tables.Price.objects.values_list("key", "value")) == {
        Decimal("1.50"): 3, Decimal("-2.00"): 4, Decimal("123.40"): 5,
    }  # fmt: skip
    upsert(again := tables.Price(key=Decimal("1.503")))
    assert again.pk == rows[0].pk


@pytest.mark.usefixtures("postgres")
def test_servers_round_half_away_from_zero(tables: Any) -> None:
    upsert(tables.Price(key=Decimal("1.505"), value=1), tables.Price(key=Decimal("1.51"), value=2))
    assert tables.Price.objects.get().value == 2


def test_a_key_that_the_database_makes_is_written_in_its_turn(tables: Any) -> None:
    rows = [tables.Default(value=1), tables.Default(value=2), tables.Default(key=5, value=3), tables.Default(key=6)]
    upsert(*rows)
    assert dict(tables.Default.objects.values_list("key", "value")) == {5: 3, 6: 0}
    upsert(tables.Default(key=5, value=4), tables.Default(value=9))
    assert tables.Default.objects.get(key=5).value == 9


def test_keys_that_the_database_makes_are_added_beside_others(tables: Any) -> None:
    unit = Unit("default")
    unit.add(tables.Default(), tables.Default(key=77), tables.Default(key=3))
    with transaction.atomic():
        write_units([unit])
    assert set(tables.Default.objects.values_list("key", flat=True)) == {3, 5, 77}


def test_an_expression_as_key_is_written_in_its_turn(tables: Any) -> None:
    from django.db.models.functions import Lower

    upsert(tables.Name(key="a", value=1), tables.Name(key=Lower(Value("A")), value=2), tables.Name(key="b"))
    assert dict(tables.Name.objects.values_list("key", "value")) == {"a": 2, "b": 0}


def test_bytes_are_merged_whatever_holds_them(tables: Any) -> None:
    upsert(*(tables.Digest(key=key, value=len(str(key))) for key in (b"ab", bytearray(b"ab"), memoryview(b"ab"))))
    assert tables.Digest.objects.count() == 1


@pytest.mark.usefixtures("postgres")
def test_arrays_are_merged_element_by_element(tables: Any) -> None:
    one, two, other = (tables.Array(key=key) for key in ([Decimal("1.501"), None], [1.5, None], [2]))
    upsert(one, two, other)
    assert one.pk == two.pk
    assert tables.Array.objects.count() == 2


def test_the_order_is_the_same_whatever_is_beside_a_row() -> None:
    def order(*keys: Any) -> list[Any]:
        return [key for (key,), _ in in_order([((key,), models.Model) for key in keys])]  # type: ignore[misc]

    assert order(10, 9) == [9, 10]
    assert order(10, None, 9, UNKNOWN) == [9, 10, None, UNKNOWN]
    assert order(1j, 0j) == [0j, 1j]
