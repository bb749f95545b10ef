"""What can go wrong with a download, as a tree, and which of it is worth another attempt.

* httpx.TimeoutException
  + DownloadTimeout       the whole request took longer than its deadline; also a TimeoutError
    + BodyTooSlow         ... or would: the body trickles
* httpx.RequestError
  + BlockedAddress        an address, or a scheme, that this client does not go to
  + TooLarge              more than was allowed; dead as `too_large`
    + BodyTooLarge        ... of body, after decoding, or of expansion
    + HeadersTooLarge     ... of headers
  + BadBody               a body that cannot be what the server meant; dead as `bad_body`
    + BodyTruncated       ... because its end is missing

All but the time-outs are also `ItemError`: the item is given up at once, under the `reason` of the class.
"""

from __future__ import annotations

import ssl
from http import HTTPStatus
from typing import TYPE_CHECKING, ClassVar

import aiohttp
import httpx
from aiohttp.http_exceptions import HttpProcessingError, LineTooLong, PayloadEncodingError

from async_commander.exceptions import ItemError

if TYPE_CHECKING:
    from collections.abc import Iterator


class DownloadTimeout(httpx.TimeoutException, TimeoutError):
    """A request with its redirects and its body took longer than its deadline."""

    reason: ClassVar[str] = "timeout"


class BodyTooSlow(DownloadTimeout):
    """A body arrives so slowly that waiting for its end holds a worker for nothing."""


class BlockedAddress(httpx.TransportError, ItemError):
    """The address is not public, or the scheme is not http or https; nothing was sent to it."""

    reason: ClassVar[str] = "blocked_address"


class TooLarge(httpx.TransportError, ItemError):
    """The server sent more than was allowed."""

    reason: ClassVar[str] = "too_large"


class BodyTooLarge(TooLarge):
    """The body is larger than `max_body`, or expands more than any honest one does."""


class HeadersTooLarge(TooLarge):
    """The response has too many headers, or too long ones."""


class BadBody(httpx.DecodingError, ItemError):
    """The body does not follow its own framing or encoding."""

    reason: ClassVar[str] = "bad_body"


class BodyTruncated(BadBody):
    """The body ends before its declared length or before the end of its compressed stream."""


_NEVER_BETTER = (ItemError, httpx.UnsupportedProtocol, httpx.LocalProtocolError)
_PASSING_STATUS = frozenset({HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.TOO_EARLY, HTTPStatus.TOO_MANY_REQUESTS})


def is_transient(error: BaseException) -> bool:
    """Whether the same request may well succeed later.

    True for time-outs, connection and read errors, and for the statuses 408, 425, 429 and 5xx of an
    `httpx.HTTPStatusError`. False for all that this module gives up at once, and for a certificate that is not trusted.
    """
    if isinstance(error, httpx.HTTPStatusError):
        status = error.response.status_code
        return status in _PASSING_STATUS or status >= HTTPStatus.INTERNAL_SERVER_ERROR
    if isinstance(error, _NEVER_BETTER) or any(isinstance(link, ssl.CertificateError) for link in _chain(error)):
        return False
    return isinstance(error, httpx.TransportError | TimeoutError | ConnectionError)


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        yield error
        error = error.__cause__


def translated(error: Exception) -> Exception:
    """The error that tells what happened on the wire, in httpx's words and ours; `error` itself where it already does.

    The aiohttp transport reports refused and lost connections as connect time-outs and lets protocol errors through
    untranslated, so the aiohttp error behind is what is judged.
    """
    wire = next((link for link in _chain(error) if isinstance(link, aiohttp.ClientError)), None)
    if wire is None:
        return error
    told = _told(wire)
    told.__cause__ = wire
    return told


def _told(wire: aiohttp.ClientError) -> Exception:
    if isinstance(wire, aiohttp.ClientPayloadError):
        return _broken_body(wire)
    if isinstance(wire, aiohttp.ClientResponseError):
        return _broken_head(wire)
    kind = next(kind for known, kind in _KINDS if isinstance(wire, known))
    return kind(str(wire) or type(wire).__name__)


_KINDS: tuple[tuple[type[Exception], type[httpx.RequestError]], ...] = (
    (aiohttp.ConnectionTimeoutError, httpx.ConnectTimeout),
    (aiohttp.ServerTimeoutError, httpx.ReadTimeout),
    (aiohttp.ClientConnectorError, httpx.ConnectError),
    (aiohttp.ServerDisconnectedError, httpx.RemoteProtocolError),
    (aiohttp.ClientConnectionError, httpx.ReadError),
    (aiohttp.NonHttpUrlClientError, httpx.UnsupportedProtocol),
    (aiohttp.InvalidURL, httpx.UnsupportedProtocol),
    (aiohttp.ClientError, httpx.RemoteProtocolError),
)


_TOO_MANY = "Too many headers"
"""What aiohttp says."""


def _broken_body(wire: aiohttp.ClientPayloadError) -> Exception:
    cause = wire.__cause__
    if isinstance(cause, ConnectionError) or "ConnectionResetError" in str(wire):
        return httpx.ReadError(f"the connection was lost in the middle of the body: {wire}")
    if isinstance(cause, HttpProcessingError) and not isinstance(cause, PayloadEncodingError):
        if _TOO_MANY in cause.message:
            return HeadersTooLarge(f"the headers after the body are too many: {cause.message}")
        return BadBody(f"the chunked body is broken: {' '.join(cause.message.split())}")
    return BodyTruncated(f"the connection was closed before the end of the body: {wire}")


def _broken_head(wire: aiohttp.ClientResponseError) -> Exception:
    told = " ".join(wire.message.split())[:200]
    if any(isinstance(link, LineTooLong) for link in _chain(wire)) or _TOO_MANY in told:
        return HeadersTooLarge(f"the headers are too long or too many: {told}")
    if "chunk" in told:  # a short body is parsed together with its head
        return BadBody(f"the chunked body is broken: {told}")
    return httpx.RemoteProtocolError(f"this is not HTTP: {told}")
