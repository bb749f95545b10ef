"""A command with items, some of which fail."""

from __future__ import annotations

import os
from pathlib import Path

import anyio

import async_commander as ac


class Command(ac.IterateDownloadCommand[int, str]):
    """Fetch some numbers."""

    until: int = 20
    broken: int = 0
    passwords: list[str] = []

    limits = ac.Limits(max_failures=None)
    retry = ac.Retry(attempts=2, initial=0.001)

    def add_arguments(self, parser) -> None:
        parser.add_argument("--parser-key", default="")

    async def iterate(self):
        return list(range(self.until))

    async def download(self, item: int) -> str:
        if item == 7 and "STUCK" in os.environ:
            self.stdout.write("stuck")
            self.stdout.flush()
            await anyio.sleep_forever()
        if item == 7 and (gate := os.environ.get("GATE")):
            while not Path(gate).exists():
                await anyio.sleep(0.01)
        if item < self.broken:
            raise ValueError(f"no title [bold]in\x1b[2J {item}") if item % 2 else TimeoutError("nothing came")
        return str(item)

    async def parse_and_save(self, item: int, payload: str) -> None:
        pass
