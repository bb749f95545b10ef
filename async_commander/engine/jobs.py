"""The calls that wait for a process, and which of them goes out next."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from .child import SMALL

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

    import anyio

    from .mailbox import Mailbox

GROUP: Final = 8
"""Calls in one child's hands, at most."""
GROUP_SECONDS: Final = 0.050
"""Seconds of work in one child's hands, at most, as far as is known."""
UNKNOWN: Final = (0.0, float("inf"))
LEARNING: Final = 0.2
"""Weight of the newest measurement."""
MAX_NAMES: Final = 1_000


@dataclass(slots=True, eq=False)
class Job:
    """One call on its way: from `run()` through a child's hands to its outcome."""

    name: str
    payload: bytes
    mailbox: Mailbox
    finished: anyio.Event
    awaited: bool = True
    """False as soon as it has an outcome, or its caller went away."""
    sent: bool = False
    at_least: float = 0.0
    at_most: float = 0.0
    """Seconds that it will probably take."""
    crashes: int = 0
    abandoned: float = 0.0
    """Since when its caller is away, on the monotonic clock."""
    result: Any = None
    error: BaseException | None = None

    def end(self, *, result: Any = None, error: BaseException | None = None) -> None:
        """Give the outcome to whoever waits for it. Any thread."""
        self.result, self.error = result, error
        self.mailbox.put(self.finished)

    def outcome(self) -> Any:
        """The result, or the error raised."""
        if self.error is None:
            return self.result
        try:
            raise self.error
        finally:
            self.error = None  # its traceback holds this frame: no cycle


class JobQueue:
    """First come, first served, but for suspects: calls that were running when a child died.

    A suspect goes first, into a child that holds nothing else, one suspect at a time: should it crash again, there is
    no doubt about what did it, and nothing else is lost. Short calls travel in groups where more wait than there are
    children; how long a function takes is learned from its answers. Not thread-safe: the pool's lock guards it.
    """

    def __init__(self) -> None:
        self._waiting: deque[Job] = deque()
        self._suspects: deque[Job] = deque()
        self._trial: Job | None = None
        self._seconds: dict[str, tuple[float, float]] = {}

    def __len__(self) -> int:
        return len(self._waiting) + len(self._suspects)

    def put(self, job: Job) -> None:
        """A new call, to the end."""
        self._waiting.append(job)

    def put_back(self, jobs: Iterable[Job]) -> None:
        """Calls that were not begun, to the front in their old order; those whose caller is away are dropped."""
        awaited = [job for job in jobs if job.awaited]
        self._suspects.extendleft(job for job in awaited if job.crashes)
        self._waiting.extendleft(reversed([job for job in awaited if not job.crashes]))

    def put_suspect(self, job: Job) -> None:
        """A call that was running when a child died."""
        self._suspects.append(job)

    def withdraw(self, job: Job) -> None:
        """Take a waiting call out."""
        for jobs in (self._waiting, self._suspects):
            if job in jobs:
                jobs.remove(job)

    def empty(self) -> list[Job]:
        """Take all calls out."""
        jobs = [*self._suspects, *self._waiting]
        self._suspects.clear()
        self._waiting.clear()
        return jobs

    def take(self, held: Collection[Job], children: int) -> list[Job]:
        """What to send now to a child that has these unanswered calls, of `children` that are ready."""
        if self._suspects and self._trial is None:
            return [] if held else [self._next_suspect()]
        if held and (len(self._waiting) < children or self._trial in held):
            return []
        return self._take_group(held, children)

    def _next_suspect(self) -> Job:
        self._trial = self._suspects.popleft()
        return self._trial

    def left_child(self, job: Job | None) -> None:
        """The job was answered, or its child died."""
        if job is self._trial:
            self._trial = None

    def _take_group(self, held: Collection[Job], children: int) -> list[Job]:
        share = min(GROUP - len(held), -(-len(self._waiting) // children))
        seconds = sum(job.at_most for job in held)
        jobs: list[Job] = []
        while self._waiting and len(jobs) < share:
            job = self._waiting[0]
            job.at_least, job.at_most = self._expect(job)
            seconds += job.at_most
            if (jobs or held) and seconds > GROUP_SECONDS:
                break
            jobs.append(self._waiting.popleft())
        return jobs

    def _expect(self, job: Job) -> tuple[float, float]:
        return self._seconds.get(job.name, UNKNOWN) if len(job.payload) <= SMALL else UNKNOWN

    def measured(self, name: str, seconds: float) -> None:
        """Learn how long a call of this function took, as a range: an outlier widens it at once, time narrows it."""
        if len(self._seconds) >= MAX_NAMES:
            self._seconds.clear()
        least, most = self._seconds.get(name, (seconds, seconds))
        self._seconds[name] = (
            min(seconds, least + LEARNING * (seconds - least)),
            max(seconds, most + LEARNING * (seconds - most)),
        )
