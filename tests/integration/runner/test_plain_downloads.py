"""A plain `def download` that takes longer than `item_timeout`: nothing ends it, and what is told of it is true."""

from __future__ import annotations

import threading
from typing import Any

import pytest

import async_commander as ac
from async_commander.history.log_capture import item_in_hand
from async_commander.runner.threads import AbandonableThreads
from tests.testapp.models import Effect

from .ledger import items_of, row_of
from .test_endings import failed

THREADS = 3


class Slow(ac.IterateDownloadCommand[int, int]):
    """The first attempt at each item lasts until its time is over, and brings something all the same."""

    limits = ac.Limits(threads=THREADS, item_timeout=0.01, max_failures=None)
    retry = ac.Retry(attempts=1)
    awaits: bool = True

    async def iterate(self):
        self.running, self.most, self.mutex = 0, 0, threading.Lock()
        for number in range(2 * THREADS):
            yield number

    def download(self, item: int) -> int:
        with self.mutex:
            self.running += 1
            self.most = max(self.most, self.running)
        assert timed_out().wait(20)
        with self.mutex:
            self.running -= 1
        return item

    async def parse_and_save(self, item: int, payload: int) -> None:
        if self.awaits:
            await Effect.objects.acreate(key=str(item))
        else:
            self.db.add(Effect(key=str(item)))


TIMED_OUT: dict[Any, threading.Event] = {}
"""By the key of the item."""


def timed_out() -> threading.Event:
    return TIMED_OUT.setdefault(item_in_hand.get(), threading.Event())


@pytest.fixture
def alarms(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a download return when the time of its item is over."""
    wait_out = AbandonableThreads._wait_out

    async def told(threads: AbandonableThreads, ended: Any) -> None:
        timed_out().set()
        await wait_out(threads, ended)

    monkeypatch.setattr(AbandonableThreads, "_wait_out", told)
    TIMED_OUT.clear()


@pytest.mark.parametrize("awaits", [True, False])
def test_what_came_too_late_is_timed_out_whatever_follows(run_on_lanes: Any, alarms: None, awaits: bool) -> None:
    command = Slow(awaits=awaits)
    result = failed(run_on_lanes, command)
    row = row_of(result)
    assert (row.status, row.dead, row.done) == ("failed", 2 * THREADS, 0)
    assert {item.error_kind for item in items_of(result)} == {"ItemTimeout"}
    assert not Effect.objects.exists()
    assert command.running == 0
    assert command.most <= THREADS
    assert row.logs.filter(message__startswith="A plain `def download` cannot be interrupted").count() == 1
