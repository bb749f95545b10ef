"""Events as a browser's EventSource reads them."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any

from django.db import connections
from django.http import StreamingHttpResponse

from async_commander.database.connections import beside_loop
from async_commander.engine.undisturbed import ended
from async_commander.exceptions import InvalidCommand

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Mapping

    from async_commander.events import RunEvent

KEEP_ALIVE = 15.0
RETRY = 3.0
AFTER_THE_END = 86_400.0
"""Seconds until a browser asks again that keeps its EventSource open where the run has ended, or there is none."""


async def as_sse(
    events: AsyncIterable[RunEvent], *, keep_alive: float = KEEP_ALIVE, retry: float = RETRY
) -> AsyncGenerator[bytes]:
    """The body of a response with the content type `text/event-stream`; `EventStreamResponse` is all of it.

    Each event has its name (`progress`, `log` …), its data as JSON, and its `id`, which a browser that comes back sends
    as `Last-Event-ID`. `retry`: seconds after which it comes back; `keep_alive`: seconds after which a comment is sent
    where nothing has happened, so that nobody on the way takes the connection for a dead one.

    The request's own connections to databases are given back first: it may last for hours. Closing this closes
    `events`, and waits for its end.
    """
    await beside_loop(_give_back_connections)
    yield _retry(retry)
    iterator = aiter(events)
    pending: asyncio.Future[RunEvent] | None = None
    try:
        while True:
            # In a task of its own: to stop waiting must not end what is waited for.
            pending = asyncio.ensure_future(anext(iterator))
            while not (await asyncio.wait([pending], timeout=keep_alive))[0]:
                yield b": the run goes on\n\n"
            try:
                event = pending.result()
            except StopAsyncIteration:
                return
            except InvalidCommand:  # asked again, it would say the same
                yield _retry(AFTER_THE_END)
                raise
            yield _told(event)
            if event.name == "finished":
                yield _retry(AFTER_THE_END)
    finally:
        if pending is not None and not pending.done():
            pending.cancel()
            await ended(pending, pending.cancel, asked=True)
        if (close := getattr(iterator, "aclose", None)) is not None:
            await close()


def _told(event: RunEvent) -> bytes:
    place = f"id: {event.id}\n" if event.id else ""
    return f"{place}event: {event.name}\ndata: {json.dumps(event.as_dict(), default=str)}\n\n".encode("ascii")


def _retry(seconds: float) -> bytes:
    return b"retry: %d\n\n" % int(seconds * 1000)


def _give_back_connections() -> None:
    for connection in connections.all(initialized_only=True):
        if not connection.in_atomic_block:
            connection.close()


class EventStreamResponse(StreamingHttpResponse):
    """What an async view returns for an EventSource: `return ac.EventStreamResponse(ac.awatch(run_id, after=…))`.

    It is not kept by caches nor gathered by proxies, and where the client goes away, at any moment, `events` is closed
    before the request has ended. Under WSGI, where a response cannot wait for events, use `run_events()`.
    """

    def __init__(
        self,
        events: AsyncIterable[RunEvent],
        *,
        keep_alive: float = KEEP_ALIVE,
        retry: float = RETRY,
        headers: Mapping[str, str] | None = None,
        **options: Any,
    ) -> None:
        kept = {"Cache-Control": "no-cache", "X-Accel-Buffering": "no", **(headers or {})}
        self._body = as_sse(events, keep_alive=keep_alive, retry=retry)
        super().__init__(self._body, content_type="text/event-stream", headers=kept, **options)

    async def __aiter__(self) -> AsyncIterator[bytes]:
        """See StreamingHttpResponse, which leaves what it reads to the garbage collector."""
        try:
            async for part in super().__aiter__():
                yield part
        finally:
            await self._body.aclose()
