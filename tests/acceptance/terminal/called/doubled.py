"""Double what was counted."""

from __future__ import annotations

import async_commander as ac


class Command(ac.AsyncCommand):
    until: int

    dependencies = [ac.DependsOn("count", until=lambda command: command.until)]

    async def handle(self) -> int:
        return self.until * 2
