"""How a run went over time, its slowest items, and what the last runs of each command came to."""

from __future__ import annotations

import itertools
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.db import connection, reset_queries
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

import async_commander as ac
from async_commander.history.figures import SLOWEST_KEPT, Figures, slowest_of
from async_commander.history.timeline import POINTS, progress_of, timeline_of
from async_commander.history.trends import recent_of, recorded
from async_commander.models import Run, RunBucket, RunSlowest

pytestmark = pytest.mark.django_db


def test_slices_of_a_run_that_goes_on_become_longer_and_never_overlap() -> None:
    figures, began = Figures(datetime(2026, 1, 1, tzinfo=UTC), zero=100.0), datetime(2026, 1, 1, tzinfo=UTC)
    found = {}
    for second in itertools.chain(range(0, 7_200, 5), range(7_200, 90_000, 30), range(90_000, 40 * 86_400, 1_800)):
        figures.took("item", 100.0 + second - 0.5, 100.0 + second)
        found.update({one.at: one for one in figures.slices(100.0 + second)})
    found.update({one.at: one for one in figures.slices(100.0 + 40 * 86_400)})
    slices = [found[at] for at in sorted(found)]
    assert sum(one.count for one in slices) == 1_440 + 2_760 + 1_870
    assert {one.seconds for one in slices} == {10, 60, 600, 3_600}
    for one, after in itertools.pairwise(slices):
        assert one.at + timedelta(seconds=one.seconds) <= after.at
    assert slices[0].at == began
    assert len(slices) < 360 + 1_380 + 4_200 + 300


def buckets(run: Run, seconds: int, each: int = 10) -> None:
    RunBucket.objects.bulk_create(
        RunBucket(run=run, at=run.started + timedelta(seconds=at), seconds=each, stage=stage, count=3, errors=errors)
        for at in range(0, seconds, each)
        for stage, errors in (("download", 1), ("item", 0), ("cpu", 9))
    )


@pytest.mark.parametrize(
    ("seconds", "width", "points"), [(10, 10, 1), (95, 10, 10), (1_200, 10, 120), (1_210, 20, 61), (86_400, 1_200, 72)]
)
def test_a_timeline_has_at_most_120_points_and_loses_nothing(seconds: int, width: int, points: int) -> None:
    run = Run.objects.create(command="fetch")
    buckets(run, seconds)
    found = timeline_of(run)
    assert (found.seconds, len(found.points)) == (width, points)
    assert points <= POINTS
    slices = len(range(0, seconds, 10))
    assert sum(point.done for point in found.points) == 3 * slices
    assert sum(point.errors for point in found.points) == slices
    assert found.end is not None
    assert found.end >= run.started + timedelta(seconds=seconds)


def test_a_run_without_figures_has_no_points() -> None:
    found = timeline_of(Run.objects.create(command="fetch"))
    assert (found.points, found.end) == ([], None)


def test_the_rate_of_a_run_at_work_is_that_of_its_last_minute() -> None:
    now = timezone.now()
    run = Run.objects.create(
        command="fetch", status="running", started=now - timedelta(hours=1), total=10_000, taken=9_000, done=9_000
    )
    RunBucket.objects.create(run=run, at=now - timedelta(minutes=30), stage="item", count=8_000)
    RunBucket.objects.create(run=run, at=now - timedelta(seconds=50), stage="item", count=1_000)
    found = progress_of(run)
    assert (found.settled, found.share) == (9_000, 0.9)
    assert found.rate == pytest.approx(20, rel=0.1)
    assert found.seconds_left == pytest.approx(50, rel=0.1)
    run.status, run.finished = "succeeded", now
    assert progress_of(run).rate == pytest.approx(2.5)
    assert progress_of(run).seconds_left is None


class Uneven(ac.IterateDownloadCommand[int, int]):
    """Item 7 is slow, and item 3 fails."""

    retry = ac.Retry(attempts=1)

    def iterate(self) -> Any:
        return range(60)

    async def download(self, item: int) -> int:
        if item == 7:
            import anyio

            await anyio.sleep(0.3)
        if item == 3:
            raise ValueError("no")
        return item

    async def parse_and_save(self, item: int, page: int) -> None:
        """Nothing to save."""


@pytest.mark.django_db(transaction=True)
def test_the_slowest_items_of_a_run_are_kept_as_they_end() -> None:
    result = ac.run(Uneven, threads=5)
    items = RunSlowest.objects.get(run_id=result.run_id).items
    assert len(items) == SLOWEST_KEPT
    assert [one["ms"] for one in items] == sorted((one["ms"] for one in items), reverse=True)
    assert (items[0]["label"], items[0]["state"]) == ("7", "done")
    assert items[0]["download"] >= 300
    assert items[0]["ms"] >= items[0]["download"]
    row = Run.objects.get(pk=result.run_id).items.get(label="7")
    assert (row.key.hex, row.worker) == (items[0]["key"], items[0]["worker"])


def test_of_an_item_that_ended_twice_the_later_end_counts() -> None:
    first = [{"key": "a", "ms": 9}, {"key": "b", "ms": 5}]
    assert slowest_of(first, [{"key": "a", "ms": 2}]) == [{"key": "b", "ms": 5}, {"key": "a", "ms": 2}]


def test_the_last_runs_of_each_command_take_two_queries() -> None:
    for number in range(30):
        Run.objects.create(command="often", status="succeeded" if number else "failed")
    lone = Run.objects.create(command="once")
    often = Run.objects.filter(command="often").order_by("-pk")
    with CaptureQueriesContext(connection) as asked:
        found = recent_of("default", [lone, *often[:3]])
        names = {command: [run.pk for run in runs] for command, runs in found.items()}
        took = [run.duration for runs in found.values() for run in runs]
    assert len(asked) == 3  # with that of `often[:3]`
    assert names == {"once": [lone.pk], "often": sorted(run.pk for run in often[:20])}
    assert len(took) == 21
    assert recent_of("default", []) == {}


def test_names_are_found_without_reading_all_runs() -> None:
    assert recorded("default", "command") == []
    for command, user in (("b", "ada"), ("a", ""), ("b", "bob"), ("c", "ada")):
        Run.objects.create(command=command, user=user)
    reset_queries()
    assert recorded("default", "command") == ["a", "b", "c"]
    assert recorded("default", "user") == ["ada", "bob"]
