from __future__ import annotations

import socket
from itertools import cycle
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from async_commander.downloads.client import open_client
from async_commander.downloads.errors import BlockedAddress, is_transient

if TYPE_CHECKING:
    from collections.abc import Iterator

    from async_commander.downloads.connecting import Address

    from .conftest import OpenClient
    from .hostile import HostileServer

pytestmark = pytest.mark.asyncio

SPELLINGS = """
    127.0.0.1 127.0.0.2 127.255.255.254 127.1 127.0.1 2130706433 017700000001 0177.0.0.1 0177.0.0.01 0x7f000001 0x7f.1
    0x7f.0.0.1 0x7F.0x0.0x0.0x1 127.0.0.01 127.000.000.001 0000127.0.0.1 0.0.0.0 0 0.0.0.1 00 localhost LOCALHOST
    localhost. 127.0.0.1. [::1] [0:0:0:0:0:0:0:1] [0000:0000:0000:0000:0000:0000:0000:0001] [::] [::ffff:127.0.0.1]
    [::ffff:7f00:1] [0:0:0:0:0:ffff:127.0.0.1] [::FFFF:127.0.0.1] [::127.0.0.1] [::ffff:0:127.0.0.1]
    [64:ff9b::127.0.0.1] [64:ff9b::7f00:1] [64:ff9b:1::127.0.0.1] [2002:7f00:1::] [2002:7f00:0001::1]
    [2001:0:7f00:1::] [fe80::1] [fec0::1] [fc00::1] [fd00:ec2::254] [ff02::1] [2001:db8::1] [3fff::1] [100::1] [5f00::1]
    [::ffff:169.254.169.254] [64:ff9b::169.254.169.254] [::ffff:10.0.0.1] 10.0.0.1 10.255.255.255 172.16.0.1
    172.31.255.255 192.168.0.1 192.168.1.1 169.254.169.254 169.254.170.2 2852039166 0xa9fea9fe 0xa9.0xfe.0xa9.0xfe
    100.100.100.200 168.63.129.16 192.0.0.192 198.18.0.1 192.0.2.1 203.0.113.1 224.0.0.1 240.0.0.1 255.255.255.255
    192.88.99.1
""".split()  # noqa: SIM905  rows are easier to read than a list of eighty lines

FULL_WIDTH = ["127。0。0。1", "①②⑦.⓪.⓪.①", "１２７.０.０.１", "ⓛⓞⓒⓐⓛⓗⓞⓢⓣ"]


@pytest.mark.parametrize("spelling", SPELLINGS + FULL_WIDTH)
async def test_no_spelling_of_an_inner_address_is_connected_to(server: HostileServer, spelling: str) -> None:
    async with open_client(threads=2, max_body=1000, deadline=3.0) as client:
        with pytest.raises((BlockedAddress, httpx.ConnectError, httpx.InvalidURL)):
            await client.get(f"http://{spelling}:{server.port}/plain")
    assert server.connections == 0


@pytest.mark.parametrize("port", [0, 65_536, 10**20])
async def test_a_port_that_cannot_be_is_an_error_of_the_request(port: int) -> None:
    async with open_client(threads=2, max_body=1000, internal_hosts=["127.0.0.1"]) as client:
        with pytest.raises(httpx.UnsupportedProtocol, match=f"port {port} is none"):
            await client.get(f"http://127.0.0.1:{port}/")


async def test_the_error_says_what_was_found_and_what_to_do(server: HostileServer) -> None:
    async with open_client(threads=2, max_body=1000) as client:
        with pytest.raises(BlockedAddress, match=r"localhost is 127\.0\.0\.1.*INTERNAL_HOSTS") as caught:
            await client.get(server.url("/plain", host="localhost"))
    assert caught.value.reason == "blocked_address"


@pytest.mark.parametrize("allowed", ["127.0.0.1", "127.0.0.0/8", "localhost", "LocalHost."])
async def test_a_project_may_reach_what_it_names(server: HostileServer, allowed: str) -> None:
    async with open_client(threads=2, max_body=1000, internal_hosts=[allowed]) as client:
        assert (await client.get(server.url("/plain", host="localhost"))).text == "hello"


