"""Asynchronous generators of the author's, each step of which may be left where it waits."""

from __future__ import annotations

import sys
import types
from collections.abc import AsyncGenerator, Awaitable, Callable, Coroutine, Generator
from typing import Any, Generic, TypeVar

T = TypeVar("T")


class Leftable(Generic[T]):
    """An asynchronous generator whose steps can be closed while they wait.

    The event loop never hears of it: at its own end it closes, without a bound, what generators are open, and one that
    was left where it ignores its cancellation would keep it from ending.
    """

    def __init__(self, generator: AsyncGenerator[T, None]) -> None:
        self._generator = generator
        known = sys.get_asyncgen_hooks()
        sys.set_asyncgen_hooks(None, None)
        try:
            self._first: Awaitable[T] | None = generator.__anext__()  # from here on nobody else's finalizer has it
        finally:
            sys.set_asyncgen_hooks(*known)

    def __aiter__(self) -> Leftable[T]:
        return self

    def __anext__(self) -> Coroutine[Any, Any, T]:
        first, self._first = self._first, None
        return _step(first or self._generator.__anext__())

    def athrow(self, *error: Any) -> Coroutine[Any, Any, T]:
        """See AsyncGenerator."""
        return _step(self._generator.athrow(*error))

    def aclose(self) -> Coroutine[Any, Any, None]:
        """See AsyncGenerator."""
        return _step(self._generator.aclose())


@types.coroutine
def _step(awaited: Awaitable[T]) -> Generator[Any, Any, T]:
    """Await one step of an asynchronous generator. Whoever closes this closes the generator: Python 3.11 does not."""
    steps = awaited.__await__()
    step: Callable[[Any], Any] = steps.send
    value: Any = None
    while True:
        try:
            waits_for = step(value)
        except StopIteration as end:
            result: T = end.value
            return result
        try:
            value, step = (yield waits_for), steps.send
        except BaseException as error:  # noqa: BLE001 - it is the generator's
            value, step = error, steps.throw
