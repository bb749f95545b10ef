from __future__ import annotations

import asyncio
import contextlib
import time
from email.utils import formatdate
from typing import TYPE_CHECKING

import httpx
import pytest

from async_commander.downloads.errors import BodyTooLarge
from async_commander.engine.limits import Retry
from async_commander.engine.pace import Pace, pace_key_held

if TYPE_CHECKING:
    from .conftest import OpenClient
    from .hostile import HostileServer

pytestmark = pytest.mark.asyncio


async def test_a_host_is_given_no_more_than_its_share(server: HostileServer, small_client: OpenClient) -> None:
    async with small_client(pace=Pace(per_key=2, per_second=None)) as client:
        await asyncio.gather(*(client.get(server.url("/pause")) for _ in range(20)))
    assert server.busiest == 2
    assert len(server.seen) == 20


async def test_a_turn_lasts_until_the_body_is_closed(server: HostileServer, small_client: OpenClient) -> None:
    pace = Pace(per_key=1, per_second=None)
    async with small_client(pace=pace) as client:
        async with client.stream("GET", server.url("/endless")):
            assert pace.reserve("127.0.0.1") > 0
        assert pace.reserve("127.0.0.1") == 0


@pytest.mark.parametrize("path", ["/reset", "/bomb", "/short", "/declared", "/loop", "/plain"])
async def test_a_turn_comes_back_whatever_happens(server: HostileServer, small_client: OpenClient, path: str) -> None:
    pace = Pace(per_key=1, per_second=None)
    async with small_client(pace=pace) as client:
        for _ in range(2):
            with contextlib.suppress(httpx.HTTPError, BodyTooLarge):
                await client.get(server.url(path))
        assert pace.reserve("127.0.0.1") == 0


async def test_a_turn_that_is_held_already_is_not_taken_again(server: HostileServer, small_client: OpenClient) -> None:
    pace = Pace(per_key=1, per_second=None)
    assert pace.reserve("127.0.0.1") == 0
    token = pace_key_held.set("127.0.0.1")
    try:
        async with small_client(pace=pace, deadline=1.0) as client:
            assert (await client.get(server.url("/plain"))).text == "hello"
    finally:
        pace_key_held.reset(token)
    pace.release("127.0.0.1")


async def test_a_task_does_not_wait_for_its_own_turn(server: HostileServer, small_client: OpenClient) -> None:
    pace = Pace(per_key=1, per_second=None)
    async with small_client(pace=pace) as client:
        async with client.stream("GET", server.url("/endless")):
            assert (await client.get(server.url("/plain"))).text == "hello"
            waiting = asyncio.create_task(client.get(server.url("/plain")))
            await asyncio.sleep(0.05)
            assert not waiting.done()
        assert (await waiting).text == "hello"
        assert pace.reserve("127.0.0.1") == 0


async def test_waiting_for_a_turn_does_not_use_up_the_deadline(server: HostileServer, small_client: OpenClient) -> None:
    pace = Pace(per_key=1, per_second=None)
    assert pace.reserve("127.0.0.1") == 0
    async with small_client(pace=pace, deadline=2.0) as client, asyncio.TaskGroup() as group:
        waiting = group.create_task(client.get(server.url("/plain")))
        await asyncio.sleep(2.1)
        assert not waiting.done()
        pace.release("127.0.0.1")
        assert (await waiting).text == "hello"


@pytest.mark.parametrize("code", [429, 503])
async def test_a_host_that_asks_for_time_gets_it(server: HostileServer, small_client: OpenClient, code: int) -> None:
    pace = Pace(per_key=None, per_second=None)
    async with small_client(pace=pace) as client:
        response = await client.get(server.url(f"/status?code={code}&after=30"))
    assert response.status_code == code
    assert 25 < pace.reserve("127.0.0.1") <= 30


@pytest.mark.parametrize(
    ("after", "least", "most"), [("in 50 s", 45, 50), ("86400", 95, 100), ("soon", 0, 2), ("long ago", 0, 2)]
)
@pytest.mark.parametrize("way", ["get", "fetch"])
async def test_a_date_is_understood_and_long_times_are_capped(
    server: HostileServer, small_client: OpenClient, after: str, least: float, most: float, way: str
) -> None:
    dates = {"in 50 s": formatdate(time.time() + 50, usegmt=True), "long ago": formatdate(0, usegmt=True)}
    url = httpx.URL(server.url("/status"), params={"code": 503, "after": dates.get(after, after)})
    pace = Pace(retry=Retry(retry_after_cap=100))
    async with small_client(pace=pace) as client:
        await getattr(client, way)(url)
    assert least < pace.wait("127.0.0.1") <= most


async def test_nobody_waits_in_a_circle_for_turns(server: HostileServer, small_client: OpenClient) -> None:
    """Each holds a turn of one host, and asks the other one."""
    pace = Pace(per_key=1, per_second=None)
    hosts = ["127.0.0.1", "localhost"]

    async def item(mine: str, other: str) -> None:
        async with client.stream("GET", server.url("/endless", host=mine)):
            ready.append(mine)
            while len(ready) < 2:
                await asyncio.sleep(0)
            assert (await client.get(server.url("/plain", host=other))).text == "hello"

    ready: list[str] = []
    async with small_client(pace=pace, internal_hosts=hosts) as client, asyncio.timeout(60):
        await asyncio.gather(item(*hosts), item(*reversed(hosts)))
    assert [pace.held(host) for host in hosts] == [0, 0]


async def test_items_whose_turns_the_pipeline_took_wait_in_no_circle_either(
    server: HostileServer, small_client: OpenClient
) -> None:
    pace = Pace(per_key=1, per_second=None)
    hosts = ["127.0.0.1", "localhost"]

    async def item(mine: str, other: str) -> None:
        assert pace.reserve(mine) == 0
        pace_key_held.set(mine)
        await asyncio.sleep(0)
        assert (await client.get(server.url("/plain", host=other))).text == "hello"
        pace.release(mine)

    async with small_client(pace=pace, internal_hosts=hosts) as client, asyncio.timeout(60):
        await asyncio.gather(item(*hosts), item(*reversed(hosts)))


async def test_tasks_that_are_started_inside_a_stream_do_not_wait_for_it_for_ever(
    server: HostileServer, small_client: OpenClient
) -> None:
    pace = Pace(per_key=1, per_second=None)
    async with small_client(pace=pace) as client, asyncio.timeout(60):
        async with client.stream("GET", server.url("/endless")):
            both = await asyncio.gather(client.get(server.url("/plain")), client.get(server.url("/plain")))
    assert [response.text for response in both] == ["hello"] * 2
    assert pace.held("127.0.0.1") == 0
