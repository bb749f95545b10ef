"""What the children run that are to be killed. It imports little, so that they start quickly."""

from __future__ import annotations

import os
import time


def square(log: str, number: int) -> int:
    """Tell that it was begun, in one write that outlives a kill; compute for two milliseconds."""
    file = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.write(file, f"{number} {os.getpid()}\n".encode())
    os.close(file)
    end = time.perf_counter() + 0.002
    while time.perf_counter() < end:
        pass
    return number * number
