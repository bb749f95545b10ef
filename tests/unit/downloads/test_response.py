from __future__ import annotations

import asyncio
import codecs
import encodings.aliases
import gc
import gzip
import hashlib
import pickle
import weakref
from collections.abc import AsyncIterator

import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from async_commander.downloads import response as response_module
from async_commander.downloads.client import Client, open_client
from async_commander.downloads.decoding import is_usable
from async_commander.downloads.errors import BodyTooLarge, BodyTooSlow
from async_commander.downloads.journey import Journey
from async_commander.downloads.limits import BodyMemory
from async_commander.downloads.pacing import Turn
from async_commander.downloads.response import BoundedBody

pytestmark = pytest.mark.asyncio


class Clock:
    """Time that passes where it is told to."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


class Trickle(httpx.AsyncByteStream):
    """So many bytes in each second."""

    def __init__(self, clock: Clock, chunk: bytes) -> None:
        self._clock, self._chunk = clock, chunk

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for _ in range(30):
            self._clock.now += 1.0
            yield self._chunk


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(response_module, "monotonic", clock)
    return clock


def trickling(clock: Clock, chunk: bytes) -> BoundedBody:
    journey = Journey.start(BodyMemory(10**6), deadline=60, max_body=10**6, internal_redirects=False)
    journey.deadline = 60.0
    return BoundedBody(Trickle(clock, chunk), journey, Turn(None, None, ""))


async def test_a_body_that_trickles_is_given_up_after_ten_seconds(clock: Clock) -> None:
    with pytest.raises(BodyTooSlow, match="11 s"):
        async for _ in trickling(clock, b"x" * 1000):
            pass
    assert clock.now == 11.0


async def test_a_slow_body_is_read_to_its_end(clock: Clock) -> None:
    assert [len(piece) async for piece in trickling(clock, b"x" * 1025)] == [1025] * 30


async def test_time_that_the_reader_takes_is_not_the_servers(clock: Clock) -> None:
    async for _ in trickling(clock, b"x" * 1025):
        clock.now += 1.0


async def test_another_transport_can_take_the_place_of_the_wire() -> None:
    answers = httpx.MockTransport(lambda request: httpx.Response(200, text=f"you asked for {request.url.path}"))
    async with open_client(threads=1, max_body=1000, transport=answers) as client:
        assert (await client.get("http://anything.test/x")).text == "you asked for /x"


@pytest.mark.parametrize("bounds", [{"threads": 0}, {"max_body": 0}, {"deadline": 0.0}, {"deadline": -1.0}])
async def test_bounds_that_make_no_sense_are_named(bounds: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=f"{next(iter(bounds))}="):
        open_client(**{"threads": 1, "max_body": 1, **bounds})


async def test_the_first_to_ask_for_memory_always_gets_it() -> None:
    memory = BodyMemory(100)
    assert memory.take("first", 90)
    assert not memory.take("second", 20)
    assert memory.take("first", 500)
    memory.give_back("first")
    assert memory.taken == 0
    assert memory.take("second", 500)
    memory.give_back("second")
    memory.give_back("second")
    assert memory.taken == 0


def client_of(*chunks: bytes, status: int = 200, max_body: int = 10**7, **headers: str) -> Client:
    """A client whose server always answers with these bytes."""

    class Body(httpx.AsyncByteStream):
        async def __aiter__(self) -> AsyncIterator[bytes]:
            for chunk in chunks:
                yield chunk

    named = {name.replace("_", "-"): value for name, value in headers.items()}
    answers = httpx.MockTransport(lambda _: httpx.Response(status, headers=named, stream=Body()))
    return open_client(threads=1, max_body=max_body, transport=answers)


USABLE = sorted(
    name for name in {*encodings.aliases.aliases.values(), "utf-16", "utf-32", "utf-8-sig"} if is_usable(name)
)


@given(st.sampled_from(USABLE), st.lists(st.binary(max_size=9), max_size=6))
@settings(max_examples=400)
async def test_text_never_raises_whatever_its_charset_and_its_bytes(charset: str, chunks: list[bytes]) -> None:
    async with client_of(*chunks, content_type=f"text/html; charset={charset}") as client:
        response = await client.get("http://a.test/")
        assert isinstance(response.text, str)
        async with client.stream("GET", "http://a.test/") as stream:
            assert isinstance("".join([piece async for piece in stream.aiter_text()]), str)
        assert isinstance((await client.fetch("http://a.test/")).text, str)


@pytest.mark.parametrize("charset", ["utf-16", "UTF_16", "utf-32", "u16"])
@pytest.mark.parametrize("mark", [b"", codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE])
async def test_text_with_and_without_a_byte_order_mark(charset: str, mark: bytes) -> None:
    width = "32" if "32" in charset else "16"
    order = "be" if mark == codecs.BOM_UTF16_BE else "le"
    text = "grüße"
    content = (("\ufeff" if mark else "") + text).encode(f"utf-{width}-{order}")
    async with client_of(
        content[:1], content[1:3], content[3:], content_type=f"text/plain; charset={charset}"
    ) as client:
        assert (await client.get("http://a.test/")).text == text
        assert (await client.fetch("http://a.test/")).text == text
        async with client.stream("GET", "http://a.test/") as response:
            assert "".join([piece async for piece in response.aiter_text()]) == text
        async with client.stream("GET", "http://a.test/") as response:
            assert [line async for line in response.aiter_lines()] == [text]


async def test_raw_bytes_are_as_they_were_sent_and_others_are_decoded() -> None:
    archive = gzip.compress(b"hello " * 50_000)
    async with client_of(archive, content_encoding="gzip", content_length=str(len(archive))) as client:
        async with client.stream("GET", "http://a.test/x.tar.gz") as response:
            digest = hashlib.sha256()
            async for raw in response.aiter_raw(1000):
                digest.update(raw)
            assert response.num_bytes_downloaded == len(archive)
        assert digest.digest() == hashlib.sha256(archive).digest()
        async with client.stream("GET", "http://a.test/x.tar.gz") as response:
            pieces = [piece async for piece in response.aiter_bytes(1000)]
        assert b"".join(pieces) == b"hello " * 50_000
        assert {len(piece) for piece in pieces} == {1000}
        response = await client.get("http://a.test/x.tar.gz")
        assert response.headers["content-encoding"] == "gzip"
        assert [len(piece) async for piece in response.aiter_bytes(200_000)] == [200_000, 100_000]


async def test_raw_bytes_are_bounded_too() -> None:
    async with (
        client_of(b"x" * 600, b"x" * 600, max_body=1000) as client,
        client.stream("GET", "http://a.test/") as response,
    ):
        with pytest.raises(BodyTooLarge):
            async for _ in response.aiter_raw():
                pass


async def test_a_response_that_was_read_is_a_plain_value() -> None:
    async with client_of(gzip.compress(b"hello"), content_encoding="gzip") as client:
        response = await client.get("http://a.test/")
        again = pickle.loads(pickle.dumps(response))
        assert (again.status_code, again.content, again.text) == (200, b"hello", "hello")
        small = await client.fetch("http://a.test/")
        assert pickle.loads(pickle.dumps(small)) == small


async def test_a_stream_is_read_once() -> None:
    async with client_of(b"hello") as client:
        async with client.stream("GET", "http://a.test/") as response:
            assert b"".join([piece async for piece in response.aiter_bytes()]) == b"hello"
            with pytest.raises(httpx.StreamConsumed):
                await response.aread()
        async with client.stream("GET", "http://a.test/") as response:
            pass
        with pytest.raises(httpx.StreamClosed):
            await response.aread()


async def test_what_was_downloaded_is_freed_without_the_garbage_collector() -> None:
    packed = gzip.compress(b"x" * 100_000)
    async with client_of(packed, content_encoding="gzip") as client:
        gc.collect()
        gc.disable()
        try:
            kept: list[weakref.ref[object]] = []
            for stream in (False, True):
                response = await client.send(client.build_request("GET", "http://a.test/"), stream=stream)
                kept.append(weakref.ref(response))
                kept.append(weakref.ref(response.stream) if stream else kept[0])
                if stream:
                    await response.aread()
                del response
            await asyncio.sleep(0)
            assert [ref() for ref in kept] == [None] * 4
        finally:
            gc.enable()


async def test_a_status_is_an_error_when_that_is_asked() -> None:
    async with client_of(b"no such page", status=404) as client:
        response = await client.fetch("http://a.test/x")
        assert (response.status, response.url, response.text) == (404, "http://a.test/x", "no such page")
        with pytest.raises(httpx.HTTPStatusError, match="404") as caught:
            response.raise_for_status()
        assert caught.value.response.text == "no such page"
    async with client_of(b"hello", X_Odd="1") as client:
        response = await client.fetch("http://a.test/x")
        assert response.raise_for_status() is response
        assert response.headers["x-odd"] == "1"
