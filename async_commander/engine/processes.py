"""A pool of processes for CPU work, which a killed process costs no more than the call that it was running.

`run()` puts a call into a queue; whichever thread is at hand (the caller's loop, or the pool's own thread, which reads
the answers) sends it to a free child, by a write that never waits. Each child has a pipe of its own, so that a child
that dies takes along nothing but what was in its hands, and a shared counter says which of that had been begun.
"""

from __future__ import annotations

import atexit
import os
import threading
from typing import TYPE_CHECKING, Final, TypeVar, TypeVarTuple, Unpack

import anyio
import anyio.to_thread
from anyio.lowlevel import checkpoint_if_cancelled

from .child import Hooks
from .children import ChildCrashed, Children, PoolClosed, PoolStartFailed, open_children
from .jobs import Job
from .mailbox import current_mailbox
from .payload import RemoteError, RemoteTraceback, UnpicklablePayload, dump_call, name_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from .childlink import StartMethod

__all__ = [
    "ChildCrashed",
    "PoolClosed",
    "PoolStartFailed",
    "ProcessPool",
    "RemoteError",
    "RemoteTraceback",
    "UnpicklablePayload",
    "shared_pool",
]

Result = TypeVar("Result")
Arguments = TypeVarTuple("Arguments")

CLOSE_GRACE: Final = 2.0
"""Seconds that idle children have to end by themselves."""


class ProcessPool:
    """At most `size` processes that run plain functions, started when first needed.

    `initializer` runs in each child before its first call, `after_call` after it and after each call, before the answer
    is sent: functions that can be found by name. A function that ends its process (killed, out of memory) is run again
    alone, and given up after `crashes_allowed` crashes: at-least-once, as all that can be killed.
    Children ignore SIGINT, SIGTERM and SIGHUP, print to stderr, hold no connection of the parent (they are never
    forked from it), do not run its script again, and end with it. Any thread and any event loop may use one pool.
    A function whose caller went away may run on for `abandon_after` seconds; then its process is replaced.
    """

    def __init__(
        self,
        size: int,
        *,
        initializer: Callable[[], None] | None = None,
        after_call: Callable[[], None] | None = None,
        method: StartMethod | None = None,
        crashes_allowed: int = 3,
        abandon_after: float = 5.0,
    ) -> None:
        _check(size, method, crashes_allowed)
        self._children = Children(
            size,
            Hooks(initializer, after_call),
            method or "spawn",
            crashes_allowed=crashes_allowed,
            abandon_after=abandon_after,
        )

    @property
    def size(self) -> int:
        """How many processes there may be."""
        return self._children.size

    @property
    def hooks(self) -> Hooks:
        """What each child runs besides the calls."""
        return self._children.hooks

    @property
    def closed(self) -> bool:
        """True when no more calls are taken."""
        return bool(self._children.closed)

    @property
    def pids(self) -> list[int]:
        """The processes that are ready or at work."""
        return self._children.pids()

    def grow(self, size: int) -> None:
        """Allow at least `size` processes."""
        self._children.grow(size)

    async def run(self, function: Callable[[Unpack[Arguments]], Result], /, *args: *Arguments) -> Result:
        """Call `function` in a process; its result, or its error with the remote traceback as `__cause__`.

        Raises UnpicklablePayload for what cannot travel, TypeError for an async function, ChildCrashed when it ended
        its process too often, RemoteError for an error that cannot be raised here, PoolStartFailed, PoolClosed.
        Cancelled, it ends at once: a waiting call is taken back, the answer of a running one is dropped.
        """
        await checkpoint_if_cancelled()
        job = Job(name_of(function), dump_call(function, args), current_mailbox(), anyio.Event())
        self._children.accept(job)
        try:
            await job.finished.wait()
        except BaseException:
            self._children.abandon(job)
            raise
        result: Result = job.outcome()
        return result

    async def aclose(self) -> None:
        """Take no more calls, finish those that are awaited, end the children. Cancelled: as `kill()`."""
        drained = anyio.Event()
        self._children.close("the process pool is closed", (current_mailbox(), drained))
        try:
            await drained.wait()
        except BaseException:
            self.kill()
            raise
        self._children.end(CLOSE_GRACE)
        await anyio.to_thread.run_sync(self._children.join)

    def kill(self) -> None:
        """End all children at once; calls still in the pool raise PoolClosed.

        Never waits; any thread, and signal handlers.
        """
        self._children.close("the process pool was killed")
        self._children.end(0.0)

    def kill_abandoned(self) -> None:
        """End the children that run calls whose callers went away, now. Nobody else's calls are touched; any thread."""
        self._children.kill_abandoned()

    def wait_for_end(self, timeout: float) -> None:
        """Wait until the children of a pool that was killed are gone, at most `timeout` seconds. Blocks."""
        self._children.join(timeout)


def _check(size: int, method: str | None, crashes_allowed: int) -> None:
    if size < 1:
        raise ValueError(f"size={size}: a pool has at least 1 process")
    if crashes_allowed < 1:
        raise ValueError(f"crashes_allowed={crashes_allowed}: at least 1")
    if method == "fork":
        raise ValueError("method='fork': forked children share the parent's connections; use 'spawn' or 'forkserver'")
    if method not in (None, "spawn", "forkserver"):
        raise ValueError(f"method={method!r}: 'spawn' or 'forkserver'")


_shared_lock = threading.Lock()
_shared: ProcessPool | None = None


def shared_pool(
    size: int, initializer: Callable[[], None] | None = None, after_call: Callable[[], None] | None = None
) -> ProcessPool:
    """The pool of this OS process, at least of this size: made when first asked for, or when the last one was closed.

    It is ended at exit. Raises ValueError for another initializer, or `after_call`, than that of the pool there is.
    """
    global _shared  # noqa: PLW0603 - one for each OS process
    with _shared_lock:
        if _shared is None or _shared.closed:
            _shared = ProcessPool(size, initializer=initializer, after_call=after_call)
        if _shared.hooks != Hooks(initializer, after_call):
            raise ValueError(f"the shared pool has {_shared.hooks!r}, not {Hooks(initializer, after_call)!r}")
        _shared.grow(size)
        return _shared


@atexit.register
def _kill_open_pools() -> None:
    left = list(open_children)
    for children in left:
        children.close("the interpreter exits")
        children.end(0.0)
    for children in left:
        children.join(CLOSE_GRACE)


def _leave_pools_to_parent() -> None:
    global _shared, _shared_lock
    _shared, _shared_lock = None, threading.Lock()
    for children in list(open_children):
        children.leave_to_parent()
    open_children.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_leave_pools_to_parent)
