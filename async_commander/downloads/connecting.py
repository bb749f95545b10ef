"""Opening a connection: the name, the guard, the sockets, a proxy where there is one, and TLS."""

from __future__ import annotations

import asyncio
import base64
import socket
import ssl
from functools import partial
from http import HTTPStatus
from ipaddress import ip_address
from time import monotonic
from typing import TYPE_CHECKING, Any, Protocol

import anyio
import httpx

from async_commander.engine.threads import DaemonThreads

from .errors import BlockedAddress, ProxyRefuses
from .protocol import PORTS, Ask, Connection, Origin
from .tls import Trust, trust

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .guard import AddressGuard
    from .journey import Journey
    from .protocol import Owner

HEAD_START = 0.25
"""Seconds that one address of a host has before the next one is tried beside it (RFC 8305)."""
KNOWN_FOR = 10.0
"""Seconds for which the addresses of a name are remembered."""

_MOST_THREADS = 32
_MOST_NAMES = 1024
_MOST_ADDRESSES = 32
"""Of one name: a server may name thousands."""

REFUSALS = frozenset({400, 401, 403, 404, 405, 407, 451})
"""What a proxy will answer the next time, too."""

Address = tuple[int, tuple[Any, ...]]
"""A family of addresses, and where a socket of this family connects to."""


class Resolver(Protocol):
    """Who knows the addresses of a name."""

    async def resolve(self, host: str, port: int) -> Sequence[Address]:
        """In the order in which they are to be tried; OSError where there are none."""

    def close(self) -> None:
        """Let go of what is not needed any more."""


class ThreadResolver:
    """The system's resolver, for up to 32 names at once.

    The loop's own executor has a handful of threads on a small machine, and is waited for when the loop ends: a few
    slow name servers would hold back every download and the end of the run.
    """

    def __init__(self, threads: int) -> None:
        self._pool = DaemonThreads(min(threads, _MOST_THREADS), name="async-commander-names")
        self._known: dict[tuple[str, int], tuple[float, list[Address]]] = {}

    async def resolve(self, host: str, port: int) -> Sequence[Address]:
        """The addresses of a name, in the order in which they are to be tried; OSError where there are none."""
        until, known = self._known.get((host, port), (0.0, []))
        if until > monotonic():
            return known
        flags = getattr(socket, "AI_ADDRCONFIG", 0)
        look_up = partial(socket.getaddrinfo, host, port, type=socket.SOCK_STREAM, flags=flags)
        found = await asyncio.get_running_loop().run_in_executor(self._pool, look_up)
        addresses: list[Address] = [(family, where) for family, _, _, _, where in found[:_MOST_ADDRESSES]]
        if len(self._known) >= _MOST_NAMES:
            self._known.clear()
        self._known[host, port] = monotonic() + KNOWN_FOR, addresses
        return addresses

    def close(self) -> None:
        """Let the threads go: nobody waits for a slow name server any more."""
        self._pool.shutdown()


