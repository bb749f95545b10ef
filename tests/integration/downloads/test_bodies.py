from __future__ import annotations

import time
from typing import TYPE_CHECKING

import httpx
import pytest

from async_commander.downloads.errors import (
    BadBody,
    BodyTooLarge,
    BodyTruncated,
    DownloadTimeout,
    HeadersTooLarge,
    is_transient,
)
from async_commander.exceptions import ItemError

if TYPE_CHECKING:
    from .conftest import OpenClient
    from .hostile import HostileServer

pytestmark = pytest.mark.asyncio

TEXT = b"hello " * 50_000

REFUSED = [
    ("/endless", BodyTooLarge, "too_large"),
    ("/endless-chunked", BodyTooLarge, "too_large"),
    ("/declared", BodyTooLarge, "too_large"),
    ("/bomb", BodyTooLarge, "too_large"),
    ("/endless-header", HeadersTooLarge, "too_large"),
    ("/endless-headers", HeadersTooLarge, "too_large"),
    ("/many-headers?n=400", HeadersTooLarge, "too_large"),
    ("/many-headers?n=20&size=4000", HeadersTooLarge, "too_large"),
    ("/endless-status", HeadersTooLarge, "too_large"),
    ("/endless-hints", HeadersTooLarge, "too_large"),
    ("/endless-redirect", BodyTooLarge, "too_large"),
    ("/bomb?layers=2&name=gzip,gzip", BadBody, "bad_body"),
    ("/bomb?name=br", BadBody, "bad_body"),
    ("/endless-trailers", HeadersTooLarge, "too_large"),
    ("/late-trailers", HeadersTooLarge, "too_large"),
    ("/many-headers?n=250&size=8000", HeadersTooLarge, "too_large"),
    ("/bad-chunk", BadBody, "bad_body"),
    ("/bad-chunk?late=1", BadBody, "bad_body"),
    ("/encoded?how=cut", BodyTruncated, "bad_body"),
    ("/encoded?how=cut_zlib&name=deflate", BodyTruncated, "bad_body"),
    ("/encoded?how=one_byte", BodyTruncated, "bad_body"),
    ("/encoded?how=garbage", BadBody, "bad_body"),
    ("/encoded?how=none", BadBody, "bad_body"),
    ("/encoded?how=none&name=deflate", BadBody, "bad_body"),
]

PASSING = [
    ("/drip", DownloadTimeout),
    ("/drip-head", DownloadTimeout),
    ("/silent", DownloadTimeout),
    ("/silent-body", DownloadTimeout),
    ("/unterminated", httpx.RemoteProtocolError),
    ("/short", httpx.RemoteProtocolError),
    ("/half-closed", httpx.RemoteProtocolError),
    ("/encoded-until-close?how=cut", httpx.RemoteProtocolError),
    ("/reset", httpx.ReadError),
    ("/reset-body", httpx.ReadError),
    ("/hang-up", httpx.RemoteProtocolError),
    ("/no-http", httpx.RemoteProtocolError),
]


@pytest.mark.parametrize(("path", "kind", "reason"), REFUSED)
async def test_a_harmful_body_is_given_up_with_its_reason(
    server: HostileServer, small_client: OpenClient, path: str, kind: type[ItemError], reason: str
) -> None:
    async with small_client() as client:
        with pytest.raises(kind) as caught:
            await client.get(server.url(path))
    assert caught.value.reason == reason
    assert isinstance(caught.value, ItemError)
    assert isinstance(caught.value, httpx.RequestError)
    assert caught.value.request.url.host == "127.0.0.1"
    assert not is_transient(caught.value)


@pytest.mark.parametrize(("path", "kind"), PASSING)
async def test_what_may_pass_is_worth_another_attempt(
    server: HostileServer, small_client: OpenClient, path: str, kind: type[Exception]
) -> None:
    async with small_client(deadline=0.3 if kind is DownloadTimeout else 10.0) as client:
        started = time.monotonic()
        with pytest.raises(kind) as caught:
            await client.get(server.url(path))
    assert time.monotonic() - started < 15  # not the 60 s that are the default
    assert is_transient(caught.value)


