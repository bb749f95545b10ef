"""A public page does not send a client inside."""

from __future__ import annotations

from collections.abc import AsyncIterator
from ipaddress import ip_address
from typing import TYPE_CHECKING

import httpx
import pytest
import pytest_asyncio

from async_commander.downloads import guard
from async_commander.downloads.errors import BlockedAddress

from .scripted import Peer, ScriptedServer, answer

if TYPE_CHECKING:
    from .conftest import OpenClient

pytestmark = pytest.mark.asyncio

MEANT = {"internal_redirects": True}


async def talk(peer: Peer) -> None:
    while True:
        head, _ = await peer.request()
        target = httpx.URL(head.split(b" ")[1].decode()).params.get("to")
        moved = f"Location: {target}".encode()
        await peer.send(answer(b"", moved, status=b"307 Moved") if target else answer(b"inside"))


@pytest_asyncio.fixture
async def public(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[ScriptedServer]:
    """A server whose address, 127.0.0.2, is public here."""
    is_public = guard.is_public
    outside = ip_address("127.0.0.2")
    monkeypatch.setattr(guard, "is_public", lambda address: address == outside or is_public(address))
    async with ScriptedServer(talk, host="127.0.0.2") as server:
        yield server


@pytest_asyncio.fixture
async def internal() -> AsyncIterator[ScriptedServer]:
    async with ScriptedServer(talk) as server:
        yield server


def by(server: ScriptedServer, target: str, host: str) -> str:
    return str(httpx.URL(server.url("/", host=host), params={"to": target}))


async def test_a_redirect_from_a_public_page_inside_is_refused(
    public: ScriptedServer, internal: ScriptedServer, small_client: OpenClient
) -> None:
    target = by(public, internal.url("/secret"), "127.0.0.2")
    async with small_client() as client:
        for get in (client.get, client.fetch):
            with pytest.raises(BlockedAddress, match=r"redirect from a public address leads to 127\.0\.0\.1") as caught:
                await get(target)
            assert "internal_redirects" in str(caught.value)
        async with client.stream("GET", public.url("/", host="127.0.0.2")):
            pass
    assert not internal.requests


async def test_an_idle_connection_inside_is_no_way_around(
    public: ScriptedServer, internal: ScriptedServer, small_client: OpenClient
) -> None:
    async with small_client() as client:
        await client.get(internal.url())
        with pytest.raises(BlockedAddress):
            await client.get(by(public, internal.url("/secret"), "127.0.0.2"))
        await client.get(internal.url())
    assert [head.split(b" ")[1] for head, _ in internal.requests] == [b"/", b"/"]
    assert internal.connections == 1


async def test_a_detour_is_no_way_around(
    public: ScriptedServer, internal: ScriptedServer, small_client: OpenClient
) -> None:
    """Inside, outside, and inside again."""
    back = by(public, internal.url("/secret"), "127.0.0.2")
    async with small_client() as client:
        with pytest.raises(BlockedAddress):
            await client.get(by(internal, back, "127.0.0.1"))
    assert len(internal.requests) == 1


async def test_a_name_that_is_named_is_no_way_around(
    public: ScriptedServer, internal: ScriptedServer, small_client: OpenClient
) -> None:
    async with small_client(internal_hosts=["localhost"]) as client:
        with pytest.raises(BlockedAddress, match="leads to localhost"):
            await client.get(by(public, internal.url("/secret", host="localhost"), "127.0.0.2"))
    assert not internal.requests


async def test_a_request_may_say_that_it_is_meant(
    public: ScriptedServer, internal: ScriptedServer, small_client: OpenClient
) -> None:
    target = by(public, internal.url("/meant"), "127.0.0.2")
    async with small_client() as client:
        assert (await client.get(target, extensions=MEANT)).text == "inside"
        assert (await client.fetch(target, extensions=MEANT)).text == "inside"


async def test_inner_pages_lead_where_they_like(
    public: ScriptedServer, internal: ScriptedServer, small_client: OpenClient
) -> None:
    async with small_client() as client:
        assert (await client.get(by(internal, internal.url("/b"), "127.0.0.1"))).text == "inside"
        assert (await client.get(by(internal, public.url("/b", host="127.0.0.2"), "127.0.0.1"))).text == "inside"


async def test_each_step_of_an_authentication_begins_anew(
    public: ScriptedServer, internal: ScriptedServer, small_client: OpenClient
) -> None:
    """Only a redirect leads inside; who writes an Auth for tokens of an inner host means it."""

    class Tokens(httpx.Auth):
        def auth_flow(self, request: httpx.Request):  # type: ignore[no-untyped-def]
            yield request
            yield httpx.Request("GET", internal.url("/token"))
            yield request

    async with small_client() as client:
        assert (await client.get(by(public, "/x", "127.0.0.2"), auth=Tokens())).text == "inside"
    assert len(internal.requests) == 1