async def test_a_name_that_is_allowed_does_not_open_its_address_to_others(server: HostileServer) -> None:
    async with open_client(threads=2, max_body=1000, internal_hosts=["localhost"]) as client:
        assert (await client.get(server.url("/plain", host="localhost"))).text == "hello"
        with pytest.raises(BlockedAddress):
            await client.get(server.url("/plain", host="127.0.0.1"))


class Rebinding:
    """Answers with the next list of addresses each time it is asked."""

    def __init__(self, *answers: list[str]) -> None:
        self._answers: Iterator[list[str]] = cycle(answers)

    async def resolve(self, host: str, port: int) -> list[Address]:
        return [(socket.AF_INET, (address, port)) for address in next(self._answers)]

    def close(self) -> None:
        pass


async def test_a_name_that_turns_inward_the_second_time_is_not_followed(server: HostileServer) -> None:
    # 127.0.0.2 stands for the public address: it is allowed, and nobody listens there.
    options = {"internal_hosts": ["127.0.0.2"], "resolver": Rebinding(["127.0.0.2"], ["127.0.0.1"])}
    errors: list[type[BaseException]] = []
    async with open_client(threads=5, max_body=1000, **options) as client:
        for number in range(1000):
            try:
                await client.get(server.url("/plain", host=f"name{number}.test"))
            except httpx.TransportError as error:
                errors.append(type(error))
    assert server.connections == 0
    assert errors == [httpx.ConnectError, BlockedAddress] * 500


async def test_an_inner_address_among_outer_ones_is_not_tried(server: HostileServer) -> None:
    resolver = Rebinding(["127.0.0.2", "127.0.0.1", "10.0.0.1"])
    async with open_client(threads=5, max_body=1000, internal_hosts=["127.0.0.2"], resolver=resolver) as client:
        with pytest.raises(BlockedAddress):
            await client.get(server.url("/plain", host="mixed.test"))
    assert server.connections == 0


@pytest.mark.parametrize(
    "url", ["ftp://example.org/", "file:///etc/passwd", "gopher://127.0.0.1/", "data:,x", "ws://127.0.0.1/"]
)
async def test_other_schemes_are_refused(url: str) -> None:
    async with open_client(threads=2, max_body=1000) as client:
        with pytest.raises((BlockedAddress, httpx.UnsupportedProtocol)):
            await client.get(url)


async def test_proxies_of_the_environment_are_not_used(
    server: HostileServer, small_client: OpenClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    async with small_client() as client:
        assert (await client.get(server.url("/plain"))).text == "hello"


@pytest.mark.parametrize("url", ["example.org/a", "127.0.0.1:8000/a"])
@pytest.mark.parametrize("cookies", [{}, {"consent": "yes"}], ids=["no cookies", "cookies"])
@pytest.mark.parametrize("way", ["get", "fetch"])
async def test_a_url_without_a_scheme_is_refused_with_how_to_write_it(url: str, cookies: Any, way: str) -> None:
    async with open_client(threads=2, max_body=1000) as client:
        client.cookies = cookies
        with pytest.raises(BlockedAddress, match=f"'{url}' has no scheme: write https://{url}"):
            await getattr(client, way)(url)


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("", "'' is no URL"),
        (" http://example.org/", "' http://example.org/' is no URL|'%20http://example.org/' is no URL"),
        ("http:/x", "names no host"),
        ("http://", "names no host"),
        ("data:,x", "scheme 'data'"),
        ("about:blank", "scheme 'about'"),
        ("http://[fe80::1%25eth0]/", "zone of an IPv6"),
        ("http://%31%32%37.0.0.1/", "escapes"),
        ("http://a..b.test/", "not a name"),
        (f"http://{'a' * 64}.test/", "not a name"),
    ],
)
@pytest.mark.parametrize("way", ["get", "fetch"])
async def test_what_no_server_can_have_is_refused_for_good(url: str, said: str, way: str) -> None:
    async with open_client(threads=2, max_body=1000) as client:
        with pytest.raises((BlockedAddress, httpx.UnsupportedProtocol), match=said) as caught:
            await getattr(client, way)(url)
    assert not is_transient(caught.value)
