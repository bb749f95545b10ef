"""Effects again, many by one call."""

from __future__ import annotations

import async_commander as ac
from tests.faults.commands import effects


class Command(effects.Command):
    """Write the effects of so many items, a few dozen at once."""

    batches = ac.Batches(size=12, seconds=0.02)

    def batch_key(self, item: int) -> int:
        return item % 3

    async def parse_and_save_many(self, items: list[tuple[int, int]]) -> None:
        for item, payload in items:
            await self.parse_and_save(item, payload)
