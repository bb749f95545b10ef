"""Water it, once."""

import async_commander as ac


class Command(ac.AsyncCommand):
    run_once = True

    async def handle(self) -> str:
        return "watered"
