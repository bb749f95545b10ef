"""One connection to a server: an asyncio protocol whose bytes h11 frames."""

from __future__ import annotations

import asyncio
import re
import select
from collections import deque
from collections.abc import AsyncIterable
from dataclasses import dataclass, replace
from typing import Protocol, cast

import h11
import httpx

from .errors import BadBody, HeadersTooLarge
from .limits import MAX_HEAD, MAX_HEAD_LINES, MAX_INTERIM, PIECE, check_headers

HIGH_WATER = 64 * 1024
"""Bytes that may wait for their reader before the server is held back; one read of the socket may come on top."""
EVENTS_WITHOUT_PAUSE = 256
REFUSED = 400
"""A server that answers so before it has the whole body of a request wants no more of it."""

SWITCHED = 101

PORTS = {"http": 80, "https": 443}

_HEAD_END = re.compile(rb"\n\r?\n")
_UPGRADED = re.compile(rb"HTTP/1\.[01] 101(?!\d)")
_MAGIC = b"HTTP/"


@dataclass(frozen=True, slots=True)
class Origin:
    """Where connections go: those to one origin are alike."""

    scheme: str
    host: str
    port: int
    server_name: str | None = None
    """What to ask for in TLS, where it is not the host."""


@dataclass(slots=True)
class Ask:
    """One request, as it goes on the wire. Times are in seconds; None waits for as long as the deadline lets it."""

    method: bytes
    origin: Origin
    target: bytes
    headers: list[tuple[bytes, bytes]]
    body: bytes | AsyncIterable[bytes] = b""
    connect_timeout: float | None = None
    read_timeout: float | None = None
    write_timeout: float | None = None


@dataclass(frozen=True, slots=True)
class Head:
    """The head of an answer; the names of its headers as the server wrote them."""

    status: int
    reason: bytes
    version: bytes
    headers: list[tuple[bytes, bytes]]

    @classmethod
    def of(cls, event: h11.Response) -> Head:
        """What h11 read. HeadersTooLarge beyond the bounds."""
        headers = event.headers.raw_items()
        check_headers(headers)
        return cls(event.status_code, event.reason, event.http_version, headers)

    @property
    def extensions(self) -> dict[str, bytes]:
        """What httpx wants to know beside the headers."""
        return {"http_version": b"HTTP/" + self.version, "reason_phrase": self.reason}

    @property
    def is_ambiguous(self) -> bool:
        """Both a length and chunks: h11 reads the chunks, others before us may read the length (RFC 9112 §6.3)."""
        names = {name.lower() for name, _ in self.headers}
        return b"content-length" in names and b"transfer-encoding" in names


class Owner(Protocol):
    """Who keeps a connection while it is idle."""

    def spoke(self, connection: Connection) -> None:
        """The server sent what nobody had asked for."""

    def lost(self, connection: Connection) -> None:
        """The connection is closed, by whichever side."""


