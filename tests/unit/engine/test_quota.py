"""How many items may be taken, by this process and by the run."""

from __future__ import annotations

import pytest

from async_commander.engine.quota import Quota
from async_commander.results import Tally


@pytest.mark.parametrize(
    ("taken", "asked", "begun_with", "resumed", "room", "run_at_most", "narrower"),
    [
        (0, None, None, False, None, None, False),
        (0, 10, None, False, 10, 10, False),
        (4, None, None, True, None, None, False),
        (4, None, 10, True, 6, 10, False),
        (12, None, 10, True, 0, 10, False),
        (4, 3, None, True, 3, None, True),
        (4, 3, 10, True, 3, 10, True),
        (4, 9, 10, True, 9, 13, True),
        (10, 3, 10, True, 3, 13, False),
    ],
)
def test_bounds_of_this_process_and_of_the_run(taken, asked, begun_with, resumed, room, run_at_most, narrower) -> None:
    quota = Quota(Tally(taken=taken), asked=asked, begun_with=begun_with, resumed=resumed)
    assert (quota.room, quota.run_at_most, quota.narrower) == (room, run_at_most, narrower)


def test_the_room_follows_the_tally() -> None:
    quota = Quota(Tally(), asked=10)
    assert (quota.of_chunk(8), quota.spent) == (8, False)
    quota.tally.taken = 7
    assert (quota.room, quota.of_chunk(8)) == (3, 3)
    quota.tally.taken = 10
    assert (quota.room, quota.of_chunk(8), quota.spent) == (0, 0, True)


def test_what_was_recovered_is_looked_for_in_the_whole_source() -> None:
    quota = Quota(Tally(taken=10), begun_with=10, resumed=True, recovered=2)
    assert (quota.room, quota.of_chunk(8), quota.spent) == (0, 8, False)
    quota.recovered = 0
    assert quota.spent


def test_the_total_is_bounded_by_what_a_new_run_is_asked_for() -> None:
    assert Quota(Tally(), asked=10).of_total(100) == 10
    assert Quota(Tally(), asked=10).of_total(5) == 5
    assert Quota(Tally(), asked=10, resumed=True).of_total(100) == 100
