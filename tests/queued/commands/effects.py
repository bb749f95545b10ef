"""Writes one row for each number, and waits at each of them for as long as it is told to."""

from __future__ import annotations

import anyio

import async_commander as ac
from tests.testapp.models import Effect


class Command(ac.IterateDownloadCommand[int, int]):
    """Effects from 1 to `count`."""

    label: str
    count: int = 20
    pause: float = 0.0

    limits = ac.Limits(threads=4, batch_size=4)

    async def iterate(self):
        for number in range(1, self.count + 1):
            yield number

    async def download(self, number: int) -> int:
        await anyio.sleep(self.pause)
        return number

    async def parse_and_save(self, number: int, payload: int) -> None:
        self.db.add(Effect(key=f"{self.label} {number}", run=self.label))
