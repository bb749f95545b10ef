"""The aiohttp side: one session whose connector opens guarded sockets, and as many as are needed."""

from __future__ import annotations

from functools import lru_cache, partial
from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary

import aiohttp
import httpx
from httpx_aiohttp import AiohttpTransport

from .names import ThreadResolver
from .transport import MAX_HEADERS

if TYPE_CHECKING:
    import asyncio
    import ssl

    from aiohttp.abc import AbstractResolver
    from aiohttp.client_proto import ResponseHandler
    from aiohttp.connector import Connection

    from .guard import AddressGuard

_AUTOMATIC = ("Accept", "Accept-Encoding", "Content-Type", "User-Agent")
_READ_BUFFER = 64 * 1024
"""Bytes. Each connection may hold twice as much, and what one read brings."""


def aiohttp_transport(
    connections: int, guard: AddressGuard, *, resolver: AbstractResolver | None = None
) -> AiohttpTransport:
    """The transport under `BoundedTransport`; its session is opened by the first request, on that request's loop."""
    context = _trust()
    return AiohttpTransport(
        verify=context, trust_env=False, client=partial(_session, connections, guard, context, resolver)
    )


class WatchedResponse(aiohttp.ClientResponse):
    """A response whose body ends when its connection does.

    aiohttp closes the connection at a broken chunk without telling the reader of the body, who then waits for ever.
    """

    async def start(self, connection: Connection) -> aiohttp.ClientResponse:
        """Read the head, then keep an eye on the connection for as long as a chunked body comes from it."""
        await super().start(connection)
        protocol = connection.protocol
        if protocol is not None and "Transfer-Encoding" in self.headers:
            _watch(protocol, self.content)
        return self


_bodies: WeakKeyDictionary[ResponseHandler, aiohttp.StreamReader] = WeakKeyDictionary()


def _watch(protocol: ResponseHandler, body: aiohttp.StreamReader) -> None:
    known = protocol in _bodies
    _bodies[protocol] = body
    if protocol.closed is None:
        _end(protocol)
    elif not known:
        protocol.closed.add_done_callback(partial(_end, protocol))


def _end(protocol: ResponseHandler, closed: asyncio.Future[None] | None = None) -> None:
    if closed is not None and not closed.cancelled():
        closed.exception()  # seen: it is told below
    body = _bodies.pop(protocol, None)
    if body is not None and not body.is_eof() and body.exception() is None:
        lost = aiohttp.ClientPayloadError("the connection was closed in the middle of the body")
        lost.__cause__ = protocol.exception()
        body.set_exception(lost)


@lru_cache(maxsize=1)
def _trust() -> ssl.SSLContext:
    """Certificates are always verified. Reading the authorities takes milliseconds: once per process is enough."""
    context = httpx.create_ssl_context()
    context.set_alpn_protocols(["http/1.1"])
    return context


def _session(
    connections: int, guard: AddressGuard, context: ssl.SSLContext, resolver: AbstractResolver | None
) -> aiohttp.ClientSession:
    connector = aiohttp.TCPConnector(
        limit=connections,
        limit_per_host=0,
        ssl=context,
        socket_factory=guard.open_socket,
        resolver=resolver or ThreadResolver(connections),
    )
    return aiohttp.ClientSession(
        connector=connector,
        response_class=WatchedResponse,
        cookie_jar=aiohttp.DummyCookieJar(),
        auto_decompress=False,
        read_bufsize=_READ_BUFFER,
        skip_auto_headers=_AUTOMATIC,
        max_headers=MAX_HEADERS,
        trust_env=False,
    )
