"""The page of `examples/views` in Chromium: progress moves, connections break and come back, runs stop or go on."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from tests.acceptance.browser import CHROMIUM, Browser
from tests.acceptance.servers import ServerProcess, free_port

PROJECT = Path(__file__).parents[2] / "examples" / "views"

pytestmark = [
    pytest.mark.timeout(300),
    # It is a program of the machine, and no service: its absence is no failure.
    pytest.mark.skipif(CHROMIUM is None, reason="SKIPPED: no Chromium; the page of examples/views is not looked at."),
]


class Stage:
    """A project with its database, servers, a worker, and a browser."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.database = folder / "prices.sqlite3"
        self.environment = {"PRICES_DATABASE": str(self.database), "DJANGO_SETTINGS_MODULE": "project.settings"}
        self.port = free_port()
        self.closing: list[Callable[[], Any]] = []
        subprocess.run([*self._manage, "migrate", "-v0"], cwd=PROJECT, env=self._whole, check=True, timeout=120)
        self.browser = Browser(folder / "profile")
        self.closing.append(self.browser.close)

    _manage = (sys.executable, "manage.py")

    @property
    def _whole(self) -> dict[str, str]:
        return {**os.environ, **self.environment}

    def serve(self, kind: str = "uvicorn") -> ServerProcess:
        name = "wsgi" if kind == "wsgi" else "asgi"
        application = f"project.{name}:application"
        server = ServerProcess(kind, application, environment=self.environment, folder=PROJECT, port=self.port)
        self.closing.append(server.close)
        return server

    def work(self) -> None:
        with (self.folder / "worker").open("wb") as said:
            line = [*self._manage, "aworker", "--interval", "0.2"]
            process = subprocess.Popen(line, cwd=PROJECT, env=self._whole, stdout=said, stderr=said)
        self.closing.append(lambda: (process.kill(), process.wait()))

    def open(self, path: str = "/") -> None:
        self.browser.open(f"http://127.0.0.1:{self.port}{path}")

    def begin(self, products: int, *, live: bool = False) -> None:
        self.open()
        ready = "[data-live]" if live else "form button"
        self.browser.until(
            f"document.querySelector('{ready}')?.disabled === false && document.readyState === 'complete'"
        )
        self.browser.js(f"document.querySelector('[name=products]').value = {products}")
        self.browser.js(f"document.querySelector('{ready}').click()")

    def until(self, expression: str, holds: Callable[[Any], bool] = bool) -> Any:
        return self.browser.until(expression, holds)

    def settled(self) -> int:
        """How many items of the first run have an outcome, as the page says."""
        return int(self.browser.js("document.querySelector('.counts').textContent.split(' ')[0]") or 0)

    def lines(self) -> list[str]:
        lines: list[str] = self.browser.js("[...document.querySelectorAll('.log li')].map((one) => one.textContent)")
        return lines

    def status(self) -> str:
        with closing(sqlite3.connect(self.database)) as connection:
            (status,) = connection.execute("SELECT status FROM async_commander_run ORDER BY id DESC LIMIT 1").fetchone()
        return str(status)

    def wait_for_status(self, status: str) -> None:
        end = time.monotonic() + 60
        while (found := self.status()) != status:
            assert time.monotonic() < end, found
            time.sleep(0.05)


@pytest.fixture
def stage(tmp_path: Path) -> Iterator[Stage]:
    stage = Stage(tmp_path)
    yield stage
    for close in reversed(stage.closing):
        close()


STATUS = "document.querySelector('.status')?.textContent"
VALUE = "document.querySelector('progress')?.value"
CONNECTION = "document.querySelector('.connection').textContent"


def test_progress_moves_and_a_browser_that_loses_its_connection_goes_on_where_it_was(stage: Stage) -> None:
    server = stage.serve()
    stage.work()
    stage.begin(220)
    first = stage.until(VALUE, bool)
    stage.until(VALUE, lambda value: value > first)
    stage.until("document.querySelectorAll('.log li').length > 2")
    server.stop(signal.SIGTERM, 30)  # the run is a worker's, and goes on
    stage.until(CONNECTION)
    before = stage.lines()
    stage.serve()
    stage.until(CONNECTION, lambda text: not text)
    stage.until(STATUS, lambda status: status == "partial")
    lines = stage.lines()
    assert lines[: len(before)] == before
    assert [line for line in lines if line.startswith("The supplier")] == [
        f"The supplier is at product-{number:04}." for number in range(0, 220, 25) if number % 17 != 13
    ]
    dead = [number for number in range(220) if number % 17 == 13]
    assert sorted(line for line in lines if line.startswith("dead")) == [
        f"dead: product-{number:04}: TimeoutError: the supplier did not answer" for number in dead
    ]
    assert stage.browser.js(VALUE) == 1
    refused = [text for text in stage.browser.said if "Content Security Policy" in text or "exception" in text]
    assert refused == []


def test_who_leaves_the_page_of_a_live_run_stops_it(stage: Stage) -> None:
    stage.serve()
    stage.begin(500, live=True)
    first = stage.until(VALUE, bool)
    stage.until(VALUE, lambda value: value > first)
    stage.open("/runs/1/")
    stage.wait_for_status("interrupted")
    stage.until(STATUS, lambda status: status == "interrupted")


def test_the_stop_button_ends_a_workers_run_in_order(stage: Stage) -> None:
    stage.serve("granian")
    stage.work()
    stage.begin(800)
    stage.until(VALUE, bool)
    stage.browser.js("document.querySelector('[data-stop] button').click()")
    stage.until(STATUS, lambda status: status == "interrupted")


def test_under_wsgi_the_page_asks_again_and_again(stage: Stage) -> None:
    stage.serve("wsgi")
    stage.work()
    stage.begin(60)
    first = stage.until(VALUE, bool)
    stage.until(VALUE, lambda value: value > first)
    stage.until(STATUS, lambda status: status == "partial")
    assert len([line for line in stage.lines() if line.startswith("The supplier")]) == 3
