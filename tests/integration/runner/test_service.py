"""What a service manager hears of a run, on a socket as systemd has it."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import anyio
import pytest

import async_commander as ac
from async_commander.engine.context import RunContext
from async_commander.engine.limits import Limits, Retry
from async_commander.runner.service import ServiceManager

HALF = 0.1


class Manager:
    """Hears datagrams, and when each came."""

    def __init__(self, address: str) -> None:
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind(address)
        self.socket.setblocking(False)

    def heard(self) -> list[str]:
        found = []
        try:
            while True:
                found.append(self.socket.recv(4096).decode())
        except BlockingIOError:
            return found

    def names(self) -> list[str]:
        return [line.partition("=")[0] for text in self.heard() for line in text.splitlines()]


@pytest.fixture
def manager(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Manager]:
    address = tmp_path / "notify"
    made = Manager(str(address))
    monkeypatch.setenv("NOTIFY_SOCKET", str(address))
    monkeypatch.setenv("WATCHDOG_USEC", str(int(2 * HALF * 1e6)))
    monkeypatch.setenv("WATCHDOG_PID", str(os.getpid()))
    yield made
    made.socket.close()


class Service(ac.AsyncCommand):
    seconds: float = 0.4
    blocks: bool = False

    async def handle(self) -> None:
        if self.blocks:
            time.sleep(self.seconds)
        else:
            await anyio.sleep(self.seconds)


def test_it_is_ready_and_gives_signs_of_life(run: Any, manager: Manager) -> None:
    run(Service(), trigger="terminal")
    heard = manager.heard()
    assert heard[0].startswith("READY=1\nSTATUS=")
    assert 3 <= sum("WATCHDOG=1" in text for text in heard[1:]) <= 12
    assert "STOPPING" not in "".join(heard)


def test_a_blocked_loop_gives_no_sign_of_life(run: Any, manager: Manager) -> None:
    run(Service(seconds=1.0, blocks=True), trigger="terminal")
    assert sum("WATCHDOG=1" in text for text in manager.heard()) <= 2


def test_only_a_run_of_the_terminal_speaks_for_the_process(run: Any, manager: Manager) -> None:
    run(Service(seconds=0.1))
    assert manager.heard() == []


class Hanging:
    """A recorder whose database does not answer."""

    def __init__(self) -> None:
        self.answers = True

    async def rows(self) -> None:
        if not self.answers:
            await anyio.sleep_forever()


def context() -> RunContext:
    return RunContext(run_id=1, command="bot", limits=Limits(), retry=Retry())


@pytest.mark.asyncio
async def test_a_database_that_does_not_answer_gives_no_sign_of_life(manager: Manager) -> None:
    service, recorder = ServiceManager.of_process(), Hanging()
    assert service is not None
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(service.attend, [context()], anyio.Event(), recorder.rows)
        await anyio.sleep(4 * HALF)
        assert "WATCHDOG" in manager.names()
        recorder.answers = False
        await anyio.sleep(2 * HALF)
        manager.heard()
        await anyio.sleep(4 * HALF)
        assert manager.names() == []
        recorder.answers = True
        await anyio.sleep(4 * HALF)
        assert "WATCHDOG" in manager.names()
        tasks.cancel_scope.cancel()


@pytest.mark.asyncio
async def test_a_run_that_is_being_stopped_asks_for_more_time(manager: Manager) -> None:
    service, stopped = ServiceManager.of_process(), context()
    assert service is not None
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(service.attend, [stopped], stopped.stop_asked, Hanging().rows)
        await anyio.sleep(HALF)
        manager.heard()
        stopped.stop()
        await anyio.sleep(3 * HALF)
        names = manager.names()
        assert names.index("STOPPING") < names.index("EXTEND_TIMEOUT_USEC")
        assert names.count("EXTEND_TIMEOUT_USEC") >= 2
        assert "WATCHDOG" in names
        tasks.cancel_scope.cancel()


@pytest.mark.parametrize(
    ("environment", "watchdog"),
    [
        ({"WATCHDOG_USEC": "2000000"}, 2.0),
        ({"WATCHDOG_USEC": "2000000", "WATCHDOG_PID": "1"}, None),
        ({"WATCHDOG_USEC": "0"}, None),
        ({"WATCHDOG_USEC": "soon"}, None),
        ({}, None),
    ],
)
def test_the_watchdog_is_ours_where_it_says_so(environment: dict[str, str], watchdog: float | None) -> None:
    found = ServiceManager.of_process({"NOTIFY_SOCKET": "@abstract", **environment})
    assert found is not None
    assert found._watchdog == watchdog


@pytest.mark.parametrize("address", ["", "vsock:2:1234", "relative/path"])
def test_other_addresses_are_nobody(address: str) -> None:
    assert ServiceManager.of_process({"NOTIFY_SOCKET": address}) is None


def test_a_manager_that_is_gone_is_no_trouble(run: Any, manager: Manager) -> None:
    manager.socket.close()
    Path(os.environ["NOTIFY_SOCKET"]).unlink()
    assert run(Service(seconds=0.2), trigger="terminal").status == "succeeded"
