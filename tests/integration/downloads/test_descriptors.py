"""A process that is short of file descriptors slows down, and no download fails for it."""

from __future__ import annotations

import asyncio
import errno
import json
import logging
import resource
import socket
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import httpx
import pytest

from async_commander.downloads import connecting, descriptors, pool

from .scripted import Peer, ScriptedServer, answer

if TYPE_CHECKING:
    from .conftest import OpenClient

pytestmark = pytest.mark.asyncio

CHILD = """
import asyncio, json, logging, resource, sys
from async_commander.downloads.client import open_client

said = []

class Kept(logging.Handler):
    def emit(self, record):
        said.append(record.getMessage())

async def main(url, streams):
    resource.setrlimit(resource.RLIMIT_NOFILE, (64, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
    logging.getLogger("async_commander").addHandler(Kept())
    failed = []
    async with open_client(threads=200, max_body=10**6, internal_hosts=["localhost"]) as client:

        async def get(number):
            try:
                if streams:
                    async with client.stream("GET", url) as response:
                        await response.aread()
                        await asyncio.sleep(0.01)
                else:
                    assert (await client.get(url)).text == "ok"
            except Exception as error:
                failed.append(repr(error))

        await asyncio.gather(*(get(number) for number in range(300)))
    print(json.dumps({"failed": failed, "said": said}))

asyncio.run(main(sys.argv[1], sys.argv[2] == "streams"))
"""


async def talk(peer: Peer) -> None:
    while True:
        await peer.request()
        await asyncio.sleep(0.002)
        await peer.send(answer(b"ok"))


@pytest.mark.parametrize("kind", ["whole", "streams"])
async def test_two_hundred_threads_work_with_sixty_four_descriptors(kind: str) -> None:
    async with ScriptedServer(talk) as server:
        url = server.url(host="localhost")
        child = await asyncio.create_subprocess_exec(
            sys.executable, "-c", CHILD, url, kind, stdout=subprocess.PIPE, cwd=Path(__file__).parents[3]
        )
        output, _ = await asyncio.wait_for(child.communicate(), 60)
    told = json.loads(output)
    assert told["failed"] == []
    assert len(told["said"]) == 1
    assert "may have 64 file descriptors (ulimit -n), and 200 downloads at once need 264" in told["said"][0]


async def test_a_lack_that_comes_later_is_waited_out(
    small_client: OpenClient, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    lacking = [OSError(errno.EMFILE, "Too many open files"), OSError(errno.ENFILE, "of the system")]
    connected = connecting.first_connected

    async def sometimes(addresses: list[connecting.Address]) -> socket.socket:
        if lacking:
            raise lacking.pop()
        return await connected(addresses)

    monkeypatch.setattr(connecting, "first_connected", sometimes)
    with caplog.at_level(logging.WARNING, "async_commander"):
        async with ScriptedServer(talk) as server, small_client(deadline=1.5) as client:
            assert (await client.get(server.url())).text == "ok"
    assert not lacking
    assert len(caplog.records) == 1


async def test_a_lack_that_does_not_end_is_an_error_that_passes(
    small_client: OpenClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def never(addresses: list[connecting.Address]) -> socket.socket:
        raise OSError(errno.EMFILE, "Too many open files")

    monkeypatch.setattr(connecting, "first_connected", never)
    monkeypatch.setattr(pool, "PATIENCE", 0.0)
    async with small_client() as client:
        with pytest.raises(httpx.ConnectError, match="Too many open files"):
            await client.get("http://127.0.0.1:9/")


def limited(monkeypatch: pytest.MonkeyPatch, soft: int) -> None:
    monkeypatch.setattr(resource, "getrlimit", lambda _: (soft, soft))


async def test_room_is_left_for_what_else_a_process_opens(monkeypatch: pytest.MonkeyPatch) -> None:
    limited(monkeypatch, 100_000)
    assert descriptors.room_for(200) == 200
    limited(monkeypatch, resource.RLIM_INFINITY)
    assert descriptors.soft_limit() is None
    assert descriptors.room_for(200) == 200
    limited(monkeypatch, 8)
    assert descriptors.room_for(200) == descriptors.FEWEST
    assert descriptors.room_for(2) == 2


async def test_a_name_that_is_not_known_is_no_lack_of_descriptors() -> None:
    assert not descriptors.ran_out(socket.gaierror(socket.EAI_NONAME, "not known"))
    wrapped = httpx.ConnectError("x")
    wrapped.__cause__ = OSError(errno.EMFILE, "x")
    assert descriptors.ran_out(wrapped)
    assert not descriptors.ran_out(httpx.ConnectError("x"))
