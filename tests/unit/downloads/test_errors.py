from __future__ import annotations

import ssl

import httpx
import pytest

from async_commander.downloads.errors import (
    BadBody,
    BlockedAddress,
    BodyTooLarge,
    BodyTooSlow,
    BodyTruncated,
    DownloadTimeout,
    HeadersTooLarge,
    is_transient,
)
from async_commander.exceptions import ItemError


def status_error(code: int) -> httpx.HTTPStatusError:
    request = httpx.Request("GET", "http://example.org")
    return httpx.HTTPStatusError("", request=request, response=httpx.Response(code, request=request))


@pytest.mark.parametrize("code", [408, 425, 429, 500, 502, 503, 504, 599])
def test_statuses_that_pass(code: int) -> None:
    assert is_transient(status_error(code))


@pytest.mark.parametrize("code", [301, 400, 401, 403, 404, 410, 418, 451])
def test_statuses_that_stay(code: int) -> None:
    assert not is_transient(status_error(code))


@pytest.mark.parametrize(
    "error",
    [
        DownloadTimeout("x"),
        BodyTooSlow("x"),
        TimeoutError(),
        ConnectionResetError(),
        httpx.ReadError("x"),
        httpx.ConnectError("x"),
        httpx.ReadTimeout("x"),
        httpx.RemoteProtocolError("x"),
    ],
)
def test_errors_that_pass(error: Exception) -> None:
    assert is_transient(error)


@pytest.mark.parametrize(
    "error",
    [
        BlockedAddress("x"),
        BodyTooLarge("x"),
        HeadersTooLarge("x"),
        BadBody("x"),
        BodyTruncated("x"),
        httpx.UnsupportedProtocol("x"),
        httpx.LocalProtocolError("x"),
        httpx.TooManyRedirects("x"),
        httpx.InvalidURL("x"),
        ValueError(),
        ItemError("x"),
    ],
)
def test_errors_that_stay(error: Exception) -> None:
    assert not is_transient(error)


def test_a_certificate_that_is_not_trusted_stays_so() -> None:
    error = httpx.ConnectError("x")
    error.__cause__ = ssl.SSLCertVerificationError("self-signed")
    assert not is_transient(error)


def test_time_outs_are_of_both_families() -> None:
    assert issubclass(DownloadTimeout, TimeoutError)
    assert issubclass(DownloadTimeout, httpx.TimeoutException)
    assert DownloadTimeout.reason == "timeout"
