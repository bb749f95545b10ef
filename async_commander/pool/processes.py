"""A pool of processes for CPU work, which a killed process costs no more than the call that it was running.

Each child has a pipe and a thread of its own. The thread starts the child, hands it one call after the other, waits for
its answer or its end, whichever comes first, and replaces it: what is a state machine elsewhere is read here from top
to bottom. A child has one call in hand, so that it is plain whose it was when it dies, and when its time began.

No library serves. `ProcessPoolExecutor`, loky and pebble break all calls when one child is killed, and
`multiprocessing.Pool` waits for ever; `anyio.to_process` has no initializer and no remote traceback. A
`ProcessPoolExecutor(1)` for each child costs the parent twice the CPU a call, and needs private names to survive a
child that is killed in the middle of an answer, or the interpreter's end. Sending calls in groups, sized by what their
functions took before, was given up: it saved the parent some 40 µs of 80 to 150 a call, and a pool that is full a tenth
of its time at calls of 1 ms, nothing at 10 ms.
"""

from __future__ import annotations

import atexit
import os
import threading
import time
from functools import partial
from typing import TYPE_CHECKING, ClassVar, Final, TypeVar, TypeVarTuple, Unpack

from anyio.lowlevel import checkpoint_if_cancelled

from async_commander.engine.charging import Wait
from async_commander.exceptions import AsyncCommanderError, ItemError

from .child import Hooks
from .jobs import Job, Queue, Queues
from .link import Child, ChildLost
from .payload import dump_call, name_of, text_of

if TYPE_CHECKING:
    from collections.abc import Callable

Result = TypeVar("Result")
Arguments = TypeVarTuple("Arguments")

START_ATTEMPTS: Final = 5
"""Children that may die one after the other while they start, before the callers get an error."""
FIRST_PAUSE: Final = 0.05
LONGEST_PAUSE: Final = 60.0
"""Seconds between starts that fail; twice as long each time."""
BROKEN_PAUSE: Final = 1.0
"""Seconds for which calls are refused at least, once no child could be started."""
EXIT_WAIT: Final = 2.0
"""Seconds that the interpreter's exit waits for killed children."""


NO_HOOKS: Final = Hooks()


class ChildCrashed(ItemError):
    """The function ended its process, again and again, the last times alone in it."""

    reason: ClassVar[str] = "crashed"


class PoolClosed(AsyncCommanderError):
    """The pool was killed; what was still in it is not done."""


class PoolStartFailed(AsyncCommanderError):
    """No process of the pool can be started; the next call would fail alike."""


class Share(Queue):
    """What one of its users has of a pool: at most `size` of its processes at a time."""

    def __init__(self, pool: ProcessPool, size: int) -> None:
        super().__init__(size)
        self.pool = pool

    async def run(self, function: Callable[[Unpack[Arguments]], Result], /, *args: *Arguments) -> Result:
        """Call `function` in a process; its result, or its error with the remote traceback as `__cause__`.

        Raises UnpicklablePayload for what cannot travel, TypeError for an async function, ChildCrashed when it ended
        its process too often, RemoteError for an error that cannot be raised here, PoolStartFailed, PoolClosed.
        Cancelled, it ends at once: a waiting call is taken back, the process of a running one is killed.
        Waiting for a process is not charged to the item in hand.
        """
        await checkpoint_if_cancelled()
        job = Job(name_of(function), dump_call(function, args), self)
        try:
            self.pool.accept(job)
            await job.finished.wait()
        except BaseException:
            self.pool.abandon(job)
            raise
        finally:
            job.wait.over()
        result: Result = job.outcome()
        return result


