"""Pages of a list of numbers, for trying things out."""

from __future__ import annotations

import async_commander as ac
from tests.testapp.models import Page


class Command(ac.IterateDownloadCommand[str, str]):
    """Save a page per number."""

    count: int = 10

    test_parameters = {"count": 1}

    async def iterate(self):
        for number in range(self.count):
            yield f"http://127.0.0.1/{number}"

    async def download(self, item: str) -> str:
        return f"body of {item}"

    async def parse_and_save(self, item: str, payload: str) -> None:
        self.db.add(Page(url=item, title="x", body=payload))
