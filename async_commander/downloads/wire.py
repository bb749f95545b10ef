"""The aiohttp side: one session whose connector opens guarded sockets, and as many as are needed."""

from __future__ import annotations

import asyncio
from functools import lru_cache, partial
from http import HTTPStatus
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

import aiohttp
import httpx
from aiohttp.client_proto import ResponseHandler
from aiohttp.http_exceptions import HttpProcessingError
from httpx_aiohttp import AiohttpTransport

from .names import ThreadResolver
from .transport import MAX_HEADER_BYTES, MAX_HEADERS

if TYPE_CHECKING:
    import ssl

    from aiohttp.abc import AbstractResolver
    from aiohttp.connector import Connection
    from aiohttp.http import RawResponseMessage

    from .guard import AddressGuard

_AUTOMATIC = ("Accept", "Accept-Encoding", "Content-Type", "User-Agent")
_READ_BUFFER = 64 * 1024
"""Bytes. Each connection may hold twice as much, and what one read brings."""
_MAX_HEAD = MAX_HEADER_BYTES + 4 * MAX_HEADERS + 8 * 1024
"""Bytes on the wire: fields, what stands between them, and the status line."""


def aiohttp_transport(
    connections: int, guard: AddressGuard, *, resolver: AbstractResolver | None = None
) -> AiohttpTransport:
    """The transport under `BoundedTransport`; its session is opened by the first request, on that request's loop."""
    context = _trust()
    return AiohttpTransport(
        verify=context, trust_env=False, client=partial(_session, connections, guard, context, resolver)
    )


class BoundedHandler(ResponseHandler):
    """One connection, whose server has to come to the point.

    aiohttp bounds each field of a head and their number, which together are four megabytes of memory. This one bounds
    the whole head, and the fields after a body, by what `BoundedTransport` lets through. It is counted on the wire, so
    that what is refused is not parsed first.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(loop)
        self._head_left: int | None = None
        """Bytes that the head under way may still have; None where none is."""
        self._body: aiohttp.StreamReader | None = None
        self._body_bytes = 0
        self._beside_body = 0
        self._is_held = False
        self._refusal: aiohttp.ClientPayloadError | None = None

    def set_response_params(self, **params: Any) -> None:
        """A request was sent: what comes now is its response."""
        self._head_left, self._body = _MAX_HEAD, None
        super().set_response_params(**params)

    def feed_data(self, data: tuple[RawResponseMessage, aiohttp.StreamReader], size: int = 0) -> None:
        """A head is complete. After a hint (100, 103) another one follows."""
        message, body = data
        is_hint = message.code < 200 and message.code != HTTPStatus.SWITCHING_PROTOCOLS
        self._head_left = _MAX_HEAD if is_hint else None
        self._body, self._body_bytes, self._beside_body = None if is_hint else body, 0, 0
        super().feed_data(data, size)

    def pause_reading(self) -> None:
        """The reader is slower than the server."""
        self._is_held = True
        super().pause_reading()

    def resume_reading(self, resume_parser: bool = True) -> None:  # noqa: FBT001 - aiohttp's own
        """The reader wants more."""
        self._is_held = False
        super().resume_reading(resume_parser)

    def data_received(self, data: bytes) -> None:
        """Pass on what may come, in parts where a head is under way."""
        if not data:
            super().data_received(data)
        while data and self.exception() is None:
            part = data if self._head_left is None else data[: self._head_left]
            data = data[len(part) :]
            self._pass_on(part)

    def _pass_on(self, part: bytes) -> None:
        if self._head_left is None:
            super().data_received(part)
            if self._body is not None:
                self._weigh(self._body, len(part))
            return
        self._head_left -= len(part)
        super().data_received(part)
        if self._head_left == 0:
            self._refuse(f"no end of the head within {_MAX_HEAD} bytes")

    def _weigh(self, body: aiohttp.StreamReader, size: int) -> None:
        """Count what comes without adding to the body."""
        if body.is_eof():
            self._body = None
        elif self._is_held or body.total_bytes > self._body_bytes:
            self._body_bytes, self._beside_body = body.total_bytes, 0
        else:
            self._beside_body += size
            if self._beside_body > _MAX_HEAD:
                self._refuse(f"{self._beside_body} bytes after a body")

    def _refuse(self, found: str) -> None:
        """End the connection as aiohttp does where a message breaks its bounds, and say so to who reads the body."""
        if self.transport is not None:
            self.transport.close()
        error = HttpProcessingError(code=HTTPStatus.BAD_REQUEST, message=f"Too many headers: {found}")
        self.set_exception(error)
        self._refusal = aiohttp.ClientPayloadError(error.message)
        self._refusal.__cause__ = error
        self._tell_reader()

    def connection_lost(self, error: BaseException | None) -> None:
        """The connection is closed; aiohttp tells its reader that the body is cut."""
        super().connection_lost(error)
        self._tell_reader()

    def _tell_reader(self) -> None:
        if self._body is not None and self._refusal is not None:
            self._body.set_exception(self._refusal)


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
    # aiohttp has no public way to say what a connection is made of; a test sees that this one works.
    connector._factory = partial(BoundedHandler, asyncio.get_running_loop())  # type: ignore[assignment]  # noqa: SLF001
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
