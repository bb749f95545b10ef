"""One hop of a request: what is checked before it is sent, and what its answer is wrapped in."""

from __future__ import annotations

from asyncio import get_running_loop
from time import perf_counter
from typing import TYPE_CHECKING, cast

import httpx

from .errors import BlockedAddress, BodyTruncated
from .guard import is_dotted_quad
from .limits import check_headers, timeout_of
from .response import BoundedBody, Response, by_name, end_is_missing, inflater_for
from .wire import ask_of, exchange

if TYPE_CHECKING:
    from .journey import Journey
    from .pacing import Turn, Turns
    from .pool import ConnectionPool
    from .protocol import Ask, Head

_SCHEMES = frozenset({"http", "https"})
HIGHEST_PORT = 65_535


class BoundedTransport:
    """Sends on the connections of `pool` what may be sent, and gives back responses that cannot harm.

    In tests another transport may be in their place, `inner`. HTTP/1.1, the bytes of a request as they are written; the
    extensions `timeout`, `target` and `sni_hostname` are those of httpx.
    """

    def __init__(self, inner: httpx.AsyncBaseTransport | None, pool: ConnectionPool, turns: Turns) -> None:
        self.inner = inner
        self.pool = pool
        self.turns = turns

    async def send(self, request: httpx.Request, journey: Journey) -> Response:
        """Take the host's turn and a place in the pool, send, and wait for the head. The caller leaves the pool."""
        url = check_address(request.url)
        if url.userinfo:
            request.url = url.copy_with(userinfo=b"")  # it is in the Authorization header, if it is to be sent
        host = url.raw_host.decode("ascii")
        sent = perf_counter()
        patience = timeout_of(request.extensions, "pool")
        stream: httpx.AsyncByteStream
        turn = await self._enter(host, journey, patience)
        since = get_running_loop().time()
        try:
            if self.inner is None:
                stream = await exchange(self.pool, ask_of(request), journey)
                status, raw, extensions = stream.head.status, stream.head.headers, stream.head.extensions
            else:
                other = await self.inner.handle_async_request(request)
                stream = cast("httpx.AsyncByteStream", other.stream)
                status, raw, extensions = other.status_code, other.headers.raw, other.extensions
                check_headers(raw)
        except BaseException:
            turn.give_back()
            raise
        body = BoundedBody(stream, journey, turn)
        try:
            self.turns.listen(host, status, raw, since)
            return Response(request, status, raw, body, sent, extensions=extensions)
        except BaseException:
            await body.aclose()
            raise

    async def fetch(self, ask: Ask, journey: Journey) -> tuple[Head, bytes]:
        """The same for one small answer that is read to its end: its head and its decoded content."""
        turn = await self._enter(ask.origin.host, journey, None)
        since = get_running_loop().time()
        try:
            answer = await exchange(self.pool, ask, journey)
        except BaseException:
            turn.give_back()
            raise
        body = BoundedBody(answer, journey, turn)
        try:
            self.turns.listen(ask.origin.host, answer.head.status, answer.head.headers, since)
            found = by_name(answer.head.headers)
            accepted = next((value for name, value in ask.headers if name.lower() == b"accept-encoding"), b"")
            inflater = inflater_for(
                ask.method.decode("ascii"), answer.head.status, found, accepted.decode("latin-1"), journey.max_body
            )
            pieces: list[bytes] = []
            async for raw in body:
                for piece in (raw,) if inflater is None else inflater.feed(raw):
                    await body.admit(len(piece))
                    pieces.append(piece)
            if inflater is not None:
                inflater.finish()
            return answer.head, b"".join(pieces)
        except BodyTruncated as error:
            raise end_is_missing(error, by_name(answer.head.headers)) from None
        finally:
            await body.aclose()

    async def _enter(self, host: str, journey: Journey, patience: float | None) -> Turn:
        # In this order: who waits for a host's turn must not keep a place in the pool from requests to other hosts. No
        # circle comes of it, for a place is given back before the body is in the caller's hands, a turn is not.
        turn = await self.turns.take(host, journey)
        try:
            await self.pool.enter(journey, patience)
        except BaseException:
            turn.give_back()
            raise
        journey.has_place = True
        return turn

    def leave(self, journey: Journey) -> None:
        """Give the place in the pool back: the body is read, or a stream is in the caller's hands."""
        if journey.has_place:
            journey.has_place = False
            self.pool.leave()

    async def aclose(self) -> None:
        """Close the connections."""
        if self.inner is not None:
            await self.inner.aclose()
        await self.pool.aclose()


def check_address(url: httpx.URL) -> httpx.URL:
    """The URL, checked before anything is resolved; the guard at the socket sees the rest.

    Raises BlockedAddress, and httpx.UnsupportedProtocol for what is no address at all.
    """
    if not url.scheme:
        text = str(url).lstrip("/")
        if not text or "://" in text:
            raise BlockedAddress(f"{text!r} is no URL: it has to begin with http:// or https://")
        raise BlockedAddress(f"{text!r} has no scheme: write https://{text}")
    if url.scheme not in _SCHEMES:
        raise BlockedAddress(f"scheme {url.scheme!r} is refused: http and https are what this client speaks")
    host = url.host
    if not host:
        raise httpx.UnsupportedProtocol(f"{str(url)!r} names no host")
    if "%" in host:
        raise httpx.UnsupportedProtocol(
            f"host {host!r}: neither escapes nor the zone of an IPv6 address are read in a host"
        )
    if url.port is not None and not 0 < url.port <= HIGHEST_PORT:
        raise httpx.UnsupportedProtocol(f"port {url.port} is none: there are those from 1 to {HIGHEST_PORT}")
    if host.replace(".", "").isdigit() and not is_dotted_quad(host):
        raise BlockedAddress(f"host {host!r} is an address in disguise: four numbers from 0 to 255, please")
    return url
