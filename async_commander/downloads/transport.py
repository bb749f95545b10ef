"""One hop of a request: what is checked before it is sent, and what its response is wrapped in."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

import httpx

from .body import BoundedBody
from .charsets import usable_content_type
from .errors import BlockedAddress, BodyTooLarge, HeadersTooLarge, translated
from .guard import is_dotted_quad
from .inflate import ACCEPTED, Inflater, encoding_of
from .journey import Journey, current_journey

if TYPE_CHECKING:
    from collections.abc import Callable

    from .pacing import Turns

MAX_HEADERS = 256
MAX_HEADER_BYTES = 64 * 1024

_ASK = (b"Accept-Encoding", ACCEPTED.encode())
_SCHEMES = frozenset({"http", "https"})
_BODILESS = frozenset({204, 304})


class BoundedTransport(httpx.AsyncBaseTransport):
    """Sends through `inner` what may be sent, and gives back responses that cannot harm.

    Responses hold decoded bodies: where a body is decoded, `Content-Encoding` and `Content-Length`, which are about
    the wire, are taken off. The bounds are those of the journey under way, so it serves a `Client` only.
    """

    def __init__(self, inner: httpx.AsyncBaseTransport, turns: Turns) -> None:
        self._inner = inner
        self._turns = turns

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        journey = current_journey.get()
        if journey is None:
            raise RuntimeError("a BoundedTransport serves the client that open_client() makes, and no other")
        _check_address(request.url)
        journey.enter(request)
        _settle(request)
        give_back = await self._turns.take(journey)
        try:
            response = await self._send(request, journey)
        except BaseException:
            give_back()
            raise
        return await self._receive(request, response, journey, give_back)

    async def _send(self, request: httpx.Request, journey: Journey) -> httpx.Response:
        try:
            return await self._inner.handle_async_request(request)
        except Exception as error:
            if journey.refused is not None:
                raise _blocked(journey.host, journey.refused) from error
            raise translated(error)  # noqa: B904  it carries its own cause

    async def _receive(
        self, request: httpx.Request, response: httpx.Response, journey: Journey, give_back: Callable[[], None]
    ) -> httpx.Response:
        response.request = request
        response.stream = body = BoundedBody(cast("httpx.AsyncByteStream", response.stream), journey, give_back)
        try:
            self._turns.listen(journey, response)
            body.inflater = _judged(response, journey)
        except BaseException:
            await body.aclose()
            raise
        return response

    async def aclose(self) -> None:
        await self._inner.aclose()


def _check_address(url: httpx.URL) -> None:
    """What can be told before anything is resolved; the guard at the socket sees the rest."""
    if url.scheme not in _SCHEMES:
        raise BlockedAddress(f"scheme {url.scheme!r} is refused: http and https are what this client speaks")
    host = url.host
    if host.replace(".", "").isdigit() and not is_dotted_quad(host):
        raise BlockedAddress(f"host {host!r} is an address in disguise: four numbers from 0 to 255, please")


def _settle(request: httpx.Request) -> None:
    """Ask for what can be decoded within bounds, and send bodies that are in memory with their length."""
    if _ASK not in request.headers.raw:
        request.headers["Accept-Encoding"] = ACCEPTED
    if isinstance(request.stream, httpx.ByteStream):
        request.read()  # a redirected request has only the stream, which would be sent in chunks, even an empty one
    if request.url.userinfo:
        request.url = request.url.copy_with(userinfo=b"")  # it is in the Authorization header, if it is to be sent


def _blocked(host: str, address: str) -> BlockedAddress:
    what = f"{host} is {address}, which" if host != address else f"{host}"
    return BlockedAddress(
        f"{what} is not a public address; if it is one of yours, "
        f'add {host!r} or its network to ASYNC_COMMANDER["INTERNAL_HOSTS"]'
    )


def _judged(response: httpx.Response, journey: Journey) -> Inflater | None:
    """Check the head of the response, make its headers those of a decoded body; what decodes it, if anything does."""
    raw = response.headers.raw
    _check_size(raw)
    found = {name.lower() for name, _ in raw}  # a look into httpx's headers costs more than this list
    if b"set-cookie" in found:
        journey.keep_cookies(response)
    if b"content-type" in found:
        _check_charset(response.headers)
    if response.request.method == "HEAD" or response.status_code in _BODILESS:
        return None
    if b"content-length" in found:
        _check_length(response.headers["content-length"], journey)
    return _inflater(response.headers) if b"content-encoding" in found else None


def _check_size(raw: list[tuple[bytes, bytes]]) -> None:
    size = sum([len(name) + len(value) for name, value in raw])
    if len(raw) > MAX_HEADERS or size > MAX_HEADER_BYTES:
        raise HeadersTooLarge(
            f"{len(raw)} headers of {size} bytes: {MAX_HEADERS} headers and {MAX_HEADER_BYTES} bytes are allowed"
        )


def _check_charset(headers: httpx.Headers) -> None:
    content_type = headers["content-type"]
    usable = usable_content_type(content_type)
    if usable != content_type:
        headers["content-type"] = usable


def _check_length(content_length: str, journey: Journey) -> None:
    if content_length.isdigit() and int(content_length[:20]) > journey.max_body:
        raise BodyTooLarge(f"the body has {content_length[:20]} bytes, {journey.max_body} are allowed by max_body")


def _inflater(headers: httpx.Headers) -> Inflater | None:
    encoding = encoding_of(headers["content-encoding"])
    if encoding is None:
        return None
    del headers["content-encoding"]
    headers.pop("content-length", None)
    return Inflater(encoding)
