"""Metrics of Prometheus about runs and their items. Needs the extra `prometheus`.

from async_commander.contrib import prometheus

prometheus.instrument()               # in AppConfig.ready(): from then on, each run of this process is counted
"""

from __future__ import annotations

import time
from collections import Counter as Tally
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from prometheus_client import Counter, Gauge, Histogram

from async_commander.history.recorder import STEP
from async_commander.results import RunResult
from async_commander.runner.observing import ITEM, RUN, ObservedRun, Observer, observers
from async_commander.signals import run_finished

if TYPE_CHECKING:
    from async_commander.database.unit import Unit

RUNS = Counter("async_commander_runs", "Runs that are over, by how they ended", ["command", "status"])
RUN_SECONDS = Histogram(
    "async_commander_run_duration_seconds",
    "How long runs took",
    ["command"],
    buckets=(0.1, 1, 10, 60, 300, 900, 3600, 4 * 3600, 24 * 3600),
)
RUNNING = Gauge("async_commander_runs_in_progress", "Runs at work", ["command"], multiprocess_mode="livesum")
ITEMS = Counter(
    "async_commander_items",
    "Items whose outcome is committed: done, skipped, dead, or to be tried again (retry)",
    ["command", "outcome"],
)
ATTEMPT_SECONDS = Histogram(
    "async_commander_item_duration_seconds", "How long an attempt at an item took, until its commit", ["command"]
)


def instrument() -> None:
    """Count the runs of this process from now on."""
    if Figures not in observers:
        observers.append(Figures)
    run_finished.connect(_over, dispatch_uid=__name__)


def uninstrument() -> None:
    """Count no runs any more that begin from now on."""
    if Figures in observers:
        observers.remove(Figures)
    run_finished.disconnect(dispatch_uid=__name__)


def _over(command: str, result: RunResult, **_: Any) -> None:
    """Plain commands, runs that were skipped, and those that are found to have crashed count, too."""
    RUNS.labels(command, result.status.value).inc()
    if result.duration:
        RUN_SECONDS.labels(command).observe(result.duration)


class Figures(Observer):
    """What one run adds to the metrics."""

    def __init__(self, run: ObservedRun) -> None:
        self._command = run.context.command
        self._seconds = ATTEMPT_SECONDS.labels(self._command)

    @asynccontextmanager
    async def around(self, what: str, label: str) -> AsyncIterator[None]:
        """See Observer."""
        del label
        if what == RUN:
            with RUNNING.labels(self._command).track_inprogress():
                yield
            return
        began = time.perf_counter()
        try:
            yield
        finally:
            if what == ITEM:
                self._seconds.observe(time.perf_counter() - began)

    def committed(self, units: Sequence[Unit]) -> bool:
        """See CommitObserver."""
        outcomes = [unit.outcome for unit in units if unit.outcome is not None]
        for state, number in Tally(one.state.value for one in outcomes if one.reason != STEP).items():
            ITEMS.labels(self._command, state).inc(number)
        return False
