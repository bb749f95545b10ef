"""`make picture`: the admin's page of a run of the demo while it is at work, taken by a headless Chromium.

Nothing in it is made up: the pages are crawled, at 250 ms of latency and 2 % faults, and the page is opened meanwhile.
"""

from __future__ import annotations

import argparse
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.error import URLError
from urllib.request import urlopen

import demo
from playwright.sync_api import sync_playwright

WINDOW = {"width": 1280, "height": 900}
PATIENCE = 60
"""Seconds that a server, or the run, has to come to a point."""


def main() -> None:
    """Crawls as `make demo` does, and takes the picture when two thirds of the pages are done."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("picture", type=Path)
    picture: Path = parser.parse_args().picture.resolve()
    demo._set_up()
    demo._prepare_database()
    options = argparse.Namespace(latency=0.25, faults=0.02, pages=None)
    with demo._pages(options) as url, _admin() as admin:
        os.environ["LIBRARY_URL"] = url
        line = [sys.executable, "manage.py", "arun", "scrapers_fetch", "--threads", "20", "--progress", "none"]
        run = subprocess.Popen(line, cwd=demo.HERE, env=os.environ | {"LOGNAME": "ada"})
        try:
            _wait_for(lambda: _share_done() > 2 / 3)
            _take(admin, picture)
        finally:
            demo._end(run, signal.SIGINT)
    print(picture)


def _share_done() -> float:
    """Of the pages of the run; 0 while it is not known how many there are."""
    from async_commander.models import Run

    run = Run.objects.last()
    return run.done / run.total if run and run.total else 0


def _take(admin: str, picture: Path) -> None:
    chromium = os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("google-chrome")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        page = browser.new_page(viewport=WINDOW)
        page.goto(f"{admin}/admin/async_commander/run/1/change/")
        page.fill("[name=username]", "demo")
        page.fill("[name=password]", "demo")
        page.click("[type=submit]")
        page.wait_for_timeout(2500)  # the page asks once a second
        page.screenshot(path=picture)
        browser.close()


@contextmanager
def _admin() -> Iterator[str]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    line = [sys.executable, "manage.py", "runserver", "--noreload", str(port)]
    with subprocess.Popen(line, cwd=demo.HERE, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as server:
        try:
            address = f"http://127.0.0.1:{port}"
            _wait_for(lambda: _answers(f"{address}/admin/login/"))
            yield address
        finally:
            server.terminate()


def _answers(address: str) -> bool:
    try:
        urlopen(address, timeout=5).close()
    except URLError:
        return False
    return True


def _wait_for(come: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE
    while not come():
        if time.monotonic() > deadline:
            sys.exit("picture: waited for too long")
        time.sleep(0.1)


if __name__ == "__main__":
    main()
