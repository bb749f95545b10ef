"""How a run goes, and how it went over time: from its row and the roll-ups, whatever the number of its items."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from django.utils import timezone

from async_commander.models import Run
from async_commander.results import AT_WORK

from .figures import SLICE_SECONDS, buckets_of

POINTS = 120
RECENT_SECONDS = 60
_WIDTHS = (10, 20, 30, 60, 120, 300, 600, 1_200, 1_800, 3_600, 7_200, 14_400, 28_800, 86_400, 7 * 86_400)
_DONE, _FAILING = ("item", "step"), ("download", "parse", "step")
"""Whose passages are what was done, and whose errors are what failed."""


@dataclass(slots=True)
class Point:
    """What happened in one stretch of a run's time."""

    at: datetime
    done: int = 0
    errors: int = 0


@dataclass(frozen=True, slots=True)
class Timeline:
    """Points of equal length, in seconds; none where the run has no figures."""

    seconds: int
    points: list[Point]

    @property
    def end(self) -> datetime | None:
        """Where the last point ends."""
        return self.points[-1].at + timedelta(seconds=self.seconds) if self.points else None


def timeline_of(run: Run, at_most: int = POINTS) -> Timeline:
    """The throughput and the errors of a run over time; a query."""
    rows = buckets_of(run).filter(stage__in={*_DONE, *_FAILING}).order_by("at")
    slices = list(rows.values_list("at", "seconds", "stage", "count", "errors"))
    if not slices:
        return Timeline(SLICE_SECONDS, [])
    begin = slices[0][0]
    length = (slices[-1][0] - begin).total_seconds() + slices[-1][1]
    width = next((width for width in _WIDTHS if length <= width * at_most), int(length / at_most) + 1)
    number = min(int(length // width) + (length % width > 0), at_most)
    points = [Point(begin + timedelta(seconds=place * width)) for place in range(number)]
    for at, _, stage, count, errors in slices:
        point = points[min(int((at - begin).total_seconds() // width), number - 1)]
        point.done += count if stage in _DONE else 0
        point.errors += errors if stage in _FAILING else 0
    return Timeline(width, points)


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a run is. Rates are items per second; None: not known."""

    settled: int
    total: int | None
    share: float | None
    """From 0 to 1, of those that there are or were expected."""
    rate: float | None
    """Of the last minute while it is at work, else of its whole duration."""
    seconds_left: float | None


def progress_of(run: Run) -> Progress:
    """How far a run is, and at what pace; a query, where it is at work."""
    share = min(run.settled / run.total, 1.0) if run.total else None
    if run.status not in AT_WORK:
        return Progress(run.settled, run.total, share, run.rate, None)
    rate = _recent_rate(run)
    rate = run.rate if rate is None else rate
    left = None if not rate or run.total is None else max(run.total - run.settled, 0) / rate
    return Progress(run.settled, run.total, share, rate, left)


def _recent_rate(run: Run) -> float | None:
    now = timezone.now()
    recent = buckets_of(run).filter(stage__in=_DONE, at__gt=now - timedelta(seconds=RECENT_SECONDS + SLICE_SECONDS))
    slices = list(recent.values_list("at", "count"))
    if not slices:
        return None
    seconds = (now - min(at for at, _ in slices)).total_seconds()
    return sum(count for _, count in slices) / max(seconds, 1.0)
