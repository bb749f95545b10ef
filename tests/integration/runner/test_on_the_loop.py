"""What a run costs on the event loop that it shares with others: counted in calls of functions, not by a clock."""

from __future__ import annotations

import asyncio
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

import pytest

import async_commander as ac
from tests.testapp.models import Effect

MOST_AT_ONCE = 4_000
"""Calls in one callback: a few milliseconds."""
AT_ONCE = 8

pytestmark = [pytest.mark.asyncio, pytest.mark.django_db(transaction=True), pytest.mark.timeout(60)]


class SmallJob(ac.IterateDownloadCommand[int, int]):
    limits = ac.Limits(threads=3, batch_size=4, db_lanes=1)

    def iterate(self) -> range:
        return range(8)

    async def download(self, item: int) -> int:
        if item == 5:
            raise ValueError("the fifth is never right")
        return item

    async def parse_and_save(self, item: int, payload: int) -> None:
        self.db.add(Effect(key=f"{self.record.pk}-{item}"))


class OnTheLoop:
    """Calls of functions in each callback of the running loop, and threads whose beginning it has waited for."""

    def __init__(self) -> None:
        self.calls: list[int] = []
        self.threads: list[str] = []
        self._count = 0

    @contextmanager
    def counted(self, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
        run, loops_thread = asyncio.Handle._run, threading.current_thread()  # type: ignore[attr-defined]
        start = threading.Thread.start

        def counted_run(handle: Any) -> None:
            before = self._count
            run(handle)
            self.calls.append(self._count - before)

        def noted_start(thread: threading.Thread) -> None:
            if threading.current_thread() is loops_thread:
                self.threads.append(thread.name)
            start(thread)

        def note(frame: FrameType, event: str, _: Any) -> None:
            self._count += event == "call"

        with monkeypatch.context() as patch:
            patch.setattr(asyncio.Handle, "_run", counted_run)
            patch.setattr(threading.Thread, "start", noted_start)
            sys.setprofile(note)
            try:
                yield
            finally:
                sys.setprofile(None)


async def test_a_run_costs_the_loop_no_more_beside_others(monkeypatch: pytest.MonkeyPatch) -> None:
    await ac.arun(SmallJob)  # what is found out once for each class
    alone, beside = OnTheLoop(), OnTheLoop()
    with alone.counted(monkeypatch):
        await ac.arun(SmallJob)
    with beside.counted(monkeypatch):
        await asyncio.gather(*(ac.arun(SmallJob) for _ in range(AT_ONCE)))
    assert max(alone.calls + beside.calls) < MOST_AT_ONCE
    assert sum(beside.calls) / AT_ONCE < 1.5 * sum(alone.calls)


async def test_the_loop_waits_for_no_thread_to_begin(monkeypatch: pytest.MonkeyPatch) -> None:
    await ac.arun(SmallJob)
    seen = OnTheLoop()
    with seen.counted(monkeypatch):
        await asyncio.gather(*(ac.arun(SmallJob) for _ in range(AT_ONCE)))
    ours = [name for name in seen.threads if name.startswith(("async-commander-lane", "heartbeat", "async_commander"))]
    assert ours == []
