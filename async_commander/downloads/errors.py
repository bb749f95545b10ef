"""What can go wrong with a download, as a tree, and which of it is worth another attempt.

* httpx.TimeoutException
  + DownloadTimeout       the whole request took longer than its deadline; also a TimeoutError
    + BodyTooSlow         ... or would: the body trickles
* httpx.RequestError
  + BlockedAddress        an address, or a scheme, that this client does not go to
  + ProxyRefuses          the proxy does not connect us, and will not; also an httpx.ProxyError
  + TooLarge              more than was allowed; dead as `too_large`
    + BodyTooLarge        ... of body, after decoding, or of expansion
    + HeadersTooLarge     ... of headers
  + BadBody               a body that cannot be what the server meant; dead as `bad_body`
    + BodyTruncated       ... because the compressed stream in it has no end

All but the time-outs are also `ItemError`: the item is given up at once, under the `reason` of the class. What a
network does to an answer (a connection that is cut in the middle of a body, a reset) is an error of httpx,
`RemoteProtocolError` or `ReadError`, and worth another attempt.
"""

from __future__ import annotations

import re
import ssl
from http import HTTPStatus
from typing import ClassVar

import httpx

from async_commander.exceptions import ItemError
from async_commander.text.tracebacks import causes


class DownloadTimeout(httpx.TimeoutException, TimeoutError):
    """A request with its redirects and its body took longer than its deadline."""

    reason: ClassVar[str] = "timeout"


class BodyTooSlow(DownloadTimeout):
    """A body arrives so slowly that waiting for its end holds a worker for nothing."""


class BlockedAddress(httpx.TransportError, ItemError):
    """The address is not public, or a redirect leads inside, or the scheme is not http or https.

    Nothing was sent to it.
    """

    reason: ClassVar[str] = "blocked_address"


class ProxyRefuses(httpx.ProxyError, ItemError):
    """The proxy does not let this client, or nobody, connect to the server."""

    reason: ClassVar[str] = "proxy"


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
    """The body is there as it was announced, and ends before the end of its compressed stream."""


_NEVER_BETTER = (ItemError, httpx.UnsupportedProtocol, httpx.LocalProtocolError)
_PASSING_STATUS = frozenset({HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.TOO_EARLY, HTTPStatus.TOO_MANY_REQUESTS})


def is_transient(error: BaseException) -> bool:
    """Whether the same request may well succeed later.

    True for time-outs, connection and read errors, and for the statuses 408, 425, 429 and 5xx of an
    `httpx.HTTPStatusError`. False for all that this module gives up at once, and for a certificate that is not trusted,
    by us or by the server.
    """
    if isinstance(error, httpx.HTTPStatusError):
        status = error.response.status_code
        return status in _PASSING_STATUS or status >= HTTPStatus.INTERNAL_SERVER_ERROR
    if isinstance(error, _NEVER_BETTER):
        return False
    for link in causes(error):  # a server that does not like our certificate says so by an alert of TLS
        if isinstance(link, ssl.CertificateError):
            return False
        if isinstance(link, ssl.SSLError) and re.search("CERTIFICATE|UNKNOWN_CA", link.reason or ""):
            return False
    return isinstance(error, httpx.TransportError | TimeoutError | ConnectionError)
