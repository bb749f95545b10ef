"""An item that JSON or keys cannot hold is dead, and says which it is; the others, and a resume, go on."""

from __future__ import annotations

from collections import UserDict
from contextlib import asynccontextmanager
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import anyio
import pytest

import async_commander as ac
from async_commander.command.items import item_from_json
from async_commander.models import Run, RunItem
from tests.testapp.models import Author, Tag

from .ledger import row_of


def nested(levels: int) -> list[Any]:
    value: list[Any] = []
    for _ in range(levels):
        value = [value]
    return value


CIRCLE: list[Any] = []
CIRCLE.append(CIRCLE)
RING: dict[str, Any] = {}
RING["ring"] = [RING]


@dataclass
class Holder:
    value: Any


class Loud:
    def __repr__(self) -> str:
        raise RuntimeError("no repr")

    @property
    def url(self) -> str:
        raise RuntimeError("no url")


UNFIT = {
    "nan": float("nan"),
    "infinity": float("inf"),
    "nan inside": {"a": [1, {"b": float("-inf")}]},
    "nan as a key": {float("nan"): 1},
    "a decimal in an object": object(),
    "300 lists": nested(300),
    "30,000 lists": nested(30_000),
    "a list in itself": CIRCLE,
    "a dict in itself": RING,
    "in a dataclass": Holder(nested(150)),
    "5,000 digits": 10**5_000,
    "5,000 digits as a key": {10**5_000: 1},
    "an object as a key": {object(): 1},
    "two keys with one text": {1: "a", "1": "b"},
    "without a repr": Loud(),
    "no saved row": Author(name="x"),
    "a mapping of its own": UserDict({"a": float("nan")}),
}
FIT = {
    "nul": "a\x00b",
    "half a pair": "\ud83d",
    "both as keys": {"\x00": "\ud83d", 1: None},
    "a number as a key": {(1, 2): {3: Decimal("1.5")}},
    "4,000 digits": 10**4_000,
    "90 lists": nested(90),
    "a long text": "x" * 100_000,
}


class Yields(ac.IterateDownloadCommand[Any, Any]):
    limits = ac.Limits(max_failures=None, threads=3)
    _items: Any = ()

    async def iterate(self):
        for item in type(self)._items:
            yield item

    async def download(self, item: Any) -> Any:
        return item

    async def parse_and_save(self, item: Any, payload: Any) -> None:
        self.db.upsert(Tag(name=str(item)[:50] if isinstance(item, str) else "other"), unique=["name"], update=[])


def yields(*items: Any, **others: Any) -> Any:
    return type("Command", (Yields,), {"_items": items, **others})()


@pytest.mark.parametrize("name", UNFIT)
def test_an_unfit_item_is_dead_with_its_place_and_the_others_are_done(run: Any, name: str) -> None:
    result = run(yields("first", UNFIT[name], "third"))
    assert (result.status, result.counts["done"], result.counts["dead"]) == ("partial", 2, 1)
    item = RunItem.objects.get(state="dead")
    assert (item.reason, item.error_kind, item.item) == ("permanent", "UnfitItem", None)
    assert item.error.startswith("Item 2 of the source: ")
    assert "Define item_key(self, item)" in item.error
    assert row_of(result).accounts
    assert [one.kind for one in result.errors] == ["UnfitItem"]


@pytest.mark.parametrize("name", FIT)
def test_what_looks_odd_and_can_be_held_is_done(run: Any, name: str) -> None:
    class Command(Yields):
        async def parse_and_save(self, item: Any, payload: Any) -> None:
            assert len(self.idempotency_key) == 64

    command = type("Command", (Command,), {"_items": (FIT[name], "b")})()
    assert run(command).counts["done"] == 2


@pytest.mark.parametrize("item", [float("nan"), [10**5_000], {"a\x00": "\ud83d"}, {float("inf"): (1,)}])
def test_with_a_key_of_its_own_it_is_carried_and_kept_for_another_attempt(run: Any, item: Any) -> None:
    """Dead, and in the ledger as it was."""

    class Command(Yields):
        def item_key(self, item: Any) -> str:
            return "the one" if item != "b" else "b"

        async def download(self, item: Any) -> Any:
            if item != "b":
                raise ValueError("no good")

        async def parse_and_save(self, item: Any, payload: Any) -> None: ...

    run(type("Command", (Command,), {"_items": (item, "b")})())
    kept = item_from_json(RunItem.objects.get(state="dead").item)
    assert kept == item or repr(kept) == repr(item)  # NaN is not equal to itself


def test_a_resume_knows_the_unfit_item_again(run: Any) -> None:
    class Command(Yields):
        broken = True

        @asynccontextmanager
        async def lifespan(self):
            self._last = anyio.Event()
            yield

        async def iterate(self):
            for item in ("first", float("nan"), nested(300), "fourth"):
                yield item
            if type(self).broken:
                await self._last.wait()
                raise ValueError("the source broke")

        def committed(self, item: Any) -> None:
            if item == "fourth":
                self._last.set()

    with pytest.raises(ac.RunFailed):
        run(Command())
    first = Run.objects.get()
    assert (first.status, first.dead) == ("failed", 2)
    Command.broken = False
    result = run(Command(), resume=True)
    row = row_of(result)
    assert (row.pk, row.status, row.done, row.dead, row.taken) == (first.pk, "partial", 2, 2, 4)
    assert row.accounts


def test_many_unfit_items_end_the_run_as_other_failures_do(run: Any) -> None:
    command = yields("first", *[float("nan")] * 50, limits=ac.Limits(max_failures=10))
    with pytest.raises(ac.RunFailed, match="10 allowed"):
        run(command)


def test_an_items_own_key_that_fails_costs_that_item_only(run: Any) -> None:
    class Command(Yields):
        def item_key(self, item: Any) -> str:
            return str(item["id"])

        async def parse_and_save(self, item: Any, payload: Any) -> None: ...

    command = type("Command", (Command,), {"_items": ({"id": 1}, {}, {"id": 2})})()
    assert run(command).counts["done"] == 2
    assert RunItem.objects.get(state="dead").error == "Item 2 of the source: 'id'"


def test_an_item_that_brings_up_an_unfit_one_is_dead_itself(run: Any) -> None:
    class Command(Yields):
        async def parse_and_save(self, item: Any, payload: Any) -> None:
            if item == "bad":
                self.follow("fine", nested(300))

    command = type("Command", (Command,), {"_items": ("bad", "good")})()
    result = run(command)
    assert (result.counts["done"], result.counts["dead"], result.counts["taken"]) == (1, 1, 2)
