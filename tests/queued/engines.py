"""A queue whose sender may die just before it sends."""

from __future__ import annotations

import os
import signal
from typing import ClassVar

import async_commander as ac


class Dying(ac.Engine):
    """Where QUEUED_DIES is set, the process is killed in the place of sending."""

    sent: ClassVar[list[int]] = []

    def send(self, run_id: int, *, database: str, delay: float = 0) -> None:
        if "QUEUED_DIES" in os.environ:
            os.kill(os.getpid(), signal.SIGKILL)
        self.sent.append(run_id)
