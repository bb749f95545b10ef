"""A command whose plain download never ends."""

from __future__ import annotations

import threading

import async_commander as ac


class Command(ac.IterateDownloadCommand[int, None]):
    """Block for ever."""

    async def iterate(self):
        return [1]

    def download(self, item: int) -> None:
        self.stdout.write("stuck")
        self.stdout.flush()
        threading.Event().wait()

    async def parse_and_save(self, item: int, payload: None) -> None: ...
