"""A value that the database does not take is told by its field, whichever way the row goes."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest
from django.db import connection

import async_commander as ac
from async_commander.models import RunItem
from tests.integration.runner.conftest import run, transactional_db
from tests.testapp.models import Page, Product

__all__ = ["run", "transactional_db"]

MISFITS: dict[str, tuple[dict[str, Any], str, str]] = {
    "small": ({"stock": -(2**70)}, "testapp.Product.stock: -1180591620717411303424, where -", ""),
    "large": ({"stock": 2**63}, "testapp.Product.stock: 9223372036854775808, where ", ""),
    "endless": ({"stock": 10**100}, "testapp.Product.stock: an integer of 333 bits", ""),
    "dear": ({"price": Decimal("123456789.5")}, "testapp.Product.price: 123456789.5, where max_digits=10", ""),
    "long": (
        {"name": "x" * 201},
        "testapp.Product.name: a text of 201 characters, where its max_length is 200",
        "sqlite",
    ),
}


class Products(ac.IterateDownloadCommand[str, str]):
    """One that fits, and one that does not."""

    misfit: str
    verb: str

    limits = ac.Limits(max_failures=None)

    async def iterate(self):
        yield "fits"
        yield self.misfit

    async def download(self, item: str) -> str:
        return item

    async def parse_and_save(self, item: str, payload: str) -> None:
        values = {} if item == "fits" else MISFITS[item][0]
        product = Product(sku=item, **values)
        if self.verb == "add":
            self.db.add(product)
        elif self.verb == "upsert":
            self.db.upsert(product, unique=["sku"], update="__all__")
        else:
            product = await Product.objects.acreate(sku=item)
            for name, value in values.items():
                setattr(product, name, value)
            self.db.update(product, fields=["stock", "price", "name"])


@pytest.mark.parametrize("verb", ["add", "upsert", "update"])
@pytest.mark.parametrize("misfit", MISFITS)
def test_the_field_is_named(run: Any, misfit: str, verb: str) -> None:
    _, told, fits_on = MISFITS[misfit]
    if connection.vendor == fits_on:
        pytest.skip("this database takes it")
    result = run(Products(misfit=misfit, verb=verb))
    assert (result.counts["done"], result.counts["dead"]) == (1, 1)
    dead = RunItem.objects.get(state="dead")
    assert dead.error.startswith(told), dead.error
    assert list(Product.objects.values_list("sku", flat=True)) == ["fits"]


class InHandle(ac.AsyncCommand):
    async def handle(self) -> None:
        self.db.add(Product(sku="large", stock=2**63))


def test_a_hook_of_the_run_tells_it_too(run: Any) -> None:
    with pytest.raises(ac.RunFailed, match=r"testapp.Product.stock: 9223372036854775808"):
        run(InHandle())


class Nul(ac.AsyncCommand):
    async def handle(self) -> None:
        self.db.add(Page(url="a", title="b\0c"))


@pytest.mark.skipif(connection.vendor != "postgresql", reason="other databases take it")
def test_a_nul_character_is_told_by_its_field(run: Any) -> None:
    with pytest.raises(ac.RunFailed, match=r"testapp.Page.title: a text with a NUL character"):
        run(Nul())
