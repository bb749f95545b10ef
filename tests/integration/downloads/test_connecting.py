"""Proxies, TLS, and hosts with several addresses."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import socket
import ssl
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path
from typing import TYPE_CHECKING

import httpx
import pytest
import pytest_asyncio

from async_commander.downloads import connecting
from async_commander.downloads.errors import BlockedAddress, is_transient

from .scripted import Peer, ScriptedServer, answer

if TYPE_CHECKING:
    from .conftest import OpenClient

pytestmark = pytest.mark.asyncio


async def talk(peer: Peer) -> None:
    while True:
        await peer.request()
        await peer.send(answer(b"ok"))


@pytest.fixture(scope="session")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A certificate for localhost that nobody else trusts, with its key."""
    folder = tmp_path_factory.mktemp("tls")
    path = folder / "both.pem"
    names = "subjectAltName=DNS:localhost,DNS:other.test,IP:127.0.0.1"
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=localhost"]
    try:
        subprocess.run(
            [*command, "-addext", names, "-keyout", str(folder / "key.pem"), "-out", str(path)],
            check=True,
            capture_output=True,
        )
    except FileNotFoundError:
        pytest.skip("openssl is not installed")
    path.write_text(path.read_text() + (folder / "key.pem").read_text())
    return path


@pytest_asyncio.fixture
async def secured(certificate: Path) -> AsyncIterator[ScriptedServer]:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    async with ScriptedServer(talk, ssl_context=context) as server:
        yield server


