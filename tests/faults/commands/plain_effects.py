"""The same effects by plain functions: downloads on worker threads, everything else on lanes."""

from __future__ import annotations

import time

from tests.faults.commands import effects
from tests.testapp.models import Effect


class Command(effects.Command):
    """Write the effects of so many items, some of which fail."""

    def iterate(self):
        yield from range(self.count)

    def download(self, item: int) -> int:
        effects.tell(self.journal, "run", item)
        self.tries[item] += 1
        time.sleep(self.behaviour.seconds(item))
        if not self.behaviour.fails_late(item):
            self.fail(item)
        return item

    def parse_and_save(self, item: int, payload: int) -> None:
        for effect in self.behaviour.called(item):
            Effect.objects.create(key=effect, run=self.label)
        self.db.add(*(Effect(key=effect, run=self.label) for effect in self.behaviour.queued(item)))
        if self.behaviour.follows(item):
            self.follow(item + 1_000_000)
        if self.behaviour.fails_late(item):
            self.fail(item)
