"""Coroutines that are stepped within the current task: so that something is seen to at each step, or at each wait."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Generator
    from contextvars import Context

T = TypeVar("T")

NOT_BEGUN = object()
"""What a coroutine waits for that took no step yet."""


class Stepped(Generic[T]):
    """`await Stepped(coroutine)` is its result: it takes its steps as the task itself would have it take them.

    A subclass says how a step is taken, and how its wait reaches the task. One that took its first step already is
    given with what it `waits_for`. A task of its own would cost nine times as much, and would be beyond the scopes
    around this code.
    """

    __slots__ = ("_coroutine", "_first")

    def __init__(self, coroutine: Coroutine[Any, Any, T], waits_for: Any = NOT_BEGUN) -> None:
        self._coroutine = coroutine
        self._first = waits_for

    def __await__(self) -> Generator[Any, Any, T]:
        step: Callable[[Any], Any] = self._coroutine.send
        value: Any = None
        awaited, self._first = self._first, NOT_BEGUN
        while True:
            try:
                if awaited is NOT_BEGUN:
                    awaited = self._take(step, value)
            except StopIteration as end:
                result: T = end.value
                return result
            finally:
                value = None  # no frame keeps the error whose traceback keeps the frame
            try:
                value, step = (yield from self._wait(awaited)), self._coroutine.send
            except GeneratorExit:
                self._close()
                raise
            except BaseException as error:  # noqa: BLE001 - it is the coroutine's
                value, step = error, self._coroutine.throw
            awaited = NOT_BEGUN

    def _take(self, step: Callable[[Any], Any], value: Any) -> Any:
        """Take one step, `send` or `throw`; returns what it waits for."""
        return step(value)

    def _wait(self, awaited: Any) -> Generator[Any, Any, Any]:
        """Hand to the task what the coroutine waits for; returns, or raises, what comes of it."""
        return (yield awaited)

    def _close(self) -> None:
        """The task is closed, as at the end of its loop, and the coroutine with it."""
        self._coroutine.close()


class InContext(Stepped[T]):
    """In a context of its own: what the coroutine sets is seen in there only."""

    __slots__ = ("_context",)

    def __init__(self, context: Context, coroutine: Coroutine[Any, Any, T]) -> None:
        super().__init__(coroutine)
        self._context = context

    def _take(self, step: Callable[[Any], Any], value: Any) -> Any:
        return self._context.run(step, value)

    def _close(self) -> None:
        self._context.run(self._coroutine.close)
