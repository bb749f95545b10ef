"""Many bots in one process: what ends one is no concern of the others, and it begins again by itself."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from typing import Any, ClassVar

import anyio
import pytest

import async_commander as ac
from async_commander.models import Run
from async_commander.runner.signals import StopRequests
from async_commander.supervisor import bots
from async_commander.supervisor.bots import Supervisor
from tests.integration.runner.conftest import arun_db, transactional_db

__all__ = ["arun_db", "transactional_db"]


class Ticking(ac.DownloadIterateCommand[None, int]):
    always_on = True
    ticks: ClassVar[list[int]] = []

    async def download(self) -> None: ...

    async def iterate(self, _: None) -> AsyncIterator[int]:
        async for tick in ac.every(0.02):
            yield tick

    async def parse_and_save(self, tick: int) -> None:
        self.ticks.append(tick)


class Broken(ac.AsyncCommand):
    """Ends its run each time."""

    always_on = True

    async def handle(self) -> None:
        raise ac.InvalidCommand("not as it should be")


class Single(Ticking):
    single_instance = True
    ticks: ClassVar[list[int]] = []


class Unmakeable(ac.AsyncCommand):
    always_on = True
    number: int = 1

    def __init__(self, **arguments: Any) -> None:
        raise RuntimeError("never")

    async def handle(self) -> None: ...


class Kept:
    """A supervisor at work, and what it said."""

    def __init__(self, *commands: type[ac.AsyncCommand]) -> None:
        self.said: list[tuple[str, str, int]] = []
        self.stops = StopRequests()
        self.task = asyncio.create_task(
            Supervisor(commands, tell=lambda name, text, level: self.said.append((name, text, level))).run(self.stops)
        )

    async def until(self, true: Callable[[], bool]) -> None:
        with anyio.fail_after(20):
            while not true():
                assert not self.task.done()
                await anyio.sleep(0.01)

    def heard(self, cls: type, text: str) -> int:
        return sum(text in said and name.endswith(cls.__name__) for name, said, _ in self.said)

    async def stop(self) -> None:
        self.stops.ask()
        with anyio.fail_after(10):
            await self.task


@pytest.fixture(autouse=True)
def short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bots, "LONGEST", 0.1)
    monkeypatch.setattr(bots, "STANDBY_SECONDS", 0.1)
    Ticking.ticks.clear()
    Single.ticks.clear()


@pytest.mark.asyncio
async def test_one_that_ends_begins_again_and_disturbs_nobody(arun_db: None) -> None:
    kept = Kept(Ticking, Broken, Unmakeable)
    await kept.until(lambda: kept.heard(Broken, "not as it should be") >= 3 and kept.heard(Unmakeable, "never") >= 2)
    before = len(Ticking.ticks)
    await kept.until(lambda: len(Ticking.ticks) > before + 3)
    assert kept.heard(Ticking, "runs (run") == 1
    await kept.stop()
    statuses = [one async for one in Run.objects.order_by("pk").values_list("command", "status")]
    assert [status for name, status in statuses if name.endswith("Ticking")] == ["interrupted"]
    assert {status for name, status in statuses if name.endswith("Broken")} == {"failed"}
    assert {one async for one in Run.objects.values_list("trigger", flat=True)} == {"abots"}
    assert any(level == logging.ERROR for _, _, level in kept.said)


@pytest.mark.asyncio
async def test_a_copy_stands_by_and_takes_over(arun_db: None) -> None:
    first = Kept(Single)
    await first.until(lambda: bool(Single.ticks))
    second = Kept(Single)
    await second.until(lambda: second.heard(Single, "stands by") == 1)
    assert await Run.objects.acount() == 1
    await first.stop()
    await second.until(lambda: second.heard(Single, "runs (run") == 1)
    assert second.heard(Single, "stands by") == 1
    await second.stop()


@pytest.mark.asyncio
async def test_it_stops_at_once_during_a_pause(arun_db: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bots, "LONGEST", 60.0)
    kept = Kept(Broken)
    await kept.until(lambda: kept.heard(Broken, "begins again in") == 1)
    await kept.stop()
