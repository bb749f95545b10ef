"""Results that are kept, by processes that all want them."""

from __future__ import annotations

import asyncio
import hashlib
from typing import Annotated

import async_commander as ac
from tests.faults.behaviour import tell


def page(number: int, size: int) -> str:
    """What is downloaded: another text for each number, whose every part tells which."""
    return f"{hashlib.sha256(str(number).encode()).hexdigest()} " * size


class Command(ac.AsyncCommand):
    """Ask for results, at once or one after the other, and look at each."""

    label: str
    journal: Annotated[str, ac.Option(identity=False)]
    first: Annotated[int, ac.Option(identity=False)] = 0
    count: Annotated[int, ac.Option(identity=False)] = 1
    callers: Annotated[int, ac.Option(identity=False)] = 1
    size: Annotated[int, ac.Option(identity=False)] = 1
    takes: Annotated[float, ac.Option(identity=False)] = 0.05

    @ac.cached
    async def fetch(self, number: int) -> str:
        tell(self.journal, "makes", number)
        await asyncio.sleep(self.takes)
        return page(number, self.size)

    async def handle(self) -> None:
        for number in range(self.first, self.first + self.count):
            found = await asyncio.gather(*(self.fetch(number) for _ in range(self.callers)))
            assert found == [page(number, self.size)] * self.callers
