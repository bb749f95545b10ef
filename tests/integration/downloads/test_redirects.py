from __future__ import annotations

from typing import TYPE_CHECKING

import httpx
import pytest
import pytest_asyncio

from async_commander.downloads.errors import BlockedAddress, is_transient

from .hostile import HostileServer

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from .conftest import OpenClient

pytestmark = pytest.mark.asyncio


@pytest_asyncio.fixture
async def other() -> AsyncIterator[HostileServer]:
    """The same host on another port: another origin."""
    async with HostileServer() as server:
        yield server


def redirect(server: HostileServer, target: str, code: int = 302) -> str:
    return str(httpx.URL(server.url("/to"), params={"url": target, "code": code}))


async def test_redirects_are_followed(server: HostileServer, small_client: OpenClient) -> None:
    async with small_client() as client:
        response = await client.get(redirect(server, "/plain"))
    assert response.text == "hello"
    assert len(response.history) == 1
    assert "transfer-encoding" not in server.seen[-1].headers


@pytest.mark.parametrize(("code", "method", "body"), [(302, "GET", b""), (303, "GET", b""), (307, "POST", b"x=1")])
async def test_a_redirected_body_is_sent_as_it_was(
    server: HostileServer, small_client: OpenClient, code: int, method: str, body: bytes
) -> None:
    async with small_client() as client:
        await client.post(redirect(server, "/plain", code), content=b"x=1")
    assert (server.seen[-1].method, server.seen[-1].body) == (method, body)
    assert "transfer-encoding" not in server.seen[-1].headers


async def test_a_redirect_loop_ends_after_five(server: HostileServer, small_client: OpenClient) -> None:
    async with small_client() as client:
        with pytest.raises(httpx.TooManyRedirects) as caught:
            await client.get(server.url("/loop"))
    assert len(server.seen) == 6
    assert not is_transient(caught.value)


@pytest.mark.parametrize(
    "target",
    [
        "http://169.254.169.254/latest/meta-data/",
        "http://127.0.0.2/",
        "http://[::1]/",
        "http://2130706433/",
        "//10.0.0.1/",
        "http://0x7f.2/",
        "https://192.168.1.1/",
        "ftp://127.0.0.1/",
        "file:///etc/passwd",
        "javascript:alert(1)",
    ],
)
async def test_each_hop_is_checked(server: HostileServer, small_client: OpenClient, target: str) -> None:
    async with small_client() as client:
        with pytest.raises((BlockedAddress, httpx.InvalidURL)):
            await client.get(redirect(server, redirect(server, target)))
    assert [exchange.path for exchange in server.seen] == ["/to", "/to"]


@pytest.mark.parametrize(
    ("target", "there"),
    [
        ("http:/plain", "/plain"),
        ("http:///plain", "/plain"),
        ("/pla\tin", "/plain"),
        ("?url=%2Fplain&code=302", "/plain"),
        ("/plain#part", "/plain"),
        ("/plain?a b=ü", "/plain?a%20b=%C3%BC"),
    ],
)
async def test_an_odd_location_leads_where_browsers_go(
    server: HostileServer, small_client: OpenClient, target: str, there: str
) -> None:
    async with small_client() as client:
        await client.get(redirect(server, target))
    assert server.seen[-1].target == there


@pytest.mark.parametrize("target", ["http://[::1", "http://a:99999999/", "http://", "\x00", "http://\udcff/"])
async def test_a_broken_location_is_an_error_of_httpx(
    server: HostileServer, small_client: OpenClient, target: str
) -> None:
    server.seen.clear()
    async with small_client() as client:
        with pytest.raises((httpx.HTTPError, httpx.InvalidURL, UnicodeError)):
            (await client.get(redirect(server, target))).raise_for_status()


SECRETS = {
    "Authorization": "Bearer t",
    "X-Api-Key": "k",
    "Cookie": "session=s",
    "Proxy-Authorization": "p",
    "X-Shop": "1",
}


async def test_secrets_stay_at_their_origin(
    server: HostileServer, other: HostileServer, small_client: OpenClient
) -> None:
    async with small_client() as client:
        await client.get(redirect(server, other.url("/plain")), headers={**SECRETS, "Accept-Language": "de"})
    sent, forwarded = server.seen[0].headers, other.seen[0].headers
    assert {name.lower() for name in SECRETS} <= set(sent)
    assert not {name.lower() for name in SECRETS} & set(forwarded)
    assert forwarded["accept-language"] == "de"
    assert forwarded["host"] == f"127.0.0.1:{other.port}"


async def test_secrets_do_not_come_back_by_a_detour(
    server: HostileServer, other: HostileServer, small_client: OpenClient
) -> None:
    async with small_client() as client:
        await client.get(redirect(server, redirect(other, server.url("/plain"))), headers=SECRETS)
    assert "authorization" not in server.seen[-1].headers


async def test_secrets_follow_within_their_origin(server: HostileServer, small_client: OpenClient) -> None:
    async with small_client() as client:
        await client.get(redirect(server, "/plain"), headers={"Authorization": "Bearer t", "X-Api-Key": "k"})
    assert server.seen[-1].headers["authorization"] == "Bearer t"
    assert server.seen[-1].headers["x-api-key"] == "k"


async def test_credentials_in_a_url_are_sent_once_and_stay_at_their_origin(
    server: HostileServer, other: HostileServer, small_client: OpenClient
) -> None:
    async with small_client() as client:
        url = redirect(server, other.url("/plain")).replace("http://", "http://me:secret@")
        response = await client.get(url)
    assert server.seen[0].headers["authorization"].startswith("Basic ")
    assert "authorization" not in other.seen[0].headers
    assert "secret" not in str(response.history[0].url)


async def test_a_server_cannot_hand_out_credentials_for_others(
    server: HostileServer, other: HostileServer, small_client: OpenClient
) -> None:
    async with small_client() as client:
        await client.get(
            redirect(server, other.url("/plain").replace("//", "//root:toor@")), headers={"Authorization": "t"}
        )
    assert "authorization" not in other.seen[0].headers


async def test_cookies_put_in_by_hand_are_sent_with_every_request(
    server: HostileServer, small_client: OpenClient
) -> None:
    async with small_client() as client:
        client.cookies.set("mine", "1")
        await client.get(server.url("/plain"))
        client.cookies = None
        await client.get(server.url("/plain"))
    assert [exchange.headers.get("cookie") for exchange in server.seen] == ["mine=1", None]


async def test_the_cookie_of_a_redirect_joins_those_sent_by_hand(
    server: HostileServer, small_client: OpenClient
) -> None:
    async with small_client() as client:
        client.cookies.set("mine", "1", domain="127.0.0.1")
        assert (await client.get(server.url("/cookie-wall"))).text == "inside"
    assert server.seen[-1].headers["cookie"] == "mine=1; wall=passed"


async def test_the_body_limit_holds_for_all_hops_together(server: HostileServer, small_client: OpenClient) -> None:
    async with small_client(max_body=3) as client:
        with pytest.raises(httpx.TransportError, match="3"):
            await client.get(redirect(server, "/plain"))
