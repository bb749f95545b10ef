"""Ends at once."""

from __future__ import annotations

import async_commander as ac


class Command(ac.AsyncCommand):
    test_parameters = {}

    async def handle(self) -> None: ...
