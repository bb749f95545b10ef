"""A small HTTP server: a folder of pages, each after a set latency, some with a fault."""

from __future__ import annotations

import asyncio
import socket
import struct
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from .faults import Fault, Faults
from .render import INDEX

RETRY_AFTER = 1
"""Seconds that a 503 asks to wait."""
SLOW_PIECES = 8
SLOW_PAUSE = 0.2
"""Seconds between two pieces of a slow body."""
_RESET_ON_CLOSE = struct.pack("ii", 1, 0)


@dataclass(slots=True)
class PageServer:
    """Answers GET requests for the pages of one folder; `latency` is in seconds, before each answer."""

    folder: Path
    latency: float = 0.0
    faults: Faults = field(default_factory=Faults)
    attempts: Counter[str] = field(default_factory=Counter)

    async def serve(self, host: str = "127.0.0.1", port: int = 0) -> asyncio.Server:
        """Listens on the port, or on any free one for 0. Raises OSError where it is taken."""
        return await asyncio.start_server(self._connection, host, port, backlog=1024)

    async def _connection(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while path := await _requested_path(reader):
                await asyncio.sleep(self.latency)
                await self._answer(path, writer)
        except (ConnectionError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            pass  # the client went away, or we reset the connection on purpose
        finally:
            writer.close()

    async def _answer(self, path: str, writer: asyncio.StreamWriter) -> None:
        name = path.partition("?")[0].strip("/") or INDEX
        page = self.folder / name
        if "/" in name or page.suffix != ".html" or not page.is_file():
            await _send(writer, "404 Not Found", b"There is no such page.\n")
            return
        await self._send_page(name, page.read_bytes(), writer)

    async def _send_page(self, name: str, body: bytes, writer: asyncio.StreamWriter) -> None:
        self.attempts[name] += 1
        fault = None if name == INDEX else self.faults.of(name, self.attempts[name])
        if fault is Fault.BUSY:
            await _send(writer, "503 Service Unavailable", b"Later, please.\n", f"Retry-After: {RETRY_AFTER}\r\n")
        elif fault is Fault.RESET:
            await _reset_in_the_middle(writer, body)
        elif fault is Fault.SLOW:
            await _send_slowly(writer, body)
        else:
            await _send(writer, "200 OK", body)


async def _requested_path(reader: asyncio.StreamReader) -> str:
    """The path of the next request on this connection; the empty string at its end, or for what is no GET."""
    head = await reader.readuntil(b"\r\n\r\n")
    method, _, rest = head.decode("latin-1").partition(" ")
    return rest.partition(" ")[0] if method == "GET" else ""


def _head(status: str, length: int, extra: str = "") -> bytes:
    lines = f"HTTP/1.1 {status}\r\nContent-Type: text/html; charset=utf-8\r\nContent-Length: {length}\r\n{extra}\r\n"
    return lines.encode("latin-1")


async def _send(writer: asyncio.StreamWriter, status: str, body: bytes, extra: str = "") -> None:
    writer.write(_head(status, len(body), extra) + body)
    await writer.drain()


async def _send_slowly(writer: asyncio.StreamWriter, body: bytes) -> None:
    writer.write(_head("200 OK", len(body)))
    size = len(body) // SLOW_PIECES + 1
    for start in range(0, len(body), size):
        await asyncio.sleep(SLOW_PAUSE)
        writer.write(body[start : start + size])
        await writer.drain()


async def _reset_in_the_middle(writer: asyncio.StreamWriter, body: bytes) -> None:
    writer.write(_head("200 OK", len(body)) + body[: len(body) // 2])
    await writer.drain()
    connection: socket.socket = writer.get_extra_info("socket")
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
    writer.transport.abort()
    raise ConnectionResetError("reset on purpose")
