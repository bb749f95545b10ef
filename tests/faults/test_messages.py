"""Messages that come several times, late or not at all, to workers that are killed: every run ends once."""

from __future__ import annotations

import time
from datetime import timedelta
from typing import Any

import pytest

import async_commander as ac
from async_commander.models import Run
from async_commander.queues import rescue
from async_commander.queues.engine import engine_of
from tests.faults.counts import LEVEL, chance, count
from tests.integration.runner.conftest import transactional_db
from tests.integration.runner.ledger import assert_ledger_adds_up
from tests.queued.brokers import ENGINES, queue
from tests.queued.effects import assert_once

__all__ = ["transactional_db"]
LINES = ["celery-redis"] if LEVEL == "pr" else ENGINES
ITEMS, WORKERS, RUNS_A_KILL = 30, 2, 3
LATE, LONGEST = 3.0, 120.0


@pytest.fixture(autouse=True)
def commands(settings: Any) -> None:
    settings.ASYNC_COMMANDER = {**settings.ASYNC_COMMANDER, "COMMAND_PACKAGES": ["tests.queued.commands"]}


@pytest.mark.parametrize("line", LINES)
def test_every_run_ends_once(transactional_db: None, monkeypatch: pytest.MonkeyPatch, line: str) -> None:
    # What a killed worker had fetched and not begun would be sent again after minutes.
    monkeypatch.setattr(rescue, "RESENT_AFTER", timedelta(seconds=5))
    random, handles = chance(), list[ac.RunHandle]()

    def send_some() -> None:
        """Each message one to five times, one in ten of them late."""
        for _ in range(RUNS_A_KILL):
            label = f"run {len(handles)}"
            handles.append(ac.dispatch("effects", label=label, count=ITEMS, pause=0.1, lease_seconds=2, engine=engine))
            for _ in range(random.randrange(5) if engine.has_messages else 0):
                engine.send(handles[-1].run_id, database="default", delay=LATE * (random.random() < 0.1))

    with queue(line) as found:
        engine = engine_of(found.engine)
        send_some()
        workers = [found.begin() for _ in range(WORKERS)]
        for _ in range(count("P19_KILLS")):
            send_some()
            time.sleep(random.uniform(1.5, 4.0))
            victim = random.randrange(WORKERS)
            workers[victim].kill()
            workers[victim] = found.begin()
        end = time.monotonic() + LONGEST
        while left := dict(Run.objects.exclude(status="succeeded").values_list("pk", "status")):
            assert time.monotonic() < end, f"not succeeded within {LONGEST:g} s: {left}"
            rescue.rescue("default")
            time.sleep(1)
        done = [handle.result_sync(timeout=1).counts["done"] for handle in handles]
    assert done == [ITEMS] * len(handles)
    for number in range(len(handles)):
        assert_once(f"run {number}", ITEMS)
    runs = list(Run.objects.all())
    assert [run.status for run in runs] == ["succeeded"] * len(handles)
    for run in runs:
        assert_ledger_adds_up(run)
