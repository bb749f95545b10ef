"""The protocol against a reading of the same bytes by h11 alone: whatever is sent, and however it is cut."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import h11
import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from async_commander.downloads.errors import BadBody, HeadersTooLarge
from async_commander.downloads.protocol import HIGH_WATER, Ask, Connection, Origin

pytestmark = pytest.mark.asyncio

ORIGIN = Origin("http", "a.test", 80)


class Wire(asyncio.Transport):
    """Where the connection believes to be connected to."""

    def __init__(self) -> None:
        super().__init__()
        self.written = b""
        self.reading = True
        self.closed = False

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.written += bytes(data)

    def pause_reading(self) -> None:
        self.reading = False

    def resume_reading(self) -> None:
        self.reading = True

    def is_closing(self) -> bool:
        return self.closed

    def abort(self) -> None:
        self.closed = True


class Pool:
    """Remembers what it was told."""

    def __init__(self) -> None:
        self.stray = 0
        self.gone = 0

    def spoke(self, _: Connection) -> None:
        self.stray += 1

    def lost(self, _: Connection) -> None:
        self.gone += 1


def connected() -> tuple[Connection, Wire, Pool]:
    pool, wire = Pool(), Wire()
    connection = Connection(pool, ORIGIN, internal=False)
    connection.connection_made(wire)
    return connection, wire, pool


def asking(method: bytes = b"GET") -> Ask:
    return Ask(method, ORIGIN, b"/", [(b"Host", b"a.test")])


@dataclass
class Reading:
    """What one reader made of an answer."""

    status: int = 0
    headers: Any = None
    body: bytes = b""
    error: Exception | None = None


def read_by_h11_alone(method: bytes, sent: bytes) -> Reading:
    reader, found = h11.Connection(h11.CLIENT, max_incomplete_event_size=10**7), Reading()
    reader.send(h11.Request(method=method, target=b"/", headers=[(b"Host", b"a.test")]))
    reader.send(h11.EndOfMessage())
    reader.receive_data(sent)
    ended = False
    try:
        while True:
            event = reader.next_event()
            if isinstance(event, h11.Response):
                found.status, found.headers = event.status_code, event.headers.raw_items()
            elif isinstance(event, h11.Data):
                found.body += bytes(event.data)
            elif isinstance(event, h11.EndOfMessage):
                return found
            elif event is h11.NEED_DATA and not ended:
                reader.receive_data(b"")
                ended = True
            elif not isinstance(event, h11.InformationalResponse):
                raise h11.RemoteProtocolError("the end")
    except h11.RemoteProtocolError as error:
        found.error = error
    return found


async def read_by_us(method: bytes, pieces: list[bytes]) -> tuple[Reading, bool]:
    """What the protocol reads where the server sends these pieces and hangs up, and whether it may be used again."""
    connection, wire, _ = connected()
    await connection.send(asking(method))

    async def serve() -> None:
        for piece in pieces:
            while not wire.reading:
                await asyncio.sleep(0)
            if piece and not wire.closed:
                connection.data_received(piece)
                await asyncio.sleep(0)
        connection.eof_received()
        connection.connection_lost(None)

    serving, found, reusable = asyncio.create_task(serve()), Reading(), False
    try:
        head = await connection.head()
        found.status, found.headers = head.status, head.headers
        while data := await connection.receive():
            found.body += data
        reusable = connection.finish()
    except (httpx.TransportError, BadBody) as error:
        found.error = error
        wire.closed = True
    finally:
        wire.reading = True
        await serving
    return found, reusable


NAMES = st.sampled_from([b"X-Odd", b"x-lower", b"Server", b"Date", b"Set-Cookie", b"Content-Type"])
FIELDS = st.builds(lambda name, value: name + b": " + value, NAMES, st.sampled_from([b"", b"v", b"a b", b"\xe4\xff"]))
BODIES = st.binary(max_size=40)
STATUSES = st.sampled_from([b"200 OK", b"200", b"204 None", b"304 Same", b"404 N\xf6t", b"500 x y", b"999 Odd"])


def chunked(body: bytes, size: int, trailer: bytes) -> bytes:
    chunks = [body[at : at + size] for at in range(0, len(body), size)]
    return b"".join(b"%x\r\n%s\r\n" % (len(chunk), chunk) for chunk in chunks) + b"0\r\n" + trailer + b"\r\n"


@st.composite
def answers(draw: st.DrawFn) -> bytes:
    """A whole answer, as some honest server might send it."""
    interim = draw(
        st.lists(st.sampled_from([b"HTTP/1.1 100 Continue\r\n\r\n", b"HTTP/1.1 103 X\r\nLink: y\r\n\r\n"]), max_size=3)
    )
    fields, body = draw(st.lists(FIELDS, max_size=4)), draw(BODIES)
    framing = draw(st.sampled_from(["length", "chunked", "both", "close"]))
    if framing in ("length", "both"):
        fields.insert(0, b"Content-Length: %d" % len(body))
    if framing in ("chunked", "both"):
        fields.append(b"Transfer-Encoding: chunked")
        body = chunked(body, draw(st.integers(1, 20)), draw(st.sampled_from([b"", b"X-After: 1\r\n"])))
    version = draw(st.sampled_from([b"1.1", b"1.0"]))
    end = draw(st.sampled_from([b"\r\n", b"\n"]))
    head = end.join([b"HTTP/" + version + b" " + draw(STATUSES), *fields, b"", b""])
    return b"".join(interim) + head + body


HOSTILE = st.sampled_from(
    [
        *(b"", b"\r\n", b"\n", b"\r\n\r\n", b"HTTP/1.1 200 OK\r\n\r\n", b"HTTP/1.1 100 Continue\r\n\r\n"),
        *(b"Content-Length: 7\r\n", b"Content-Length: 0\r\n", b"Content-Length: x\r\n"),
        *(b"Transfer-Encoding: chunked\r\n", b"Transfer-Encoding: gzip\r\n"),
        *(b"0\r\n\r\n", b"ffffffffffffffffffff\r\n", b"5\r\nhello\r\n", b";ext=1"),
        *(b" folded\r\n", b"Name : v\r\n", b": v\r\n", b"\x00", b"\xff"),
    ]
)


@st.composite
def exchanges(draw: st.DrawFn) -> bytes:
    """An answer, or two, with parts cut out, put in and sent twice."""
    sent = draw(answers())
    for _ in range(draw(st.integers(0, 3))):
        at, size = draw(st.integers(0, len(sent))), draw(st.integers(0, 12))
        change = draw(st.sampled_from(["insert", "cut", "end", "repeat", "append"]))
        if change == "insert":
            sent = sent[:at] + draw(HOSTILE | st.binary(max_size=5)) + sent[at:]
        elif change == "cut":
            sent = sent[:at] + sent[at + size :]
        elif change == "end":
            sent = sent[:at]
        elif change == "repeat":
            sent = sent[:at] + sent[at : at + size] + sent[at:]
        else:
            sent += draw(answers())
    return sent


@given(exchanges(), st.sampled_from([b"GET", b"HEAD", b"POST"]), st.lists(st.integers(0, 300), max_size=12))
@settings(max_examples=500)
async def test_whatever_is_sent_is_read_as_h11_reads_it(sent: bytes, method: bytes, cuts: list[int]) -> None:
    at = sorted({0, len(sent), *(cut for cut in cuts if cut < len(sent))})
    pieces = [sent[begin:end] for begin, end in pairwise(at)]
    expected = read_by_h11_alone(method, sent)
    found, reusable = await read_by_us(method, pieces)
    assert not (reusable and expected.error)
    if found.status == 101:
        return  # h11 alone takes it for an error
    assert (found.error is None) == (expected.error is None), (found.error, expected.error)
    assert (found.status, found.headers) == (expected.status, expected.headers)
    if expected.error is None:
        assert found.body == expected.body
    else:
        assert found.body.startswith(expected.body) or expected.body.startswith(found.body)


@given(st.binary(max_size=400), st.integers(1, 50))
@settings(max_examples=300)
async def test_noise_raises_declared_errors_only(noise: bytes, step: int) -> None:
    await read_by_us(b"GET", [noise[at : at + step] for at in range(0, len(noise), step)])
    await read_by_us(b"GET", [b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", noise])
    await read_by_us(b"GET", [b"HTTP/1.1 200 OK\r\n" + noise])


@given(st.lists(answers(), min_size=1, max_size=5), st.integers(1, 60))
@settings(max_examples=300)
async def test_a_connection_carries_one_answer_after_another_or_is_given_up(many: list[bytes], step: int) -> None:
    connection, wire, pool = connected()
    for sent in many:
        expected = read_by_h11_alone(b"GET", sent)
        await connection.send(asking())
        for at in range(0, len(sent), step):
            connection.data_received(sent[at : at + step])
        if b"Content-Length" not in sent and b"chunked" not in sent:
            return  # it ends with its connection
        head = await connection.head()
        body = b""
        while data := await connection.receive():
            body += data
        assert (head.status, head.headers, body) == (expected.status, expected.headers, expected.body)
        if not connection.finish():
            return
        assert pool.stray == 0
    assert not wire.closed


@pytest.mark.parametrize("step", [7, 8192, 10**9])
@pytest.mark.parametrize(
    "attack",
    [
        b"HTTP/1.1 200 OK\r\n" + 250 * (b"X-Field: " + b"v" * 8000 + b"\r\n"),
        b"HTTP/1.1 200 OK\r\n" + b"a:\r\n" * 50_000,
        b"HTTP/1.1 200 OK\r\nX-Long: " + b"v" * 500_000,
        20_000 * b"HTTP/1.1 102 Processing\r\n\r\n",
    ],
)
async def test_a_head_is_refused_where_it_passes_its_bound(attack: bytes, step: int) -> None:
    connection, wire, _ = connected()
    await connection.send(asking())
    taken = 0
    with pytest.raises(HeadersTooLarge):
        reading = asyncio.create_task(connection.head())
        while not reading.done():
            while attack and wire.reading:
                part, attack = attack[:step], attack[step:]
                taken += len(part)
                connection.data_received(part)
            await asyncio.sleep(0)
        await reading
    assert step == 10**9 or taken < 90_000 + HIGH_WATER + step


async def test_a_slow_reader_holds_the_server_back() -> None:
    connection, wire, _ = connected()
    await connection.send(asking())
    connection.data_received(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n")
    await connection.head()
    while wire.reading:
        connection.data_received(b"x" * 10_000)
    assert len(await connection.receive()) > 0
    for _ in range(3):
        await connection.receive()
    assert wire.reading


async def test_a_connection_that_speaks_while_it_is_idle_is_closed() -> None:
    connection, wire, pool = connected()
    await connection.send(asking())
    connection.data_received(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
    await connection.head()
    assert await connection.receive() == b""
    assert connection.finish()
    connection.idle_since = 0.0
    assert connection.is_quiet()
    connection.data_received(b"HTTP/1.1 200 OK\r\n")
    assert wire.closed
    assert pool.stray == 1
    assert not connection.is_quiet()


async def test_many_tiny_chunks_leave_room_for_others() -> None:
    connection, _, _ = connected()
    await connection.send(asking())
    connection.data_received(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + b"1\r\nx\r\n" * 9_000)
    turns = 0

    async def others() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    task = asyncio.create_task(others())
    await connection.head()
    for _ in range(8_900):
        assert await connection.receive() == b"x"
    task.cancel()
    assert turns > 20
