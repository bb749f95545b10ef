"""respx and pytest-httpx see the requests of `self.http`, thanks to the pytest plugin."""

from __future__ import annotations

from typing import Any

import httpx
import pytest
import respx

import async_commander as ac
from async_commander.testing import InMemoryRecorder, run_command
from tests.integration.downloads.scripted import Peer, ScriptedServer, answer


class Pages(ac.IterateDownloadCommand[str, str]):
    """Fetch the pages of a site that nobody else can reach."""

    keep_values = True
    retry = ac.Retry(attempts=2, initial=0.001, maximum=0.002)

    async def iterate(self):
        return ["https://site.test/a", "https://site.test/b"]

    async def download(self, item: str) -> str:
        slow = (await self.http.get(item, headers={"X-Mine": "1"})).raise_for_status().text
        quick = (await self.fetch(item)).raise_for_status().text
        assert slow == quick
        return slow

    async def parse_and_save(self, item: str, payload: str) -> str:
        return payload


def fetched(**options: Any) -> list[str]:
    return sorted(run_command(Pages(), recorder=InMemoryRecorder(), **options).values)


def test_pytest_httpx_answers_the_requests_of_a_run(httpx_mock: Any) -> None:
    httpx_mock.add_response(url="https://site.test/a", text="A", is_reusable=True)
    httpx_mock.add_response(url="https://site.test/b", text="B", is_reusable=True)
    assert fetched() == ["A", "B"]
    assert len(httpx_mock.get_requests()) == 4
    assert httpx_mock.get_requests()[0].headers["x-mine"] == "1"


@respx.mock
def test_respx_answers_them_as_a_decorator() -> None:
    route = respx.get(url__startswith="https://site.test/").mock(return_value=httpx.Response(200, text="R"))
    assert fetched() == ["R", "R"]
    assert route.call_count == 4


@pytest.mark.parametrize("using", ["httpcore", "httpx"])
def test_respx_answers_them_in_a_block(using: str) -> None:
    with respx.mock(using=using) as router:
        router.get("https://site.test/a").mock(return_value=httpx.Response(302, headers={"Location": "/c"}))
        router.get("https://site.test/b").mock(side_effect=[httpx.ReadError("x"), *[httpx.Response(200, text="B")] * 2])
        router.get("https://site.test/c").respond(text="C", headers={"Set-Cookie": "x=1"})
        assert fetched() == ["B", "C"]


@pytest.mark.asyncio
async def test_without_an_interceptor_the_transport_is_the_products_own() -> None:
    from async_commander.downloads.client import open_client

    async def talk(peer: Peer) -> None:
        await peer.request()
        await peer.send(answer(b"ok"))

    async with ScriptedServer(talk) as server:
        async with open_client(threads=1, max_body=100, internal_hosts=["127.0.0.1"]) as client:
            await client.get(server.url(), headers={"X-CamelCase": "1"})
    assert b"X-CamelCase" in server.requests[0][0]
