"""Items that do anything and are cancelled at random: the ledger row is there if and only if all of its rows are."""

from __future__ import annotations

import asyncio
import os
import random
from collections import Counter
from contextlib import suppress
from typing import TYPE_CHECKING

import anyio
import pytest
from asgiref.sync import ThreadSensitiveContext, async_to_sync, sync_to_async
from django.db import IntegrityError, connections

from async_commander.database.lanes import open_lanes, open_shared_lane
from async_commander.database.unit import Unit
from tests.testapp.models import Page, Tag

from .conftest import Owner

if TYPE_CHECKING:
    from async_commander.database.lanes import LanePool
    from async_commander.database.writer import Writer

ITEMS = int(os.environ.get("ALL_OR_NOTHING_ITEMS", "150"))


class Items:
    def __init__(self, seed: int, lanes: LanePool, writer: Writer) -> None:
        self.random = random.Random(seed)
        self.lanes, self.writer = lanes, writer
        self.expected: Counter[str] = Counter()
        self.given_up: set[str] = set()

    async def one(self, name: str) -> None:
        unit = Unit("default", lane=self.lanes.lend(), outcome=name)
        assert unit.lane is not None
        try:
            async with ThreadSensitiveContext(executor=unit.lane):
                for step in range(self.random.randint(1, 4)):
                    await self.random.choice([self.save, self.queue, self.rest, self.both, self.undo, self.look])(
                        unit, f"{name} {step}"
                    )
                if self.random.random() < 0.05:
                    unit.add(Page(url="taken"))
        except BaseException:
            self.given_up.add(name)
            await unit.discard()
            raise
        self.writer.put(unit)

    def page(self, unit: Unit, url: str) -> Page:
        self.expected[unit.outcome] += 1
        return Page(url=url, title=unit.outcome)

    async def save(self, unit: Unit, url: str) -> None:
        await self.page(unit, url).asave()

    async def queue(self, unit: Unit, url: str) -> None:
        unit.add(self.page(unit, url))

    async def both(self, unit: Unit, url: str) -> None:
        await asyncio.gather(self.save(unit, url + "a"), self.save(unit, url + "b"))
        await self.queue(unit, url + "c")

    async def undo(self, unit: Unit, url: str) -> None:
        with suppress(IntegrityError):
            async with unit.atomic():
                await Page(url=url, title=unit.outcome).asave()
                unit.add(Page(url=url + "x", title=unit.outcome))
                await Page(url=url, title=unit.outcome).asave()

    async def rest(self, unit: Unit, url: str) -> None:
        await anyio.sleep(self.random.random() / 200)

    async def look(self, unit: Unit, url: str) -> None:
        await Page.objects.filter(title=unit.outcome).acount()


async def disturbed(items: Items, name: str) -> None:
    """One item, which may run into a time-out or be cancelled natively, more than once."""
    kind = items.random.random()
    if kind < 0.2:
        with anyio.move_on_after(items.random.random() / 50):
            await items.one(name)
    elif kind < 0.4:
        task = asyncio.ensure_future(items.one(name))
        for _ in range(2):
            await asyncio.sleep(items.random.random() / 50)
            task.cancel()
        with suppress(asyncio.CancelledError):
            await task
    else:
        await items.one(name)


async def run(seed: int, lanes: LanePool, owner: Owner) -> Items:
    async with owner.writer(lanes) as writer:
        items = Items(seed, lanes, writer)
        await writer.call(Page.objects.create, url="taken")
        names = iter([f"item {number}" for number in range(ITEMS)])

        async def work() -> None:
            for name in names:
                await disturbed(items, name)

        async with anyio.create_task_group() as group:
            for _ in range(12):
                group.start_soon(work)
        await writer.drain()
    assert lanes.taken == 0
    return items


def check(items: Items, owner: Owner) -> None:
    found = Counter(Page.objects.exclude(url="taken").values_list("title", flat=True))
    ledger = set(Tag.objects.values_list("name", flat=True))
    assert ledger == set(owner.done)
    assert len(owner.settled) + len(items.given_up) == ITEMS
    assert all(isinstance(error, IntegrityError) for error in owner.failed.values())
    assert found == Counter({name: items.expected[name] for name in ledger if items.expected[name]})


@pytest.fixture
def seed() -> int:
    seed = int(os.environ.get("SEED", random.randrange(2**32)))
    print(f"SEED={seed}")
    return seed


@pytest.mark.asyncio
async def test_on_lanes(transactional_db: None, owner: Owner, seed: int) -> None:
    async with open_lanes("default", 4) as lanes:
        items = await run(seed, lanes, owner)
    await sync_to_async(check)(items, owner)
    await sync_to_async(connections.close_all)()


def test_on_the_shared_lane(db: None, owner: Owner, seed: int) -> None:
    async def main() -> Items:
        async with open_shared_lane("default") as lanes:
            return await run(seed, lanes, owner)

    check(async_to_sync(main)(), owner)
