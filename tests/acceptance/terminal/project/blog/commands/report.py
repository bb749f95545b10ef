"""Report what there is."""

import async_commander as ac


class Command(ac.AsyncCommand):
    async def handle(self) -> None:
        pass