class Connector:
    """Opens connections to what the guard allows. A proxy, where one is given, is asked to connect in our place."""

    def __init__(self, guard: AddressGuard, resolver: Resolver) -> None:
        self._guard = guard
        self._resolver = resolver
        self.proxy: httpx.Proxy | None = None
        self.trusts = Trust()

    async def connect(self, owner: Owner, ask: Ask, journey: Journey) -> Connection:
        """A new connection for this request.

        BlockedAddress where the guard refuses; httpx.ConnectError, ConnectTimeout or ProxyError where it cannot be had;
        UnsupportedProtocol for a host that is no name; InvalidCommand where this process has no certificates to trust.
        """
        host = ask.origin.host
        try:
            async with asyncio.timeout(ask.connect_timeout):
                if self.proxy is None:
                    return await self._connect(owner, ask.origin, journey)
                return await self._connect_through(self.proxy, owner, ask.origin, journey)
        except TimeoutError as error:
            raise httpx.ConnectTimeout(f"{host}: no connection in time") from error
        except UnicodeError as error:
            raise httpx.UnsupportedProtocol(f"{host}: not a name that can be looked up: {error}") from error
        except ssl.SSLCertVerificationError as error:
            raise httpx.ConnectError(
                f"{host}: its certificate is not trusted: {error.verify_message}. Where the host is one of yours, "
                "http_client() can say whom to trust: client.verify = 'authority.pem'"
            ) from error
        except OSError as error:
            raise httpx.ConnectError(f"{host}: {error.strerror or error}") from error

    def close(self) -> None:
        """Let the resolver go."""
        self._resolver.close()

    async def _connect(self, owner: Owner, origin: Origin, journey: Journey) -> Connection:
        context = self.trusts.context if origin.scheme == "https" else None
        allowed: list[Address] = []
        refused: list[Address] = []
        for address in await self._addresses(origin):
            reach = self._guard.reach(origin.host, str(address[1][0]))
            if reach == "internal" and journey.stays_outside:
                raise turned_inward(origin.host)
            (refused if reach == "refused" else allowed).append(address)
        try:
            sock = await first_connected(allowed)
        except OSError as error:
            if refused:
                raise blocked(origin.host, refused) from error
            raise
        internal = self._guard.reach(origin.host, sock.getpeername()[0]) != "public"
        return await _open(Connection(owner, origin, internal=internal), sock, origin, context)

    async def _addresses(self, origin: Origin) -> Sequence[Address]:
        version = _version(origin.host)
        if version is None:
            return await self._resolver.resolve(origin.host, origin.port)
        if version == 4:
            return [(socket.AF_INET, (origin.host, origin.port))]
        return [(socket.AF_INET6, (origin.host, origin.port, 0, 0))]

    async def _connect_through(self, proxy: httpx.Proxy, owner: Owner, origin: Origin, journey: Journey) -> Connection:
        """By CONNECT, for both schemes: the proxy sees an address, and not what is said there.

        Names are looked up by the proxy, so that the guard sees addresses only where the URL has one.
        """
        url = proxy.url
        if _version(origin.host) is not None:
            reach = self._guard.reach(origin.host, origin.host)
            if reach == "refused":
                raise blocked(origin.host, [(0, (origin.host,))])
            if reach == "internal" and journey.stays_outside:
                raise turned_inward(origin.host)
        context = self.trusts.context if origin.scheme == "https" else None
        gate = Origin(url.scheme, url.raw_host.decode("ascii"), url.port or PORTS[url.scheme])
        # What a server may ask for, such as a client certificate, is no business of the proxy's.
        gate_context = (proxy.ssl_context or trust()) if url.scheme == "https" else None
        try:
            sock = await first_connected(await self._addresses(gate))
            connection = await _open(Connection(owner, gate, internal=False), sock, gate, gate_context)
        except OSError as error:
            why = getattr(error, "verify_message", "") or error.strerror or error
            raise httpx.ConnectError(f"{origin.host}, by the proxy {gate.host}: {why}") from error
        try:
            return await _tunnel(connection, proxy, Connection(owner, origin, internal=False), context)
        except BaseException:
            connection.abort()
            raise


def blocked(host: str, refused: Sequence[Address]) -> BlockedAddress:
    """What is raised where no address of a host may be connected to."""
    address = str(refused[0][1][0]) if refused else "without an address"
    what = f"{host} is {address}, which" if host != address else f"{host}"
    return BlockedAddress(
        f"{what} is not a public address; if it is one of yours, "
        f'add {host!r} or its network to ASYNC_COMMANDER["INTERNAL_HOSTS"]. In the settings: '
        f'ASYNC_COMMANDER = {{"INTERNAL_HOSTS": ["{host}"]}}, beside what is there'
    )


def turned_inward(host: str) -> BlockedAddress:
    """What is raised where a public page redirects to a host of the project's own."""
    return BlockedAddress(
        f"a redirect from a public address leads to {host}, which is one of INTERNAL_HOSTS; if that is meant, "
        'give the request extensions={"internal_redirects": True}'
    )


async def first_connected(addresses: Sequence[Address]) -> socket.socket:
    """A socket to whichever address answers first; each has a small head start on the next (RFC 8305).

    The OSError of the last one where none answers.
    """
    if len(addresses) == 1:
        return await _connected(addresses[0])
    won: list[socket.socket] = []
    errors: list[OSError] = []

    async def attempt(address: Address, over: anyio.Event) -> None:
        try:
            sock = await _connected(address)
        except OSError as error:
            errors.append(error)
        else:
            won.append(sock)
            tasks.cancel_scope.cancel()
        finally:
            over.set()

    try:
        async with anyio.create_task_group() as tasks:
            for address in _interleaved(addresses):
                over = anyio.Event()
                tasks.start_soon(attempt, address, over)
                with anyio.move_on_after(HEAD_START):
                    await over.wait()
    except BaseException:
        for sock in won:
            sock.close()
        raise
    for late in won[1:]:
        late.close()
    if not won:
        raise errors[-1] if errors else OSError("it has no address that may be connected to")
    return won[0]


