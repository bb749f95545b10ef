from __future__ import annotations

from typing import TYPE_CHECKING

import httpx
import pytest

from async_commander.downloads import body as body_module
from async_commander.downloads.body import BoundedBody
from async_commander.downloads.client import open_client
from async_commander.downloads.errors import BodyTooSlow
from async_commander.downloads.journey import Journey
from async_commander.downloads.memory import BodyMemory

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

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
    monkeypatch.setattr(body_module, "monotonic", clock)
    return clock


def trickling(clock: Clock, chunk: bytes) -> BoundedBody:
    journey = Journey.start(60.0, 10**6, BodyMemory(10**6))
    journey.deadline = 60.0
    return BoundedBody(Trickle(clock, chunk), journey, lambda: None)


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
