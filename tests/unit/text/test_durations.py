"""Stretches of time: how they are written, read and kept."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.utils.dateparse import parse_duration
from django.utils.duration import duration_iso_string, duration_string
from hypothesis import given
from hypothesis import strategies as st

from async_commander.text.durations import duration_as_text, duration_in


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ("1d 2h", timedelta(days=1, hours=2)),
        ("1d2h", timedelta(days=1, hours=2)),
        ("2 days, 3 hours", timedelta(days=2, hours=3)),
        ("1w", timedelta(weeks=1)),
        ("P2W", timedelta(weeks=2)),
        ("90s", timedelta(seconds=90)),
        ("1.5h", timedelta(minutes=90)),
        ("500ms", timedelta(seconds=0.5)),
        ("1M5", timedelta(seconds=65)),
        ("-1d 2h", -timedelta(days=1, hours=2)),
        (" 5m ", timedelta(minutes=5)),
        ("0", timedelta()),
        ("PT0S", timedelta()),
        ("-P1DT2H", -timedelta(days=1, hours=2)),
    ],
)
def test_a_stretch_of_time_reads_as_it_is_said(text: str, kept: timedelta) -> None:
    assert duration_in(text) == kept


@pytest.mark.parametrize(
    "text",
    [
        "",
        "P",
        "PT",
        "d",
        "soon",
        "1d 2d",
        "2h 1d",
        "1x",
        "1d foo",
        "1h 5 5",
        "1e3s",
        "--5s",
        "9999999999d",
        "P9999999999D",
    ],
)
def test_what_says_none_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"no stretch of time|longer than"):
        duration_in(text)


@given(st.timedeltas())
def test_whatever_django_writes_is_read(value: timedelta) -> None:
    assert duration_in(duration_string(value)) == value
    assert duration_in(duration_iso_string(value)) == value


@given(st.timedeltas())
def test_what_is_kept_is_iso_8601_as_django_reads_it(value: timedelta) -> None:
    assert parse_duration(duration_as_text(value)) == value
    assert duration_in(str(value)) == value


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (timedelta(days=1, hours=2), "P1DT2H"),
        (timedelta(seconds=90), "PT1M30S"),
        (timedelta(microseconds=-500_000), "-PT0.5S"),
        (timedelta(days=-1, hours=-2), "-P1DT2H"),
        (timedelta(), "PT0S"),
        (timedelta.max, "P999999999DT23H59M59.999999S"),
    ],
)
def test_it_is_kept_short(value: timedelta, text: str) -> None:
    assert duration_as_text(value) == text
