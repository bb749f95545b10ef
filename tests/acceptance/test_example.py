"""The example: its pages, its server's faults, and the demo from beginning to end."""

from __future__ import annotations

import http.client
import importlib
import os
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

EXAMPLE = Path(__file__).resolve().parents[2] / "examples" / "library"
PAGES = 40


@pytest.fixture
def example(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Imports a module of the example, which is a project of its own."""
    monkeypatch.syspath_prepend(str(EXAMPLE))
    return importlib.import_module


# ---- the pages ----


def test_a_page_of_pydoc_is_read(example: Any) -> None:
    render, parsing = example("docserver.render"), example("library.parsing")

    page = parsing.read_page(render.render_module("textwrap"))

    assert page.title == "Python: module textwrap"
    assert page.summary == "Text wrapping and filling."
    assert page.symbols["TextWrapper"] == "class"
    assert page.symbols["dedent"] == "function"
    assert page.symbols["__all__"] == "data"
    assert "wrap" in page.symbols
    assert "TextWrapper-wrap" not in page.symbols
    assert {"re", "builtins"} <= page.mentions


def test_a_package_mentions_its_modules(example: Any) -> None:
    render, parsing = example("docserver.render"), example("library.parsing")

    page = parsing.read_page(render.render_module("json"))

    assert {"json.decoder", "json.encoder"} <= page.mentions


def test_a_link_in_the_summary_does_not_end_it(example: Any) -> None:
    parsing = example("library.parsing")

    page = parsing.read_page('<p><span class="code">Like&nbsp;<a href="x.html">x</a>,&nbsp;but<br>\nmore</span></p>')

    assert page.summary == "Like x, but"


def test_a_page_without_anything_is_read_as_empty(example: Any) -> None:
    parsing = example("library.parsing")

    assert parsing.read_page("") == parsing.Page()


def test_links_to_elsewhere_are_no_modules(example: Any) -> None:
    parsing = example("library.parsing")

    page = parsing.read_page('<a href="https://example.org/a.html">a</a><a href="file:/b.html">b</a><a href=".">c</a>')

    assert page.mentions == frozenset()


def test_a_module_that_cannot_be_imported_has_no_page(example: Any) -> None:
    assert example("docserver.render").render_module("no_such_module_anywhere") is None


def test_what_has_side_effects_is_never_imported(example: Any) -> None:
    candidates = set(example("docserver.render")._candidates())

    assert {"asyncio", "json.decoder", "xml.etree.ElementTree"} <= candidates
    assert candidates.isdisjoint({"antigravity", "this", "turtle", "__main__", "tkinter", "asyncio.__main__"})


# ---- the faults ----


def test_the_same_seed_gives_the_same_faults(example: Any) -> None:
    faults = example("docserver.faults").Faults
    paths = [f"{number}.html" for number in range(500)]

    def drawn(seed: int) -> list[object]:
        return [faults(0.2, seed).of(path, 1) for path in paths]

    assert drawn(1) == drawn(1)
    assert drawn(1) != drawn(2)


def test_the_share_of_faults_is_kept_and_each_kind_occurs(example: Any) -> None:
    module = example("docserver.faults")
    drawn = [module.Faults(0.3, seed=1).of(f"{number}.html", 1) for number in range(2000)]

    assert 500 < sum(fault is not None for fault in drawn) < 700
    assert set(drawn) == {*module.Fault, None}


def test_whoever_tries_again_is_served(example: Any) -> None:
    faults = example("docserver.faults").Faults(share=1.0)

    assert faults.of("a.html", 1) is not None
    assert faults.of("a.html", 2) is None


@pytest.mark.parametrize("share", [-0.1, 1.1])
def test_a_share_out_of_range_is_refused(example: Any, share: float) -> None:
    with pytest.raises(ValueError, match="from 0 to 1"):
        example("docserver.faults").Faults(share)


# ---- the server ----


@pytest.fixture
def served(tmp_path: Path) -> Iterator[tuple[str, int]]:
    """The server in a process of its own, where every first attempt meets a fault."""
    (tmp_path / "index.html").write_text("<title>index</title>")
    for number in range(30):
        (tmp_path / f"{number}.html").write_text("x" * 100_000)
    program = (
        "import asyncio, pathlib, docserver.__main__ as main\n"
        "server = main.PageServer(pathlib.Path('.'), 0.0, main.Faults(1.0, seed=3))\n"
        "asyncio.run(main._serve(server, 0))\n"
    )
    environment = os.environ | {"PYTHONPATH": str(EXAMPLE)}
    command = [sys.executable, "-c", program]
    with subprocess.Popen(command, cwd=tmp_path, env=environment, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        try:
            address = urlsplit(server.stdout.readline().strip())
            yield str(address.hostname), int(address.port or 0)
        finally:
            server.terminate()


def _get(address: tuple[str, int], path: str) -> tuple[int, str | None, int]:
    """Status, Retry-After and length of an answer."""
    with closing(http.client.HTTPConnection(*address, timeout=20)) as connection:
        connection.request("GET", path)
        response = connection.getresponse()
        return response.status, response.getheader("Retry-After"), len(response.read())


def _first_attempt(address: tuple[str, int], path: str) -> str:
    try:
        status, retry_after, length = _get(address, path)
    except ConnectionError:
        return "reset"
    if status == 503:
        assert retry_after == "1"
        return "busy"
    assert (status, length) == (200, 100_000)
    return "slow"


def test_the_server_does_as_its_faults_say_and_then_serves_the_page(example: Any, served: tuple[str, int]) -> None:
    faults = example("docserver.faults").Faults(1.0, seed=3)
    paths = {faults.of(f"{number}.html", 1): f"{number}.html" for number in range(30)}

    for fault, path in paths.items():
        assert _first_attempt(served, f"/{path}") == fault
        assert _get(served, f"/{path}") == (200, None, 100_000)
    assert len(paths) == 3


def test_the_index_has_no_faults_and_other_files_are_not_served(served: tuple[str, int]) -> None:
    assert _get(served, "/")[0] == 200
    assert _get(served, "/../__main__.py")[0] == 404
    assert _get(served, "/nothing.html")[0] == 404


# ---- the demo ----


@pytest.mark.timeout(400)
def test_the_demo_interrupts_a_slow_run_and_ends_a_fast_one(tmp_path: Path) -> None:
    database = tmp_path / "library.sqlite3"
    demo = [sys.executable, str(EXAMPLE / "demo.py"), "--pages", str(PAGES), "--seconds", "4", "--faults", "0.1"]

    shown = _output(demo, os.environ | {"LIBRARY_DATABASE": str(database), "PYTHONPATH": str(EXAMPLE.parents[1])})

    assert "$ manage.py arun scrapers_fetch --threads 1" in shown
    assert "$ manage.py arun scrapers_fetch --threads 50" in shown
    assert "The ten most linked-to modules:" in shown
    assert "/admin/async_commander/run/" in shown
    (slow_status, slow_done), (fast_status, fast_done) = _rows(
        database, "SELECT status, done FROM async_commander_run ORDER BY id"
    )
    assert slow_status == "interrupted"
    assert slow_done < fast_done
    assert fast_status == "succeeded"
    assert _rows(database, "SELECT count(*) FROM library_module WHERE title != ''") == [(fast_done,)]
    assert _rows(database, "SELECT count(*) > 100 FROM library_symbol") == [(1,)]


@pytest.mark.timeout(400)
@pytest.mark.parametrize("when", ["Rendering", "Ctrl-C after"])
def test_ctrl_c_ends_the_demo_without_a_traceback(tmp_path: Path, when: str) -> None:
    """As a terminal sends it: to all processes of the group."""
    environment = os.environ | {
        "LIBRARY_DATABASE": str(tmp_path / "library.sqlite3"),
        "PYTHONPATH": str(EXAMPLE.parents[1]),
    }
    command = [sys.executable, str(EXAMPLE / "demo.py"), "--pages", str(PAGES), "--seconds", "60"]
    with subprocess.Popen(
        command,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    ) as demo:
        assert demo.stdout is not None
        try:
            shown = next(line for line in demo.stdout if when in line)
            os.killpg(demo.pid, signal.SIGINT)
            shown += demo.stdout.read()
            demo.wait(300)
        finally:
            if demo.poll() is None:
                demo.terminate()
    assert demo.returncode == 130, shown
    assert shown.endswith("demo: interrupted\n")
    assert "Traceback" not in shown


def _output(command: list[str], environment: dict[str, str]) -> str:
    """What the command prints. It gets Ctrl-C if it takes too long, so that it ends what it started."""
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) as process:
        try:
            shown, _ = process.communicate(timeout=300)
        except BaseException:
            process.send_signal(signal.SIGINT)
            raise
    assert process.returncode == 0, shown
    return shown


def _rows(database: Path, query: str) -> list[Any]:
    with closing(sqlite3.connect(database)) as connection:
        return connection.execute(query).fetchall()
