"""What a budget is charged with: the time that the process had."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from async_commander.engine.awake import LATE, PERIOD, Awake


class Loop:
    """An event loop that turns when it is told to."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.awake = Awake(lambda: self.now)
        self.calls: list[Any] = []

    def call_later(self, delay: float, call: Any) -> Any:
        self.calls.append(call)
        return asyncio.TimerHandle(0, call, (), self)  # type: ignore[arg-type]

    def turn(self, seconds: float) -> None:
        self.now += seconds
        self.calls.pop()()

    def get_debug(self) -> bool:
        return False

    def _timer_handle_cancelled(self, handle: Any) -> None:
        self.calls.clear()


@pytest.fixture
def loop() -> Loop:
    return Loop()


def test_a_loop_that_turns_has_the_time_of_the_clock(loop: Loop) -> None:
    began = loop.awake.time()
    with loop.awake.ticking(loop):  # type: ignore[arg-type]
        for _ in range(100):
            loop.turn(PERIOD)
            loop.now += 0.3
        assert loop.awake.time() - began == pytest.approx(100 * PERIOD + 30)


def test_time_in_which_it_was_stopped_is_not_its_own(loop: Loop) -> None:
    with loop.awake.ticking(loop):  # type: ignore[arg-type]
        began = loop.awake.time()
        loop.now += 61
        assert loop.awake.time() - began == LATE  # a thread that wakes up before the loop does
        loop.turn(0)
        assert loop.awake.time() - began == LATE
        loop.turn(PERIOD)
        assert loop.awake.time() - began == LATE + PERIOD


def test_without_a_loop_it_is_the_clock(loop: Loop) -> None:
    with loop.awake.ticking(loop):  # type: ignore[arg-type]
        loop.turn(PERIOD)
    began = loop.awake.time()
    loop.now += 1000
    assert loop.awake.time() - began == 1000
    with loop.awake.ticking(loop):  # type: ignore[arg-type]
        assert loop.awake.time() - began == 1000
