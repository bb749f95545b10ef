"""Answers that are odd, and honest: read as plain httpx reads them, or better."""

from __future__ import annotations

import gzip
import zlib
from typing import TYPE_CHECKING

import httpx
import pytest

from .scripted import Peer, ScriptedServer, answer

if TYPE_CHECKING:
    from .conftest import OpenClient

pytestmark = pytest.mark.asyncio

GZIP, ZLIB = gzip.compress(b"hello"), zlib.compress(b"hello")
CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"


def plain(*headers: bytes, body: bytes = b"hello", status: bytes = b"200 OK") -> bytes:
    return answer(body, *headers, status=status)


def encoded(name: bytes, body: bytes) -> bytes:
    return plain(b"Content-Encoding: " + name, body=body)


ALIKE = {
    "a folded header": plain(b"X-A: 1\r\n 2\r\n\t3"),
    "a header without a value": plain(b"X-Empty:"),
    "a header in UTF-8": plain("X-A: ü€".encode()),
    "a header with a control character": plain(b"X-A: a\x01b"),
    "a header without a colon": plain(b"X-A"),
    "a header without a name": plain(b": 1"),
    "a blank before the colon": plain(b"X-A : 1"),
    "NUL in a header": plain(b"X-A: a\x00b"),
    "a chunk with quoted extensions": CHUNKED + b'5;a=b;c="d;e"\r\nhello\r\n0\r\n\r\n',
    "a chunk size with zeros": CHUNKED + b"0005\r\nhello\r\n0\r\n\r\n",
    "a chunk size in capitals": CHUNKED + b"A\r\n0123456789\r\n0\r\n\r\n",
    "a chunk size with blanks": CHUNKED + b"5  \r\nhello\r\n0\r\n\r\n",
    "a chunk size with a sign": CHUNKED + b"+5\r\nhello\r\n0\r\n\r\n",
    "a chunk size in Python's way": CHUNKED + b"0x5\r\nhello\r\n0\r\n\r\n",
    "many tiny chunks": CHUNKED + b"1\r\na\r\n" * 3_000 + b"0\r\n\r\n",
    "trailers": CHUNKED + b"5\r\nhello\r\n0\r\nX-A: 1\r\nX-B: 2\r\n\r\n",
    "chunks in capitals": CHUNKED.replace(b"chunked", b"Chunked") + b"5\r\nhello\r\n0\r\n\r\n",
    "a length with a sign": plain().replace(b": 5", b": +5"),
    "a length with a zero": plain().replace(b": 5", b": 05"),
    "a length with blanks": plain().replace(b": 5", b":   5  "),
    "a length twice in one": plain().replace(b": 5", b": 5, 5"),
    "two lengths": plain().replace(b": 5", b": 5, 6"),
    "no number as a length": plain().replace(b": 5", b": 5.0"),
    "a length in other digits": plain().replace(b": 5", ": ٥".encode()),
    "an endless length": plain().replace(b": 5", b": " + b"9" * 30),
    "interim answers": b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 199 X\r\n\r\n" + plain(),
    "204 with a length": b"HTTP/1.1 204 No Content\r\nContent-Length: 5\r\n\r\n",
    "204 in gzip": b"HTTP/1.1 204 No Content\r\nContent-Encoding: gzip\r\n\r\n",
    "304 with a length": b"HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\n",
    "304 in chunks": b"HTTP/1.1 304 Not Modified\r\nTransfer-Encoding: chunked\r\n\r\n",
    "304 with a location": b"HTTP/1.1 304 Not Modified\r\nLocation: /x\r\n\r\n",
    "201 with a location": plain(b"Location: /x", status=b"201 Created"),
    "300 with a location": plain(b"Location: /x", status=b"300 Multiple Choices"),
    "302 without a location": plain(status=b"302 Found"),
    "status 600": plain(status=b"600 X"),
    "status 999": plain(status=b"999 X"),
    "status 99": plain(status=b"99 X"),
    "no reason": plain(status=b"200"),
    "HTTP/1.0 that stays": plain(b"Connection: keep-alive").replace(b"1.1", b"1.0", 1),
    "a close among others": plain(b"Connection: TE, Close"),
    "gzip": encoded(b"gzip", GZIP),
    "GZIP": encoded(b"GZIP", GZIP),
    "gzip with padding": encoded(b"gzip", GZIP + b"\0" * 10),
    "gzip with junk": encoded(b"gzip", GZIP + b"junk"),
    "gzip with a wrong sum": encoded(b"gzip", GZIP[:-8] + b"\0" * 8),
    "gzip that is none": encoded(b"gzip", b"hello"),
    "gzip of nothing": encoded(b"gzip", b""),
    "gzip and identity": encoded(b"gzip, identity", GZIP),
    "gzip and a comma": encoded(b"gzip,", GZIP),
    "deflate with its wrapper": encoded(b"deflate", ZLIB),
    "deflate without it": encoded(b"deflate", ZLIB[2:-4]),
    "an unknown encoding": encoded(b"foo", b"hello"),
    "an empty encoding": encoded(b"", b"hello"),
}


async def outcome(client: httpx.AsyncClient, url: str) -> tuple[int, bytes] | None:
    try:
        response = await client.get(url)
    except httpx.HTTPError:
        return None
    return response.status_code, response.content


@pytest.mark.parametrize("name", ALIKE)
async def test_an_odd_answer_is_read_as_httpx_reads_it(small_client: OpenClient, name: str) -> None:
    async def talk(peer: Peer) -> None:
        head, _ = await peer.request()
        await peer.send(answer(b"elsewhere") if head.startswith(b"GET /x") else ALIKE[name])

    async with ScriptedServer(talk) as server, small_client() as ours:
        async with httpx.AsyncClient(trust_env=False, follow_redirects=True) as theirs:
            assert await outcome(ours, server.url()) == await outcome(theirs, server.url())


BETTER = {
    "x-gzip": (encoded(b"x-gzip", GZIP), b"hello"),
    "gzip of two members": (encoded(b"gzip", GZIP + GZIP), b"hellohello"),
    "an answer before the body": (plain(b"Connection: close", status=b"413 Too Large"), b"hello"),
}


@pytest.mark.parametrize("name", BETTER)
async def test_an_odd_answer_is_read_where_httpx_does_not(small_client: OpenClient, name: str) -> None:
    said, content = BETTER[name]

    async def talk(peer: Peer) -> None:
        await peer.reader.readuntil(b"\r\n\r\n")
        await peer.send(said)
        await peer.hang()  # who closes with a body unread resets the connection

    async with ScriptedServer(talk) as server, small_client() as client:
        assert (await client.post(server.url(), content=b"x" * 1_000_000)).content == content


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_redirected_methods_are_those_of_httpx(small_client: OpenClient, status: int) -> None:
    async def talk(peer: Peer) -> None:
        while True:
            head, _ = await peer.request()
            there = head.split(b" ")[1] == b"/there"
            await peer.send(answer(b"") if there else answer(b"", b"Location: /there", status=b"%d X" % status))

    async with ScriptedServer(talk) as server, small_client() as ours:
        async with httpx.AsyncClient(trust_env=False, follow_redirects=True) as theirs:
            for method in ("GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS"):
                arrived = []
                for client in (ours, theirs):
                    body = b"" if method in {"GET", "HEAD"} else b"abc"
                    await client.request(method, server.url("/from"), content=body)
                    head, received = server.requests[-1]
                    arrived.append((head.split(b"\r\n")[0], received, b"ontent-length" in head.lower()))
                assert arrived[0] == arrived[1]
