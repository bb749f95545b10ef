"""Cron lines: what is refused, what comes, and what does not come twice."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta, timezone
from itertools import islice
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from cronsim import CronSim

import async_commander as ac
from async_commander.supervisor import schedules


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("", "five fields are needed"),
        ("* * * *", "five fields are needed"),
        ("61 * * * *", "Bad minute"),
        ("*/0 * * * *", "Bad minute"),
        ("0 0 30 2 *", "Bad day-of-month"),
        ("0 0 */29 2 mon#5", "no such day in the next 50 years"),
        ("@daily", "five fields are needed"),
        ("\0 * * * *", "Bad minute"),
    ],
)
def test_a_line_that_is_wrong_or_never_comes_is_refused_at_once(line: str, told: str) -> None:
    with pytest.raises(ValueError, match=told):
        ac.cron(line)


@pytest.mark.parametrize(
    "wrong", [{"tz": "Europe/Nowhere"}, {"tz": ""}, {"tz": "../etc/passwd"}, {"late": -1}, {"late": float("inf")}]
)
def test_a_wrong_zone_or_delay_is_refused_at_once(wrong: Any) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong))):
        ac.cron("* * * * *", **wrong)


@pytest.mark.parametrize("wrong", [{"tz": 1}, {"late": "1"}, {"late": True}])
def test_other_types_are_refused_at_once(wrong: Any) -> None:
    with pytest.raises(TypeError, match=next(iter(wrong))):
        ac.cron("* * * * *", **wrong)
    with pytest.raises(TypeError, match="a text is needed"):
        ac.cron(5)  # type: ignore[arg-type]


class Calendar:
    """A clock that jumps to each moment that is waited for; and as it is told before."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, start: datetime) -> None:
        self.now = start.astimezone(UTC)
        self.jumps: dict[int, timedelta] = {}
        self._looks = 0
        monkeypatch.setattr(schedules, "_now", lambda: self.now)
        monkeypatch.setattr(schedules, "_is_due", self._is_due)

    async def _is_due(self, moment: datetime) -> bool:
        self._looks += 1
        self.now += self.jumps.get(self._looks, timedelta(0))
        self.now = max(self.now, moment.astimezone(UTC))
        return True

    def first(self, number: int, *arguments: Any, **more: Any) -> list[datetime]:
        async def taken() -> list[datetime]:
            found: list[datetime] = []
            async for moment in ac.cron(*arguments, **more):
                found.append(moment)
                if len(found) == number:
                    break
            return found

        return asyncio.run(taken())


LINES = [
    "*/5 * * * *",
    "30 2 * * *",
    "0 */6 * * *",
    "15 1,2,3 * * *",
    "0 12 l * *",
    "0 0 29 2 *",
    "*/20 * * * * *",
    "30 6 * * mon-fri",
]


@pytest.mark.parametrize("zone", ["Europe/Vienna", "America/New_York", "Australia/Lord_Howe", "UTC"])
@pytest.mark.parametrize("line", LINES)
@pytest.mark.parametrize("start", [datetime(2026, 3, 28, 12, 0, 1), datetime(2026, 10, 24, 12, 0, 1)])
def test_it_comes_as_one_long_reading_of_the_calendar_says(
    monkeypatch: pytest.MonkeyPatch, line: str, zone: str, start: datetime
) -> None:
    begun = start.replace(tzinfo=ZoneInfo(zone))
    number = 3 if "29 2" in line else 60
    expected = list(islice(CronSim(line, begun), number))
    assert Calendar(monkeypatch, begun).first(number, line, tz=zone) == expected


NOON = datetime(2026, 6, 1, 12, 0, 30, tzinfo=UTC)


def times(found: list[datetime]) -> list[str]:
    return [f"{one:%H:%M}" for one in found]


def test_a_clock_that_is_set_back_brings_nothing_again(monkeypatch: pytest.MonkeyPatch) -> None:
    calendar = Calendar(monkeypatch, NOON)
    calendar.jumps = {3: -timedelta(hours=1)}
    assert times(calendar.first(5, "* * * * *", tz="UTC")) == ["12:01", "12:02", "12:03", "12:04", "12:05"]


def test_what_was_missed_by_far_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    calendar = Calendar(monkeypatch, NOON)
    calendar.jumps = {3: timedelta(hours=1)}
    assert times(calendar.first(4, "* * * * *", tz="UTC")) == ["12:01", "12:02", "13:02", "13:03"]


def test_what_was_missed_by_little_is_made_up_for(monkeypatch: pytest.MonkeyPatch) -> None:
    calendar = Calendar(monkeypatch, NOON)
    calendar.jumps = {2: timedelta(minutes=3)}
    found = calendar.first(4, "* * * * *", tz="UTC", late=timedelta(minutes=5))
    assert times(found) == ["12:01", "12:02", "12:03", "12:04"]


def test_a_zone_may_be_an_offset(monkeypatch: pytest.MonkeyPatch) -> None:
    found = Calendar(monkeypatch, NOON).first(1, "0 15 * * *", tz=timezone(timedelta(hours=2)))
    assert found[0].isoformat() == "2026-06-01T15:00:00+02:00"


def test_no_delay_at_all_is_allowed(monkeypatch: pytest.MonkeyPatch) -> None:
    calendar = Calendar(monkeypatch, NOON)
    monkeypatch.setattr(schedules, "_now", lambda: calendar.now + timedelta(milliseconds=3))
    assert times(calendar.first(2, "* * * * *", tz="UTC", late=0)) == ["12:01", "12:02"]
