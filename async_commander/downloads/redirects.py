"""Where a redirect leads, and what of the request may go there."""

from __future__ import annotations

from http import HTTPStatus

import httpx

from .protocol import PORTS

# What a server on another origin may know. Everything else may be a secret, whatever its name.
_HARMLESS = frozenset(
    b"accept accept-charset accept-encoding accept-language cache-control connection content-encoding content-language "
    b"content-length content-type date dnt expect if-modified-since if-none-match if-unmodified-since "
    b"pragma range te transfer-encoding upgrade-insecure-requests user-agent".split()
)
_OF_A_BODY = frozenset({b"content-length", b"transfer-encoding"})
_OF_A_HOP = frozenset({b"host", b"cookie"})


def next_request(request: httpx.Request, response: httpx.Response, cookies: httpx.Cookies) -> httpx.Request:
    """The request that a redirect asks for, as browsers make it.

    A POST becomes a GET, but not after 307 and 308. Where the origin (scheme, host or port) changes, headers are left
    behind that may be secrets. Cookies are those of the jar. httpx.RemoteProtocolError for a Location that is no URL.
    """
    url, status, method = _target(request, response), response.status_code, request.method
    sees_other = status in (HTTPStatus.SEE_OTHER, HTTPStatus.FOUND) and method != "HEAD"
    if sees_other or (status == HTTPStatus.MOVED_PERMANENTLY and method == "POST"):
        method = "GET"
    same_origin, to_get = _origin(url) == _origin(request.url), method != request.method
    headers = [
        (name, value)
        for name, value in request.headers.raw
        if (lower := name.lower()) not in _OF_A_HOP
        and (same_origin or lower in _HARMLESS)
        and not (to_get and lower in _OF_A_BODY)
    ]
    host = request.headers["host"] if same_origin and "host" in request.headers else url.netloc.decode("ascii")
    return httpx.Request(
        method,
        url,
        headers=[(b"Host", host.encode("ascii")), *headers],
        cookies=cookies or None,
        stream=None if to_get else request.stream,
        extensions={
            name: value
            for name, value in request.extensions.items()
            if name != "target" and (same_origin or name != "sni_hostname")
        },
    )


def _target(request: httpx.Request, response: httpx.Response) -> httpx.URL:
    here = request.url
    try:
        url = httpx.URL(response.headers["location"].replace("\t", ""))  # as browsers do
        if url.scheme in PORTS and not url.host:
            url = url.copy_with(host=here.host, port=here.port if url.scheme == here.scheme else None)
        if url.is_relative_url:
            url = here.join(url)
        if url.userinfo:
            url = url.copy_with(userinfo=b"")  # nobody hands out credentials for others
        if here.fragment and not url.fragment:
            url = url.copy_with(fragment=here.fragment)
    except (httpx.InvalidURL, UnicodeError) as error:
        raise httpx.RemoteProtocolError(f"the redirect leads to no URL: {error}", request=request) from error
    return url


def _origin(url: httpx.URL) -> tuple[str, bytes, int | None]:
    return url.scheme, url.raw_host, url.port or PORTS.get(url.scheme)
