"""What one request can say for itself: its bounds, its time-outs, its target."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from async_commander.downloads.errors import BodyTooLarge, DownloadTimeout

from .scripted import Peer, ScriptedServer, talk

if TYPE_CHECKING:
    from .conftest import OpenClient

pytestmark = pytest.mark.asyncio

WRONG = [
    ("deadline", [None, "60", 0, -1, math.nan, math.inf, True, [], 0j]),
    ("max_body", [None, "2 MiB", 0, -1, math.nan, math.inf, False, {}]),
    ("internal_redirects", [None, "no", 0, 1]),
    ("timeout", ["5", {"read": "5"}, {"connect": -1}, {"pool": []}, {"write": math.nan}, {"read": True}]),
    ("target", [None, "/path", 7]),
    ("sni_hostname", [b"other.test", 7, []]),
]


@pytest.mark.parametrize(("name", "value"), [(name, value) for name, values in WRONG for value in values])
async def test_what_is_no_bound_is_refused_by_its_name(small_client: OpenClient, name: str, value: object) -> None:
    given = {name: value}
    word = "timeout" if name == "timeout" else f"{name}="
    async with ScriptedServer(talk) as server, small_client() as client:
        for ask in (client.get, client.fetch):
            with pytest.raises((ValueError, TypeError), match=word):
                await ask(server.url(), extensions=given)
        with pytest.raises((ValueError, TypeError), match=word):
            async with client.stream("GET", server.url(), extensions=given):
                pass
        assert (await client.get(server.url())).text == "ok"
    assert len(server.requests) == 1


@pytest.mark.parametrize("name", ["threads", "max_body", "deadline"])
@pytest.mark.parametrize("value", [None, "5", 0, math.nan])
async def test_a_client_needs_bounds_that_are_numbers(small_client: OpenClient, name: str, value: object) -> None:
    with pytest.raises(ValueError, match=f"{name}="):
        small_client(**{name: value})


@pytest.mark.parametrize("value", ["5", -1, math.nan])
async def test_a_time_out_of_the_client_is_a_number_too(small_client: OpenClient, value: Any) -> None:
    async with ScriptedServer(talk) as server, small_client() as client:
        client.timeout = value
        for ask in (client.get, client.fetch):
            with pytest.raises(ValueError, match=r"timeout, (pool|connect)="):
                await ask(server.url())
        client.timeout = math.inf
        assert (await client.get(server.url())).text == "ok"
        client.timeout = None
        assert (await client.fetch(server.url())).text == "ok"


async def test_the_quick_way_obeys_each_extension(small_client: OpenClient) -> None:
    async def silent_on_slow(peer: Peer) -> None:
        head, _ = await peer.request()
        if b"/slow" in head:
            await peer.hang()
        await peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")

    async with ScriptedServer(silent_on_slow) as server, small_client() as client:
        await client.fetch(server.url("/a"), extensions={"target": b"/b?c"})
        assert server.requests[-1][0].startswith(b"GET /b?c ")
        with pytest.raises(httpx.ReadTimeout):
            await client.fetch(server.url("/slow"), extensions={"timeout": {"read": 0.05}})
        with pytest.raises(DownloadTimeout):
            await client.fetch(server.url("/slow"), extensions={"deadline": 0.05})
        with pytest.raises(BodyTooLarge):
            await client.fetch(server.url(), extensions={"max_body": 1})
