"""Whom a client trusts, and what it shows of itself."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
import ssl
import threading
from pathlib import Path
from typing import TYPE_CHECKING

import httpx
import pytest

from async_commander.downloads import tls
from async_commander.downloads.errors import is_transient
from async_commander.exceptions import InvalidCommand

from .scripted import Peer, ScriptedServer, answer, talk

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .conftest import Certificates, OpenClient

pytestmark = pytest.mark.asyncio


@pytest.fixture
def read_anew() -> Iterator[None]:
    """The authorities of the process are read in this test, and after it."""
    tls.trust.cache_clear()
    yield
    tls.trust.cache_clear()


async def test_https_connections_are_used_again(
    secured: ScriptedServer, certificates: Certificates, small_client: OpenClient
) -> None:
    client = small_client()
    client.verify = certificates.authority
    async with client:
        for _ in range(5):
            assert (await client.get(secured.url())).text == "ok"
        assert (await client.fetch(secured.url())).text == "ok"
    assert secured.connections == 1


async def test_a_certificate_that_nobody_trusts_is_refused_for_good(
    secured: ScriptedServer, small_client: OpenClient
) -> None:
    async with small_client() as client:
        with pytest.raises(
            httpx.ConnectError, match=r"127\.0\.0\.1: its certificate is not trusted: .*verify"
        ) as caught:
            await client.get(secured.url())
    assert not is_transient(caught.value)
    assert not secured.requests


@pytest.mark.parametrize("kind", [str, Path, "folder", "context"])
async def test_who_is_trusted_is_a_file_a_folder_or_a_context(
    secured: ScriptedServer, certificates: Certificates, small_client: OpenClient, tmp_path: Path, kind: object
) -> None:
    client, given = small_client(), certificates.authority
    if kind == "folder":
        certificates._openssl("x509", "-in", "authority.pem", "-noout")
        (tmp_path / "authority.pem").write_text(given.read_text())
        certificates._openssl("rehash", str(tmp_path))
        client.verify = tmp_path
    elif kind == "context":
        client.verify = context = ssl.create_default_context(cafile=given)
        assert client.verify is context
    else:
        client.verify = kind(given)
    async with client:
        assert (await client.get(secured.url())).text == "ok"


async def test_what_one_client_trusts_no_other_does(
    secured: ScriptedServer, certificates: Certificates, small_client: OpenClient
) -> None:
    trusting, other = small_client(), small_client()
    trusting.verify = certificates.authority
    trusting.cert = certificates.client
    async with trusting, other:
        assert (await trusting.get(secured.url())).text == "ok"
        with pytest.raises(httpx.ConnectError, match="not trusted"):
            await other.get(secured.url())
    trusting.verify, trusting.cert = True, None
    assert trusting._bounded.pool.connector.trusts.context is tls.trust()


async def test_a_certificate_of_another_host_is_refused(certificates: Certificates, small_client: OpenClient) -> None:
    client = small_client(internal_hosts=["127.0.0.0/8"])
    client.verify = certificates.authority
    everywhere = ScriptedServer(talk, ssl_context=certificates.serving(), host="0.0.0.0")
    async with everywhere as secured, client:
        with pytest.raises(httpx.ConnectError, match=r"IP address mismatch.*'127\.0\.0\.2'"):
            await client.get(secured.url(host="127.0.0.2"))
        with pytest.raises(httpx.ConnectError, match=r"Hostname mismatch.*'third\.test'") as caught:
            await client.get(secured.url(), extensions={"sni_hostname": "third.test"})
        assert not is_transient(caught.value)
        assert (await client.get(secured.url(), extensions={"sni_hostname": "other.test"})).text == "ok"


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
async def test_a_client_shows_its_certificate_where_it_is_asked_for_one(
    certificates: Certificates, small_client: OpenClient, version: ssl.TLSVersion
) -> None:
    context = certificates.serving()
    context.verify_mode, context.maximum_version = ssl.CERT_REQUIRED, version
    context.load_verify_locations(certificates.authority)
    folder = certificates.folder
    async with ScriptedServer(talk, ssl_context=context) as server:
        for cert in (
            str(certificates.client),
            (str(folder / "client.crt"), str(folder / "client.key")),
            (str(folder / "client.crt"), str(certificates.locked_key), "open sesame"),
        ):
            client = small_client()
            client.cert, client.verify = cert, certificates.authority
            assert client.cert == cert
            async with client:
                assert (await client.get(server.url())).text == "ok"
                assert (await client.fetch(server.url())).text == "ok"


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
async def test_a_server_that_misses_a_certificate_is_not_asked_again(
    certificates: Certificates, small_client: OpenClient, version: ssl.TLSVersion
) -> None:
    context = certificates.serving()
    context.verify_mode, context.maximum_version = ssl.CERT_REQUIRED, version

    def serve(listening: socket.socket) -> None:  # asyncio would close without the alert that others send
        sock = context.wrap_socket(listening.accept()[0], server_side=True, do_handshake_on_connect=False)
        with sock:
            with contextlib.suppress(ssl.SSLError):
                sock.do_handshake()
            over.wait(20)

    over = threading.Event()
    client = small_client()
    client.verify = certificates.authority
    with socket.create_server(("127.0.0.1", 0)) as listening:
        serving = asyncio.create_task(asyncio.to_thread(serve, listening))
        async with client:
            with pytest.raises(httpx.TransportError) as caught:
                await client.get(f"https://127.0.0.1:{listening.getsockname()[1]}/")
        over.set()
        await serving
    if version is ssl.TLSVersion.TLSv1_3:
        assert "certificate required" in str(caught.value).lower()
        assert not is_transient(caught.value)


@pytest.mark.parametrize("given", [False, None, 0, 1, "nowhere.pem", Path("/nowhere"), __file__, b"pem"])
async def test_what_nobody_can_be_verified_by_is_refused_at_once(small_client: OpenClient, given: object) -> None:
    async with small_client() as client:
        with pytest.raises(ValueError, match="verify="):
            client.verify = given
        assert client.verify is True


async def test_a_client_certificate_that_cannot_be_used_is_refused_at_once(
    certificates: Certificates, small_client: OpenClient
) -> None:
    crt = str(certificates.folder / "client.crt")
    async with small_client() as client:
        for given in (
            "nowhere.pem",
            crt,
            (crt,),
            (crt, __file__),
            (crt, str(certificates.folder / "server.key")),
            7,
            (),
        ):
            with pytest.raises(ValueError, match="cert="):
                client.cert = given
        for password in ((), ("a wrong one",)):  # and no question is asked in the terminal
            with pytest.raises(ValueError, match="locked") as caught:
                client.cert = (crt, str(certificates.locked_key), *password)
            assert "a wrong one" not in str(caught.value)
        assert client.cert is None


async def test_a_context_that_verifies_nobody_is_used_and_warned_of(
    secured: ScriptedServer, small_client: OpenClient, caplog: pytest.LogCaptureFixture
) -> None:
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    client = small_client()
    with caplog.at_level(logging.WARNING):
        client.verify = context
    assert "does not verify" in caplog.text
    async with client:
        assert (await client.get(secured.url())).text == "ok"


@pytest.mark.usefixtures("read_anew")
@pytest.mark.parametrize("name", ["SSL_CERT_FILE", "SSL_CERT_DIR"])
async def test_the_authorities_of_the_environment_are_trusted(
    secured: ScriptedServer,
    certificates: Certificates,
    small_client: OpenClient,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    name: str,
) -> None:
    place = certificates.authority
    if name == "SSL_CERT_DIR":
        (tmp_path / "authority.pem").write_text(place.read_text())
        certificates._openssl("rehash", str(tmp_path))
        place = tmp_path
    monkeypatch.delenv("SSL_CERT_FILE", raising=False)
    monkeypatch.setenv(name, str(place))
    async with small_client() as client:
        assert (await client.get(secured.url())).text == "ok"


@pytest.mark.usefixtures("read_anew")
async def test_authorities_that_are_not_there_are_the_settings_fault_and_no_items(
    secured: ScriptedServer, small_client: OpenClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", "/nowhere/authorities.pem")
    async with small_client() as client:
        with pytest.raises(InvalidCommand, match=r"SSL_CERT_FILE='/nowhere/authorities.pem'"):
            await client.get(secured.url())


async def test_http_where_tls_is_spoken_and_the_other_way_round(
    secured: ScriptedServer, small_client: OpenClient
) -> None:
    async def refuse(peer: Peer) -> None:
        await peer.reader.read(1)
        await peer.send(answer(b"", status=b"400 Bad Request"))

    async with ScriptedServer(refuse) as plain, small_client() as client:
        for url in (plain.url().replace("http:", "https:"), secured.url().replace("https:", "http:")):
            with pytest.raises(httpx.TransportError):
                await client.get(url)
