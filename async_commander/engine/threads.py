"""Threads for calls that may block for as long as they like: the end of a process does not wait for them."""

from __future__ import annotations

import asyncio
import os
import threading
import time
from collections import deque
from concurrent.futures import Executor, Future
from functools import partial
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

from async_commander.exceptions import AsyncCommanderError

if TYPE_CHECKING:
    from collections.abc import Callable

P = ParamSpec("P")
T = TypeVar("T")

IDLE_SECONDS = 5.0
"""For so long a thread waits for another call before it ends."""


def loop_is_running() -> bool:
    """Whether an event loop of asyncio's runs in this thread: nothing may block it."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True


def check_loop() -> None:
    """Raise AsyncCommanderError where no event loop of asyncio's runs in this thread."""
    if not loop_is_running():
        raise AsyncCommanderError(
            "This needs a running asyncio loop, as Django's own async side does: trio is none. Begin with "
            "anyio.run(main) and no other backend, or call the synchronous function of it on a worker thread."
        )


class DaemonThreads(Executor):
    """Runs calls on up to `size` daemon threads, which come with the calls and go when there are none.

    Those of concurrent.futures.ThreadPoolExecutor are waited for when the interpreter ends.
    """

    def __init__(
        self,
        size: int,
        *,
        name: str,
        idle: float = IDLE_SECONDS,
        begin: Callable[[threading.Thread], None] | None = None,
    ) -> None:
        self._size = size
        self._name = name
        self._idle_seconds = idle
        self._begin = begin or start_soon
        self._calls: deque[tuple[Future[Any], Callable[[], Any]]] = deque()
        self._changed = threading.Condition()
        self._threads = 0
        self._idle = 0

    def resize(self, size: int) -> None:
        """From now on at most so many. Those that are more end when nothing is left to do."""
        with self._changed:
            self._size = size

    def submit(self, function: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        """See concurrent.futures.Executor."""
        future: Future[T] = Future()
        with self._changed:
            self._calls.append((future, partial(function, *args, **kwargs)))
            if self._idle >= len(self._calls):
                self._changed.notify()
            elif self._threads < self._size:
                self._threads += 1
                self._begin(threading.Thread(target=self._work, name=self._name, daemon=True))
        return future

    def shutdown(self, wait: bool = False, *, cancel_futures: bool = True) -> None:  # noqa: FBT001 - the signature of the base class
        """Let go at once: calls that were not begun are cancelled, threads end when they are idle."""
        del wait, cancel_futures
        with self._changed:
            calls = list(self._calls)
            self._calls.clear()
        for future, _ in calls:
            future.cancel()

    def _work(self) -> None:
        while (call := self._next()) is not None:
            _carry_out(*call)
            del call

    def _next(self) -> tuple[Future[Any], Callable[[], Any]] | None:
        with self._changed:
            self._idle += 1
            self._changed.wait_for(lambda: self._calls, self._idle_seconds)
            self._idle -= 1
            if self._calls:
                return self._calls.popleft()
            self._threads -= 1
            return None


def _carry_out(future: Future[Any], call: Callable[[], Any]) -> None:
    if not future.set_running_or_notify_cancel():
        return
    try:
        result = call()
    except BaseException as error:  # noqa: BLE001 - it is the caller's
        future.set_exception(fit_for_a_future(error))
    else:
        future.set_result(result)


def fit_for_a_future(error: BaseException) -> BaseException:
    """The error, or what to set in its place: who awaits a StopIteration would never be told, and wait for ever."""
    if not isinstance(error, StopIteration):
        return error
    fit = RuntimeError("the function raised StopIteration")
    fit.__cause__ = error
    return fit


def start_soon(thread: threading.Thread) -> None:
    """Have a thread begin, and do not wait for that.

    `Thread.start()` waits until the new thread has had a turn, and among many that are at work, an event loop would
    stand still for as long. Where the machine has no room for another thread, it begins when there is.
    """
    _starter.submit(_start, thread)


def _start(thread: threading.Thread) -> None:
    while True:
        try:
            thread.start()
        except RuntimeError:
            time.sleep(0.1)
        else:
            return


def _new_starter() -> None:
    global _starter  # noqa: PLW0603 - a forked process has the parent's, and none of its threads
    _starter = DaemonThreads(1, name="async-commander-starter", idle=1.0, begin=threading.Thread.start)


_starter: DaemonThreads
_new_starter()
os.register_at_fork(after_in_child=_new_starter)
