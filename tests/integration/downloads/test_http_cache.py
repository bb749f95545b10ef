"""HTTP's own cache before `self.http`: what it spares, and what it must not change."""

from __future__ import annotations

import asyncio
import gzip
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import TYPE_CHECKING

import httpx
import pytest
import pytest_asyncio

from async_commander.downloads.client import Client
from async_commander.downloads.errors import BlockedAddress, BodyTooLarge, DownloadTimeout
from async_commander.downloads.scope import ItemScope, item_scope
from async_commander.engine.limits import Retry
from async_commander.engine.pace import Pace
from async_commander.exceptions import AsyncCommanderError

from .scripted import Peer, ScriptedServer, answer

if TYPE_CHECKING:
    from .conftest import OpenClient

hishel = pytest.importorskip("hishel")
pytestmark = pytest.mark.asyncio

FRESH = b"Cache-Control: max-age=600"
BODY = b"a page " * 1000


ANSWERS = {
    "/tagged": answer(BODY, b'ETag: "1"', b"Cache-Control: no-cache"),
    "/zipped": answer(gzip.compress(BODY), FRESH, b"Content-Encoding: gzip"),
    "/bomb": answer(gzip.compress(b"\0" * 10_000_000), FRESH, b"Content-Encoding: gzip"),
    "/cookie": answer(BODY, FRESH, b"Set-Cookie: session=1"),
    "/gone": answer(b"", FRESH, b"Location: /fresh", status=b"301 Moved Permanently"),
    "/no-store": answer(BODY, b"Cache-Control: no-store"),
    "/fresh": answer(BODY, FRESH),
}
UNCHANGED = b'HTTP/1.1 304 Not Modified\r\nETag: "1"\r\nSet-Cookie: a=304\r\n\r\n'
BEGUN = b"HTTP/1.1 200 OK\r\nCache-Control: max-age=600\r\nContent-Length: 100\r\n\r\n"


async def pages(peer: Peer) -> None:
    """Answers by path; `/cut` and `/slow` never to the end."""
    while True:
        head, _ = await peer.request()
        path = head.split(b" ")[1].decode()
        if path in ANSWERS:
            known = b'if-none-match: "1"' in head.lower()
            await peer.send(UNCHANGED if known else ANSWERS[path])
            continue
        await peer.send(BEGUN + b"half")
        if path == "/slow":
            await peer.hang()
        return


@pytest_asyncio.fixture
async def server() -> AsyncIterator[ScriptedServer]:
    async with ScriptedServer(pages) as server:
        yield server


@pytest_asyncio.fixture
async def client(small_client: OpenClient, tmp_path: Path) -> AsyncIterator[Client]:
    client = small_client()
    client.cache = hishel.AsyncSqliteStorage(database_path=tmp_path / "http.db")
    async with client:
        yield client


def asked(server: ScriptedServer) -> int:
    return len(server.requests)


@pytest.mark.parametrize("path", ["/fresh", "/zipped"])
async def test_what_is_fresh_is_not_asked_for_again_and_is_the_same(
    server: ScriptedServer, client: Client, path: str
) -> None:
    first, second = await client.get(server.url(path)), await client.get(server.url(path))
    assert first.content == second.content == BODY
    assert (first.status_code, second.status_code) == (200, 200)
    assert asked(server) == 1
    assert second.extensions["caching"]["from_cache"]
    assert (await client.fetch(server.url(path))).content == BODY
    assert asked(server) == 1


async def test_another_run_finds_it_too(server: ScriptedServer, small_client: OpenClient, tmp_path: Path) -> None:
    for _ in range(2):
        client = small_client()
        client.cache = hishel.AsyncSqliteStorage(database_path=tmp_path / "http.db")
        async with client:
            assert (await client.get(server.url("/fresh"))).content == BODY
    assert asked(server) == 1


async def test_what_is_stale_is_asked_about(server: ScriptedServer, client: Client) -> None:
    for _ in range(3):
        response = await client.get(server.url("/tagged"))
        assert (response.status_code, response.content) == (200, BODY)
    assert asked(server) == 3
    assert response.extensions["caching"]["revalidated"]


