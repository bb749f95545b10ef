"""The processes of a pool: who is there, who gets which call, what happens when one dies."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING, ClassVar, Final, TypeVarTuple

from async_commander.exceptions import AsyncCommanderError, ItemError

from .child import Kind
from .childlink import Answer, ChildLink, StartMethod, StartPace, give_outcome
from .jobs import GROUP, Job, JobQueue
from .payload import load_error, text_of
from .pipes import NEVER, PipeThread

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import anyio

    from .child import Hooks
    from .mailbox import Mailbox

Arguments = TypeVarTuple("Arguments")

START_ATTEMPTS: Final = 5
"""Children that may die one after the other while they start, before the callers are told."""
START_LIMIT: Final = 60.0
"""Seconds that a child may take until it is ready."""
LOW_WATER: Final = GROUP // 2
"""Calls in a child's hands at which it gets more."""
SHORTEST_NAP: Final = 0.0005
LONGEST_NAP: Final = 0.004
"""Seconds for which answers may pile up."""
DEATH_GRACE: Final = 1.0
"""Seconds that a child may live on after it closed its pipe."""


class ChildCrashed(ItemError):
    """The function ended its process, again and again, the last times alone in it."""

    reason: ClassVar[str] = "crashed"


class PoolClosed(AsyncCommanderError):
    """The pool was closed or killed; what was still in it is not done."""


class PoolStartFailed(AsyncCommanderError):
    """No process of the pool can be started; the next call would fail alike."""


