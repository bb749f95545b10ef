"""Whose failure an error is: the item's, or the run's, or nobody's because we cancelled."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Iterator
from typing import Any

import anyio
from anyio.lowlevel import checkpoint

from async_commander.text.errors import readable


class HookRaisedGeneratorExit(BaseException):
    """A hook raised GeneratorExit, which every coroutine on its way would take for the word to close."""

    def __repr__(self) -> str:
        return repr(GeneratorExit(*self.args))


class CancelledFromOutside(RuntimeError):
    """A task of the pipeline was cancelled natively, by nobody's scope: as each task is at the end of an event loop."""


def unwrapped(error: BaseException) -> BaseException:
    """The one error in a group of one; anything else as it is."""
    error = readable(error)
    while isinstance(error, BaseExceptionGroup) and len(error.exceptions) == 1:
        error = error.exceptions[0]
    return error


def ends_the_run(error: BaseException) -> bool:
    """True for what no item may survive: MemoryError, SystemExit, KeyboardInterrupt and the like, also in a group."""
    return any(
        isinstance(one, MemoryError) or not (isinstance(one, Exception) or is_cancellation(one))
        for one in leaves(error)
    )


def leaves(error: BaseException) -> Iterator[BaseException]:
    """The errors of a group, however deep inside, in their order; of anything else itself."""
    rest = [error]
    while rest:
        one = rest.pop()
        if isinstance(one, BaseExceptionGroup):
            rest.extend(reversed(one.exceptions))
        else:
            yield one


def is_cancellation(error: BaseException) -> bool:
    """True for asyncio's CancelledError and the event loop's own exception of that kind, whoever raised it."""
    return isinstance(error, asyncio.CancelledError | anyio.get_cancelled_exc_class())


def cancelled_for_real() -> bool:
    """True where a scope around this code is cancelled; an item that merely raises CancelledError is not."""
    return anyio.current_effective_deadline() == -math.inf


def native_task() -> asyncio.Task[Any] | None:
    """The current task on asyncio, None on trio, which has no native cancellation of tasks."""
    try:
        return asyncio.current_task()
    except RuntimeError:
        return None


async def calm(task: asyncio.Task[Any] | None) -> None:
    """Undo native cancellations of our own task, which nobody with a scope asked for.

    The checkpoint collects one that is still pending (before Python 3.13 `uncancel` leaves it so), and gives a host
    task that is cancelled as well, as at the end of a loop, time to cancel the scopes around us: that one is raised.
    """
    while task is not None and task.cancelling() and not cancelled_for_real():
        task.uncancel()
    try:
        await checkpoint()
    except anyio.get_cancelled_exc_class():
        if cancelled_for_real():
            raise
