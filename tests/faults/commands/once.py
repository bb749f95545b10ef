"""A job that must be done once."""

from __future__ import annotations

import asyncio
import os
from typing import Annotated

import async_commander as ac
from tests.faults.behaviour import tell
from tests.testapp.models import Effect


class Command(ac.AsyncCommand):
    """Wait a moment, then write one effect."""

    label: str
    journal: Annotated[str, ac.Option(identity=False)] = ""
    seconds: Annotated[float, ac.Option(identity=False)] = 0.02
    run_once = True

    async def handle(self) -> None:
        tell(self.journal, "began")
        await asyncio.sleep(self.seconds)
        await Effect.objects.acreate(key=self.label, run=str(os.getpid()))
        tell(self.journal, "ends")