@pytest.fixture
def trusted(certificate: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Our client trusts that certificate."""
    context = ssl.create_default_context(cafile=str(certificate))
    monkeypatch.setattr(connecting, "trust", lambda: context)


@pytest.mark.usefixtures("trusted")
async def test_https_connections_are_used_again(secured: ScriptedServer, small_client: OpenClient) -> None:
    async with small_client() as client:
        for _ in range(5):
            assert (await client.get(secured.url())).text == "ok"
        assert (await client.fetch(secured.url())).text == "ok"
    assert secured.connections == 1


async def test_a_certificate_that_nobody_trusts_is_refused_for_good(
    secured: ScriptedServer, small_client: OpenClient
) -> None:
    async with small_client() as client:
        with pytest.raises(httpx.ConnectError, match="certificate") as caught:
            await client.get(secured.url())
    assert not is_transient(caught.value)
    assert not secured.requests


@pytest.mark.usefixtures("trusted")
async def test_a_certificate_of_another_host_is_refused(secured: ScriptedServer, small_client: OpenClient) -> None:
    async with small_client(internal_hosts=["127.0.0.0/8"]) as client:
        with pytest.raises(httpx.ConnectError):
            await client.get(secured.url(host="127.0.0.2"))
        named = {"sni_hostname": "other.test"}
        with pytest.raises(httpx.ConnectError):
            await client.get(secured.url(), extensions={"sni_hostname": "third.test"})
        assert (await client.get(secured.url(), extensions=named)).text == "ok"


class Proxy:
    """A CONNECT proxy that remembers what it was asked for."""

    def __init__(self, *, refuses: bool = False) -> None:
        self.heads: list[bytes] = []
        self._refuses = refuses

    async def talk(self, peer: Peer) -> None:
        head = await peer.reader.readuntil(b"\r\n\r\n")
        self.heads.append(head)
        if self._refuses:
            await peer.send(b"HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\n\r\n")
            return
        host, _, port = head.split(b" ")[1].rpartition(b":")
        reader, writer = await asyncio.open_connection("127.0.0.1" if host == b"named.test" else host, int(port))
        await peer.send(b"HTTP/1.1 200 Connection established\r\n\r\n")

        async def pump(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
            while data := await source.read(65536):
                sink.write(data)
                await sink.drain()
            sink.close()

        try:
            await asyncio.gather(pump(peer.reader, writer), pump(reader, peer.writer))
        finally:
            writer.close()
            with contextlib.suppress(ConnectionError):
                await writer.wait_closed()


@pytest.mark.usefixtures("trusted")
async def test_a_proxy_is_asked_by_connect_for_both_schemes(secured: ScriptedServer, small_client: OpenClient) -> None:
    proxy = Proxy()
    async with ScriptedServer(talk) as plain, ScriptedServer(proxy.talk) as gate:
        client = small_client()
        client.proxy = f"http://me:s%40cret@127.0.0.1:{gate.port}"
        async with client:
            for server in (plain, secured, plain, secured):
                assert (await client.get(server.url(host="127.0.0.1"))).text == "ok"
            assert (await client.get(plain.url(host="named.test"))).text == "ok"
        assert gate.connections == 3
    assert [head.split(b" ")[1] for head in proxy.heads] == [
        b"127.0.0.1:%d" % plain.port,
        b"127.0.0.1:%d" % secured.port,
        b"named.test:%d" % plain.port,
    ]
    user = base64.b64encode(b"me:s@cret")
    assert all(b"Proxy-Authorization: Basic " + user in head for head in proxy.heads)
    assert all(b"roxy" not in head for server in (plain, secured) for head, _ in server.requests)


async def test_a_proxy_that_refuses_is_named(small_client: OpenClient) -> None:
    async with ScriptedServer(Proxy(refuses=True).talk) as gate:
        client = small_client()
        client.proxy = f"http://127.0.0.1:{gate.port}"
        async with client:
            with pytest.raises(httpx.ProxyError, match="407"):
                await client.get("http://127.0.0.1:9/")
            with pytest.raises(BlockedAddress):
                await client.get("http://10.0.0.1/")
    assert gate.connections == 1


@pytest.mark.parametrize("url", ["socks5://a:1", "proxy.test:3128", "http://"])
async def test_a_proxy_that_cannot_be_one_is_refused_at_once(small_client: OpenClient, url: str) -> None:
    async with small_client() as client:
        with pytest.raises(ValueError, match="proxy"):
            client.proxy = url
        client.proxy = None
        assert client.proxy is None


# --- several addresses


async def test_a_dead_address_costs_a_head_start_only(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []
    connect = connecting._connected

    async def slow_first(address: connecting.Address) -> socket.socket:
        asked.append(address[1][0])
        if address[1][0] != "127.0.0.1":
            await asyncio.sleep(60)
        return await connect(address)

    monkeypatch.setattr(connecting, "_connected", slow_first)
    monkeypatch.setattr(connecting, "HEAD_START", 0.01)
    async with ScriptedServer(talk) as server:
        six, four = socket.AF_INET6, socket.AF_INET
        dead = [(six, ("100::1", 1, 0, 0)), (six, ("100::2", 1, 0, 0)), (four, ("127.0.0.1", server.port))]
        sock = await asyncio.wait_for(connecting.first_connected(dead), 5)
        assert sock.getpeername()[1] == server.port
        sock.close()
    assert asked == ["100::1", "127.0.0.1"]  # the families take turns


async def test_an_address_that_refuses_is_followed_by_the_next_at_once(small_client: OpenClient) -> None:
    async with ScriptedServer(talk) as server:
        refusing = [(socket.AF_INET, (f"127.0.0.{last}", server.port)) for last in (3, 4, 5)]
        async with asyncio.timeout(5):
            sock = await connecting.first_connected([*refusing, (socket.AF_INET, ("127.0.0.1", server.port))])
        sock.close()
        with pytest.raises(OSError, match="Connect"):
            await connecting.first_connected(refusing)


async def test_a_cancelled_connect_leaves_no_socket(monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[socket.socket] = []
    make = socket.socket

    def remembered(*arguments: int) -> socket.socket:
        opened.append(make(*arguments))
        return opened[-1]

    async def never(sock: socket.socket, where: object) -> None:
        await asyncio.sleep(60)

    monkeypatch.setattr(connecting.socket, "socket", remembered)
    monkeypatch.setattr(asyncio.get_running_loop(), "sock_connect", never)
    monkeypatch.setattr(connecting, "HEAD_START", 0.001)
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.1):
            await connecting.first_connected([(socket.AF_INET, ("127.0.0.1", port)) for port in (1, 2, 3)])
    assert len(opened) == 3
    assert all(sock.fileno() == -1 for sock in opened)


async def test_names_are_looked_up_once_in_ten_seconds(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    def look_up(host: str, port: int, **_: object) -> list[object]:
        asked.append(host)
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("192.0.2.1", port))]

    monkeypatch.setattr(connecting.socket, "getaddrinfo", look_up)
    resolver = connecting.ThreadResolver(2)
    for _ in range(3):
        assert await resolver.resolve("a.test", 80) == [(socket.AF_INET, ("192.0.2.1", 80))]
    assert asked == ["a.test"]
    monkeypatch.setattr(connecting, "monotonic", lambda: 10**9)
    await resolver.resolve("a.test", 80)
    assert asked == ["a.test"] * 2
    resolver.close()