class Connection(asyncio.Protocol):
    """A connection that carries one request at a time: `send()`, `head()`, then `receive()` until there is no more.

    What arrives is framed when the reader asks for it, in pieces, so that a server decides neither how much memory nor
    how much of the loop's time it takes. Errors are those of httpx and of `errors`.
    """

    def __init__(self, owner: Owner, origin: Origin, *, internal: bool) -> None:
        self.origin = origin
        self.internal = internal
        """Whether it leads to a host of the project's own, or to an address that is not public."""
        self.served = 0
        """Answers that were read to their end."""
        self.idle_since: float | None = None
        self.answered = False
        """Whether a byte arrived since the request under way was begun."""
        self.wrote = False
        """Whether a byte of the request under way may have gone out."""
        self._owner = owner
        self._loop = asyncio.get_running_loop()
        self._h11 = h11.Connection(h11.CLIENT, max_incomplete_event_size=MAX_HEAD)
        self._chunks: deque[bytes] = deque()
        self._waiting = 0
        """Bytes in `_chunks`."""
        self._events = 0
        self._held_back = self._over = False
        self._failure: Exception | None = None
        self._arrival: asyncio.Future[None] | None = None
        self._drained: asyncio.Future[None] | None = None
        self._ask: Ask
        self._answer: Head | None = None

    # -- what asyncio calls --------------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """See asyncio.Protocol."""
        self._transport = cast("asyncio.Transport", transport)
        sock = transport.get_extra_info("socket")
        self._poll = select.poll()
        if sock is not None:
            self._poll.register(sock.fileno(), select.POLLIN)

    def data_received(self, data: bytes) -> None:
        """See asyncio.Protocol."""
        if self.idle_since is not None:  # within this step of the loop: no request can take the connection before
            self._owner.spoke(self)
            self.abort()
            return
        self.answered = True
        self._chunks.append(data)
        self._waiting += len(data)
        if self._waiting >= HIGH_WATER and not self._held_back and not self._transport.is_closing():
            self._held_back = True
            self._transport.pause_reading()
        _wake(self._arrival)

    def eof_received(self) -> None:
        """See asyncio.Protocol: the transport closes itself."""
        self._over = True
        _wake(self._arrival)

    def connection_lost(self, error: Exception | None) -> None:
        """See asyncio.Protocol."""
        self._over = True
        if error is not None and self._failure is None:
            self._failure = httpx.ReadError(f"the connection was lost: {error or type(error).__name__}")
            self._failure.__cause__ = error
        _wake(self._arrival)
        _wake(self._drained)
        self._owner.lost(self)

    def pause_writing(self) -> None:
        """See asyncio.Protocol."""
        self._drained = self._loop.create_future()

    def resume_writing(self) -> None:
        """See asyncio.Protocol."""
        _wake(self._drained)
        self._drained = None

    # -- what the pool asks --------------------------------------------------------------------------------------------

    def is_quiet(self) -> bool:
        """Whether an idle connection is open and silent at this very moment, in the kernel too."""
        return not (self.is_over or self._chunks or self._poll.poll(0))

    def abort(self) -> None:
        """Close at once."""
        self._transport.abort()

    def give_up(self, error: Exception) -> None:
        """Close at once; whoever reads gets this error."""
        self._failure = error
        self._chunks.clear()
        self._waiting = 0
        _wake(self._arrival)
        self.abort()

    @property
    def is_over(self) -> bool:
        """Whether it is closed, or about to be."""
        return self._over or self._transport.is_closing()

    @property
    def transport(self) -> asyncio.Transport:
        """What carries the bytes; for who goes on with another protocol."""
        return self._transport

    # -- a request -----------------------------------------------------------------------------------------------------

    async def send(self, ask: Ask) -> None:
        """Send a request with its body. Where the server goes away or refuses early, the rest is left out.

        httpx.LocalProtocolError for what HTTP/1.1 cannot say, such as a header with a line end.
        """
        self._ask, self._answer, self.answered, self.wrote = ask, None, False, False
        self._head, self._scanned, self._lines, self._seen, self._interim = bytearray(), 0, 0, 0, 0
        try:
            head = h11.Request(method=ask.method, target=ask.target, headers=ask.headers)
            data = self._h11.send(head) or b""
            if isinstance(ask.body, bytes) and len(ask.body) <= PIECE:
                data += self._h11.send(h11.Data(data=ask.body)) or b"" if ask.body else b""
                self._write(data + (self._h11.send(h11.EndOfMessage()) or b""))
                return
            self._write(data)
            async for chunk in _pieces(ask.body) if isinstance(ask.body, bytes) else ask.body:
                if chunk:
                    self._write(self._h11.send(h11.Data(data=chunk)) or b"")
                while self._drained is not None and not self._over:
                    await self._wait(self._drained, ask.write_timeout, httpx.WriteTimeout)
                if self._chunks and self._answer is None:
                    self._answer = self._read_heads()
                if self._over or (self._answer is not None and self._answer.status >= REFUSED):
                    return
            self._write(self._h11.send(h11.EndOfMessage()) or b"")
        except h11.LocalProtocolError as error:
            raise httpx.LocalProtocolError(str(error)) from error

    def _write(self, data: bytes) -> None:
        if data and not self._transport.is_closing():
            self.wrote = True
            self._transport.write(data)

    # -- its answer ----------------------------------------------------------------------------------------------------

    async def head(self) -> Head:
        """The final head of the answer; interim ones are read over, within bounds that they share with it."""
        while self._answer is None:
            if self._chunks or not await self._more():
                self._answer = self._read_heads()
        return self._answer

    def _read_heads(self) -> Head | None:
        """Read what has arrived; None where the final head is not complete yet."""
        head = self._head
        while self._chunks:
            data = self._chunks.popleft()
            self._waiting -= len(data)
            head += data[:MAX_HEAD]
            if len(data) > MAX_HEAD:
                self._put_back(data[MAX_HEAD:])
            if not _MAGIC.startswith(head[: len(_MAGIC)]):
                raise httpx.RemoteProtocolError(f"this is not HTTP: {bytes(head[:40])!r}")
            while (end := _HEAD_END.search(head, max(0, self._scanned - 2))) is not None:
                complete = bytes(head[: end.end()])
                del head[: end.end()]
                self._scanned = 0
                answer = self._read_head(complete)
                if answer is not None:
                    self._put_back(bytes(head))
                    self._let_on()
                    return answer
            self._scanned = len(head)
            self._check_head(len(head), self._lines + head.count(b"\n"))
        if self._over:
            raise self._end("without an answer" if not self.answered else "in the middle of the head")
        self._let_on()
        return None

    def _read_head(self, head: bytes) -> Head | None:
        self._lines += head.count(b"\n")
        self._check_head(len(head), self._lines)
        self._seen += len(head)
        if _UPGRADED.match(head):
            return _upgraded(head)
        self._h11.receive_data(head)
        try:
            event = self._h11.next_event()
        except h11.RemoteProtocolError as error:
            raise httpx.RemoteProtocolError(f"this is not HTTP: {error}") from error
        if isinstance(event, h11.Response):
            return Head.of(event)
        self._interim += 1
        if self._interim > MAX_INTERIM:
            raise HeadersTooLarge(f"more than {MAX_INTERIM} interim answers before the final one")
        return None

    def _check_head(self, more: int, lines: int) -> None:
        if self._seen + more > MAX_HEAD or lines > MAX_HEAD_LINES:
            raise HeadersTooLarge(
                f"a head of {self._seen + more} bytes or more, in {lines} lines, with the interim ones before it: "
                f"{MAX_HEAD} bytes in {MAX_HEAD_LINES} lines are allowed"
            )

    async def receive(self) -> bytes:
        """The next bytes of the body, without their framing; b"" at its end."""
        if self._answer is None or self._answer.status == SWITCHED:
            return b""
        while True:
            self._events += 1
            if self._events % EVENTS_WITHOUT_PAUSE == 0:  # thousands of tiny chunks fit into one piece
                await asyncio.sleep(0)
            event = self._next_event()
            if isinstance(event, h11.Data):
                return bytes(event.data)
            if isinstance(event, h11.EndOfMessage):
                check_headers(event.headers.raw_items())
                return b""
            if event is not h11.NEED_DATA:
                raise self._end("in the middle of the body")
            if not self._chunks:
                await self._more()
            self._feed()

    def _next_event(self) -> object:
        try:
            return self._h11.next_event()
        except h11.RemoteProtocolError as error:
            if self._over and not self._chunks and self._h11.trailing_data[1]:
                raise self._end(f"in the middle of the body: {error}") from error
            if error.error_status_hint == 431:
                raise HeadersTooLarge(
                    f"the headers after the body are too many: {MAX_HEAD} bytes are allowed"
                ) from error
            raise BadBody(f"the chunked body is broken: {error}") from error

    def _feed(self) -> None:
        """Give h11 one piece of what has arrived, or the end."""
        if self._chunks:
            data = self._chunks.popleft()
            self._waiting -= len(data)
            if len(data) > PIECE:
                self._put_back(data[PIECE:])
            self._h11.receive_data(data[:PIECE])
            self._let_on()
        elif self._failure is not None:
            raise self._end("")
        else:
            self._h11.receive_data(b"")

    def _put_back(self, data: bytes) -> None:
        if data:
            self._chunks.appendleft(data)
            self._waiting += len(data)

    def _let_on(self) -> None:
        if self._held_back and self._waiting < HIGH_WATER:
            self._held_back = False
            if not self._transport.is_closing():
                self._transport.resume_reading()

    async def _more(self) -> bool:
        """Wait until something has arrived; False at the end."""
        while not self._chunks and not self._over and self._failure is None:
            self._arrival = self._loop.create_future()
            try:
                await self._wait(self._arrival, self._ask.read_timeout, httpx.ReadTimeout)
            finally:
                self._arrival = None
        if self._failure is not None and not self._chunks:
            raise self._end("")
        return bool(self._chunks)

    async def _wait(
        self, event: asyncio.Future[None], seconds: float | None, kind: type[httpx.TimeoutException]
    ) -> None:
        if seconds is None:
            await event
            return
        alarm = self._loop.call_later(seconds, _time_out, event, seconds, kind)
        try:
            await event
        finally:
            alarm.cancel()

    def _end(self, where: str) -> Exception:
        """Why there is no more to read. It is let go of: its traceback leads to what the caller has read so far."""
        failure, self._failure = self._failure, None
        return failure or httpx.RemoteProtocolError(f"the server closed the connection {where}")

    def finish(self) -> bool:
        """To be called after the last byte of an answer: whether the connection can carry another request.

        Not where the server said more than its answer, spoke ambiguously, or wants to close; nor where it did not get
        the whole request.
        """
        answer, self._answer = self._answer, None
        self.served += 1
        if self._chunks or self._h11.trailing_data[0]:
            self._owner.spoke(self)
            return False
        if answer is None or answer.status == SWITCHED or answer.is_ambiguous:
            return False
        if self.is_over:
            return False
        if self._h11.our_state is not h11.DONE or self._h11.their_state is not h11.DONE:
            return False
        self._h11.start_next_cycle()
        return True


def _wake(waiter: asyncio.Future[None] | None) -> None:
    if waiter is not None and not waiter.done():
        waiter.set_result(None)


def _time_out(waiter: asyncio.Future[None], seconds: float, kind: type[httpx.TimeoutException]) -> None:
    if not waiter.done():
        waiter.set_exception(kind(f"nothing happened for {seconds:g} s"))


def _upgraded(head: bytes) -> Head:
    """A 101 that nobody asked for, which h11 takes for a broken rule: an answer without a body."""
    reader = h11.Connection(h11.CLIENT, max_incomplete_event_size=MAX_HEAD)
    reader.receive_data(head.replace(b" 101", b" 200", 1))
    try:
        event = reader.next_event()
    except h11.RemoteProtocolError as error:
        raise httpx.RemoteProtocolError(f"this is not HTTP: {error}") from error
    return replace(Head.of(cast("h11.Response", event)), status=SWITCHED)


async def _pieces(body: bytes) -> AsyncIterable[bytes]:
    view = memoryview(body)
    for start in range(0, len(body), PIECE):
        yield bytes(view[start : start + PIECE])
