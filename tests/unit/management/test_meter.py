"""Speed and time left, on a clock that the test moves."""

from __future__ import annotations

import pytest

from async_commander.management.progress import Meter
from async_commander.results import Tally


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def test_speed_is_that_of_the_recent_window(clock: Clock) -> None:
    tally = Tally(total=10_000)
    meter = Meter("x", tally, now=clock)
    for _ in range(60):
        clock.now += 1
        tally.done += 10
        meter.speed()
    for _ in range(15):
        clock.now += 1
        tally.done += 100
        speed = meter.speed()
    assert speed == pytest.approx(100)
    assert meter.left(speed) == pytest.approx((10_000 - 2_100) / 100)
    assert meter.elapsed == pytest.approx(75)


def test_where_nothing_happened_lately_speed_is_that_of_the_whole_run(clock: Clock) -> None:
    tally = Tally(total=20)
    meter = Meter("x", tally, now=clock)
    clock.now += 5
    tally.done = 10
    meter.speed()
    for _ in range(95):
        clock.now += 1
        speed = meter.speed()
    assert speed == pytest.approx(0.1)
    assert meter.left(speed) == pytest.approx(100)


def test_items_of_an_earlier_part_of_the_run_are_no_speed(clock: Clock) -> None:
    tally = Tally(total=1_000, taken=900, done=890, dead=10)
    meter = Meter("x", tally, now=clock)
    clock.now += 2
    tally.done += 20
    speed = meter.speed()
    assert (meter.before, meter.dead_before) == (900, 10)
    assert meter.settled == 920
    assert speed == pytest.approx(10)


def test_skipped_and_failed_items_count_as_progress(clock: Clock) -> None:
    tally = Tally(total=30)
    meter = Meter("x", tally, now=clock)
    clock.now += 1
    tally.done, tally.skipped, tally.dead = 1, 2, 3
    assert meter.settled == 6


def test_there_is_no_time_left_where_the_total_is_unknown_or_nothing_was_done(clock: Clock) -> None:
    unknown, nothing = Meter("x", Tally(), now=clock), Meter("x", Tally(total=5), now=clock)
    clock.now += 1
    unknown.tally.done = 3
    assert unknown.left(unknown.speed()) is None
    assert nothing.left(nothing.speed()) is None
    assert nothing.speed() == 0


def test_time_left_is_never_negative(clock: Clock) -> None:
    tally = Tally(total=5)
    meter = Meter("x", tally, now=clock)
    clock.now += 1
    tally.done = 9
    assert meter.left(meter.speed()) == 0


def test_the_samples_stay_few(clock: Clock) -> None:
    meter = Meter("x", Tally(), now=clock)
    for _ in range(10_000):
        clock.now += 0.25
        meter.speed()
    assert len(meter._samples) <= 43


def test_after_a_resume_the_time_left_is_that_of_items_and_not_of_the_way_to_the_first_one(clock: Clock) -> None:
    tally = Tally(total=1_000, taken=900, done=900)
    meter = Meter("x", tally, now=clock)
    for _ in range(120):  # past what is done already
        clock.now += 0.25
        meter.speed()
    clock.now += 1
    tally.done += 10
    speed = meter.speed()
    assert speed == pytest.approx(10)
    assert meter.left(speed) == pytest.approx(9)