async def _connected(address: Address) -> socket.socket:
    family, where = address
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        sock.setblocking(False)
        await asyncio.get_running_loop().sock_connect(sock, where)
    except BaseException:
        sock.close()
        raise
    return sock


def _interleaved(addresses: Sequence[Address]) -> list[Address]:
    """The same, first families taking turns, so that one that leads nowhere costs one head start."""
    families: dict[int, list[Address]] = {}
    for address in addresses:
        families.setdefault(address[0], []).append(address)
    longest = max(map(len, families.values()), default=0)
    return [several[row] for row in range(longest) for several in families.values() if row < len(several)]


def proxy_of(given: httpx.Proxy | httpx.URL | str) -> httpx.Proxy:
    """The proxy to ask; ValueError for what cannot be one. Messages leave out what may be a password."""
    try:
        url = given.url if isinstance(given, httpx.Proxy) else httpx.URL(given)
    except (TypeError, httpx.InvalidURL):
        raise ValueError("this is no URL of a proxy: give one like http://proxy.example.org:3128") from None
    if url.scheme.startswith("socks"):
        raise ValueError(
            f"proxy {url.scheme}://{url.host}: SOCKS is not spoken here. Give the URL of an HTTP proxy, or have "
            "http_client() return a client of your own: httpx.AsyncClient(proxy=…), with httpx[socks]"
        )
    if url.scheme not in PORTS or not url.host or not 0 <= (url.port or 0) < 2**16:
        raise ValueError(f"proxy {url.scheme}://{url.host}: give a URL like http://proxy.example.org:3128")
    return given if isinstance(given, httpx.Proxy) else httpx.Proxy(url)


def _version(host: str) -> int | None:
    """Of an IP address; None for a name."""
    try:
        return ip_address(host).version
    except ValueError:
        return None


async def _open(
    connection: Connection, sock: socket.socket, origin: Origin, context: ssl.SSLContext | None
) -> Connection:
    name = None if context is None else _name_in_tls(origin)
    try:
        await asyncio.get_running_loop().create_connection(
            lambda: connection, sock=sock, ssl=context, server_hostname=name
        )
    except BaseException:
        sock.close()
        raise
    return connection


def _name_in_tls(origin: Origin) -> str:
    return (origin.server_name or origin.host).rstrip(".")


async def _tunnel(
    gate: Connection, proxy: httpx.Proxy, tunnel: Connection, context: ssl.SSLContext | None
) -> Connection:
    """The connection to the proxy, from now on one to the server behind it."""
    origin = tunnel.origin
    host = f"[{origin.host}]" if ":" in origin.host else origin.host
    target = f"{host}:{origin.port}".encode("ascii")
    headers = [(b"Host", target), *proxy.headers.raw]
    if proxy.raw_auth is not None:
        headers.append((b"Proxy-Authorization", b"Basic " + base64.b64encode(b":".join(proxy.raw_auth))))
    try:
        await gate.send(Ask(b"CONNECT", origin, target, headers))
        answer = await gate.head()
    except (httpx.NetworkError, httpx.RemoteProtocolError) as error:
        raise httpx.ProxyError(f"{origin.host}, by the proxy {gate.origin.host}: {error}") from error
    if not 200 <= answer.status < 300:
        said = f"the proxy answers {answer.status} {answer.reason.decode('latin-1')}"
        if answer.status == HTTPStatus.PROXY_AUTHENTICATION_REQUIRED:
            said += ": user and password belong into its URL, http://user:password@host:port"
        raise (ProxyRefuses if answer.status in REFUSALS else httpx.ProxyError)(said)
    transport: asyncio.Transport | None = gate.transport
    if context is None:
        gate.transport.set_protocol(tunnel)
    else:
        loop = asyncio.get_running_loop()
        transport = await loop.start_tls(gate.transport, tunnel, context, server_hostname=_name_in_tls(origin))
    if transport is None:
        raise ConnectionResetError("the proxy closed the tunnel")
    tunnel.connection_made(transport)
    return tunnel
