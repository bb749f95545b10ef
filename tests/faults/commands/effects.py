"""Effects by coroutines: half of them through queued rows, half through ORM calls on lanes."""

from __future__ import annotations

import asyncio
from collections import Counter
from contextlib import asynccontextmanager, nullcontext
from pathlib import Path
from typing import Annotated

import async_commander as ac
from tests.faults.behaviour import Behaviour, Permanent, Transient, tell
from tests.testapp.models import Effect


class Command(ac.IterateDownloadCommand[int, int]):
    """Write the effects of so many items, some of which fail."""

    calm = False
    """True where a file beside the journal says so: then no item takes longer than it must."""
    healed = False
    """Likewise: then nothing fails for good."""

    retry = ac.Retry(attempts=8, initial=0.01, maximum=0.05)

    label: str
    count: int = 200
    seed: int = 0
    permanent: int = 10
    transient: int = 50
    following: int = 50
    journal: Annotated[str, ac.Option(identity=False)] = "/dev/null"

    @asynccontextmanager
    async def lifespan(self):
        self.behaviour = Behaviour(self.seed, self.permanent, self.transient, self.following)
        self.tries = Counter()
        self.calm, self.healed = (Path(f"{self.journal}.{word}").exists() for word in ("calm", "healed"))
        tell(self.journal, "began")
        yield

    def http_client(self):
        return nullcontext()  # nothing is downloaded, and a client's certificates take longer to load than a small run

    async def iterate(self):
        for number in range(self.count):
            yield number

    async def download(self, item: int) -> int:
        tell(self.journal, "run", item)
        self.tries[item] += 1
        await asyncio.sleep(self.behaviour.seconds(item))
        if not self.behaviour.fails_late(item):
            self.fail(item)
        return item

    async def parse_and_save(self, item: int, payload: int) -> None:
        for effect in self.behaviour.called(item):
            await Effect.objects.acreate(key=effect, run=self.label)
        self.db.add(*(Effect(key=effect, run=self.label) for effect in self.behaviour.queued(item)))
        if self.behaviour.follows(item):
            self.follow(item + 1_000_000)
        if self.behaviour.fails_late(item):
            self.fail(item)

    def fail(self, item: int) -> None:
        if self.behaviour.is_permanent(item) and not self.healed:
            raise Permanent(f"{item} never works")
        if self.behaviour.is_transient(item) and self.tries[item] == 1:
            raise Transient(f"{item} does not work yet")