@pytest.mark.parametrize(
    ("how", "name"),
    [
        ("gzip", "gzip"),
        ("gzip", "x-gzip"),
        ("gzip", "identity, GZIP"),
        ("members", "gzip"),
        ("padded", "gzip"),
        ("zlib", "deflate"),
        ("raw", "deflate"),
        ("none", "identity"),
    ],
)
async def test_honest_encodings_are_decoded(
    server: HostileServer, small_client: OpenClient, how: str, name: str
) -> None:
    async with small_client() as client:
        response = await client.get(server.url("/encoded"), params={"how": how, "name": name})
    assert response.content == TEXT
    assert response.headers["content-encoding"] == name


async def test_an_encoding_is_taken_off_once(server: HostileServer, small_client: OpenClient) -> None:
    async with small_client() as client:
        response = await client.get(server.url("/encoded?how=double"))
    assert response.content.startswith(b"\x1f\x8b")


async def test_the_headers_of_the_caller_win(server: HostileServer, small_client: OpenClient) -> None:
    async with small_client() as client:
        await client.get(server.url("/plain"), headers={"accept-ENCODING": "identity", "Range": "bytes=0-"})
        await client.get(server.url("/plain"))
    assert [exchange.headers["accept-encoding"] for exchange in server.seen] == ["identity", "gzip, deflate"]


@pytest.mark.parametrize(("method", "query"), [("HEAD", ""), ("GET", "?code=204"), ("GET", "?code=304")])
async def test_answers_without_a_body_may_say_what_they_like_about_it(
    server: HostileServer, small_client: OpenClient, method: str, query: str
) -> None:
    async with small_client() as client:
        response = await client.request(method, server.url(f"/empty{query}"))
        assert response.content == b""
        assert response.headers["content-encoding"] == "gzip"
        assert (await client.get(server.url("/plain"))).text == "hello"
    assert server.connections == 1


async def test_a_body_that_ends_with_its_connection_is_whole(server: HostileServer, small_client: OpenClient) -> None:
    async with small_client() as client:
        assert (await client.get(server.url("/until-close"))).text == "hello"


async def test_a_body_of_exactly_the_limit_is_allowed(server: HostileServer, small_client: OpenClient) -> None:
    async with small_client(max_body=50_000) as client:
        assert len((await client.get(server.url("/bytes?n=50000"))).content) == 50_000
        with pytest.raises(BodyTooLarge, match="50001 bytes"):
            await client.get(server.url("/bytes?n=50001"))


async def test_one_request_can_have_its_own_bounds(server: HostileServer, small_client: OpenClient) -> None:
    async with small_client() as client:
        with pytest.raises(DownloadTimeout, match=r"0\.1 s"):
            await client.get(server.url("/silent"), extensions={"deadline": 0.1})
        with pytest.raises(BodyTooLarge):
            await client.get(server.url("/bytes?n=1000"), extensions={"max_body": 999})


@pytest.mark.parametrize(
    "name",
    [
        "idna",
        "punycode",
        "zlib",
        "hex",
        "rot13",
        "unicode_escape",
        "undefined",
        "nonsense",
        "utf-7",
        "a\0b",
        "x" * 500,
        "'",
        "",
    ],
)
async def test_text_of_an_unusable_charset_is_read_as_utf8(
    server: HostileServer, small_client: OpenClient, name: str
) -> None:
    async with small_client() as client:
        response = await client.get(server.url("/charset"), params={"name": name.replace("\0", "\x7f")})
    assert response.text == "grüße"


async def test_text_of_a_usable_charset_is_read_by_it(server: HostileServer, small_client: OpenClient) -> None:
    async with small_client() as client:
        assert (await client.get(server.url("/charset?name=latin-1"))).text == "grÃ¼Ã\x9fe"


async def test_switching_protocols_is_an_answer_without_a_body(server: HostileServer, small_client: OpenClient) -> None:
    async with small_client(deadline=0.5) as client:
        try:
            response = await client.get(server.url("/switching"))
        except DownloadTimeout:
            return
    assert response.status_code == 101


async def test_connections_are_used_again_after_whole_bodies_and_only_then(
    server: HostileServer, small_client: OpenClient
) -> None:
    async with small_client() as client:
        for _ in range(3):
            await client.get(server.url("/plain"))
            await client.get(server.url("/encoded?how=gzip"))
        assert server.connections == 1
        with pytest.raises(BodyTooLarge):
            await client.get(server.url("/endless-chunked"))
        await client.get(server.url("/plain"))
    assert server.connections == 2
