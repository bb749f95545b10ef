"""A row that conflicts by another constraint than the named one is somebody else's: it is never overwritten."""

from __future__ import annotations

import asyncio
import threading
import uuid
from typing import TYPE_CHECKING, Any

import pytest
from django.db import IntegrityError, connection, connections, models, transaction
from django.db.models.functions import Lower
from django.test.utils import isolate_apps

from async_commander.database.unit import Unit, write_units

from .conftest import created

if TYPE_CHECKING:
    from collections.abc import Iterator

    from async_commander.database.lanes import LanePool

    from .conftest import Owner

pytestmark = pytest.mark.django_db(transaction=True)


def write(*units: Unit) -> None:
    with transaction.atomic():
        write_units(units)
    for unit in units:
        unit.forget()


@pytest.fixture
def goods() -> Iterator[Any]:
    with isolate_apps("tests.testapp"):

        class Good(models.Model):
            code = models.CharField(max_length=20, unique=True)
            sku = models.CharField(max_length=20, unique=True, null=True)
            name = models.CharField(max_length=20, default="")
            stock = models.IntegerField(default=0)

            class Meta:
                app_label = "testapp"

        with created(Good):
            yield Good


@pytest.mark.parametrize("update", ["__all__", ["name"], []])
def test_a_row_that_conflicts_by_another_column_is_left_alone(goods: Any, update: Any) -> None:
    other = goods.objects.create(code="other", sku="s", name="other")
    unit = Unit("default")
    unit.upsert(goods(code="new", sku="s", name="mine"), unique=["code"], update=update)
    with pytest.raises(IntegrityError):
        write(unit)
    other.refresh_from_db()
    assert (other.code, other.name) == ("other", "other")
    assert goods.objects.count() == 1


def test_a_key_that_is_somebody_elses_is_left_alone(goods: Any) -> None:
    other = goods.objects.create(code="other", name="other")
    for update in (["name"], []):
        unit = Unit("default")
        unit.upsert(goods(pk=other.pk, code="new", name="mine"), unique=["code"], update=update)
        with pytest.raises(IntegrityError):
            write(unit)
    by_key = Unit("default")
    by_key.upsert(goods(pk=other.pk + 1, code="other", name="mine"), unique=["pk"], update=[])
    with pytest.raises(IntegrityError):
        write(by_key)
    other.refresh_from_db()
    assert (other.code, other.name, goods.objects.count()) == ("other", "other", 1)


def test_what_is_not_overwritten_conflicts_with_nothing(goods: Any) -> None:
    goods.objects.create(code="mine", sku="m", name="before")
    goods.objects.create(code="other", sku="s", name="other")
    unit = Unit("default")
    unit.upsert(goods(code="mine", sku="s", name="after"), unique=["code"], update=["name"])
    if connection.vendor == "sqlite":
        pytest.skip("SQLite looks at all constraints of what it would insert")
    write(unit)
    assert set(goods.objects.values_list("code", "sku", "name")) == {("mine", "m", "after"), ("other", "s", "other")}


@pytest.mark.asyncio
async def test_only_the_guilty_item_fails(goods: Any, lanes: LanePool, owner: Owner) -> None:
    await goods.objects.acreate(code="other", sku="s7", name="other")
    async with owner.writer(lanes) as writer:
        for number in range(20):
            unit = Unit("default", outcome=f"u{number}")
            unit.upsert(goods(code=f"c{number}", sku=f"s{number}"), unique=["code"], update="__all__")
            writer.put(unit)
        await writer.drain()
    assert set(owner.failed) == {"u7"}
    assert isinstance(owner.failed["u7"], IntegrityError)
    assert len(owner.done) == 19
    assert (await goods.objects.aget(sku="s7")).name == "other"


def test_a_mix_of_rows_that_are_there_and_new_ones_learns_all_keys(goods: Any) -> None:
    there = {good.code: good.pk for good in (goods.objects.create(code=f"c{n}", stock=n) for n in range(0, 120, 2))}
    objects = [goods(code=f"c{number}", stock=1000 + number) for number in range(120)]
    unit = Unit("default")
    unit.upsert(*objects, unique=["code"], update=["stock"])
    write(unit)
    assert all(good.pk == there.get(good.code, good.pk) for good in objects)
    assert {good.pk: good.stock for good in objects} == dict(goods.objects.values_list("pk", "stock"))


@isolate_apps("tests.testapp")
def test_constraints_with_a_condition_or_an_expression_are_kept(db: None) -> None:
    if not connection.features.supports_partial_indexes:
        pytest.skip("this database has no such constraints")

    class Seat(models.Model):
        code = models.CharField(max_length=9, unique=True)
        row = models.IntegerField()
        free = models.BooleanField(default=False)
        label = models.CharField(max_length=9, default="")

        class Meta:
            app_label = "testapp"
            constraints = [
                models.UniqueConstraint(fields=["row"], condition=models.Q(free=True), name="one_free_seat"),
                models.UniqueConstraint(Lower("label"), name="one_label"),
            ]

    with created(Seat):
        first = Seat.objects.create(code="a", row=1, free=True, label="x")
        for seat in (Seat(code="b", row=1, free=True), Seat(code="b", row=2, label="X")):
            unit = Unit("default")
            unit.upsert(seat, unique=["code"], update="__all__")
            with pytest.raises(IntegrityError):
                write(unit)
        unit = Unit("default")
        unit.upsert(Seat(code="a", row=1, free=False, label="y"), unique=["code"], update="__all__")
        unit.add(Seat(code="c", row=1, free=True, label="X"))  # what the upsert sets free
        write(unit)
        first.refresh_from_db()
        assert (first.free, Seat.objects.count()) == (False, 2)
        with pytest.raises(ValueError, match="no unique constraint on exactly these fields"):
            Unit("default").upsert(Seat(code="a", row=1), unique=["row"], update=[])


@pytest.mark.asyncio
async def test_two_writers_of_the_same_keys_lose_and_overwrite_nothing(goods: Any, lanes: LanePool) -> None:
    """Both look before either commits: what one does not find is there when it inserts."""
    if connection.vendor == "sqlite":
        pytest.skip("SQLite has one writer at a time")
    start = threading.Barrier(2)

    def upsert(number: int) -> None:
        try:
            start.wait(10)
            for turn in range(20):
                unit = Unit("default")
                unit.upsert(
                    *(goods(code=f"{turn}-{code}", name=str(number)) for code in range(5)),
                    unique=["code"],
                    update=["name"],
                )
                write(unit)
        finally:
            connections.close_all()

    await asyncio.gather(*(asyncio.to_thread(upsert, number) for number in range(2)))
    assert await goods.objects.acount() == 100


@isolate_apps("tests.testapp")
def test_an_identifier_made_by_the_client_gives_way_to_that_of_the_row(db: None) -> None:
    class Shop(models.Model):
        id = models.UUIDField(primary_key=True, default=uuid.uuid4)
        code = models.CharField(max_length=9, unique=True)

        class Meta:
            app_label = "testapp"

    with created(Shop):
        old = Shop.objects.create(code="a")
        for update in ([], "__all__"):
            unit = Unit("default")
            unit.upsert(again := Shop(code="a"), new := Shop(code=f"new {update}"[:9]), unique=["code"], update=update)
            write(unit)
            assert again.pk == old.pk
            assert Shop.objects.get(pk=new.pk).code == new.code
