"""Items that kill the process that runs them."""

from __future__ import annotations

import os
import signal

from tests.faults.commands import effects


class Command(effects.Command):
    """Write the effects of so many items; each `every`-th of them kills the process, as a bad C library would."""

    every: int = 200

    async def parse_and_save(self, item: int, payload: int) -> None:
        if item % self.every == self.every // 2:
            os.kill(os.getpid(), signal.SIGKILL)
        await super().parse_and_save(item, payload)
