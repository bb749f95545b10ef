"""What one connection takes of a head: no more than is let through, and whole all the same."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from aiohttp.http_exceptions import HttpProcessingError

from async_commander.downloads.transport import MAX_HEADER_BYTES
from async_commander.downloads.wire import BoundedHandler

pytestmark = pytest.mark.asyncio
FIELD = b"X-Field: " + b"v" * 8000 + b"\r\n"


class Wire(asyncio.Transport):
    """Where the handler believes to be connected to."""

    def __init__(self) -> None:
        super().__init__()
        self.closed = False

    def close(self) -> None:
        self.closed = True

    def is_closing(self) -> bool:
        return self.closed


def connected(**params: Any) -> tuple[BoundedHandler, Wire]:
    handler, wire = BoundedHandler(asyncio.get_running_loop()), Wire()
    handler.transport = wire
    handler.set_response_params(**{"read_until_eof": True, "auto_decompress": False, "max_headers": 256, **params})
    return handler, wire


@pytest.mark.parametrize("step", [7, 8192, 10**9])
async def test_a_head_is_refused_where_it_passes_its_bound(step: int) -> None:
    handler, wire = connected()
    attack = b"HTTP/1.1 200 OK\r\n" + 250 * FIELD
    taken = 0
    while not wire.closed and attack:
        part, attack = attack[:step], attack[step:]
        handler.data_received(part)
        taken += len(part)
    assert wire.closed
    assert isinstance(handler.exception(), HttpProcessingError)
    assert "Too many headers" in str(handler.exception())
    assert step == 10**9 or taken < MAX_HEADER_BYTES * 1.2 + step
    assert len(handler) == 0


@pytest.mark.parametrize("step", [7, 8192, 10**9])
async def test_a_large_head_and_its_body_come_through_however_they_are_cut(step: int) -> None:
    handler, wire = connected()
    body = b"b" * 200_000
    answer = b"HTTP/1.1 103 Early Hints\r\n" + 4 * FIELD + b"\r\n"
    answer += b"HTTP/1.1 200 OK\r\n" + 7 * FIELD + b"Content-Length: %d\r\n\r\n" % len(body) + body
    while answer:
        handler.data_received(answer[:step])
        answer = answer[step:]
    assert (await handler.read())[0].code == 103
    message, reader = await handler.read()
    assert len(message.headers) == 8
    assert await reader.read() == body
    assert not wire.closed


async def test_each_response_of_a_connection_has_a_head_of_its_own() -> None:
    handler, wire = connected()
    for _ in range(5):
        handler.data_received(b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n" + 7 * FIELD + b"\r\nb")
        assert await (await handler.read())[1].read() == b"b"
        handler.set_response_params(read_until_eof=True, auto_decompress=False, max_headers=256)
    assert not wire.closed


async def test_what_comes_after_a_body_is_bounded_as_a_head_is() -> None:
    handler, wire = connected()
    handler.data_received(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n")
    handler.data_received(b"0\r\n")
    sent = 0
    while not wire.closed and sent < 250:
        handler.data_received(FIELD)
        sent += 1
    assert wire.closed
    assert sent * len(FIELD) < MAX_HEADER_BYTES * 1.3


async def test_a_slow_reader_is_not_taken_for_a_server_that_says_nothing() -> None:
    handler, wire = connected(read_bufsize=1000)
    handler.data_received(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
    body = b"%x\r\n%s\r\n" % (50_000, b"b" * 50_000)
    for _ in range(6):
        handler.data_received(body)
    handler.data_received(b"0\r\n\r\n")
    _, reader = await handler.read()
    assert len(await reader.read()) == 300_000
    assert not wire.closed
