"""Sends a run for each of its items, which fails for one of them after that."""

from __future__ import annotations

import async_commander as ac


class Command(ac.IterateDownloadCommand[str, str]):
    """One run for each letter."""

    retry = ac.Retry(attempts=1)

    async def iterate(self):
        for letter in "abc":
            yield letter

    async def download(self, letter: str) -> str:
        return letter

    async def parse_and_save(self, letter: str, payload: str) -> None:
        await ac.adispatch("answers", what=letter)
        if letter == "b":
            raise ValueError("after it was sent")