async def test_what_may_not_be_kept_is_not(server: ScriptedServer, client: Client) -> None:
    for _ in range(2):
        assert (await client.get(server.url("/no-store"))).content == BODY
    assert asked(server) == 2


async def test_a_streamed_answer_is_kept_when_it_was_read_to_its_end(server: ScriptedServer, client: Client) -> None:
    for read in (False, True, True):
        async with client.stream("GET", server.url("/fresh")) as response:
            if read:
                assert b"".join([piece async for piece in response.aiter_bytes()]) == BODY
    assert asked(server) == 2


async def test_requests_with_credentials_or_cookies_pass_it_by(server: ScriptedServer, client: Client) -> None:
    await client.get(server.url("/fresh"))
    for words in ({"headers": {"Authorization": "Bearer x"}}, {"headers": {"Cookie": "a=1"}}, {"auth": ("a", "b")}):
        for _ in range(2):
            await client.get(server.url("/fresh"), **words)  # type: ignore[arg-type]
    assert asked(server) == 7


async def test_an_answer_from_the_cache_sets_nobodys_cookies(server: ScriptedServer, client: Client) -> None:
    seen = []
    for path in ("/cookie", "/cookie", "/tagged", "/tagged"):
        token = item_scope.set(ItemScope())
        try:
            await client.get(server.url(path))
            seen.append(dict(client.cookies))
        finally:
            item_scope.reset(token)
    assert seen == [{"session": "1"}, {}, {}, {}]


async def test_each_hop_of_a_redirect_is_asked_for(server: ScriptedServer, client: Client) -> None:
    for _ in range(2):
        response = await client.get(server.url("/gone"))
        assert (response.content, len(response.history)) == (BODY, 1)
    assert [head.split(b" ")[1] for head, _ in server.requests] == [b"/gone", b"/fresh", b"/gone"]


async def test_the_bounds_hold(server: ScriptedServer, small_client: OpenClient, tmp_path: Path) -> None:
    client = small_client(deadline=0.5, max_body=100_000)
    client.cache = hishel.AsyncSqliteStorage(database_path=tmp_path / "http.db")
    async with client:
        for _ in range(2):
            with pytest.raises(BodyTooLarge):
                await client.get(server.url("/bomb"))
            with pytest.raises(DownloadTimeout):
                await client.get(server.url("/slow"))
            with pytest.raises(httpx.RequestError):
                await client.get(server.url("/cut"))
        assert asked(server) == 6


async def test_the_guard_holds(client: Client, tmp_path: Path) -> None:
    for url in ("http://10.0.0.1/", "ftp://example.org/", "http://2130706433/"):
        with pytest.raises(BlockedAddress):
            await client.get(url)


async def test_a_hit_takes_no_turn_and_every_turn_comes_back(
    server: ScriptedServer, small_client: OpenClient, tmp_path: Path
) -> None:
    """One request at once: a turn or a place that is kept would hold up the next one."""
    client = small_client(threads=1, pace=Pace(1, None, Retry()))
    client.cache = hishel.AsyncSqliteStorage(database_path=tmp_path / "http.db")
    async with client:
        for path in ("/fresh", "/tagged", "/no-store", "/gone", "/cookie") * 3:
            assert (await client.get(server.url(path))).content == BODY
        async with client.stream("GET", server.url("/no-store")):
            assert (await asyncio.wait_for(client.get(server.url("/fresh")), 2)).content == BODY


async def test_many_at_once_get_what_they_asked_for(server: ScriptedServer, client: Client) -> None:
    paths = ["/fresh", "/zipped", "/tagged", "/no-store", "/cookie"] * 40
    answers = await asyncio.gather(*(client.get(server.url(path)) for path in paths))
    assert {response.content for response in answers} == {BODY}


async def test_without_hishel_it_says_what_to_install(
    small_client: OpenClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "async_commander.downloads.http_cache", None)
    client = small_client()
    with pytest.raises(AsyncCommanderError, match=r"pip install 'async-commander\[hishel\]'"):
        client.cache = object()  # type: ignore[assignment]
    await client.aclose()
