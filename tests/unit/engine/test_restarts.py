"""The budget of a part that is always on, beside a plain count of all that happened to it."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from async_commander.engine.restarts import CALM, INTENSITY, LONGEST, PERIOD, SHORTEST, Restarts

LIVES = st.lists(st.tuples(st.floats(0, 400), st.booleans(), st.booleans()), max_size=40)
"""For each beginning: how long it went well, whether it then failed by its own fault, whether it did any work."""


@settings(max_examples=500, deadline=None)
@given(LIVES, st.floats(0, 1))
def test_any_life_is_as_a_plain_count_says(lives: list[tuple[float, bool, bool]], chance: float) -> None:
    restarts, now, failures, streak, begun = Restarts(random=lambda: chance), 0.0, [], 0, 0.0
    for lasted, failed, worked in lives:
        now += lasted
        if worked:
            restarts.thrives()
            streak = 0
        if failed:
            failures.append(now)
            recent = [at for at in failures if at > now - PERIOD]
            assert restarts.spent(now) == (len(recent) > INTENSITY)
        if now - begun >= CALM:
            streak = 0
        whole = min(LONGEST, SHORTEST * 2.0**streak)
        pause = restarts.pause(now)
        assert whole / 2 <= pause <= whole
        streak += 1
        begun = now + whole
        now += pause


def test_the_pauses_of_one_that_never_comes_up_grow_to_the_longest() -> None:
    restarts, now, pauses = Restarts(random=lambda: 1.0), 0.0, []
    for _ in range(14):
        pauses.append(restarts.pause(now))
        now += pauses[-1]
    assert pauses[:4] == [0.1, 0.2, 0.4, 0.8]
    assert pauses[-3:] == [60.0, 60.0, 60.0]


def test_a_day_of_crashes_that_are_far_apart_spends_nothing() -> None:
    restarts, now = Restarts(), 0.0
    while now < 86_400:
        assert not restarts.spent(now)
        now += 15 + restarts.pause(now)
