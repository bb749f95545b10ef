"""A run in a view, and a server that is told to stop: the run's row is true, whatever the server does."""

from __future__ import annotations

import os
import signal
import socket
import sqlite3
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        port: int = one.getsockname()[1]
        return port


class Server:
    """uvicorn, with the view of `served/asgi.py`, and one client that waits for it."""

    def __init__(self, database: Path, *options: str) -> None:
        self.database = database
        self.answer = ""
        environment = os.environ | {"DATABASE": "sqlite", "SQLITE_PATH": str(database), "PYTHONPATH": str(ROOT)}
        environment["DJANGO_SETTINGS_MODULE"] = "tests.settings"
        subprocess.run(
            [sys.executable, "-m", "django", "migrate", "-v0"], cwd=ROOT, env=environment, check=True, timeout=120
        )
        port = free_port()
        command = [sys.executable, "-m", "uvicorn", "tests.acceptance.served.asgi:application", "--port", str(port)]
        self.process = subprocess.Popen([*command, *options], cwd=ROOT, env=environment, stderr=subprocess.DEVNULL)
        self.client = threading.Thread(target=self._ask, args=(f"http://127.0.0.1:{port}/run",))
        self.client.start()

    def _ask(self, url: str) -> None:
        while self.process.poll() is None and not self.answer:
            with suppress(urllib.error.URLError, ConnectionError, TimeoutError):
                self.answer = urllib.request.urlopen(url, timeout=300).read().decode()
            time.sleep(0.05)

    def wait_for_items(self) -> None:
        end = time.monotonic() + 100
        while not self.rows("SELECT 1 FROM async_commander_run WHERE done > 5"):
            assert self.process.poll() is None
            assert time.monotonic() < end
            time.sleep(0.02)

    def rows(self, query: str) -> list[Any]:
        with closing(sqlite3.connect(self.database)) as connection:
            return connection.execute(query).fetchall()

    def close(self) -> None:
        self.process.kill()
        self.process.wait()
        self.client.join(60)


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Any]:
    servers: list[Server] = []

    def begin(*options: str) -> Server:
        servers.append(Server(tmp_path / "served.sqlite3", *options))
        return servers[-1]

    yield begin
    for server in servers:
        server.close()


@pytest.mark.timeout(300)
@pytest.mark.parametrize(
    ("signals", "options", "answer"),
    [
        ([signal.SIGTERM], ["--timeout-graceful-shutdown", "20"], "interrupted"),
        ([signal.SIGTERM], [], "interrupted"),
        ([signal.SIGINT, signal.SIGINT], [], ""),
    ],
)
def test_a_server_that_is_told_to_stop_leaves_a_true_row(
    serve: Any, signals: list[int], options: list[str], answer: str
) -> None:
    server = serve(*options)
    server.wait_for_items()
    for number in signals:
        server.process.send_signal(number)
        time.sleep(0.3)
    server.process.wait(100)
    server.client.join(60)
    query = "SELECT status, error, claimed, dead, taken = done + skipped + dead + retry FROM async_commander_run"
    assert server.rows(query) == [("interrupted", "", 0, 0, 1)]
    assert server.rows("SELECT count(*) FROM async_commander_runlog WHERE message = 'cleaned up'") == [(1,)]
    if answer:
        assert server.answer == answer
