from __future__ import annotations

import asyncio
import gc
import time
import tracemalloc
from contextlib import suppress
from typing import TYPE_CHECKING

import httpx
import pytest

from async_commander.downloads.errors import DownloadTimeout, TooLarge

from .hostile import MEGABYTE, HostileServer, raw_server
from .test_bodies import PASSING, REFUSED

if TYPE_CHECKING:
    from .conftest import OpenClient

pytestmark = pytest.mark.asyncio


@pytest.mark.timeout(900)
@pytest.mark.parametrize(
    "path",
    ["/endless", "/bomb", "/endless-headers", "/endless-header", "/many-headers?n=250&size=8000", "/late-trailers"],
)
async def test_a_hundred_attacks_at_once_share_bounded_memory(
    server: HostileServer, small_client: OpenClient, path: str
) -> None:
    async with small_client(threads=100, max_body=2 * MEGABYTE, deadline=600.0) as client:
        tracemalloc.start()
        try:
            errors = await asyncio.gather(
                *(client.get(server.url(path), timeout=600) for _ in range(100)), return_exceptions=True
            )
            peak = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
    assert all(isinstance(error, TooLarge) for error in errors), errors
    assert peak < 100 * MEGABYTE + 2 * MEGABYTE


async def test_all_attacks_at_once_end_in_time_each_with_its_own_reason(
    server: HostileServer, small_client: OpenClient
) -> None:
    cases = [(path, kind) for path, kind, _ in REFUSED] + PASSING

    async def attack(path: str, kind: type[Exception]) -> None:
        with pytest.raises((kind, DownloadTimeout)):
            await client.get(server.url(path))

    async with small_client(threads=200, deadline=5.0) as client:
        started = time.monotonic()
        async with asyncio.TaskGroup() as group:
            for path, kind in cases * 2:
                group.create_task(attack(path, kind))
        assert time.monotonic() - started < 30
        assert (await client.get(server.url("/plain"))).text == "hello"


async def test_large_honest_bodies_all_arrive_though_memory_is_for_few(
    server: HostileServer, small_client: OpenClient
) -> None:
    async with small_client(threads=20, body_memory=MEGABYTE) as client:

        async def fetch() -> int:
            return len((await client.get(server.url(f"/bytes?n={2 * MEGABYTE}"))).content)

        assert await asyncio.gather(*(fetch() for _ in range(20))) == [2 * MEGABYTE] * 20


async def test_an_attack_does_not_hold_back_the_honest(server: HostileServer, small_client: OpenClient) -> None:
    async def attack() -> None:
        with suppress(httpx.HTTPError):
            await client.get(server.url("/silent-body"))

    async with small_client(threads=30) as client, asyncio.TaskGroup() as group:
        attacks = [group.create_task(attack()) for _ in range(20)]
        for _ in range(50):
            assert (await client.get(server.url("/encoded?how=gzip"))).status_code == 200
        for task in attacks:
            task.cancel()


async def test_a_tls_handshake_is_not_waited_for_without_end(small_client: OpenClient) -> None:
    async with raw_server(None) as port, small_client(deadline=1.0) as client:
        with pytest.raises(DownloadTimeout):
            await client.get(f"https://127.0.0.1:{port}/")
        with pytest.raises(httpx.ConnectTimeout):
            await client.get(f"https://127.0.0.1:{port}/", timeout=0.1)


async def test_a_plain_server_is_no_tls_server(small_client: OpenClient) -> None:
    answer = b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n"
    async with raw_server(answer) as port, small_client() as client:
        with pytest.raises(httpx.ConnectError):
            await client.get(f"https://127.0.0.1:{port}/")


@pytest.mark.parametrize("quick", [False, True])
async def test_what_was_read_of_a_body_that_broke_off_is_freed(
    server: HostileServer, small_client: OpenClient, quick: bool
) -> None:
    """Without the cyclic garbage collector, which comes when it likes."""
    async with small_client(max_body=8 * MEGABYTE) as client:
        get = client.fetch if quick else client.get
        gc.collect()
        gc.disable()
        tracemalloc.start()
        try:
            for path in ("/large-then-reset", "/large-then-short", "/large-then-nothing") * 5:
                with pytest.raises(httpx.RequestError):
                    await get(server.url(path))
            left = tracemalloc.get_traced_memory()[0]
        finally:
            tracemalloc.stop()
            gc.enable()
    assert left < 4 * MEGABYTE
