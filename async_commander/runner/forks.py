"""The process that a hook forks ends where the author's code is left.

Beyond, it would be a copy of the run: with the run's sockets and its connections to the database in hand, and without
its threads. An answer would be read twice, a transaction committed by the wrong process, a thread that is not there
waited for.
"""

from __future__ import annotations

import os
import sys
from itertools import takewhile
from types import FrameType
from typing import Any

from async_commander.engine.context import current_run

MACHINERY = frozenset({"async_commander", "asyncio", "anyio", "asgiref", "concurrent", "threading"})
"""The packages that call hooks, and what hooks start in tasks and threads."""


def end_with_hook() -> None:
    """In a forked process: see that it does not come back from the author's code, if that runs in a hook."""
    callers: list[FrameType] = []
    frame: FrameType | None = sys._getframe(1)  # noqa: SLF001 - as inspect does
    while frame is not None:
        callers.append(frame)
        frame = frame.f_back
    packages = [str(frame.f_globals.get("__name__")).partition(".")[0] for frame in callers]
    theirs = list(takewhile(lambda package: package not in MACHINERY, packages))
    in_a_run = current_run() is not None or "async_commander" in packages
    if not theirs or not in_a_run or "multiprocessing" in theirs:  # which ends its processes by itself
        return
    code = 0

    def leave(_: FrameType, event: str, value: Any) -> Any:
        nonlocal code
        if event == "line":  # an error was caught
            code = 0
        elif event == "exception" and isinstance(value[1], SystemExit):
            code = value[1].code if isinstance(value[1].code, int) else int(value[1].code is not None)
        elif event == "exception":
            code = int(not isinstance(value[1], StopIteration))  # that one is the end of an await
        elif event == "return":  # or an error, or in a coroutine an await
            os._exit(code)
        return leave

    # The trace functions of frames that are running already are called only where there is one for new frames.
    sys.settrace(lambda *_: None)
    callers[len(theirs) - 1].f_trace = leave
