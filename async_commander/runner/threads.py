"""Threads for plain functions that may block for as long as they like: the end of a process does not wait for them."""

from __future__ import annotations

import asyncio
import queue
import threading
from concurrent.futures import Future
from contextlib import suppress
from contextvars import copy_context
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

import anyio

from async_commander.database.futures import fit_for_a_future

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")

IDLE_SECONDS = 5.0
"""For so long a thread waits for another call before it ends."""


class AbandonableThreads:
    """At most `size` calls at once, each on a daemon thread with the caller's context.

    A call cannot be interrupted. A caller that is cancelled waits for its end, of which `waits()` is called to tell,
    until `abandon()` lets it go; it is cancelled then, whatever the call came to. So, until they are abandoned, there
    are never more than `size` threads.
    """

    def __init__(self, size: int, *, waits: Callable[[], None] = lambda: None) -> None:
        self._room = anyio.CapacityLimiter(size)
        self._waits = waits
        self._abandoned: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._calls: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()
        self._idle = threading.Semaphore(0)

    async def call(self, function: Callable[[], T]) -> T:
        """Run a function on a thread and return its result, or raise its error."""
        async with self._room:
            ended = asyncio.wrap_future(self._started(function))
            try:
                await asyncio.wait([ended])
            except asyncio.CancelledError:
                await self._wait_out(ended)
                raise
            finally:
                ended.cancel()
            return ended.result()

    async def _wait_out(self, ended: asyncio.Future[Any]) -> None:
        """Wait for the end of a call whose caller is cancelled, however often."""
        if not self._abandoned.done():
            self._waits()
        with anyio.CancelScope(shield=True):
            while not (ended.done() or self._abandoned.done()):
                with suppress(asyncio.CancelledError):  # a native one goes through the shield
                    await asyncio.wait([ended, self._abandoned], return_when=asyncio.FIRST_COMPLETED)
        if ended.done() and not ended.cancelled():
            ended.exception()  # nobody's any more

    def abandon(self) -> None:
        """From now on who is cancelled waits no more; what the call comes to later is nobody's business."""
        if not self._abandoned.done():
            self._abandoned.set_result(None)

    def _started(self, function: Callable[[], T]) -> Future[T]:
        future: Future[T] = Future()
        self._calls.put(partial(self._carry_out, future, partial(copy_context().run, function)))
        if not self._idle.acquire(blocking=False):
            threading.Thread(target=self._work, name="async-commander-download", daemon=True).start()
        return future

    def _work(self) -> None:
        while (call := self._next()) is not None:
            call()
            del call

    def _next(self) -> Callable[[], None] | None:
        """The next call; None where none came for a while, and none is on its way to this thread."""
        while True:
            try:
                return self._calls.get(timeout=IDLE_SECONDS)
            except queue.Empty:
                if self._idle.acquire(blocking=False):
                    return None

    def _carry_out(self, future: Future[T], work: Callable[[], T]) -> None:
        """One call. The thread counts as idle before its caller goes on, who may come back at once."""
        if not future.set_running_or_notify_cancel():
            self._idle.release()
            return
        try:
            result = work()
        except BaseException as error:  # noqa: BLE001 - it is the caller's
            self._idle.release()
            future.set_exception(fit_for_a_future(error))
        else:
            self._idle.release()
            future.set_result(result)
