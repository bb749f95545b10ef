"""Hosts with several addresses, and the names of all."""

from __future__ import annotations

import asyncio
import socket
from typing import TYPE_CHECKING

import pytest

from async_commander.downloads import connecting

from .scripted import ScriptedServer, talk

if TYPE_CHECKING:
    from .conftest import OpenClient

pytestmark = pytest.mark.asyncio


async def test_a_dead_address_costs_a_head_start_only(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []
    connect = connecting._connected

    async def slow_first(address: connecting.Address) -> socket.socket:
        asked.append(address[1][0])
        if address[1][0] != "127.0.0.1":
            await asyncio.sleep(60)
        return await connect(address)

    monkeypatch.setattr(connecting, "_connected", slow_first)
    monkeypatch.setattr(connecting, "HEAD_START", 0.01)
    async with ScriptedServer(talk) as server:
        six, four = socket.AF_INET6, socket.AF_INET
        dead = [(six, ("100::1", 1, 0, 0)), (six, ("100::2", 1, 0, 0)), (four, ("127.0.0.1", server.port))]
        sock = await asyncio.wait_for(connecting.first_connected(dead), 30)
        assert sock.getpeername()[1] == server.port
        sock.close()
    assert asked == ["100::1", "127.0.0.1"]  # the families take turns


async def test_an_address_that_refuses_is_followed_by_the_next_at_once(small_client: OpenClient) -> None:
    async with ScriptedServer(talk) as server:
        refusing = [(socket.AF_INET, (f"127.0.0.{last}", server.port)) for last in (3, 4, 5)]
        async with asyncio.timeout(5):
            sock = await connecting.first_connected([*refusing, (socket.AF_INET, ("127.0.0.1", server.port))])
        sock.close()
        with pytest.raises(OSError, match="Connect"):
            await connecting.first_connected(refusing)


async def test_a_cancelled_connect_leaves_no_socket(monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[socket.socket] = []
    make = socket.socket

    def remembered(*arguments: int) -> socket.socket:
        opened.append(make(*arguments))
        return opened[-1]

    all_tried = asyncio.Event()

    async def never(sock: socket.socket, where: object) -> None:
        if len(opened) == 3:
            all_tried.set()
        await asyncio.Event().wait()

    monkeypatch.setattr(connecting.socket, "socket", remembered)
    monkeypatch.setattr(asyncio.get_running_loop(), "sock_connect", never)
    monkeypatch.setattr(connecting, "HEAD_START", 0.001)
    addresses = [(socket.AF_INET, ("127.0.0.1", port)) for port in (1, 2, 3)]
    connecting_to_all = asyncio.create_task(connecting.first_connected(addresses))
    await all_tried.wait()
    connecting_to_all.cancel()
    with pytest.raises(asyncio.CancelledError):
        await connecting_to_all
    assert len(opened) == 3
    assert all(sock.fileno() == -1 for sock in opened)


async def test_names_are_looked_up_once_in_ten_seconds(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    def look_up(host: str, port: int, **_: object) -> list[object]:
        asked.append(host)
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("192.0.2.1", port))]

    monkeypatch.setattr(connecting.socket, "getaddrinfo", look_up)
    resolver = connecting.ThreadResolver(2)
    for _ in range(3):
        assert await resolver.resolve("a.test", 80) == [(socket.AF_INET, ("192.0.2.1", 80))]
    assert asked == ["a.test"]
    monkeypatch.setattr(connecting, "monotonic", lambda: 10**9)
    await resolver.resolve("a.test", 80)
    assert asked == ["a.test"] * 2
    resolver.close()
