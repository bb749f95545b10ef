"""P6: a killed process of the pool costs at most the item that it was running; a killed parent leaves nobody behind."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import anyio
import pytest

from async_commander.pool.processes import ChildCrashed, ProcessPool
from tests.faults import pool_children as children
from tests.faults.counts import chance, count
from tests.unit.pool.own_pools import pids_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

CRASHES = 3
"""After so many an item is dead, with right."""
ROOT = Path(__file__).resolve().parents[2]


class Bombardment:
    """Items through a pool, while its children are killed at random."""

    def __init__(self, pool: ProcessPool, log: Path, chance: random.Random) -> None:
        self.pool = pool
        self.log = log
        self.chance = chance
        self.results: dict[int, int] = {}
        self.dead: list[int] = []
        self.killed: list[int] = []

    async def run(self, kills: int, threads: int) -> None:
        items = self._items(kills)
        async with anyio.create_task_group() as group:
            for _ in range(threads):
                group.start_soon(self._work, items)
            group.start_soon(self._kill, kills)

    def _items(self, kills: int) -> Iterator[int]:
        number = 0
        while len(self.killed) < kills:
            yield number
            number += 1

    async def _work(self, items: Iterator[int]) -> None:
        for number in items:
            try:
                self.results[number] = await self.pool.run(children.square, str(self.log), number)
            except ChildCrashed:
                self.dead.append(number)

    async def _kill(self, kills: int) -> None:
        while len(self.killed) < kills:
            await anyio.sleep(self.chance.uniform(0, 0.05))
            pids = [pid for pid in pids_of(self.pool) if pid not in self.killed]
            if pids:
                pid = self.chance.choice(pids)
                os.kill(pid, signal.SIGKILL)
                self.killed.append(pid)

    def starts(self) -> dict[int, list[int]]:
        """The processes in which each item was begun."""
        found: dict[int, list[int]] = {}
        for line in self.log.read_text().splitlines():
            number, pid = map(int, line.split())
            found.setdefault(number, []).append(pid)
        return found


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
@pytest.mark.timeout(1_200)
def test_killed_children_cost_at_most_their_own_item(backend: str, tmp_path: Path) -> None:
    random_kills = chance()
    kills = -(-count("P6_KILLS") // 2)

    async def bombard() -> Bombardment:
        pool = ProcessPool(2, crashes_allowed=CRASHES)
        bombardment = Bombardment(pool, tmp_path / "log", random_kills)
        try:
            await bombardment.run(kills, threads=20)
        finally:
            pool.kill()
            pool.join(10)
        return bombardment

    found = anyio.run(bombard, backend=backend)
    starts = found.starts()
    taken = len(found.results) + len(found.dead)
    assert found.results == {number: number * number for number in range(taken) if number not in found.dead}
    killed = set(found.killed)
    assert all(set(pids[:-1]) <= killed for pids in starts.values())  # nothing is redone without a kill
    assert all(set(starts.get(number, ())) <= killed for number in found.dead)
    again = sum(len(pids) - 1 for number, pids in starts.items() if number not in found.dead)
    assert again + CRASHES * len(found.dead) <= kills  # each kill cost one item one attempt, at most


def session_of(parent: subprocess.Popen[bytes]) -> list[int]:
    """The processes of the parent's session that live."""
    return [
        pid
        for pid in (int(path.name) for path in Path("/proc").iterdir() if path.name.isdigit())
        if lives_in(pid, parent.pid)
    ]


def lives_in(pid: int, session: int) -> bool:
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return False
    return fields[0] not in "ZX" and int(fields[3]) == session


def wait_until(condition: Callable[[], bool], seconds: float) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, f"not within {seconds} s"
        time.sleep(0.005)


def lines(path: Path) -> list[str]:
    return path.read_text().split() if path.exists() else []


@contextmanager
def parent_process(folder: Path, scene: str) -> Iterator[subprocess.Popen[bytes]]:
    folder.mkdir()
    command = [sys.executable, str(ROOT / "tests/faults/pool_parent.py"), str(folder), scene]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    with subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, start_new_session=True) as parent:
        try:
            yield parent
        finally:
            for pid in session_of(parent):
                os.kill(pid, signal.SIGKILL)


@pytest.mark.parametrize(("scene", "busy"), [("keep_busy", 2), ("keep_idle", 1), ("start_slowly", 1)])
def test_a_killed_parent_leaves_no_child(scene: str, busy: int, tmp_path: Path) -> None:
    for number in range(count("P6_PARENT_KILLS")):
        folder = tmp_path / str(number)
        with parent_process(folder, scene) as parent:
            wait_until(lambda folder=folder: len(lines(folder / "running")) == busy, 30)  # type: ignore[misc]
            assert len(session_of(parent)) > busy
            parent.kill()
            wait_until(lambda parent=parent: not session_of(parent), 2)  # type: ignore[misc]
        assert len(lines(folder / "main")) == 1  # the script was not run again in the children


def test_a_sibling_that_the_parent_forked_keeps_no_child_alive(tmp_path: Path) -> None:
    with parent_process(tmp_path / "run", "fork_meanwhile") as parent:
        wait_until(lambda: bool(lines(tmp_path / "run/running") and lines(tmp_path / "run/sibling")), 30)
        sibling, refused, works = lines(tmp_path / "run/sibling")[0].split(":")
        assert (refused, works) == ("True", "2")
        parent.kill()
        child = int(lines(tmp_path / "run/running")[0])
        wait_until(lambda: not lives_in(child, parent.pid), 2)
        assert lives_in(int(sibling), parent.pid)


def test_an_interrupt_of_the_process_group_leaves_the_work_to_the_parent(tmp_path: Path) -> None:
    with parent_process(tmp_path / "run", "stop_at_interrupt") as parent:
        wait_until(lambda: bool(lines(tmp_path / "run/running")), 30)
        os.killpg(parent.pid, signal.SIGINT)
        assert parent.wait(20) == 0
        assert parent.stderr is not None
        assert parent.stderr.read() == b""
        assert len(lines(tmp_path / "run/running")) == 1
        wait_until(lambda: not session_of(parent), 2)


def test_an_exit_ends_the_children(tmp_path: Path) -> None:
    with parent_process(tmp_path / "run", "just_end") as parent:
        assert parent.wait(30) == 0
        assert parent.stderr is not None
        assert parent.stderr.read() == b""
        wait_until(lambda: not session_of(parent), 2)