class ProcessPool:
    """At most `size` processes that run plain functions, started when first needed.

    Its `hooks` run in each child. A function that ends its process (killed, out of memory) is run again
    alone, and given up after `crashes_allowed` crashes: at-least-once, as all that can be killed.
    Children ignore SIGINT, SIGTERM and SIGHUP, print to stderr, hold no connection of the parent (they are never
    forked from it), do not run its script again, and end with it. Any thread and any event loop may use one pool.
    A function whose caller went away is ended with its process, which is replaced when the next call needs it.
    """

    def __init__(
        self,
        size: int,
        *,
        hooks: Hooks = NO_HOOKS,
        crashes_allowed: int = 3,
    ) -> None:
        if size < 1:
            raise ValueError(f"size={size}: a pool has at least 1 process")
        if crashes_allowed < 1:
            raise ValueError(f"crashes_allowed={crashes_allowed}: at least 1")
        self.size = size
        self._share = Share(self, size)
        self.hooks: Final = hooks
        self.closed = ""
        """Why no more calls are taken."""
        self._crashes_allowed = crashes_allowed
        self._changed = threading.Condition()
        """Guards all that follows."""
        self._queues = Queues()
        self._threads: list[threading.Thread] = []
        self._children: list[Child] = []
        self._ready: list[Child] = []
        self._idle: list[Child] = []
        self._running: dict[Child, Job] = {}
        self._failures = 0
        self._broken: BaseException | None = None
        self._broken_until = 0.0

    def share(self, size: int) -> Share:
        """A part of the pool, which grows to that size where it is smaller."""
        with self._changed:
            self.size = max(self.size, size)
        return Share(self, size)

    async def run(self, function: Callable[[Unpack[Arguments]], Result], /, *args: *Arguments) -> Result:
        """Call `function` in any of the processes: see `Share.run()`."""
        return await self._share.run(function, *args)

    def kill(self, reason: str = "the process pool was killed") -> None:
        """End all children at once; calls still in the pool raise PoolClosed. Any thread; never waits."""
        with self._changed:
            self.closed = self.closed or reason
            self._fail_waiting(partial(PoolClosed, self.closed))
            for child in self._children:
                child.kill()
            self._changed.notify_all()

    def join(self, timeout: float) -> None:
        """Wait until the children of a pool that was killed are gone, at most `timeout` seconds. Blocks."""
        until = time.monotonic() + timeout
        for thread in list(self._threads):
            thread.join(max(0.0, until - time.monotonic()))

    def leave_to_parent(self) -> None:
        """In a forked process: the children belong to the parent."""
        self._changed = threading.Condition()  # a thread of the parent's may have held the other one at the fork
        self.closed = "the process pool belongs to the process that this one was forked from: make one here"
        for child in self._children:
            child.leave_to_parent()

    def accept(self, job: Job) -> None:
        """Take a call. Raises PoolClosed, PoolStartFailed."""
        with self._changed:
            if self.closed:
                raise PoolClosed(self.closed)
            if self._broken is not None and time.monotonic() < self._broken_until:
                raise _start_failure(self._broken)
            open_pools.add(self)
            self._queues.put(job)
            if job.item is not None and any(one.item is job.item for one in self._running.values()):
                job.wait.over()
            self._dispatch()

    def abandon(self, job: Job) -> None:
        """Nobody waits for the call any more."""
        with self._changed:
            job.awaited = False
            if job.child is not None:
                # Under the lock, in which a child's call changes: it may be at the next one a moment later.
                job.child.kill()
            else:
                self._queues.withdraw(job)

    # To be called under the lock.

    def _dispatch(self) -> None:
        """See that somebody comes for each call that may go out."""
        wanted = self._queues.wanted
        while self._idle and wanted:
            self._idle.pop().wake()
            wanted -= 1
        # A thread that has no child ready yet takes a call by itself as soon as it has: it is counted, not waited for.
        starting = len(self._threads) - len(self._ready)
        for _ in range(min(wanted - starting, self.size - len(self._threads))):
            thread = threading.Thread(target=self._serve, name="process-pool", daemon=True)
            try:
                thread.start()
            except RuntimeError as error:  # there are too many
                if self._threads:
                    return
                raise _start_failure(error) from error
            self._threads.append(thread)

    def _take(self, child: Child) -> Job | None:
        """The next call for this child."""
        job = self._queues.take()
        if job is None:
            return None
        job.child, self._running[child] = child, job
        job.wait.over()
        if job.item is not None:
            # Calls of the same item that wait behind it are charged as well: it may never end, and they would wait.
            for other in self._queues:
                if other.item is job.item:
                    other.wait.over()
        return job

    def _put_down(self, child: Child) -> Job | None:
        """The call that the child had."""
        job = self._running.pop(child, None)
        if job is not None:
            job.child = None
            self._queues.ended(job)
        return job

    def _fail_waiting(self, make_error: Callable[[], BaseException]) -> None:
        for job in self._queues.empty():
            job.end(error=make_error())

    # The life of a thread, which serves one child after the other.

    def _serve(self) -> None:
        while (child := self._start()) is not None:
            try:
                while True:
                    job = self._next(child)
                    kind, answer = child.call(job.payload)
                    with self._changed:
                        self._put_down(child)
                        if self._queues.wanted > 1:  # one is for this child
                            self._dispatch()
                    # Outside the lock, as unpickling takes time: an answer to somebody who left meanwhile harms nobody.
                    if job.awaited:
                        job.answered(kind, answer)
                    del job, answer  # neither is kept until the next one
            except ChildLost as loss:
                self._lost(child, loss)
            except BaseException as error:  # noqa: BLE001 - whoever waits must not wait for ever
                self._lost(child, ChildLost(f"could not be served: {text_of(error)}"))

    def _start(self) -> Child | None:
        """A child that is ready; None where none is needed."""
        while True:
            with self._changed:
                needed = not self.closed and self._queues.wanted
                if not needed:
                    self._threads.remove(threading.current_thread())
                    if self.closed and not self._threads:
                        open_pools.discard(self)
                    return None
            try:
                child = Child()
            except Exception as error:  # noqa: BLE001 - whatever it is, the callers get it
                self._start_failed(error, again=isinstance(error, OSError))
                continue
            with self._changed:
                self._children.append(child)
                if self.closed:  # kill() came while the child was started, and could not know it
                    child.kill()
            try:
                child.set_up(self.hooks)
            except ChildLost as loss:
                end = self._bury(child, loss)
                self._start_failed(RuntimeError(f"a process {end} before it was ready"), again=True)
            except Exception as error:  # noqa: BLE001 - whatever it is, the callers get it
                self._bury(child, ChildLost("is not needed"))
                self._start_failed(error, again=False)
            else:
                with self._changed:
                    self._ready.append(child)
                    self._failures, self._broken = 0, None
                return child

    def _start_failed(self, error: BaseException, *, again: bool) -> None:
        with self._changed:
            self._failures += 1
            pause = min(LONGEST_PAUSE, FIRST_PAUSE * 2.0 ** min(self._failures, 20))
            if not self._ready and not (again and self._failures < START_ATTEMPTS):
                self._broken, self._broken_until = error, time.monotonic() + max(BROKEN_PAUSE, pause)
                self._fail_waiting(partial(_start_failure, error))
            self._changed.wait_for(lambda: self.closed, pause)

    def _next(self, child: Child) -> Job:
        """The next call for this child, which rests where there is none."""
        while True:
            with self._changed:
                if (job := self._take(child)) is not None:
                    return job
                self._idle.append(child)
            # Whoever wakes it between these two lines leaves a byte in its pipe: the call is not slept through.
            child.rest()

    def _lost(self, child: Child, loss: ChildLost) -> None:
        end = self._bury(child, loss)  # it may wait for seconds: without the lock
        with self._changed:
            job = self._put_down(child)
            if job is not None and job.awaited:
                job.crashes += loss.begun
                if self.closed:
                    job.end(error=PoolClosed(self.closed))
                elif job.crashes >= self._crashes_allowed:
                    job.end(error=ChildCrashed(f"{job.name} ended its process {job.crashes} times, at last it {end}"))
                else:
                    job.wait = Wait(job.item)
                    self._queues.put(job, first=True)
            self._dispatch()

    def _bury(self, child: Child, loss: ChildLost) -> str:
        """Wait for a child's end, and say how it came."""
        with self._changed:
            for children in (self._children, self._ready, self._idle):
                if child in children:
                    children.remove(child)
        if loss.why or not loss.begun:
            child.kill()
        end = child.bury()
        return loss.why or end


