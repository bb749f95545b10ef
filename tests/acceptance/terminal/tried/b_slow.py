"""Ends when it is asked to."""

from __future__ import annotations

import asyncio

import async_commander as ac


class Command(ac.AsyncCommand):
    test_parameters = {}

    async def handle(self) -> None:
        while not self.stopping:
            await asyncio.sleep(0.01)
