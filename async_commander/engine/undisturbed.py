"""Work that a native cancel of its task does not tear apart: at the end of an event loop, by `task.cancel()`."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Generator
from functools import partial
from typing import Any, TypeVar

import anyio

from .failures import calm, cancelled_for_real, native_task
from .stepping import Stepped

T = TypeVar("T")


class Undisturbed(Stepped[T]):
    """`await Undisturbed(work(), on_cancel)`: the coroutine's result. Each native cancel calls `on_cancel()` instead.

    The work runs in the awaiting task; only what it waits for is hidden behind a future that may be cancelled in its
    place. (anyio's shields let a native cancel through, and a task of its own would not help: the end of a loop cancels
    them all.) Cancel scopes work as ever. asyncio only.
    """

    __slots__ = ("_on_cancel",)

    def __init__(self, work: Coroutine[Any, Any, T], on_cancel: Callable[[], object]) -> None:
        super().__init__(work)
        self._on_cancel = on_cancel

    def _wait(self, awaited: asyncio.Future[Any] | None) -> Generator[Any, Any, None]:
        """Until the future is done; raises CancelledError where a scope cancels what could not be cancelled itself."""
        try:
            if awaited is None:  # asyncio.sleep(0)
                yield
                return
            awaited._asyncio_future_blocking = False  # noqa: SLF001 - the protocol of a task and what it waits for
            while not awaited.done():
                ended = asyncio.get_running_loop().create_future()
                wake = partial(_set_unless_done, ended)
                awaited.add_done_callback(wake)
                try:
                    yield from ended
                except asyncio.CancelledError as cancel:
                    if self._is_of_a_scope(cancel) and not awaited.cancel(*cancel.args):
                        raise
                finally:
                    awaited.remove_done_callback(wake)
        except asyncio.CancelledError as cancel:
            if self._is_of_a_scope(cancel):
                raise

    def _is_of_a_scope(self, cancel: asyncio.CancelledError) -> bool:
        """False for a native cancel, which is made undone: anyio's have a message, and come again where it was one.

        Both in one turn of the loop are one CancelledError and two requests. Scopes bear it that theirs is made undone.
        """
        task, requests = native_task(), 0
        while task is not None and task.cancelling():
            requests += 1
            task.uncancel()
        of_a_scope = cancelled_for_real() and bool(cancel.args)
        if not of_a_scope or requests > 1:
            self._on_cancel()
        return of_a_scope


def _set_unless_done(ended: asyncio.Future[None], _: asyncio.Future[Any]) -> None:
    if not ended.done():
        ended.set_result(None)


async def to_its_end(work: Coroutine[Any, Any, T]) -> T:
    """Await what must not be left half done, such as a commit: no cancel reaches it, of a scope or native.

    A native cancel that comes meanwhile is dropped: who ends the loop cancels the run's own task as well.
    """
    with anyio.CancelScope(shield=True):
        result = await (work if native_task() is None else Undisturbed(work, lambda: None))
    return result  # noqa: RET504 - a return inside of the scope is none to mypy: a scope may swallow


async def ended(task: asyncio.Future[Any], ask: Callable[[], object], *, asked: bool = False) -> None:
    """Wait for the end of a task, whatever that is. A cancel of who waits calls `ask()`, and is raised after that end.

    `asked`: the task was asked to end before, so that a scope that is cancelled asks no second time.
    """
    cancelled: asyncio.CancelledError | None = None
    while not task.done():
        try:
            with anyio.CancelScope(shield=asked or cancelled is not None):
                await asyncio.wait([task])
        except asyncio.CancelledError as error:
            cancelled = error
            ask()
    if cancelled is not None or asked:
        _ = task.cancelled() or task.exception()  # nobody else asks for it
    if cancelled is not None:
        raise cancelled


async def again_after_native_cancels(work: Callable[[], Awaitable[None]]) -> None:
    """For a task beside the work: a native cancel must not end the group it is in. Begins anew after each."""
    while True:
        try:
            return await work()
        except asyncio.CancelledError:
            if cancelled_for_real():
                raise
            await calm(native_task())
