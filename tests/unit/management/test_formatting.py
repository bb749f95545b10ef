"""Figures and columns."""

from __future__ import annotations

import pytest

from async_commander.management.formatting import columns
from async_commander.text.amounts import clock, duration, rate


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [
        (-1, "0.00 s"),
        (0.84, "0.84 s"),
        (9.94, "9.9 s"),
        (12.4, "12 s"),
        (59.6, "1:00 min"),
        (187, "3:07 min"),
        (7509, "2:05:09 h"),
        (266_700, "3 d 2:05 h"),
    ],
)
def test_a_duration_is_as_short_as_it_can_be_read(seconds: float, shown: str) -> None:
    assert duration(seconds) == shown


@pytest.mark.parametrize(
    ("per_second", "shown"),
    [(None, ""), (0.0, ""), (0.05, "3/min"), (3.04, "3.0/s"), (912.4, "912/s"), (12_345.0, "12,345/s")],
)
def test_a_rate_has_about_three_figures(per_second: float | None, shown: str) -> None:
    assert rate(per_second) == shown


def test_a_clock_shows_hours_minutes_and_seconds() -> None:
    assert (clock(-3), clock(187.9), clock(36_000)) == ("0:00:00", "0:03:07", "10:00:00")


def test_columns_stand_under_each_other() -> None:
    assert columns([["1", "a", "x"], ["1,234", "bbb", ""]], right=frozenset({0})) == [
        "    1  a    x",
        "1,234  bbb",
    ]
