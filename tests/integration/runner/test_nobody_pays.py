"""One guilty item holds what all need: it alone is dead, however long the others waited for it."""

from __future__ import annotations

import asyncio
import threading
import time
from typing import Any

import async_commander as ac
from tests.testapp.models import Tag

from .ledger import labels_of

TIMEOUT = 2.0


class OneLane(ac.IterateDownloadCommand[int, int]):
    limits = ac.Limits(threads=25, db_lanes=1, item_timeout=TIMEOUT, max_failures=None)
    retry = ac.Retry(attempts=1)
    let_go = threading.Event()

    async def iterate(self):
        return range(100)

    async def download(self, item: int) -> int:
        return item

    async def parse_and_save(self, item: int, payload: int) -> None:
        if item == 0:
            try:
                await self.db(self.hold)
            except asyncio.CancelledError:
                self.let_go.set()
                raise
        await Tag.objects.acreate(name=str(item))

    def hold(self) -> None:
        self.let_go.wait(60)
        time.sleep(TIMEOUT / 2)  # those that wait for the lane have waited for longer than their time by now


def test_an_item_that_keeps_the_only_lane_is_the_only_one_dead(run_on_lanes: Any) -> None:
    OneLane.let_go.clear()
    result = run_on_lanes(OneLane())
    assert labels_of(result, state="dead") == ["0"]
    assert result.counts["done"] == 99
    assert Tag.objects.count() == 99
