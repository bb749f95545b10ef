"""A response's body as it arrives: decoded, counted, and never waited for without end."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import suppress
from time import monotonic
from typing import TYPE_CHECKING

import httpx

from .errors import BodyTooLarge, BodyTooSlow, DownloadTimeout, translated
from .memory import FREE

if TYPE_CHECKING:
    from .inflate import Inflater
    from .journey import Journey

SLOWEST = 1024
SLOW_AFTER = 10.0
"""A body must bring 1,024 bytes a second on the average once it was waited for so many seconds."""

_BREATH = 1024 * 1024


class BoundedBody(httpx.AsyncByteStream):
    """The decoded body of one response within the bounds of its journey. It can be read once.

    A body that send() reads into memory has to find room in the client's memory for bodies; a streamed one does not.
    Reading raises what `errors` declares. `closed` is called once, when the body is closed.
    """

    def __init__(self, inner: httpx.AsyncByteStream, journey: Journey, closed: Callable[[], None]) -> None:
        self.inflater: Inflater | None = None
        self._inner = inner
        self._journey = journey
        self._closed: Callable[[], None] | None = closed
        self._reading: AsyncGenerator[bytes, None] | None = None
        self._received = 0
        self._waited = 0.0
        self._decoded = 0
        self._without_pause = 0

    def __aiter__(self) -> AsyncIterator[bytes]:
        self._reading = self._read()
        return self._reading

    async def _read(self) -> AsyncGenerator[bytes, None]:
        # Inside send() the whole request has a time-out already; a streamed body has one around each step.
        chunks: AsyncIterator[bytes] = aiter(self._inner if self._journey.watch is not None else self._timed())
        before = monotonic()
        try:
            async for chunk in chunks:
                self._weigh(len(chunk), monotonic() - before)
                for piece in (chunk,) if self.inflater is None else self.inflater.feed(chunk):
                    await self._admit(len(piece))
                    yield piece
                before = monotonic()
        except BaseException as error:
            await _closed(chunks)
            if isinstance(error, Exception):
                raise translated(error)  # noqa: B904  it carries its own cause
            raise
        self._reading = None
        if self.inflater is not None:
            self.inflater.finish()

    async def _timed(self) -> AsyncGenerator[bytes, None]:
        journey, chunks = self._journey, aiter(self._inner)
        try:
            while True:
                async with asyncio.timeout(journey.deadline - monotonic()) as watch:
                    chunk = await anext(chunks, None)
                if chunk is None:
                    return
                yield chunk
        except TimeoutError:
            if watch.expired():
                raise DownloadTimeout(f"not finished after {journey.seconds:g} s") from None
            raise
        finally:
            await _closed(chunks)

    def _weigh(self, received: int, waited: float) -> None:
        self._received += received
        self._waited += waited
        if self._waited > SLOW_AFTER and self._received < SLOWEST * self._waited:
            raise BodyTooSlow(
                f"{self._received} bytes in {self._waited:.0f} s: at least {SLOWEST} bytes a second are expected"
            )
        if self._received > self._journey.max_body:
            raise self._too_large()

    async def _admit(self, size: int) -> None:
        journey = self._journey
        journey.bytes_left -= size
        if journey.bytes_left < 0:
            raise self._too_large()
        self._decoded += size
        if self._decoded > FREE and journey.watch is not None and not journey.memory.take(self, size):
            with journey.paused():
                await journey.memory.wait(self, size)
        await self._breathe(size)

    def _too_large(self) -> BodyTooLarge:
        return BodyTooLarge(f"the body is larger than the {self._journey.max_body} bytes that max_body allows")

    async def _breathe(self, size: int) -> None:
        """Let others run now and then: a body that is there already is decoded without waiting for anything."""
        self._without_pause += size
        if self._without_pause > _BREATH:
            self._without_pause = 0
            await asyncio.sleep(0)

    async def aclose(self) -> None:
        """Give the connection and the turn back; a body that was not read to its end costs its connection."""
        closed, self._closed = self._closed, None
        if closed is None:
            return
        try:
            if self._reading is not None:
                await _closed(self._reading)
        finally:
            try:
                await self._inner.aclose()
            finally:
                self._journey.memory.give_back(self)
                closed()


async def _closed(chunks: AsyncIterator[bytes]) -> None:
    """Close a generator here and now: one that is left to the collector is closed by a task of its own, later."""
    if isinstance(chunks, AsyncGenerator):
        with suppress(RuntimeError):  # another task is still reading from it; it will see the connection close
            await chunks.aclose()
