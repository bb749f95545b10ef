from __future__ import annotations

import ssl
import subprocess
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
import pytest_asyncio

from async_commander.downloads.client import Client, open_client

from .hostile import HostileServer
from .scripted import ScriptedServer, talk

OpenClient = Callable[..., Client]


@pytest_asyncio.fixture
async def server() -> AsyncIterator[HostileServer]:
    async with HostileServer() as server:
        yield server


@pytest.fixture
def small_client() -> OpenClient:
    """A client with bounds that a test reaches soon, and loopback allowed."""

    def open_small(**options: object) -> Client:
        bounds = {"threads": 10, "max_body": 2 * 1024 * 1024, "deadline": 5.0, "internal_hosts": ["127.0.0.1"]}
        return open_client(**{**bounds, **options})

    return open_small


class Certificates:
    """An authority that nobody trusts but who is told to, and what it signed: each a file with certificate and key."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.authority = folder / "authority.pem"
        request = ["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=Our Authority"]
        signs = ["-addext", "keyUsage=critical,keyCertSign,cRLSign"]  # Python 3.13 trusts no authority without it
        self._openssl(*request, *signs, "-keyout", "authority.key", "-out", "authority.pem")
        self.server = self.signed("server", "DNS:localhost,DNS:other.test,IP:127.0.0.1")
        self.client = self.signed("client", "email:client@example.org")
        self.locked_key = folder / "locked.key"
        self._openssl("rsa", "-aes256", "-in", "client.key", "-out", "locked.key", "-passout", "pass:open sesame")

    def signed(self, name: str, names: str) -> Path:
        request = ["req", "-newkey", "rsa:2048", "-nodes", "-subj", f"/CN={name}"]
        self._openssl(*request, "-keyout", f"{name}.key", "-out", f"{name}.csr")
        (self.folder / f"{name}.ext").write_text(f"subjectAltName={names}\nauthorityKeyIdentifier=keyid\n")
        by = ["-CA", "authority.pem", "-CAkey", "authority.key", "-CAcreateserial", "-days", "2"]
        self._openssl("x509", "-req", "-in", f"{name}.csr", *by, "-extfile", f"{name}.ext", "-out", f"{name}.crt")
        both = self.folder / f"{name}.pem"
        both.write_text("".join((self.folder / f"{name}.{part}").read_text() for part in ("crt", "key")))
        return both

    def _openssl(self, *arguments: str) -> None:
        subprocess.run(["openssl", *arguments], check=True, capture_output=True, cwd=self.folder)

    def serving(self) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.server)
        return context


@pytest.fixture(scope="session")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    try:
        return Certificates(tmp_path_factory.mktemp("tls"))
    except FileNotFoundError:
        pytest.skip("openssl is not installed")


@pytest_asyncio.fixture
async def secured(certificates: Certificates) -> AsyncIterator[ScriptedServer]:
    async with ScriptedServer(talk, ssl_context=certificates.serving()) as server:
        yield server
