"""Has not all of its hooks."""

import async_commander as ac


class Command(ac.IterateDownloadCommand[int, str]):
    async def iterate(self):
        return []
