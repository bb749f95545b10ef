"""The shared source that all workers draw from, read at most one chunk ahead."""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncIterable, AsyncIterator, Iterable, Iterator
from itertools import islice
from typing import TYPE_CHECKING, Any, Generic, TypeVar

import anyio

from .context import Gate
from .failures import calm, cancelled_for_real, is_cancellation, native_task
from .leaving import CancelIgnored

ItemT = TypeVar("ItemT")

if TYPE_CHECKING:
    from .workers import Workers

_CLOSING_TIME = 10.0


class Source(Generic[ItemT]):
    """Items waiting to be taken. `feed()` is the one task that reads; `take()` is what the workers call."""

    def __init__(
        self,
        items: AsyncIterable[ItemT] | Iterable[ItemT],
        chunk: int,
        workers: Workers,
        *,
        lingers: bool = False,
        gate: Gate | None = None,
    ) -> None:
        self._items = items
        self._gate = gate or Gate()
        self._lingers = lingers
        self.chunk = chunk
        """So many are read ahead."""
        self._workers = workers
        self._buffer: deque[ItemT] = deque()
        self._room: anyio.Event | None = None
        self._reading = anyio.CancelScope()
        self.ended = False
        """Nothing more will be read, whether the source is exhausted, stopped or broken."""
        self.exhausted = False
        """All of it was read, and nothing of that was forgotten."""

    def __len__(self) -> int:
        """Items read and not taken yet."""
        return len(self._buffer)

    @property
    def dry(self) -> bool:
        """True when everything that will ever come was taken."""
        return self.ended and not self._buffer

    def take(self, most: int) -> list[ItemT]:
        """The next items: what is there, at most so many."""
        taken = [self._buffer.popleft() for _ in range(min(most, len(self._buffer)))]
        if self._room is not None and len(self._buffer) < self.chunk:
            self._room.set()
        return taken

    def stop(self) -> None:
        """Read no more, and forget what was read and not taken.

        A source that lingers is left where it is, unclosed, until `feed()` is cancelled: what it holds, a connection,
        is needed to acknowledge what is in hand.
        """
        self.exhausted = self.exhausted and not self._buffer
        self._buffer.clear()
        if not self._lingers:
            self._reading.cancel()
        self.ended = True

    async def feed(self) -> None:
        """Read to the end, waiting for room. Raises what the source raises; returns quietly after `stop()`.

        So it does where the source ignores the stop, and was left where it was.
        """
        try:
            with self._reading:
                await self._gate.passed()
                if self.ended:
                    return
                if isinstance(self._items, AsyncIterable):
                    await self._feed_async(aiter(self._items))
                else:
                    await self._feed_sync(iter(self._items))
                self.exhausted = not self.ended
        except CancelIgnored:
            if not (self._reading.cancel_called or cancelled_for_real()):
                raise
        except BaseException as error:
            if not is_cancellation(error):
                raise
            await calm(native_task())
            raise RuntimeError("the source of the items raised CancelledError") from error
        finally:
            self.ended = True
            self._workers.wake()

    async def _feed_async(self, items: AsyncIterator[ItemT]) -> None:
        try:
            async for item in items:
                if self.ended and self._lingers:
                    await anyio.sleep_forever()
                if self.ended:
                    return
                self._buffer.append(item)
                if len(self._buffer) == 1:
                    self._workers.wake()
                if len(self._buffer) >= self.chunk:
                    await self._wait_for_room()
                if self._gate.closed:
                    await self._gate.passed()
        finally:
            await _close(items)

    async def _feed_sync(self, items: Iterator[ItemT]) -> None:
        try:
            while not self.ended:
                await self._gate.passed()
                room = max(0, self.chunk - len(self._buffer))
                self._buffer.extend(islice(items, room))
                self._workers.wake()
                if len(self._buffer) < self.chunk:
                    return
                await self._wait_for_room()
        finally:
            if callable(close := getattr(items, "close", None)):
                close()

    async def _wait_for_room(self) -> None:
        self._room = anyio.Event()
        await self._room.wait()
        self._room = None


async def _close(items: AsyncIterator[Any]) -> None:
    """Let an asynchronous generator clean up now, rather than whenever it is collected."""
    if callable(aclose := getattr(items, "aclose", None)):
        with anyio.move_on_after(_CLOSING_TIME, shield=True):
            await aclose()
