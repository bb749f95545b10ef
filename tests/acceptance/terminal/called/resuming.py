"""A command that resumes unless it is told otherwise."""

from __future__ import annotations

import async_commander as ac


class Command(ac.IterateDownloadCommand[int, int]):
    """Resume what there is."""

    option_defaults = {"resume": True}

    async def iterate(self):
        return [1]

    async def download(self, item: int) -> int:
        return item

    async def parse_and_save(self, item: int, payload: int) -> None: ...
