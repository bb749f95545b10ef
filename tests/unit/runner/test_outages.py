"""For how long a database counts as away, and for whom."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from django.db import InterfaceError

from async_commander.engine.ports import Verdict
from async_commander.runner import outages
from async_commander.runner.outages import Outages

AWAY = InterfaceError("the connection is closed")
AGAIN = Verdict("retry", free=True)
FATAL = Verdict("fatal")
LONGEST_WAIT = 30.0


class Clock:
    now = 1000.0

    def time(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(outages, "awake", clock)
    return clock


def one() -> Any:
    return SimpleNamespace(absence=None)


def met_every(seconds: float, clock: Clock, judge: Outages, who: Any, times: int) -> list[Verdict | None]:
    verdicts = []
    for _ in range(times):
        verdicts.append(judge.verdict(who, AWAY))
        clock.now += seconds
    return verdicts


def test_any_other_error_tells_of_no_outage(clock: Clock) -> None:
    assert Outages(LONGEST_WAIT).verdict(one(), ValueError("no")) is None


def test_an_outage_is_waited_out_for_its_budget_and_then_ends_the_run(clock: Clock) -> None:
    verdicts = met_every(20, clock, Outages(LONGEST_WAIT), one(), 5)
    assert verdicts == [AGAIN, AGAIN, AGAIN, AGAIN, FATAL]


def test_one_that_alone_meets_it_is_judged_by_its_error_at_last(clock: Clock) -> None:
    judge, alone = Outages(LONGEST_WAIT), one()
    for _ in range(4):
        assert judge.verdict(alone, AWAY) == AGAIN
        judge.over()
        clock.now += 20
    assert judge.verdict(alone, AWAY) is None
    assert judge.verdict(one(), AWAY) == AGAIN


def test_waits_between_attempts_that_are_longer_than_the_budget_do_not_make_it_endless(clock: Clock) -> None:
    verdicts = met_every(70, clock, Outages(70.0), one(), 2)
    assert verdicts == [AGAIN, FATAL]


def test_two_outages_far_apart_are_not_one(clock: Clock) -> None:
    verdicts = met_every(outages.OUTAGE_BUDGET + LONGEST_WAIT + 1, clock, Outages(LONGEST_WAIT), one(), 3)
    assert verdicts == [AGAIN, AGAIN, AGAIN]
