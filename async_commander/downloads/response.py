"""What a caller gets: an httpx response whose body is bounded, decoded within bounds, and freed at its end."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import suppress
from datetime import timedelta
from time import monotonic, perf_counter
from typing import TYPE_CHECKING, Any

import httpx

from .decoding import MARK_LENGTH, Inflater, charset_of, encoding_of, is_usable, needs_mark, without_mark
from .errors import BodyTooLarge, BodyTooSlow, BodyTruncated
from .limits import FREE, PIECE, SLOW_AFTER, SLOWEST
from .wire import Answer

if TYPE_CHECKING:
    from .journey import Journey
    from .pacing import Turn

RawHeaders = Sequence[tuple[bytes, bytes]]

BREATH = 1024 * 1024
"""Bytes of a body that is there already; after so many others may run."""
BODILESS = frozenset({101, 204, 304})


class BoundedBody(httpx.AsyncByteStream):
    """The body of one answer as it was sent, within the bounds of its journey. It can be read once.

    The turn is given back when the body is closed.
    """

    def __init__(self, inner: httpx.AsyncByteStream, journey: Journey, turn: Turn) -> None:
        self.journey = journey
        self._inner = inner
        self._turn: Turn | None = turn
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
        journey, chunks = self.journey, aiter(self._inner)
        while True:
            before = monotonic()
            if journey.watch is not None:
                chunk = await anext(chunks, None)
            else:
                try:
                    async with asyncio.timeout(journey.deadline - before) as watch:
                        chunk = await anext(chunks, None)
                except TimeoutError as error:
                    if watch.expired():
                        raise journey.over() from error
                    raise
            if chunk is None:
                self._reading = None
                return
            self._weigh(len(chunk), monotonic() - before)
            yield chunk

    def _weigh(self, received: int, waited: float) -> None:
        self._received += received
        self._waited += waited
        if self._waited > SLOW_AFTER and self._received < SLOWEST * self._waited:
            raise BodyTooSlow(
                f"{self._received} bytes in {self._waited:.0f} s: at least {SLOWEST} bytes a second are expected"
            )
        if self._received > self.journey.max_body:
            raise self._too_large()

    async def admit(self, size: int) -> None:
        """Count so many decoded bytes; those that are kept in memory wait until there is room for them."""
        journey = self.journey
        journey.bytes_left -= size
        if journey.bytes_left < 0:
            raise self._too_large()
        self._decoded += size
        if self._decoded > FREE and journey.watch is not None and not journey.memory.take(self, size):
            await journey.memory.wait(self, size)
        self._without_pause += size
        if self._without_pause > BREATH:
            self._without_pause = 0
            await asyncio.sleep(0)

    def _too_large(self) -> BodyTooLarge:
        return BodyTooLarge(f"the body is larger than the {self.journey.max_body} bytes that max_body allows")

    def give_up(self, error: Exception) -> None:
        """End the body with this error, wherever it waits for its server."""
        if isinstance(self._inner, Answer):
            self._inner.give_up(error)

    async def aclose(self) -> None:
        """Give the connection and the turn back; a body that was not read to its end costs its connection."""
        turn, self._turn = self._turn, None
        if turn is None:
            return
        try:
            if self._reading is not None:
                with suppress(RuntimeError):  # another task is still reading from it; it will see the connection close
                    await self._reading.aclose()
        finally:
            try:
                await self._inner.aclose()
            finally:
                self.journey.memory.give_back(self)
                turn.give_back()


def by_name(raw: RawHeaders) -> dict[bytes, bytes]:
    """The headers by their names in lower case; several of one name as one, with commas between them."""
    found: dict[bytes, bytes] = {}
    for name, value in raw:
        lower = name.lower()
        found[lower] = value if lower not in found else found[lower] + b", " + value
    return found


def inflater_for(method: str, status: int, found: dict[bytes, bytes], accepted: str, max_body: int) -> Inflater | None:
    """What decodes a body, as its head says. BadBody and BodyTooLarge where that is enough to refuse it."""
    if method == "HEAD" or status in BODILESS:
        return None
    length = found.get(b"content-length", b"")[:20]
    if length.isdigit() and int(length) > max_body:
        raise BodyTooLarge(f"the body has {int(length)} bytes, {max_body} are allowed by max_body")
    if b"content-encoding" not in found:
        return None
    encoding = encoding_of(found[b"content-encoding"].decode("latin-1"), accepted)
    return None if encoding is None else Inflater(encoding)


def end_is_missing(error: BodyTruncated, found: dict[bytes, bytes]) -> httpx.RequestError:
    """A body that nothing but the end of its connection ends may have been cut on its way."""
    if b"content-length" in found or b"transfer-encoding" in found:
        return error
    return httpx.RemoteProtocolError(f"the connection was closed, and {error}")


class Response(httpx.Response):
    """An `httpx.Response` as any other. `aiter_raw()` brings the bytes as they were sent; all else is decoded.

    A charset that cannot be used is read as UTF-8, and UTF-16 or UTF-32 without a byte-order mark as little-endian.
    """

    def __init__(
        self, request: httpx.Request, status: int, raw: RawHeaders, body: BoundedBody, sent: float, **options: Any
    ) -> None:
        super().__init__(status, headers=raw, stream=body, request=request, **options)
        found = by_name(raw)
        accepted = request.headers.get("accept-encoding", "") if b"content-encoding" in found else ""
        self._inflater = inflater_for(request.method, status, found, accepted, body.journey.max_body)
        self.sets_cookies = b"set-cookie" in found
        self._body: BoundedBody | None = body
        self._sent = sent
        charset = charset_of(found.get(b"content-type", b""))
        self.encoding = charset if charset and is_usable(charset) else "utf-8"  # httpx would look for it each time
        self._is_marked = needs_mark(self.encoding)
        self._pieces: AsyncGenerator[bytes, None] | None = None
        self._first: bytes | None = None
        """What was read ahead to find a byte-order mark; `_pieces` go on behind it."""

    async def aiter_bytes(self, chunk_size: int | None = None) -> AsyncIterator[bytes]:
        """See httpx: the decoded body, here in pieces of at most 64 KiB where no size is asked for."""
        held, size = bytearray(), max(1, chunk_size or PIECE)
        async for piece in self._rest():
            if chunk_size is None:
                yield piece
                continue
            held += piece
            while len(held) >= size:
                yield bytes(held[:size])
                del held[:size]
        if held:
            yield bytes(held)

    async def _rest(self) -> AsyncGenerator[bytes, None]:
        with suppress(httpx.ResponseNotRead):
            if self.content:
                yield self.content
            return
        first, pieces = self._first, self._pieces
        self._first = self._pieces = None
        if first is None:
            pieces = self._decoded()
        elif first:
            yield first
        if pieces is not None:
            async for piece in pieces:
                yield piece

    async def _decoded(self) -> AsyncGenerator[bytes, None]:
        body, inflater = self._body, self._inflater
        try:
            async for raw in self.aiter_raw():
                for piece in (raw,) if inflater is None else inflater.feed(raw):
                    if body is not None:  # else aiter_raw() says what is wrong
                        await body.admit(len(piece))
                    yield piece
            if inflater is not None:
                inflater.finish()
        except httpx.RequestError as error:
            if isinstance(error, BodyTruncated):
                error = end_is_missing(error, by_name(self.headers.raw))
            error.request = self.request
            raise error from error.__cause__

    async def aread(self) -> bytes:
        """See httpx."""
        content = await super().aread()
        if self._is_marked:
            self._settle_charset(content[:MARK_LENGTH])
        return content

    async def aiter_text(self, chunk_size: int | None = None) -> AsyncIterator[str]:
        """See httpx."""
        if self._is_marked and not self.is_stream_consumed:
            self._first, self._pieces = b"", self._decoded()
            while len(self._first) < MARK_LENGTH and (piece := await anext(self._pieces, None)) is not None:
                self._first += piece
            self._settle_charset(self._first)
        async for text in super().aiter_text(chunk_size):
            yield text

    def _settle_charset(self, first: bytes) -> None:
        charset = self.encoding
        if charset is not None and needs_mark(charset):
            with suppress(ValueError):  # the text was looked at already
                self.encoding = without_mark(charset, first)

    async def aclose(self) -> None:
        """See httpx. What held the body is let go, so that nothing waits for the garbage collector."""
        try:
            if not self.is_closed:
                self.elapsed = timedelta(seconds=perf_counter() - self._sent)
            await super().aclose()
        finally:
            self.stream, self._body, self._inflater = _NOTHING, None, None


_NOTHING = httpx.ByteStream(b"")
"""The stream of every response that is closed."""
