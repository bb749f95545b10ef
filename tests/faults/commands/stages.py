"""Effects again, slow in a place of choice: a sleep, a database call, the process pool, the source, the clean-up."""

from __future__ import annotations

import asyncio
import time
from contextlib import suppress

from asgiref.sync import sync_to_async

from tests.faults.commands import effects

STAGES = ("sleep", "database", "pool", "iterate", "cleanup", "start", "endless")
SLOW = 0.04
ENDLESS = 60.0


def spin(seconds: float) -> None:
    """Compute in a process of the pool."""
    end = time.perf_counter() + seconds
    while time.perf_counter() < end:
        pass


class Command(effects.Command):
    """Write the effects of so many items, slowly."""

    stage: str = "sleep"

    def is_slow(self, stage: str) -> bool:
        return self.stage == stage and not self.calm

    async def iterate(self):
        for number in range(self.count):
            if self.is_slow("iterate"):
                await asyncio.sleep(SLOW / 4)
            yield number

    async def download(self, item: int) -> int:
        if self.is_slow("sleep"):
            await asyncio.sleep(SLOW)
        elif self.is_slow("endless"):
            effects.tell(self.journal, "run", item)
            await asyncio.sleep(ENDLESS)
        return await super().download(item)

    async def parse_and_save(self, item: int, payload: int) -> None:
        if self.is_slow("database"):
            await sync_to_async(time.sleep)(SLOW / 2)
        elif self.is_slow("pool"):
            await self.cpu(spin, SLOW / 2)
        await super().parse_and_save(item, payload)

    async def cleanup(self) -> None:
        effects.tell(self.journal, "cleanup")
        if self.is_slow("cleanup"):
            await asyncio.sleep(10 * SLOW)
        while self.is_slow("stubborn"):
            with suppress(asyncio.CancelledError):
                await asyncio.sleep(ENDLESS)