class Children:
    """The children of one pool, and the calls that wait for them.

    Public methods take the lock and never wait, unless they say so; the others run under it. The pipe thread is the
    only one that hears of children; starting and burying them, which waits, is done by threads of their own.
    """

    def __init__(
        self,
        size: int,
        hooks: Hooks,
        method: StartMethod,
        *,
        crashes_allowed: int,
        abandon_after: float,
    ) -> None:
        self.size = size
        self.hooks: Final = hooks
        self._method: StartMethod = method
        self._crashes_allowed = crashes_allowed
        self._abandon_after = abandon_after
        self._lock = threading.RLock()  # re-entered by a signal handler that kills
        self._queue = JobQueue()
        self._children: list[ChildLink] = []
        self._idle: list[ChildLink] = []
        self._ready = 0
        self._starting = 0
        self._starts = StartPace()
        self._broken: BaseException | None = None
        self._awaited = 0
        self.closed = ""
        """Why no more calls are taken."""
        self._ended = False
        self._grace = 0.0
        self._drained: list[tuple[Mailbox, anyio.Event]] = []
        self._thread: PipeThread | None = None
        self._helpers: list[threading.Thread] = []

    # What the pool asks for.

    def pids(self) -> list[int]:
        """The processes that are ready or at work."""
        with self._lock:
            return [link.pid for link in self._children if link.ready]

    def grow(self, size: int) -> None:
        """Allow at least `size` processes."""
        with self._lock:
            self.size = max(self.size, size)
            self._dispatch()

    def accept(self, job: Job) -> None:
        """Take a call. Raises PoolClosed, PoolStartFailed."""
        with self._lock:
            self._refuse()
            if self._thread is None:
                open_children.add(self)
                self._thread = PipeThread(self)
            self._awaited += 1
            self._queue.put(job)
            self._dispatch()

    def abandon(self, job: Job) -> None:
        """Nobody waits for the call any more."""
        with self._lock:
            if not self._close_job(job):
                return
            job.abandoned = time.monotonic()
            if not job.sent:
                self._queue.withdraw(job)
            elif self._thread:
                self._thread.look_again()

    def kill_abandoned(self) -> None:
        """End the children that run abandoned calls."""
        with self._lock:
            for link in self._children:
                if link.runs_abandoned:
                    link.kill()

    def close(self, reason: str, drained: tuple[Mailbox, anyio.Event] | None = None) -> None:
        """Take no more calls; the event is set when those that are there are done."""
        with self._lock:
            self.closed = self.closed or reason
            if drained is not None:
                self._drained.append(drained)
                self._tell_drained()

    def end(self, grace: float) -> None:
        """End the children, which have `grace` seconds for it; calls that are there raise PoolClosed."""
        with self._lock:
            if not self._ended:
                self._ended, self._grace = True, grace
            for job in [*self._queue.empty(), *(job for link in self._children for job in link.jobs)]:
                self._fail(job, PoolClosed(self.closed))
            for link in self._children:
                link.dismiss() if grace else link.kill()
            if self._thread:
                self._thread.stop()

    def join(self, timeout: float | None = None) -> None:
        """Wait until the children are gone, at most `timeout` seconds. Blocks."""
        if self._thread is not None:
            self._thread.join(timeout)

    def leave_to_parent(self) -> None:
        """In a forked process: the children belong to the parent; keep nothing open that tells them it lives."""
        self._lock = threading.RLock()
        self.closed = "the process pool belongs to the process that this one was forked from: make one here"
        self._ended = True
        if self._thread is not None:
            self._thread.leave_to_parent()
        for link in self._children:
            link.sock.close()
        self._thread, self._children, self._idle = None, [], []

    # Which call goes where.

    def _in_thread(self, function: Callable[[*Arguments], None], *args: *Arguments) -> None:
        thread = threading.Thread(target=function, args=args, name="process-pool-child", daemon=True)
        thread.start()
        self._helpers = [thread, *(helper for helper in self._helpers if helper.is_alive())]

    def _refuse(self) -> None:
        if self.closed:
            raise PoolClosed(self.closed)
        if self._broken is not None and time.monotonic() < self._starts.not_before:
            raise _start_failure(self._broken)

    def _dispatch(self) -> None:
        while self._idle and self._feed(self._idle[-1]):
            self._idle.pop()
        if self._queue and len(self._children) + self._starting < self.size:
            self._start_missing()

    def _feed(self, link: ChildLink) -> bool:
        jobs = self._queue.take(link.jobs, self._ready)
        if not jobs:
            return False
        link.give(jobs)
        if link.wants_to_write and self._thread:
            self._thread.write(link)
        return True

    def _start_missing(self) -> None:
        if self._ended or time.monotonic() < self._starts.not_before:
            return
        busy = sum(1 for link in self._children if link.jobs)
        wanted = min(self.size, busy + len(self._queue))
        if self._starts.failures:
            wanted = min(wanted, self._ready + 1)
        while len(self._children) + self._starting < wanted:
            self._starting += 1
            try:
                self._in_thread(self._start_child)
            except RuntimeError as error:  # no thread to be had
                self._starting -= 1
                self._start_failed(error, at_once=False)
                return

    def _start_child(self) -> None:
        try:
            self._started(ChildLink.start(self.hooks, self._method))
        except Exception as error:  # noqa: BLE001 - whatever it is, the callers are told
            with self._lock:
                self._starting -= 1
                self._start_failed(error, at_once=not isinstance(error, OSError))

    def _started(self, link: ChildLink) -> None:
        with self._lock:
            self._starting -= 1
            if not self._ended and self._thread:
                self._children.append(link)
                self._thread.watch(link)
                return
        link.bury(0.0)

    def _start_failed(self, error: BaseException, *, at_once: bool) -> None:
        self._starts.failed(time.monotonic())
        if not self._ready and (at_once or self._starts.failures >= START_ATTEMPTS):
            self._broken = error
            self._starts.broke(time.monotonic())
            for job in self._queue.empty():
                self._fail(job, _start_failure(error))
        if self._thread:
            self._thread.look_again()

    def heard(self, link: ChildLink, answers: Sequence[Answer]) -> None:
        """For the pipe thread."""
        if answers[0].kind is Kind.READY:
            self._welcome(link)
        elif answers[0].kind is Kind.NOT_READY:
            link.start_error = load_error(answers[0].body, "the initializer")
        else:
            self._answered(link, answers)

    def _welcome(self, link: ChildLink) -> None:
        with self._lock:
            link.ready = True
            self._ready += 1
            self._starts.succeeded()
            self._broken = None
            self._idle.append(link)
            self._dispatch()

    def _answered(self, link: ChildLink, answers: Sequence[Answer]) -> None:
        with self._lock:
            awaited = [(job, answer) for answer in answers if (job := self._take_answered(link, answer))]
            self._employ(link)
        for job, answer in awaited:
            give_outcome(job, answer)

    def _take_answered(self, link: ChildLink, answer: Answer) -> Job | None:
        job = link.take_answered()
        self._queue.left_child(job)
        self._queue.measured(job.name, answer.seconds)
        return job if self._close_job(job) else None

    def _employ(self, link: ChildLink) -> None:
        if not link.jobs:
            self._idle.append(link)
            self._dispatch()
        elif link.runs_abandoned and self._thread:
            self._thread.look_again()
        elif len(link.jobs) <= LOW_WATER:
            self._feed(link)

    def nap(self) -> float:
        """For the pipe thread: where calls wait and all children are well supplied, fetch answers several at a time."""
        with self._lock:
            if not self._queue or not self._ready:
                return 0.0
            nap = min(link.supply for link in self._children) / 2
            return min(nap, LONGEST_NAP) if nap >= SHORTEST_NAP else 0.0

    def lost(self, link: ChildLink) -> None:
        """For the pipe thread."""
        with self._lock:
            self._forget(link)
            suspect, others = link.take_unanswered()
            for job in (suspect, *others):
                self._queue.left_child(job)
            self._queue.put_back(others)
            self._dispatch()
            self._in_thread(self._bury, link, suspect)

    def _forget(self, link: ChildLink) -> None:
        self._children.remove(link)
        self._ready -= link.ready
        if link in self._idle:
            self._idle.remove(link)

    def _bury(self, link: ChildLink, suspect: Job | None) -> None:
        end = link.bury(DEATH_GRACE)
        with self._lock:
            if not link.ready and not self._ended:
                error = link.start_error or RuntimeError(f"a process {end} before it was ready")
                self._start_failed(error, at_once=link.start_error is not None)
            if suspect is not None:
                self._crashed(suspect, end)
            self._dispatch()

    def _crashed(self, job: Job, end: str) -> None:
        job.crashes += 1
        if self._ended:
            self._fail(job, PoolClosed(self.closed))
        elif job.awaited and job.crashes >= self._crashes_allowed:
            self._fail(job, ChildCrashed(f"{job.name} ended its process {job.crashes} times, at last it {end}"))
        elif job.awaited:
            self._queue.put_suspect(job)

    def _fail(self, job: Job, error: BaseException) -> None:
        if self._close_job(job):
            job.end(error=error)

    def _close_job(self, job: Job) -> bool:
        if not job.awaited:
            return False
        job.awaited = False
        self._awaited -= 1
        self._tell_drained()
        return True

    def _tell_drained(self) -> None:
        while self._drained and not self._awaited:
            mailbox, event = self._drained.pop()
            mailbox.put(event)

    def flush(self, link: ChildLink) -> bool:
        """For the pipe thread."""
        with self._lock:
            link.flush()
            return link.wants_to_write

    def look_after(self, now: float) -> float:
        """For the pipe thread: what has its time."""
        with self._lock:
            self._dispatch()
            alarms = [self._next_alarm(link, now) for link in self._children]
            if self._queue and self._starts.not_before > now:
                alarms.append(self._starts.not_before)
            return min(alarms, default=NEVER)

    def _next_alarm(self, link: ChildLink, now: float) -> float:
        due = NEVER
        if not link.ready:
            due = link.born + START_LIMIT
        elif link.runs_abandoned:
            due = link.jobs[0].abandoned + self._abandon_after
        if due > now:
            return due
        if not link.ready:
            link.start_error = TimeoutError(f"a process was not ready after {START_LIMIT:.0f} s")
        link.kill()
        return NEVER

    def clear_away(self) -> None:
        """For the pipe thread, at its end. Blocks."""
        until = time.monotonic() + self._grace
        for helper in self._helpers:
            helper.join()
        for link in self._children:
            link.bury(max(0.0, until - time.monotonic()))
        with self._lock:
            self._children = []
        open_children.discard(self)

    def broke(self, error: BaseException) -> None:
        """For the pipe thread: it cannot go on."""
        self.close(f"the process pool broke: {text_of(error)}")
        self.end(0.0)


def _start_failure(error: BaseException) -> PoolStartFailed:
    failure = PoolStartFailed(f"no process of the pool can be started: {text_of(error)}")
    failure.__cause__ = error
    return failure


open_children: Final[set[Children]] = set()
"""Those that have, or had, children which are not buried yet."""
