"""How long the stages of a run took, as its roll-ups tell it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from django.core.management.color import no_style

from async_commander.history.figures import Figures, latencies_of
from async_commander.management.run_page import RunPage
from async_commander.models import Run, RunBucket

pytestmark = pytest.mark.django_db


def rolled_up(stage: str, milliseconds: list[float]) -> Run:
    """A run whose passages through one stage took so long, a slice for each hundred of them."""
    run = Run.objects.create(command="fetch")
    figures = Figures(datetime(2026, 1, 1, tzinfo=UTC), zero=0.0)
    for number, each in enumerate(milliseconds):
        figures.took(stage, number / 10 - each / 1000, number / 10)
    for one in figures.slices(len(milliseconds) / 10):
        RunBucket.objects.create(
            run=run, at=one.at + timedelta(0), seconds=one.seconds, stage=one.stage, count=one.count,
            errors=one.errors, total_ms=one.total_ms, histogram=one.histogram,
        )  # fmt: skip
    return run


def test_median_and_95th_percentile_are_within_their_bins_and_nothing_took_longer_than_the_maximum() -> None:
    times = [float(number) for number in range(1, 1001)]
    (found,) = latencies_of(rolled_up("download", times))
    assert (found.stage, found.count, found.errors) == ("download", 1000, 0)
    assert found.median == pytest.approx(500, rel=0.05)
    assert found.p95 == pytest.approx(950, rel=0.05)
    assert 1000 <= found.maximum < 1024


def test_one_passage_is_told_exactly() -> None:
    (found,) = latencies_of(rolled_up("cpu", [1234.0]))
    assert found.maximum == 1234
    assert found.median <= found.p95 <= 1234


def test_the_longest_of_all_has_a_bound_too() -> None:
    (found,) = latencies_of(rolled_up("item", [10.0, 20.0, 600_000.0]))
    assert 600_000 <= found.maximum <= 600_030


def test_stages_come_in_the_order_of_an_item_s_way() -> None:
    run = rolled_up("item", [1.0])
    for stage in ("parse", "zebra", "download"):
        RunBucket.objects.create(run=run, at=run.started, stage=stage, count=1, histogram=[1], total_ms=0)
    assert [one.stage for one in latencies_of(run)] == ["download", "parse", "item", "zebra"]


def test_the_page_of_a_run_shows_them() -> None:
    page = "\n".join(RunPage(rolled_up("download", [10.0, 3500.0]), no_style()).lines())
    assert "Latencies\n  stage     count" in page
    assert "3.5 s" in page


def test_a_run_without_figures_has_no_latencies() -> None:
    assert latencies_of(Run.objects.create(command="fetch")) == []
