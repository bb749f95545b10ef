"""Proxies: asked by CONNECT, in the open or by TLS."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import ssl
from typing import TYPE_CHECKING

import httpx
import pytest

from async_commander.downloads.errors import BlockedAddress, is_transient

from .scripted import Peer, ScriptedServer, answer, talk

if TYPE_CHECKING:
    from .conftest import Certificates, OpenClient

pytestmark = pytest.mark.asyncio


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


async def test_a_proxy_is_asked_by_connect_for_both_schemes(
    secured: ScriptedServer, certificates: Certificates, small_client: OpenClient
) -> None:
    proxy = Proxy()
    async with ScriptedServer(talk) as plain, ScriptedServer(proxy.talk) as gate:
        client = small_client()
        client.proxy = f"http://me:s%40cret@127.0.0.1:{gate.port}"
        client.verify = certificates.authority
        async with client:
            for server in (plain, secured, plain, secured):
                assert (await client.get(server.url())).text == "ok"
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


async def through_tls(certificates: Certificates, small_client: OpenClient) -> None:
    proxy, large = Proxy(), b"x" * 3_000_000

    async def download(peer: Peer) -> None:
        while True:
            _, body = await peer.request()
            await peer.send(answer(body or large))

    async with (
        ScriptedServer(download) as plain,
        ScriptedServer(download, ssl_context=certificates.serving()) as secured,
        ScriptedServer(proxy.talk, ssl_context=certificates.serving()) as gate,
    ):
        trusted = ssl.create_default_context(cafile=certificates.authority)
        client = small_client(max_body=2**22, deadline=30)
        client.proxy = httpx.Proxy(f"https://localhost:{gate.port}", ssl_context=trusted, headers={"X-Ticket": "7"})
        client.verify = certificates.authority
        async with client:
            for server in (plain, secured, plain, secured):
                assert (await client.get(server.url())).content == large
                assert (await client.post(server.url(), content=large)).content == large
                assert (await client.fetch(server.url())).content == large
    assert gate.connections == plain.connections + secured.connections <= 4  # a first POST has one of its own
    assert all(b"X-Ticket: 7\r\n" in head for head in proxy.heads)


async def test_a_proxy_that_is_reached_by_tls_carries_both_schemes(
    certificates: Certificates, small_client: OpenClient
) -> None:
    await through_tls(certificates, small_client)


@pytest.mark.filterwarnings("ignore::pytest.PytestWarning")  # this one brings its own loop
def test_a_proxy_that_is_reached_by_tls_works_on_uvloop(certificates: Certificates, small_client: OpenClient) -> None:
    uvloop = pytest.importorskip("uvloop")
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(through_tls(certificates, small_client))


async def test_a_proxy_is_trusted_by_itself_and_sees_no_certificate_of_ours(
    certificates: Certificates, small_client: OpenClient
) -> None:
    asking = certificates.serving()
    asking.load_verify_locations(certificates.authority)
    asking.verify_mode = ssl.CERT_OPTIONAL
    shown: list[object] = []

    async def refuse(peer: Peer) -> None:
        await peer.reader.readuntil(b"\r\n\r\n")
        shown.append(peer.writer.get_extra_info("peercert"))
        await peer.send(answer(b"", status=b"502 Bad Gateway"))

    async with ScriptedServer(refuse, ssl_context=asking) as gate:
        client = small_client()
        client.verify, client.cert = certificates.authority, certificates.client
        client.proxy = url = f"https://localhost:{gate.port}"
        async with client:
            with pytest.raises(
                httpx.ConnectError, match=r"127\.0\.0\.1, by the proxy localhost: self-signed certificate"
            ):
                await client.get("https://127.0.0.1:9/")
            client.proxy = httpx.Proxy(url, ssl_context=ssl.create_default_context(cafile=certificates.authority))
            with pytest.raises(httpx.ProxyError, match="502") as caught:
                await client.get("https://127.0.0.1:9/")
    assert is_transient(caught.value)
    assert not any(shown)


async def test_a_server_behind_a_proxy_is_verified_as_any_other(
    secured: ScriptedServer, certificates: Certificates, small_client: OpenClient
) -> None:
    async with ScriptedServer(Proxy().talk) as gate:
        for verify, name in ((True, "127.0.0.1"), (certificates.authority, "named.test")):
            client = small_client()
            client.proxy, client.verify = f"http://127.0.0.1:{gate.port}", verify
            async with client:
                with pytest.raises(httpx.ConnectError, match=f"{name}: its certificate is not trusted"):
                    await client.get(secured.url(host=name))
    assert not secured.requests


async def test_a_proxy_that_refuses_is_named_and_not_asked_again(small_client: OpenClient) -> None:
    async with ScriptedServer(Proxy(refuses=True).talk) as gate:
        client = small_client()
        client.proxy = f"http://127.0.0.1:{gate.port}"
        async with client:
            with pytest.raises(httpx.ProxyError, match=r"407 .*http://user:password@") as caught:
                await client.get("http://127.0.0.1:9/")
            with pytest.raises(BlockedAddress):
                await client.get("http://10.0.0.1/")
    assert not is_transient(caught.value)
    assert gate.connections == 1


@pytest.mark.parametrize(
    "said",
    [
        b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"HTTP/1.0 200 Connection established\n\n",
        b"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\nHTTP/1.1 200\r\n\r\n",
    ],
)
async def test_an_odd_yes_of_a_proxy_is_one(small_client: OpenClient, said: bytes) -> None:
    async def say_yes(peer: Peer) -> None:
        await peer.reader.readuntil(b"\r\n\r\n")
        await peer.send(said)
        await talk(peer)

    async with ScriptedServer(say_yes) as gate:
        client = small_client()
        client.proxy = f"http://127.0.0.1:{gate.port}"
        async with client:
            for _ in range(2):
                assert (await client.get("http://named.test/")).text == "ok"
    assert gate.connections == 1


@pytest.mark.parametrize("said", [b"", b"SSH-2.0-OpenSSH\r\n", b"HTTP/1.1 2", b"HTTP/1.1 101 Go\r\n\r\n"])
async def test_what_is_no_answer_of_a_proxy_is_the_proxys_fault(small_client: OpenClient, said: bytes) -> None:
    async def say(peer: Peer) -> None:
        await peer.reader.readuntil(b"\r\n\r\n")
        await peer.send(said)

    async with ScriptedServer(say) as gate:
        client = small_client()
        client.proxy = f"http://127.0.0.1:{gate.port}"
        async with client:
            for scheme in ("http", "https"):
                with pytest.raises(httpx.ProxyError, match="the proxy") as caught:
                    await client.get(f"{scheme}://named.test/")
                assert is_transient(caught.value)


@pytest.mark.parametrize("url", ["proxy.test:3128", "http://", "ftp://me:pa55@a", "http://me:pa55@a:99999999", 7])
async def test_a_proxy_that_cannot_be_one_is_refused_at_once(small_client: OpenClient, url: str) -> None:
    async with small_client() as client:
        with pytest.raises(ValueError, match="proxy") as caught:
            client.proxy = url
        assert "pa55" not in str(caught.value)
        client.proxy = None
        assert client.proxy is None


@pytest.mark.parametrize("scheme", ["socks5", "socks5h", "socks4"])
async def test_socks_is_refused_with_the_remedy(small_client: OpenClient, scheme: str) -> None:
    async with small_client() as client:
        with pytest.raises(ValueError, match=rf"{scheme}://a: SOCKS .*httpx\[socks\]") as caught:
            client.proxy = f"{scheme}://me:pa55@a:1080"
        assert "pa55" not in str(caught.value)
