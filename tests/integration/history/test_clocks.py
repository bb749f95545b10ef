"""A clock that somebody sets, back or forward, holds nothing up."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import pytest
from django.db import connection
from django.utils import timezone

import async_commander as ac
from async_commander.history import lease
from async_commander.models import Run, RunItem
from tests.integration.runner.ledger import end_without_a_word, give_lease, row_of

pytestmark = pytest.mark.timeout(30)


class Clock:
    """The clock of the database, which can be set."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.ahead = timedelta()
        asked = lease.database_now

        def now(alias: str) -> datetime:
            return asked(alias) + self.ahead

        for module in ("lease", "runs"):
            monkeypatch.setattr(f"async_commander.history.{module}.database_now", now)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    return Clock(monkeypatch)


class FailsOnce(ac.IterateDownloadCommand[int, int]):
    """Every item waits once, more of them than the heap holds."""

    limits = ac.Limits(threads=1)
    retry = ac.Retry(attempts=3, initial=0.05, factor=1.0, maximum=0.1, retry_after_cap=1.0)
    broken = False

    async def iterate(self):
        self.seen: set[int] = set()
        for number in range(15):
            yield number

    async def download(self, item: int) -> int:
        if item not in self.seen:
            self.seen.add(item)
            if item == 5:
                self.set_the_clock()
            if self.broken and len(self.seen) == 15:
                raise MemoryError
            raise TimeoutError("later")
        return item

    async def parse_and_save(self, item: int, payload: int) -> None:
        pass

    def set_the_clock(self) -> None:
        pass


@pytest.mark.parametrize("days", [-1, 1])
def test_items_that_wait_in_the_ledger_do_not_wait_for_a_clock_that_was_set(run: Any, clock: Clock, days: int) -> None:
    command = FailsOnce()
    command.set_the_clock = lambda: setattr(clock, "ahead", timedelta(days=days))  # type: ignore[method-assign]
    result = run(command)
    assert (result.status, result.counts["done"]) == ("succeeded", 15)
    row_of(result)


@pytest.mark.parametrize("days", [-1, 1])
def test_a_resume_under_another_time_runs_them_at_once(run: Any, clock: Clock, days: int) -> None:
    first = FailsOnce()
    first.broken = True
    with pytest.raises(ac.RunFailed, match="MemoryError"):  # it ends at once, and those that wait are left
        run(first)
    failed = Run.objects.get()
    assert (failed.status, bool(failed.retry)) == ("failed", True)
    RunItem.objects.filter(state="retry").update(next_at=timezone.now() + timedelta(minutes=5) * (days < 0))
    clock.ahead = timedelta(days=days)
    result = run(FailsOnce(), resume=True)
    assert (result.run_id, result.status) == (failed.pk, "succeeded")
    row_of(result)


def test_a_lease_of_another_host_ends_though_the_clock_was_set_back(run_on_lanes: Any, clock: Clock) -> None:
    run_id = run_on_lanes("pages", count=1).run_id
    end_without_a_word(run_id)
    give_lease(run_id, host="elsewhere")
    now = lease.database_now(connection.alias)
    Run.objects.update(heartbeat=now, expires=now + timedelta(seconds=1), host="elsewhere", pid=17)
    clock.ahead = timedelta(days=-1)
    assert run_on_lanes("pages", count=1, resume=True).run_id == run_id
