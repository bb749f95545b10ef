from __future__ import annotations

import asyncio
import gc
from typing import TYPE_CHECKING

import pytest

from async_commander.downloads.errors import BodyTooLarge, BodyTruncated, DownloadTimeout

if TYPE_CHECKING:
    import httpx

    from .conftest import OpenClient
    from .hostile import HostileServer

pytestmark = pytest.mark.asyncio


async def test_a_body_can_be_streamed(server: HostileServer, small_client: OpenClient) -> None:
    async with small_client() as client:
        async with client.stream("GET", server.url("/encoded?how=gzip")) as response:
            pieces = [piece async for piece in response.aiter_bytes()]
        assert b"".join(pieces) == b"hello " * 50_000
        await client.get(server.url("/plain"))
    assert server.connections == 1


async def test_lines_can_be_streamed(server: HostileServer, small_client: OpenClient) -> None:
    async with small_client() as client, client.stream("GET", server.url("/plain")) as response:
        assert [line async for line in response.aiter_lines()] == ["hello"]


async def test_a_stream_is_bounded_like_any_body(server: HostileServer, small_client: OpenClient) -> None:
    async with small_client() as client:
        for path, kind in (("/endless", BodyTooLarge), ("/bomb", BodyTooLarge), ("/encoded?how=cut", BodyTruncated)):
            async with client.stream("GET", server.url(path)) as response:
                with pytest.raises(kind):
                    await read_all(response)


async def read_all(response: httpx.Response) -> None:
    async for _ in response.aiter_bytes():
        pass


@pytest.mark.parametrize("path", ["/drip", "/silent-body"])
async def test_a_stream_ends_at_the_deadline_of_its_request(
    server: HostileServer, small_client: OpenClient, path: str
) -> None:
    async with small_client(deadline=1.0) as client, client.stream("GET", server.url(path)) as response:
        with pytest.raises(DownloadTimeout, match="1 s") as caught:
            await read_all(response)
    assert caught.value.request.url.path == path


async def test_a_stream_that_is_left_early_costs_its_connection_only(
    server: HostileServer, small_client: OpenClient
) -> None:
    async with small_client(threads=1) as client:
        for _ in range(3):
            async with client.stream("GET", server.url("/endless")) as response:
                async for _ in response.aiter_bytes():
                    break
        async with client.stream("GET", server.url("/endless")):
            pass
        assert (await client.get(server.url("/plain"))).text == "hello"
    gc.collect()


@pytest.mark.parametrize("path", ["/silent", "/silent-body", "/drip-head", "/drip"])
async def test_a_cancelled_request_gives_its_connection_back(
    server: HostileServer, small_client: OpenClient, path: str
) -> None:
    async with small_client(threads=1) as client:
        for _ in range(3):
            asked = len(server.seen)
            async with asyncio.TaskGroup() as group:
                task = group.create_task(client.get(server.url(path)))
                while len(server.seen) == asked:
                    await asyncio.sleep(0)
                for _ in range(20):  # so that a head and the begin of a body may arrive
                    await asyncio.sleep(0)
                task.cancel()
            assert task.cancelled()
        assert (await client.get(server.url("/plain"))).text == "hello"
        while server.open > 1:
            server.gone.clear()
            await server.gone.wait()


async def test_a_request_object_can_be_sent_again(server: HostileServer, small_client: OpenClient) -> None:
    async with small_client(deadline=2.0) as client:
        request = client.build_request("GET", server.url("/plain"))
        assert (await client.send(request)).text == "hello"
        await asyncio.sleep(2.0)
        assert (await client.send(request)).text == "hello"


async def test_a_closed_client_leaves_no_connection(server: HostileServer, small_client: OpenClient) -> None:
    async with small_client() as client:
        await asyncio.gather(*(client.get(server.url("/plain")) for _ in range(10)))
    while server.open:
        server.gone.clear()
        await server.gone.wait()


async def test_uploads_go_through(server: HostileServer, small_client: OpenClient) -> None:
    async with small_client() as client:
        await client.post(server.url("/plain"), json={"a": 1})
        await client.post(server.url("/plain"), data={"a": "1"}, files={"f": b"content"})
    assert server.seen[0].body == b'{"a":1}'
    assert b"content" in server.seen[1].body
