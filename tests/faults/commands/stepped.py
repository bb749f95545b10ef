"""Effects by the steps of one `handle()`, a few at once: some queue rows, some call the ORM, some do both."""

from __future__ import annotations

import asyncio
from contextlib import nullcontext
from typing import Annotated

import anyio

import async_commander as ac
from tests.faults.behaviour import Behaviour, tell
from tests.testapp.models import Effect

AT_ONCE = 3


class Command(ac.AsyncCommand):
    """Write the effects of so many steps. What they return adds up to the run's value."""

    retry = ac.Retry(initial=0.01, maximum=0.05)

    label: str
    count: int = 30
    seed: int = 0
    journal: Annotated[str, ac.Option(identity=False)] = "/dev/null"

    def http_client(self):
        return nullcontext()

    async def handle(self) -> int:
        tell(self.journal, "began")
        self.total, self.left = 0, list(range(self.count))
        async with anyio.create_task_group() as tasks:
            for _ in range(AT_ONCE):
                tasks.start_soon(self.work)
        return self.total

    async def work(self) -> None:
        while self.left:
            result = await self.step("effects", self.effects, self.left.pop(0))
            self.total += result

    async def effects(self, number: int) -> int:
        behaviour = Behaviour(self.seed)
        tell(self.journal, "run", number)
        await asyncio.sleep(behaviour.seconds(number))
        for effect in behaviour.called(number):
            await Effect.objects.acreate(key=effect, run=self.label)
        self.db.add(*(Effect(key=effect, run=self.label) for effect in behaviour.queued(number)))
        return 2 * number
