"""Commands whose items do as little as can be, so that what is measured is what keeps them."""

from __future__ import annotations

from collections.abc import Iterator
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


def upsert_in_bulk(count: int, batch: int) -> None:
    """The same by hand."""
    pages = [Page(url=f"http://{number}", title="y", links=2) for number in range(count)]
    Page.objects.bulk_create(
        pages, batch, update_conflicts=True, unique_fields=["url"], update_fields=["title", "links"]
    )
