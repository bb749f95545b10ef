"""A loopback web server that does everything a server should not do."""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import random
import socket
import struct
import zlib
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Self
from urllib.parse import parse_qs, urlsplit

MEGABYTE = 1024 * 1024


@dataclass
class Exchange:
    """One request, and the means to answer it badly."""

    method: str
    target: str
    headers: dict[str, str]
    body: bytes
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    @property
    def path(self) -> str:
        return urlsplit(self.target).path

    def query(self, name: str, default: str = "") -> str:
        return parse_qs(urlsplit(self.target).query).get(name, [default])[0]

    async def send(self, data: bytes) -> None:
        self.writer.write(data)
        await self.writer.drain()

    async def answer(self, body: bytes = b"", *headers: str, status: str = "200 OK") -> None:
        lines = [f"HTTP/1.1 {status}", *headers, f"Content-Length: {len(body)}", "", ""]
        await self.send("\r\n".join(lines).encode("latin-1") + body)

    async def head(self, *headers: str, status: str = "200 OK") -> None:
        await self.send("\r\n".join([f"HTTP/1.1 {status}", *headers, "", ""]).encode("latin-1"))

    async def hang(self) -> None:
        """Until the client goes away."""
        while await self.reader.read(1024):
            pass

    def reset(self) -> None:
        """End the connection by RST."""
        sock = self.writer.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.writer.transport.abort()


Answer = Callable[[Exchange], Awaitable[None]]
ANSWERS: dict[str, Answer] = {}


def at(path: str) -> Callable[[Answer], Answer]:
    def register(answer: Answer) -> Answer:
        ANSWERS[path] = answer
        return answer

    return register


@dataclass
class HostileServer:
    """Answers by path; remembers what it was asked."""

    seen: list[Exchange] = field(default_factory=list)
    connections: int = 0
    busy: int = 0
    busiest: int = 0
    open: int = 0
    port: int = 0
    gone: asyncio.Event = field(default_factory=asyncio.Event)

    def url(self, path: str, host: str = "127.0.0.1") -> str:
        return f"http://{host}:{self.port}{path}"

    async def __aenter__(self) -> Self:
        self._tasks: set[asyncio.Task[None]] = set()
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0, backlog=500)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        self.connections += 1
        self.open += 1
        try:
            await self._talk(reader, writer)
        except (asyncio.IncompleteReadError, ConnectionError, asyncio.CancelledError):
            pass
        finally:
            self.open -= 1
            self.gone.set()
            self._tasks.discard(task)
            writer.close()
            with contextlib.suppress(ConnectionError, asyncio.CancelledError):
                await writer.wait_closed()

    async def _talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while not writer.is_closing():
            head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
            method, target, _ = head[0].split(" ")
            headers = {
                name.lower(): value.strip() for name, _, value in (line.partition(":") for line in head[1:] if line)
            }
            body = await reader.readexactly(int(headers.get("content-length", 0)))
            exchange = Exchange(method, target, headers, body, reader, writer)
            self.seen.append(exchange)
            self.busy += 1
            self.busiest = max(self.busy, self.busiest)
            try:
                await ANSWERS[exchange.path](exchange)
            finally:
                self.busy -= 1


@contextlib.asynccontextmanager
async def raw_server(words: bytes | None) -> AsyncIterator[int]:
    """A port where a server says these words as soon as it is called and hangs up, or says nothing at all."""
    handlers: set[asyncio.Task[None]] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        handlers.add(task)
        with contextlib.suppress(ConnectionError):
            if words is None:
                await reader.read()
            else:
                writer.write(words)
            writer.close()
            await writer.wait_closed()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        await asyncio.gather(*handlers)


# --- what is right


@at("/plain")
async def plain(exchange: Exchange) -> None:
    await exchange.answer(b"hello", "Content-Type: text/plain")


@at("/pause")
async def pause(exchange: Exchange) -> None:
    await asyncio.sleep(0.01)
    await exchange.answer(b"hello")


@at("/bytes")
async def sized(exchange: Exchange) -> None:
    await exchange.answer(b"x" * int(exchange.query("n")))


@at("/status")
async def status(exchange: Exchange) -> None:
    headers = [f"Retry-After: {exchange.query('after')}"] if exchange.query("after") else []
    await exchange.answer(b"later", *headers, status=f"{exchange.query('code')} Whatever")


@at("/encoded")
async def encoded(exchange: Exchange) -> None:
    body = COMPRESSORS[exchange.query("how")](b"hello " * 50_000)
    await exchange.answer(body, f"Content-Encoding: {exchange.query('name', 'gzip')}")


