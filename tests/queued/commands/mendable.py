"""Seven items, the third of which is dead until something is mended."""

from __future__ import annotations

import async_commander as ac
from tests.testapp.models import Effect, Tag


class Command(ac.IterateDownloadCommand[int, int]):
    """One row for each number, but for the third as long as there is no Tag."""

    retry = ac.Retry(attempts=1)

    def iterate(self) -> range:
        return range(7)

    async def download(self, number: int) -> int:
        return number

    async def parse_and_save(self, number: int, payload: int) -> None:
        if number == 3 and not await Tag.objects.aexists():
            raise ValueError("the third is never right")
        self.db.add(Effect(key=f"{number}"))
