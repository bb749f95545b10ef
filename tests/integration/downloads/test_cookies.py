from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextvars import copy_context
from typing import TYPE_CHECKING, Any

import pytest

from async_commander.downloads.scope import ItemScope, item_scope

if TYPE_CHECKING:
    from .conftest import OpenClient
    from .hostile import HostileServer

pytestmark = pytest.mark.asyncio


async def as_an_item(work: Callable[[], Awaitable[Any]]) -> Any:
    """Run this as the runner runs the hooks of one item."""
    context = copy_context()
    context.run(item_scope.set, ItemScope())
    return await asyncio.get_running_loop().create_task(work(), context=context)  # type: ignore[arg-type]


def cookies_sent(server: HostileServer) -> list[str | None]:
    return [exchange.headers.get("cookie") for exchange in server.seen]


async def test_cookies_live_as_long_as_their_item(server: HostileServer, small_client: OpenClient) -> None:
    async with small_client() as client:

        async def log_in() -> None:
            await client.get(server.url("/set-cookie"))
            await client.post(server.url("/plain"))
            assert dict(client.cookies) == {"session": "secret"}

        await as_an_item(log_in)
        await as_an_item(log_in)
        assert not client.cookies
    assert cookies_sent(server) == [None, "session=secret", None, "session=secret"]


async def test_cookies_of_a_redirect_are_sent_by_the_later_requests_of_the_item(
    server: HostileServer, small_client: OpenClient
) -> None:
    async with small_client() as client:

        async def work() -> None:
            assert (await client.get(server.url("/cookie-wall"))).text == "inside"
            await client.get(server.url("/plain"))

        await as_an_item(work)
    assert cookies_sent(server) == [None, "wall=passed", "wall=passed"]


async def test_cookies_put_in_by_an_item_are_its_own(server: HostileServer, small_client: OpenClient) -> None:
    async with small_client() as client:

        async def set_by_name(name: str) -> None:
            client.cookies.set(name, "1")
            await asyncio.sleep(0)
            await client.get(server.url("/plain"))

        async def replace() -> None:
            client.cookies = {"other": "2"}
            await client.get(server.url("/plain"))

        names = [f"c{number}" for number in range(20)]
        await asyncio.gather(*(as_an_item(lambda name=name: set_by_name(name)) for name in names), as_an_item(replace))
    assert sorted(map(str, cookies_sent(server))) == sorted([*(f"{name}=1" for name in names), "other=2"])


async def test_tasks_of_one_item_share_its_cookies(server: HostileServer, small_client: OpenClient) -> None:
    async with small_client() as client:

        async def work() -> None:
            await asyncio.gather(client.get(server.url("/set-cookie")))
            await asyncio.gather(client.get(server.url("/plain")))

        await as_an_item(work)
    assert cookies_sent(server) == [None, "session=secret"]


async def test_an_item_begins_with_the_cookies_of_a_login_before_it(
    server: HostileServer, small_client: OpenClient
) -> None:
    async with small_client() as client:
        await client.get(server.url("/set-cookie"))

        async def work() -> None:
            await client.get(server.url("/plain"))
            client.cookies.clear()
            await client.get(server.url("/plain"))

        await as_an_item(work)
        await as_an_item(work)
    assert cookies_sent(server) == [None, "session=secret", None, "session=secret", None]


async def test_one_jar_for_all_items_where_that_is_asked_for(server: HostileServer, small_client: OpenClient) -> None:
    client = small_client()
    client.share_cookies = True
    async with client:
        await as_an_item(lambda: client.get(server.url("/set-cookie")))
        await as_an_item(lambda: client.get(server.url("/plain")))
    assert cookies_sent(server) == [None, "session=secret"]


async def test_cookies_go_to_their_own_host_only(server: HostileServer, small_client: OpenClient) -> None:
    async with small_client(internal_hosts=["127.0.0.0/8", "localhost"]) as client:
        await client.get(server.url("/set-cookie"))
        await client.get(server.url("/plain", host="localhost"))
    assert cookies_sent(server) == [None, None]
