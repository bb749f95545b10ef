"""An answer belongs to its request, whatever a server does with its connections."""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
from typing import TYPE_CHECKING

import httpx
import pytest

from async_commander.downloads.errors import is_transient

from .scripted import Peer, ScriptedServer, answer

if TYPE_CHECKING:
    from .conftest import OpenClient

pytestmark = pytest.mark.asyncio

REQUESTS = int(os.environ.get("ANSWERS", "3000"))
ATTEMPTS = 8


class Moody:
    """A server that does each time something else: right, twice, late, short, with a body where none belongs."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)

    async def talk(self, peer: Peer) -> None:
        while True:
            head, body = await peer.request()
            method, path = head.split(b" ")[:2]
            content = path + b"|" + body
            await getattr(self, self.random.choice(MOODS))(peer, method, content)

    async def right(self, peer: Peer, method: bytes, content: bytes) -> None:
        await peer.send(answer(b"" if method == b"HEAD" else content))

    async def chunked(self, peer: Peer, method: bytes, content: bytes) -> None:
        if method == b"HEAD":
            return await self.right(peer, method, content)
        head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
        return await peer.send(head, *(b"1\r\n%c\r\n" % byte for byte in content), b"0\r\n\r\n")

    async def twice(self, peer: Peer, method: bytes, content: bytes) -> None:
        await peer.send(answer(content) + answer(b"STRAY"))

    async def twice_in_a_row(self, peer: Peer, method: bytes, content: bytes) -> None:
        whole = answer(content)
        peer.writer.write(whole)
        peer.writer.write(answer(b"STRAY"))

    async def late(self, peer: Peer, method: bytes, content: bytes) -> None:
        await asyncio.sleep(0.002)
        await self.right(peer, method, content)

    async def short(self, peer: Peer, method: bytes, content: bytes) -> None:
        await peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n" + content)
        raise ConnectionError

    async def surplus(self, peer: Peer, method: bytes, content: bytes) -> None:
        await peer.send(answer(content) + b"STRAY")

    async def no_content(self, peer: Peer, method: bytes, content: bytes) -> None:
        await peer.send(b"HTTP/1.1 204 No Content\r\n\r\nSTRAY")

    async def not_modified(self, peer: Peer, method: bytes, content: bytes) -> None:
        await peer.send(b"HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\nSTRAY")

    async def closing(self, peer: Peer, method: bytes, content: bytes) -> None:
        await self.right(peer, method, content)
        raise ConnectionError

    async def hinting(self, peer: Peer, method: bytes, content: bytes) -> None:
        await peer.send(b"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n")
        await self.right(peer, method, content)

    async def until_close(self, peer: Peer, method: bytes, content: bytes) -> None:
        await peer.send(b"HTTP/1.1 200 OK\r\n\r\n" + (b"" if method == b"HEAD" else content))
        raise ConnectionError


MOODS = [name for name in vars(Moody) if name != "talk" and not name.startswith("_")]


@pytest.mark.parametrize("seed", [int(os.environ.get("SEED", "0")) or random.randrange(10**6)])
async def test_no_answer_is_taken_for_another_and_none_is_lost(small_client: OpenClient, seed: int) -> None:
    choose = random.Random(seed)
    wrong: list[str] = []
    dead: list[Exception] = []

    async def fetch(number: int) -> None:
        method = choose.choice(["GET", "GET", "GET", "HEAD", "PUT"])
        url, content = server.url(f"/{number}"), b"%d" % number if method == "PUT" else b""
        response = await client.request(method, url, content=content)
        empty = response.status_code in (204, 304) or method == "HEAD"
        expected = b"" if empty else f"/{number}|".encode() + content
        if response.content != expected:
            wrong.append(f"{method} {url}: {response.content!r}")

    async def carry(number: int) -> None:
        for attempt in range(ATTEMPTS):
            try:
                await fetch(number)
                break
            except httpx.TransportError as error:
                if attempt == ATTEMPTS - 1 or not is_transient(error):
                    dead.append(error)

    async def work() -> None:
        for number in numbers:
            await carry(number)

    numbers = iter(range(REQUESTS))
    async with ScriptedServer(Moody(seed).talk) as server, small_client(deadline=30.0) as client:
        await asyncio.gather(*(work() for _ in range(10)))
    assert wrong == [], f"seed {seed}"
    assert dead == [], f"seed {seed}"


MOODS_WITHOUT_STRAYS = ("right", "chunked", "late", "short", "closing", "hinting", "until_close")


async def test_connections_are_still_used_again_where_a_server_is_only_hasty(
    small_client: OpenClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(f"{__name__}.MOODS", MOODS_WITHOUT_STRAYS)
    async with ScriptedServer(Moody(1).talk) as server, small_client() as client:
        answered = 0
        for number in range(300):
            with contextlib.suppress(httpx.TransportError):
                assert (await client.get(server.url(f"/{number}"))).text == f"/{number}|"
                answered += 1
    assert answered > 200
    assert server.connections < 250