@at("/encoded-until-close")
async def encoded_until_close(exchange: Exchange) -> None:
    await exchange.head("Content-Encoding: gzip", "Connection: close")
    await exchange.send(COMPRESSORS[exchange.query("how")](b"hello " * 50_000))
    exchange.writer.close()


@at("/empty")
async def empty(exchange: Exchange) -> None:
    if exchange.method == "HEAD":
        await exchange.head("Content-Encoding: gzip", "Content-Length: 999999999999")
    else:
        await exchange.head("Content-Encoding: gzip", status=f"{exchange.query('code')} Empty")


@at("/charset")
async def charset(exchange: Exchange) -> None:
    await exchange.answer("grüße".encode(), f"Content-Type: text/html; charset={exchange.query('name')}")


# --- bodies


def _raw_deflate(data: bytes) -> bytes:
    compressor = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    return compressor.compress(data) + compressor.flush()


COMPRESSORS: dict[str, Callable[[bytes], bytes]] = {
    "gzip": gzip.compress,
    "zlib": zlib.compress,
    "raw": _raw_deflate,
    "members": lambda data: gzip.compress(data[:100_001]) + gzip.compress(data[100_001:]),
    "padded": lambda data: gzip.compress(data) + b"\0" * 100,
    "cut": lambda data: gzip.compress(data)[:-20],
    "cut_zlib": lambda data: zlib.compress(data)[:-3],
    "one_byte": lambda data: gzip.compress(data)[:1],
    "double": lambda data: gzip.compress(gzip.compress(data)),
    "garbage": lambda data: b"\x1f\x8b" + data,
    "none": lambda data: data,
}


@lru_cache
def bomb(layers: int) -> bytes:
    """32 MiB of zeros in 32 KB, or in a few hundred bytes."""
    data = b"\0" * MEGABYTE
    compressor = zlib.compressobj(9, wbits=zlib.MAX_WBITS | 16)
    packed = b"".join(compressor.compress(data) for _ in range(32)) + compressor.flush()
    return packed if layers == 1 else gzip.compress(packed)


@at("/bomb")
async def send_bomb(exchange: Exchange) -> None:
    await exchange.answer(
        bomb(int(exchange.query("layers", "1"))), f"Content-Encoding: {exchange.query('name', 'gzip')}"
    )


@at("/endless")
async def endless(exchange: Exchange) -> None:
    await exchange.head("Connection: close")
    while True:
        await exchange.send(_CHUNK)


_CHUNK = b"x" * 65536


@at("/endless-chunked")
async def endless_chunked(exchange: Exchange) -> None:
    await exchange.head("Transfer-Encoding: chunked")
    while True:
        await exchange.send(b"10000\r\n" + _CHUNK + b"\r\n")


@at("/declared")
async def declared(exchange: Exchange) -> None:
    await exchange.head("Content-Length: 999999999999")
    await exchange.hang()


@at("/drip")
async def drip(exchange: Exchange) -> None:
    await exchange.head("Content-Length: 100000")
    while True:
        await exchange.send(b"x")
        await asyncio.sleep(0.02)


@at("/drip-head")
async def drip_head(exchange: Exchange) -> None:
    await exchange.send(b"HTTP/1.1 200 OK\r\nX-Slow: ")
    while True:
        await exchange.send(b"x")
        await asyncio.sleep(0.02)


@at("/silent")
async def silent(exchange: Exchange) -> None:
    await exchange.hang()


@at("/silent-body")
async def silent_body(exchange: Exchange) -> None:
    await exchange.head("Content-Length: 100000")
    await exchange.hang()


@at("/short")
async def short(exchange: Exchange) -> None:
    await exchange.head("Content-Length: 100000")
    await exchange.send(b"x" * 1000)
    exchange.writer.close()


@at("/unterminated")
async def unterminated(exchange: Exchange) -> None:
    await exchange.head("Transfer-Encoding: chunked")
    await exchange.send(b"5\r\nhello\r\n")
    exchange.writer.close()


@at("/bad-chunk")
async def bad_chunk(exchange: Exchange) -> None:
    await exchange.head("Transfer-Encoding: chunked")
    if exchange.query("late"):
        await asyncio.sleep(0.05)
    await exchange.send(b"5\r\nhello\r\nzz\r\nworld\r\n")
    await exchange.hang()


@at("/until-close")
async def until_close(exchange: Exchange) -> None:
    await exchange.head("Connection: close")
    await exchange.send(b"hello")
    exchange.writer.close()


@at("/half-closed")
async def half_closed(exchange: Exchange) -> None:
    await exchange.head("Content-Length: 100000")
    await exchange.send(b"x" * 1000)
    exchange.writer.write_eof()
    await exchange.hang()


