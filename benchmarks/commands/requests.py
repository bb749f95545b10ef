"""Twelve items that wait a little, one of which fails, and a row for each of the others: as a run, and by hand."""

from __future__ import annotations

import asyncio
import logging
from itertools import count

from asgiref.sync import sync_to_async

import async_commander as ac
from benchmarks.models import Person

ITEMS, FAILS, PAUSE, AT_ONCE = 12, 5, 0.02, 3

logger = logging.getLogger(__name__)
_numbers = count()


class Job(ac.IterateDownloadCommand[int, int]):
    """As a run."""

    limits = ac.Limits(threads=AT_ONCE, batch_size=4, db_lanes=1, max_failures=ITEMS)

    def iterate(self) -> range:
        """Numbers."""
        return range(ITEMS)

    async def download(self, item: int) -> int:
        """Wait."""
        return await _downloaded(item)

    async def parse_and_save(self, item: int, payload: int) -> None:  # noqa: ARG002 - nothing is in it
        """One row."""
        self.db.add(Person(name=f"{next(_numbers)}"))


async def run() -> None:
    """One of these runs."""
    await ac.arun(Job())


async def by_hand() -> None:
    """The same without a run."""
    for first in range(0, ITEMS, AT_ONCE):
        done = await asyncio.gather(*map(_downloaded, range(first, first + AT_ONCE)), return_exceptions=True)
        for error in done:
            if isinstance(error, Exception):
                logger.error("An item failed", exc_info=error)
        people = [Person(name=f"{next(_numbers)}") for one in done if isinstance(one, int)]
        await sync_to_async(Person.objects.bulk_create)(people)


async def _downloaded(item: int) -> int:
    await asyncio.sleep(PAUSE)
    if item == FAILS:
        raise ValueError("it is never right")
    return item
