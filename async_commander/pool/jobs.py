"""The calls that wait for a process, in one queue for each user of the pool."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import anyio
from anyio.lowlevel import current_token

from async_commander.engine.charging import ItemClock, Wait, item_clock, uncharged

from .child import Kind
from .payload import UnpicklablePayload, load_error, load_result

if TYPE_CHECKING:
    from .link import Child


@dataclass(slots=True, eq=False)
class Job:
    """One call on its way: from `run()` through a child to its outcome."""

    name: str
    payload: bytes
    queue: Queue
    wait: Wait = field(default_factory=uncharged)
    """Over when the call begins."""
    item: ItemClock | None = field(default_factory=item_clock.get)
    """The clock of the item that made the call, where the time of items is limited: its calls are charged together."""
    loop: Any = field(default_factory=lambda: current_token().native_token)
    finished: anyio.Event = field(default_factory=anyio.Event)
    child: Child | None = None
    """Where it runs."""
    awaited: bool = True
    """False as soon as it has an outcome, or its caller went away."""
    crashes: int = 0
    result: Any = None
    error: BaseException | None = None

    def answered(self, kind: Kind, body: bytes | bytearray) -> None:
        """Give what the child said to whoever waits for it."""
        try:
            if kind is Kind.RESULT:
                self.end(result=load_result(body, self.name))
            else:
                self.end(error=load_error(body, self.name))
        except UnpicklablePayload as error:
            self.end(error=error)

    def end(self, *, result: Any = None, error: BaseException | None = None) -> None:
        """Give the outcome to whoever waits for it. Any thread."""
        # First the outcome, then the event: whoever it wakes, on another thread, reads the outcome at once.
        self.awaited, self.result, self.error = False, result, error
        call = getattr(self.loop, "run_sync_soon", None) or self.loop.call_soon_threadsafe  # trio, asyncio
        with suppress(RuntimeError):  # the loop has ended, and with it whoever waited
            call(self.finished.set)

    def outcome(self) -> Any:
        """The result, or the error raised."""
        if self.error is None:
            return self.result
        try:
            raise self.error
        finally:
            self.error = None  # its traceback holds this frame: no cycle


class Queue:
    """The calls of one user of the pool, of which at most `size` run at a time."""

    def __init__(self, size: int) -> None:
        self.size = size
        self.waiting: deque[Job] = deque()
        self.running = 0

    @property
    def has_room(self) -> bool:
        """Another one may run."""
        return self.running < self.size


class Queues:
    """All calls that wait: the users take turns, each is served in order. The pool's lock guards it.

    Suspects, the calls that ran when their child died, go first and one at a time, so that none can be the ruin of
    another one, nor take the blame for it.
    """

    def __init__(self) -> None:
        self._queues: deque[Queue] = deque()
        self._suspects: deque[Job] = deque()
        self._trial: Job | None = None

    def __iter__(self) -> Iterator[Job]:
        yield from self._suspects
        for queue in self._queues:
            yield from queue.waiting

    @property
    def wanted(self) -> int:
        """So many calls may go out now."""
        wanted = sum(min(len(queue.waiting), queue.size - queue.running) for queue in self._queues)
        return wanted + (self._trial is None and any(job.queue.has_room for job in self._suspects))

    def put(self, job: Job, *, first: bool = False) -> None:
        """A call to the end of its queue or, where it was sent and not begun, to the front; or a suspect."""
        if job.crashes:
            self._suspects.append(job)
            return
        if job.queue not in self._queues:
            self._queues.append(job.queue)
        if first:
            job.queue.waiting.appendleft(job)
        else:
            job.queue.waiting.append(job)

    def take(self) -> Job | None:
        """The next call to go out."""
        job = None
        if self._trial is None:
            job = self._trial = next((suspect for suspect in self._suspects if suspect.queue.has_room), None)
        if job is not None:
            self._suspects.remove(job)
        else:
            for _ in range(len(self._queues)):
                queue = self._queues.popleft()
                if queue.waiting:
                    self._queues.append(queue)
                    if queue.has_room:
                        job = queue.waiting.popleft()
                        break
        if job is not None:
            job.queue.running += 1
        return job

    def ended(self, job: Job) -> None:
        """It was answered, or its child is gone."""
        job.queue.running -= 1
        if job is self._trial:
            self._trial = None

    def withdraw(self, job: Job) -> None:
        """Take out a call that waits."""
        with suppress(ValueError):
            (self._suspects if job.crashes else job.queue.waiting).remove(job)

    def empty(self) -> list[Job]:
        """Take out all."""
        jobs = list(self)
        self._suspects.clear()
        for queue in self._queues:
            queue.waiting.clear()
        return jobs
