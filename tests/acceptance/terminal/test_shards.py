"""A run in shards at a terminal: one bar, one Ctrl-C, one summary; and nobody is left behind."""

from __future__ import annotations

import json
import os
import pty
import shutil
import signal
import sqlite3
import subprocess
import time
from collections import Counter
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from .conftest import PROJECT, Manage

COUNT = 1000
LINE = f"arun steady {COUNT} --shards 2 --threads 2"
COMMAND = '''
"""Write a line for each number."""

import os
from pathlib import Path

import anyio

import async_commander as ac


class Command(ac.IterateDownloadCommand[int, int]):
    count: int

    def iterate(self):
        yield from range(self.count)

    async def download(self, item: int) -> int:
        if not Path(os.environ["LINES"] + ".fast").exists():
            await anyio.sleep(0.05)
        return item

    async def parse_and_save(self, item: int, payload: int) -> None:
        with Path(os.environ["LINES"]).open("a") as lines:
            lines.write(f"{payload}\\n")
'''


@pytest.fixture
def steady(migrated: Path, tmp_path: Path) -> Manage:
    """A project with the command, and a database with the tables."""
    project = shutil.copytree(PROJECT, tmp_path / "project", ignore=shutil.ignore_patterns("__pycache__"))
    (project / "shop" / "commands" / "steady.py").write_text(COMMAND)
    return Manage(project, Path(shutil.copy(migrated, tmp_path / "project.sqlite3")))


def wait_until(condition: Callable[[], Any], what: str) -> None:
    end = time.monotonic() + 120
    while not condition():
        assert time.monotonic() < end, what
        time.sleep(0.05)


def typed(manage: Manage, line: str, lines: Path, *, keys: bytes = b"") -> tuple[int, str]:
    """Exit code and screen of a command line in a terminal of its own, which `keys` are typed into once it works."""
    pid, terminal = pty.fork()
    if not pid:
        os.chdir(manage.project)
        environment = manage._environment({"LINES": str(lines), "TERM": "xterm", "COLUMNS": "100"})
        os.execvpe(manage._command("")[0], manage._command(line), environment)
    seen, before = b"", written(lines).total()
    while True:
        try:
            chunk = os.read(terminal, 65536)
        except OSError:
            break
        seen += chunk
        if keys and written(lines).total() > before + 10:
            os.write(terminal, keys)
            keys = b""
    os.close(terminal)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), seen.decode()


def written(lines: Path) -> Counter[int]:
    return Counter(map(int, lines.read_text().split())) if lines.exists() else Counter()


def rows(manage: Manage, columns: str) -> list[tuple[Any, ...]]:
    """Of the run and its shards."""
    with closing(sqlite3.connect(manage.database, timeout=20)) as database:
        return database.execute(f"SELECT {columns} FROM async_commander_run ORDER BY id").fetchall()


def test_whatever_ends_a_run_in_shards_it_is_gone_on_with(steady: Manage, tmp_path: Path) -> None:
    lines = tmp_path / "lines"

    # Ctrl-C, which the terminal sends to all of its processes: they stop once, and in order.
    code, screen = typed(steady, LINE, lines, keys=b"\x03")
    assert code == 128 + signal.SIGINT, screen
    assert "interrupted" in screen
    assert "stopping" in screen
    assert "cancelling" not in screen
    assert "Traceback" not in screen
    assert {status for (status,) in rows(steady, "status")} == {"interrupted"}
    assert rows(steady, "sum(claimed)") == [(0,)]

    # The run's own process is killed: its shards notice, and stop in order.
    before = written(lines).total()
    command, environment = steady._command(f"{LINE} --resume"), steady._environment({"LINES": str(lines)})
    with subprocess.Popen(command, cwd=steady.project, env=environment, stderr=subprocess.DEVNULL) as parent:
        wait_until(lambda: written(lines).total() > before + 10, "the run goes on")
        parent.kill()
    wait_until(lambda: [one for (one,) in rows(steady, "status")][1:] == ["interrupted"] * 2, "its shards end")
    for (pid,) in rows(steady, "pid")[1:]:
        wait_until(lambda pid=pid: not Path(f"/proc/{pid}").exists(), "its processes end")  # type: ignore[misc]

    # Somebody asks for its end from elsewhere.
    before = written(lines).total()
    with subprocess.Popen(command, cwd=steady.project, env=environment, stderr=subprocess.DEVNULL) as parent:
        wait_until(lambda: written(lines).total() > before + 10, "the run goes on")
        assert "asked" in steady("aruns cancel 1").out
    assert [one for (one,) in rows(steady, "status")] == ["interrupted"] * 3
    assert 0 < written(lines).total() < COUNT

    (tmp_path / "lines.fast").touch()
    ended = steady(f"{LINE} --resume --json", LINES=str(lines))
    assert ended.code == 0, ended.err
    document = json.loads(ended.out)
    assert (document["status"], document["run"], document["counts"]["done"]) == ("succeeded", 1, COUNT)
    assert written(lines) == Counter(range(COUNT))
    assert "Shards" in steady("aruns show 1").out
    assert [line.split()[0] for line in steady("aruns").out.splitlines() if "steady" in line] == ["1"]


def test_shards_are_one_run_on_the_screen(steady: Manage, tmp_path: Path) -> None:
    (tmp_path / "lines.fast").touch()
    code, screen = typed(steady, LINE.replace(str(COUNT), "60"), tmp_path / "lines")
    assert code == 0
    assert screen.count("succeeded") == 1
    assert "done \x1b[0m60" in screen


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ("--shards 0", "at least 1"),
        ("--shards -1", "at least 1"),
        ("--shards many", "no whole number"),
        ("--shards 1001", "from 1 to 1000"),
    ],
)
def test_a_wrong_number_of_shards_is_refused(steady: Manage, options: str, told: str) -> None:
    ended = steady(f"arun steady 3 {options}")
    assert ended.code == 2
    assert told in ended.err
