"""One exchange on the wire: a connection is taken, the request sent, the answer read, the connection given back."""

from __future__ import annotations

from typing import TYPE_CHECKING, Self

import httpx

from .connecting import turned_inward
from .limits import timeout_of
from .protocol import PORTS, Ask, Head, Origin

if TYPE_CHECKING:
    from collections.abc import AsyncIterable

    from .journey import Journey
    from .pool import ConnectionPool
    from .protocol import Connection

IDEMPOTENT = frozenset({b"GET", b"HEAD", b"OPTIONS", b"PUT", b"DELETE", b"TRACE"})


class Answer(httpx.AsyncByteStream):
    """An answer whose head is here; iterating over it brings its body as it was sent, without the framing."""

    def __init__(self, head: Head, connection: Connection, pool: ConnectionPool) -> None:
        self.head = head
        self._connection: Connection | None = connection
        self._pool = pool

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> bytes:
        connection = self._connection
        if connection is None:
            raise StopAsyncIteration
        try:
            data = await connection.receive()
        except BaseException:
            self._discard()
            raise
        if data:
            return data
        self._connection = None
        self._pool.give_back(connection, usable=connection.finish())
        raise StopAsyncIteration

    def give_up(self, error: Exception) -> None:
        """End the connection; whoever reads the body gets this error."""
        if self._connection is not None:
            self._connection.give_up(error)

    async def aclose(self) -> None:
        """Let go; a body that was not read to its end costs its connection."""
        self._discard()

    def _discard(self) -> None:
        if self._connection is not None:
            self._connection.abort()
            self._connection = None


async def exchange(pool: ConnectionPool, ask: Ask, journey: Journey) -> Answer:
    """Send a request and read the head of its answer.

    On a connection that was idle the server may have closed it at that very moment. Where not one byte of an answer
    came, the request is sent once more on a new one if that is safe: if nothing of it was sent, or if its method means
    the same when it is carried out twice (RFC 9110 §9.2.2); in both cases only where its body is at hand.
    """
    idempotent = ask.method in IDEMPOTENT
    connection = pool.reuse(ask.origin, idempotent=idempotent)
    if connection is not None:
        if connection.internal and journey.stays_outside:
            pool.give_back(connection, usable=True)
            raise turned_inward(ask.origin.host)
        try:
            return await _converse(pool, connection, ask, journey)
        except (httpx.NetworkError, httpx.RemoteProtocolError):
            if connection.answered:
                raise
            pool.closes_early(connection)
            if not isinstance(ask.body, bytes) or (connection.wrote and not idempotent):
                raise
    return await _converse(pool, await pool.open(ask, journey), ask, journey)


async def _converse(pool: ConnectionPool, connection: Connection, ask: Ask, journey: Journey) -> Answer:
    journey.is_internal = connection.internal
    try:
        await connection.send(ask)
        return Answer(await connection.head(), connection, pool)
    except BaseException:
        connection.abort()
        raise


def ask_of(request: httpx.Request) -> Ask:
    """What goes on the wire for a request of httpx. ValueError and TypeError for extensions that are none."""
    url, extensions, stream = request.url, request.extensions, request.stream
    body: bytes | AsyncIterable[bytes]
    if isinstance(stream, httpx.ByteStream):
        body = request.read()
    elif isinstance(stream, httpx.AsyncByteStream):
        body = stream
    else:
        raise RuntimeError(  # noqa: TRY004 - as httpx does
            "the body of this request is a synchronous stream: an async client sends bytes, files and async iterators"
        )
    target, name = extensions.get("target", url.raw_path), extensions.get("sni_hostname")
    if not isinstance(target, bytes) or not isinstance(name, str | None):
        raise TypeError(f"target={target!r}, sni_hostname={name!r}: the one has to be bytes, the other one a str")
    return Ask(
        method=request.method.encode("ascii"),
        origin=origin_of(url, name),
        target=target,
        headers=request.headers.raw,
        body=body,
        connect_timeout=timeout_of(extensions, "connect"),
        read_timeout=timeout_of(extensions, "read"),
        write_timeout=timeout_of(extensions, "write"),
    )


def origin_of(url: httpx.URL, server_name: str | None = None) -> Origin:
    """Where connections for this URL go."""
    scheme = url.scheme
    return Origin(scheme, url.raw_host.decode("ascii"), url.port or PORTS[scheme], server_name)