def _start_failure(error: BaseException) -> PoolStartFailed:
    failure = PoolStartFailed(f"no process of the pool can be started: {text_of(error)}")
    failure.__cause__ = error
    return failure


open_pools: Final[set[ProcessPool]] = set()
"""Those that may have children."""
_shared_lock = threading.Lock()
_shared: ProcessPool | None = None


def shared_pool(size: int, hooks: Hooks = NO_HOOKS) -> ProcessPool:
    """The pool of this OS process: made, of this size, when first asked for, or when the last one was closed.

    It is ended at exit. Raises ValueError for other hooks than those of the pool there is.
    """
    global _shared  # noqa: PLW0603 - one for each OS process
    with _shared_lock:
        if _shared is None or _shared.closed:
            _shared = ProcessPool(size, hooks=hooks)
        if _shared.hooks != hooks:
            raise ValueError(f"the shared pool has {_shared.hooks!r}, not {hooks!r}")
        return _shared


@atexit.register
def _kill_open_pools() -> None:
    left = list(open_pools)
    for pool in left:
        pool.kill("the interpreter exits")
    for pool in left:
        pool.join(EXIT_WAIT)


def _leave_pools_to_parent() -> None:
    global _shared, _shared_lock
    _shared, _shared_lock = None, threading.Lock()
    for pool in list(open_pools):
        pool.leave_to_parent()
    open_pools.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_leave_pools_to_parent)