@at("/reset-body")
async def reset_body(exchange: Exchange) -> None:
    await exchange.head("Content-Length: 100000")
    await exchange.send(b"x" * 1000)
    await asyncio.sleep(0.05)  # so that the head is read before the RST throws everything away
    exchange.reset()


async def _half(exchange: Exchange) -> None:
    await exchange.head(f"Content-Length: {8 * MEGABYTE}")
    for _ in range(4):
        await exchange.send(b"x" * MEGABYTE)
    await asyncio.sleep(0.05)


@at("/large-then-reset")
async def large_then_reset(exchange: Exchange) -> None:
    await _half(exchange)
    exchange.reset()


@at("/large-then-short")
async def large_then_short(exchange: Exchange) -> None:
    await _half(exchange)
    exchange.writer.close()


@at("/large-then-nothing")
async def large_then_nothing(exchange: Exchange) -> None:
    await exchange.answer(gzip.compress(random.Random(1).randbytes(4 * MEGABYTE), 1)[:-9], "Content-Encoding: gzip")


# --- heads


@at("/reset")
async def reset(exchange: Exchange) -> None:
    exchange.reset()


@at("/hang-up")
async def hang_up(exchange: Exchange) -> None:
    exchange.writer.close()


@at("/no-http")
async def no_http(exchange: Exchange) -> None:
    await exchange.send(b"SSH-2.0-OpenSSH_9.2\r\n")
    await exchange.hang()


@at("/endless-headers")
async def endless_headers(exchange: Exchange) -> None:
    await exchange.send(b"HTTP/1.1 200 OK\r\n")
    while True:
        await exchange.send(b"X-More: and more\r\n" * 100)


@at("/endless-header")
async def endless_header(exchange: Exchange) -> None:
    await exchange.send(b"HTTP/1.1 200 OK\r\nX-Long: ")
    while True:
        await exchange.send(_CHUNK)


@at("/endless-status")
async def endless_status(exchange: Exchange) -> None:
    await exchange.send(b"HTTP/1.1 200 ")
    while True:
        await exchange.send(_CHUNK)


@at("/many-headers")
async def many_headers(exchange: Exchange) -> None:
    await exchange.answer(
        b"hello",
        *(f"X-{number}: {'v' * int(exchange.query('size', '10'))}" for number in range(int(exchange.query("n")))),
    )


@at("/endless-hints")
async def endless_hints(exchange: Exchange) -> None:
    while True:
        await exchange.send(b"HTTP/1.1 103 Early Hints\r\nLink: </style.css>\r\n\r\n" * 50)
        await asyncio.sleep(0)


@at("/endless-trailers")
async def endless_trailers(exchange: Exchange) -> None:
    await exchange.head("Transfer-Encoding: chunked")
    await exchange.send(b"5\r\nhello\r\n0\r\n")
    while True:
        await exchange.send(b"X-More: and more\r\n" * 100)


@at("/late-trailers")
async def late_trailers(exchange: Exchange) -> None:
    """Long fields, few enough, after a body that was there before them."""
    await exchange.head("Transfer-Encoding: chunked")
    await exchange.send(b"5\r\nhello\r\n")
    await asyncio.sleep(0.05)
    await exchange.send(b"0\r\n")
    for number in range(250):
        await exchange.send(b"X-%d: %s\r\n" % (number, b"v" * 8000))
    await exchange.hang()


@at("/switching")
async def switching(exchange: Exchange) -> None:
    await exchange.head("Connection: upgrade", "Upgrade: websocket", status="101 Switching Protocols")
    await exchange.hang()


# --- redirects


@at("/to")
async def to(exchange: Exchange) -> None:
    await exchange.answer(b"", f"Location: {exchange.query('url')}", status=f"{exchange.query('code', '302')} Found")


@at("/loop")
async def loop(exchange: Exchange) -> None:
    step = int(exchange.query("step", "0")) + 1
    await exchange.answer(b"", f"Location: /loop?step={step}", status="302 Found")


@at("/endless-redirect")
async def endless_redirect(exchange: Exchange) -> None:
    await exchange.head("Location: /plain", "Connection: close", status="302 Found")
    while True:
        await exchange.send(_CHUNK)


@at("/cookie-wall")
async def cookie_wall(exchange: Exchange) -> None:
    """Redirects to itself until the cookie that it set comes back."""
    if "wall=passed" in exchange.headers.get("cookie", ""):
        await exchange.answer(b"inside")
    else:
        await exchange.answer(b"", "Set-Cookie: wall=passed", "Location: /cookie-wall", status="302 Found")


@at("/set-cookie")
async def set_cookie(exchange: Exchange) -> None:
    await exchange.answer(b"", "Set-Cookie: session=secret; Path=/")
