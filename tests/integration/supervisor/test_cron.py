"""Moments of a cron line in runs: shared by copies, and taken once, whoever begins anew."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import datetime, timedelta
from typing import Any, ClassVar

import anyio
import pytest

import async_commander as ac
from async_commander.models import Lease
from tests.integration.runner.conftest import arun_db, run, transactional_db

__all__ = ["arun_db", "run", "transactional_db"]


class Clock(ac.IterateDownloadCommand[datetime, None]):
    """Each second, by the calendar."""

    place: str = ""

    always_on = True
    came: ClassVar[list[datetime]] = []

    async def iterate(self) -> AsyncIterator[datetime]:
        async for moment in ac.cron("* * * * * *"):
            yield moment

    async def download(self, moment: datetime) -> None:
        self.came.append(moment)

    async def parse_and_save(self, moment: datetime, payload: None) -> None: ...


@pytest.fixture(autouse=True)
def nothing_came() -> None:
    Clock.came.clear()


def test_one_that_begins_anew_takes_what_passed_meanwhile_and_nothing_again(run: Any) -> None:
    run(Clock(), max_items=2)
    Lease.objects.update(epoch=datetime.now().timestamp() - 3)  # it was away for a while
    run(Clock(), max_items=4)
    steps = {later - earlier for earlier, later in zip(Clock.came[2:], Clock.came[3:], strict=False)}
    assert steps == {timedelta(seconds=1)}
    assert len(Clock.came) == 6
    assert len(Lease.objects.filter(name__startswith="cron:")) == 1


@pytest.mark.asyncio
async def test_copies_share_the_moments(arun_db: None) -> None:
    tasks = [asyncio.create_task(ac.arun(Clock())) for _ in range(3)]
    while len(Clock.came) < 3:
        await anyio.sleep(0.02)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    assert sorted(set(Clock.came)) == sorted(Clock.came)
    assert max(Clock.came) - min(Clock.came) == timedelta(seconds=len(Clock.came) - 1)


@pytest.mark.asyncio
async def test_runs_of_other_arguments_have_moments_of_their_own(arun_db: None) -> None:
    await asyncio.gather(ac.arun(Clock(place="here"), max_items=1), ac.arun(Clock(place="there"), max_items=1))
    assert await Lease.objects.filter(name__startswith="cron:").acount() == 2


def test_a_trial_takes_nothing(run: Any) -> None:
    run(Clock(), max_items=1, test=True)
    assert not Lease.objects.filter(name__startswith="cron:").exists()


@pytest.mark.asyncio
async def test_it_ends_at_once_when_the_run_is_stopped(arun_db: None) -> None:
    class Yearly(Clock):
        async def iterate(self) -> AsyncIterator[datetime]:
            async for moment in ac.cron("0 0 1 1 *"):
                yield moment

    task = asyncio.create_task(ac.arun(Yearly()))
    await anyio.sleep(0.3)
    task.cancel()
    with anyio.fail_after(3), pytest.raises(asyncio.CancelledError):
        await task
