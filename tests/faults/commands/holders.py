"""Effects that tell which process wrote them, and items that block the event loop or hold a transaction."""

from __future__ import annotations

import asyncio
import os
import time
from typing import Annotated

import async_commander as ac
from tests.faults.commands import effects
from tests.testapp.models import Effect


class Command(effects.Command):
    """Write effects, slowly."""

    block: Annotated[float, ac.Option(identity=False)] = 0.0
    """Seconds for which the first item of this process blocks the event loop."""
    hold: Annotated[float, ac.Option(identity=False)] = 0.0
    """Seconds for which the first item holds its transaction open."""

    async def download(self, item: int) -> int:
        first = not self.tries
        payload = await super().download(item)
        await asyncio.sleep(0.02)
        if first and self.block and not self.calm:
            effects.tell(self.journal, "blocks")
            time.sleep(self.block)
        return payload

    async def parse_and_save(self, item: int, payload: int) -> None:
        if item == 0 and self.hold:
            await Effect.objects.acreate(key="held")
            effects.tell(self.journal, "holds")
            await asyncio.sleep(self.hold)
        for effect in self.behaviour.called(item):
            await Effect.objects.acreate(key=effect, run=self.writer)
        self.db.add(*(Effect(key=effect, run=self.writer) for effect in self.behaviour.queued(item)))

    @property
    def writer(self) -> str:
        return f"{self.label} {os.getpid()}"
