"""When a part of a run that is always on may begin again, after it failed or came to its end."""

from __future__ import annotations

import random as random_numbers
from collections import deque
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

INTENSITY = 5
PERIOD = 60.0
"""More than INTENSITY failures within PERIOD seconds are a fault that no restart mends. (As OTP's supervisors count:
"Supervisor Behaviour", Erlang/OTP System Documentation.)"""
SHORTEST, LONGEST = 0.1, 60.0
"""Seconds of the first pause and of the longest; each is about twice the one before."""
CALM = 300.0
"""After so many seconds without a failure or an end the pauses begin anew."""


class Restarts:
    """The budget and the pauses of one part that is begun again and again. All times are of one clock, in seconds."""

    def __init__(self, *, random: Callable[[], float] = random_numbers.random) -> None:
        self._random = random
        self._failures: deque[float] = deque()
        self._pauses = 0
        self._last = 0.0

    def spent(self, now: float) -> bool:
        """It failed now, by a fault of its own. True where that was once too often: it is not to begin again."""
        self._failures.append(now)
        while self._failures[0] <= now - PERIOD:
            self._failures.popleft()
        return len(self._failures) > INTENSITY

    def pause(self, now: float) -> float:
        """Seconds from now until it may begin again: at random between a half and the whole of this pause's length."""
        if now - self._last >= CALM:
            self._pauses = 0
        length: float = min(LONGEST, SHORTEST * 2 ** min(self._pauses, 20))
        self._pauses += 1
        self._last = now + length
        return length * (1 + self._random()) / 2

    def thrives(self) -> None:
        """It did what it is there for: the next pause is a short one. Its failures stay on the account."""
        self._pauses = 0
