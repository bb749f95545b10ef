"""Coroutines, and calls on threads, that do not end when they are cancelled: they are left, and it is said which."""

from __future__ import annotations

import asyncio
import ctypes
from typing import TYPE_CHECKING, Any, TypeVar

import anyio

from async_commander.exceptions import AsyncCommanderError

from .failures import cancelled_for_real
from .stepping import NOT_BEGUN, Stepped

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

T = TypeVar("T")

STUBBORN_AFTER = 10
"""Cancels that a coroutine may survive. One that cleans up behind a shield meets one or two."""
STUBBORN_SECONDS = 1.0
"""And so long it may take after the first."""


class CancelIgnored(AsyncCommanderError):
    """A coroutine was cancelled and went on, and was left where it was."""


class Left(BaseException):
    """Raised inside of a coroutine that is left, where it waits."""


class Leavable(Stepped[T]):
    """Awaits a coroutine within the current task, and leaves it where it ignores its cancellation.

    It is left after 10 cancels in more than a second (a scope that is cancelled says so again and again), or by
    `leave()`. Then `Left` is raised where it waits, and GeneratorExit where it goes on all the same; its `finally`
    blocks run as far as they await nothing, and CancelIgnored is raised in its place. Only on asyncio: trio hands
    cancels to the coroutine past everything around it.

    `on_thread`: it waits for a plain function, which nobody can cancel: only `leave()` leaves that.
    """

    __slots__ = ("_awaited", "_cancelled_at", "_cancels", "_left", "_name", "_on_thread", "suspected")

    def __init__(
        self, coroutine: Coroutine[Any, Any, T], name: str, waits_for: Any = NOT_BEGUN, *, on_thread: bool = False
    ) -> None:
        super().__init__(coroutine, waits_for)
        self._name = name
        self._on_thread = on_thread
        self._awaited: asyncio.Future[Any] | None = None if waits_for is NOT_BEGUN else waits_for
        self._cancels = 0
        self._cancelled_at = 0.0
        self._left = False
        self.suspected = False
        """A cancel may come by what it waits for, too, where nobody else sees it: look at the scopes around it."""

    def leave(self) -> None:
        """Leave it now, wherever it waits, be it behind a shield."""
        self._left = True
        if self._awaited is not None:
            self._awaited.cancel()  # as a native cancel of its task does

    def _take(self, step: Callable[[Any], Any], value: Any) -> Any:
        self._awaited = None
        told = isinstance(value, asyncio.CancelledError) or (self.suspected and cancelled_for_real())
        if told and not self._on_thread:
            now = anyio.current_time()
            self._cancelled_at = self._cancelled_at or now
            self._cancels += 1
            if self._cancels > STUBBORN_AFTER and now - self._cancelled_at > STUBBORN_SECONDS:
                self._left = True
        if not self._left:
            self._awaited = step(value)
            return self._awaited
        try:
            # Before Python 3.13 a GeneratorExit does not reach into an asynchronous generator that this one waits for:
            # what scopes it has open would stay the task's, and break all those around.
            self._coroutine.throw(Left())
        except (Left, StopIteration):
            pass
        else:
            try:
                self._coroutine.close()
            except RuntimeError:
                # It ignores GeneratorExit, too. Whoever frees it closes it once more, and outside of the loop, where
                # its awaits fail at once, `while True: try … except: pass` would never return: it is never freed.
                ctypes.pythonapi.Py_IncRef(ctypes.py_object(self._coroutine))
        if self._on_thread:
            raise CancelIgnored(
                f"{self._name} is a plain function that did not return, and was left on its thread. Give what it waits "
                "for a time-out, or write it as `async def`."
            )
        raise CancelIgnored(
            f"{self._name} went on when it was cancelled, and was left where it was. Let CancelledError through "
            "(`except Exception` does), and keep shields short."
        )
