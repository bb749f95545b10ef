"""Where the events of a run wait for one reader, who may take his time: he costs the run nothing."""

from __future__ import annotations

import asyncio
from collections import deque
from dataclasses import replace

from async_commander.events import LeftOut, Progress, RunEvent, RunFinished, RunStarted

LINES_HELD = 500
"""Lines of the log that wait for a reader; of more the oldest are left out, and counted."""


class Mailbox:
    """The events that one reader has not read. For the tasks of one event loop; `put()` never waits.

    Of several `Progress` only the newest waits, and only where it says something new. It goes before the lines that
    wait, but not twice in a row: who reads one event a minute sees how far the run is, and its log.
    """

    def __init__(self) -> None:
        self._started: RunStarted | None = None
        self._progress: Progress | None = None
        self._progress_put: Progress | None = None
        self._progress_read = False
        self._left_out: LeftOut | None = None
        self._lines: deque[RunEvent] = deque()
        self._finished: RunFinished | None = None
        self._error: BaseException | None = None
        self._changed = asyncio.Event()
        self.closed = False
        self.place = ""
        """The `id` of the last event that was read."""

    def put(self, event: RunEvent) -> None:
        """Keep an event for the reader."""
        match event:
            case Progress() if event.says_more_than(self._progress_put):
                self._progress = self._progress_put = event
            case Progress():
                return
            case RunStarted():
                self._started = event
            case RunFinished():
                self._finished = event
            case LeftOut():
                self._leave_out(len(self._lines) + event.count, up_to=event)
                self._lines.clear()
            case _:
                self._lines.append(event)
                if len(self._lines) > LINES_HELD:
                    self._leave_out(1, up_to=self._lines.popleft())
        self._changed.set()

    def _leave_out(self, count: int, *, up_to: RunEvent) -> None:
        before = 0 if self._left_out is None else self._left_out.count
        self._left_out = LeftOut(run_id=up_to.run_id, id=up_to.id, at=up_to.at, count=before + count)

    def close(self, error: BaseException | None = None) -> None:
        """Nothing more will come. `error`: what the reader gets after all that waits."""
        self.closed, self._error = True, error
        self._changed.set()

    async def get(self) -> RunEvent | None:
        """The next event, as soon as there is one; None, or the error, where none will come."""
        while (event := self.take()) is None:
            if self._error is not None:
                raise self._error
            if self.closed:
                return None
            self._changed.clear()
            await self._changed.wait()
        return event

    def take(self) -> RunEvent | None:
        """The next event, if there is one now."""
        event = self._next()
        if event is not None:
            self._progress_read = isinstance(event, Progress)
            self.place = event.id
        return event

    def _next(self) -> RunEvent | None:
        if (started := self._started) is not None:
            self._started = None
            return started
        others = self._left_out is not None or bool(self._lines)
        if (progress := self._progress) is not None and not (self._progress_read and others):
            self._progress = None
            return replace(progress, id=self.place or progress.id)
        if (left_out := self._left_out) is not None:
            self._left_out = None
            return left_out
        if self._lines:
            return self._lines.popleft()
        finished, self._finished = self._finished, None
        return finished
