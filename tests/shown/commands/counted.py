"""A command whose items are counted in one way or another."""

from __future__ import annotations

import asyncio
import time
from typing import Any, Literal

from django.db.models.expressions import RawSQL

import async_commander as ac
from tests.testapp.models import Effect

NEVER_ENDS = "WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n) SELECT CAST(max(x) AS TEXT) FROM n"


class Command(ac.IterateDownloadCommand[int, int]):
    how: Literal["waits", "blocks", "blocks the loop", "rows", "list", "slow rows"]

    async def total(self) -> int | None:
        if self.how == "waits":
            await asyncio.sleep(60)
        if self.how == "blocks the loop":
            time.sleep(2)
        return None

    def iterate(self) -> Any:
        if self.how == "blocks":
            time.sleep(2)
        if self.how == "slow rows":
            return Effect.objects.filter(key__in=RawSQL(NEVER_ENDS, ()))
        return Effect.objects.order_by("key") if self.how == "rows" else list(range(20_000))

    async def download(self, item: int) -> int:
        return item

    async def parse_and_save(self, item: int, page: int) -> None: ...
