"""Plain functions on threads, whose end is waited for until somebody says that it is not."""

from __future__ import annotations

import asyncio
import logging
import select
import sys
from contextlib import suppress
from typing import TYPE_CHECKING, Any, TypeVar

import anyio

from async_commander.database.surroundings import Surroundings
from async_commander.engine.threads import DaemonThreads

if TYPE_CHECKING:
    from collections.abc import Callable

logger = logging.getLogger("async_commander.run")

T = TypeVar("T")

YES = frozenset({"y", "yes"})


class AbandonableThreads:
    """At most `size` calls at once, each on a daemon thread with the caller's surroundings.

    A call cannot be interrupted. A caller that is cancelled waits for its end, with one warning for all of them, until
    `abandon()` lets it go; it is cancelled then, whatever the call came to.
    """

    def __init__(self, size: int) -> None:
        self._room = anyio.CapacityLimiter(size)
        self._warned = False
        self._abandoned: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._threads = DaemonThreads(size, name="async-commander-download")

    def resize(self, size: int) -> None:
        """From now on at most `size` calls are begun at once."""
        self._threads.resize(size)
        self._room.total_tokens = size

    async def call(self, function: Callable[[], T]) -> T:
        """Run a function on a thread and return its result, or raise its error."""
        async with self._room:
            ended = asyncio.wrap_future(self._threads.submit(Surroundings().run, function))
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
        if not (self._abandoned.done() or self._warned):
            self._warned = True
            logger.warning(
                "A plain `def download` cannot be interrupted: its end is waited for before its item is tried again or "
                "given up. Give its client a timeout, or write it as `async def`."
            )
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


def a_person_is_there() -> bool:
    """Whether a question can be answered: stdin is a terminal."""
    return sys.stdin is not None and sys.stdin.isatty()


async def typed_line() -> str:
    """The next line that a person types; who is cancelled meanwhile does not wait for it."""
    threads = AbandonableThreads(1)
    threads.abandon()  # the line may never come
    return await threads.call(_line)


def is_yes(answer: str) -> bool:
    """Whether a typed line agrees."""
    return answer.strip().lower() in YES


def _line() -> str:
    """Waits outside of the stream: a thread in its readline() holds a lock that the interpreter's end waits for."""
    with suppress(OSError):
        select.select([sys.stdin], [], [])
    return sys.stdin.readline()
