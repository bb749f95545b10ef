"""Commands whose items do as little as can be, so that what is measured is what keeps them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from itertools import count
from typing import Annotated

import async_commander as ac
from benchmarks.models import Page


class NoOps(ac.IterateDownloadCommand[int, int]):
    """Do nothing, durably."""

    count: Annotated[int, ac.Option(identity=False)] = 1_000
    name: str = ""

    def iterate(self) -> Iterator[int]:
        """Numbers."""
        return iter(range(self.count))

    async def download(self, item: int) -> int:
        """Nothing."""
        return item

    async def parse_and_save(self, item: int, payload: int) -> None:
        """Nothing."""


class Upserts(NoOps):
    """Upsert one row an item."""

    async def parse_and_save(self, item: int, payload: int) -> None:  # noqa: ARG002 - nothing is in it
        """One row."""
        self.db.upsert(Page(url=f"http://{item}", title="x", links=1), unique=["url"], update=["title", "links"])


class Steady(ac.IterateDownloadCommand[int, int]):
    """Upsert a row for each of any number of items, which take ten milliseconds each, until it is asked to end."""

    async def iterate(self) -> AsyncIterator[int]:
        """Numbers."""
        for number in count():
            if number == 1:
                print("begun", flush=True)
            yield number

    async def download(self, item: int) -> int:
        """Wait a little."""
        await asyncio.sleep(0.01)
        return item

    async def parse_and_save(self, item: int, payload: int) -> None:  # noqa: ARG002 - nothing is in it
        """One row."""
        self.db.upsert(Page(url=f"http://{item}", title="x", links=1), unique=["url"], update=["title", "links"])


def upsert_in_bulk(count: int, batch: int) -> None:
    """The same by hand."""
    pages = [Page(url=f"http://{number}", title="y", links=2) for number in range(count)]
    Page.objects.bulk_create(
        pages, batch, update_conflicts=True, unique_fields=["url"], update_fields=["title", "links"]
    )
