"""How fast a run goes, and how long it has left."""

from __future__ import annotations

import time
from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from async_commander.engine.results import Tally

WINDOW = 10.0
"""Seconds that count as recent."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """One look at a run: seconds since it began, its counts, items per second lately, seconds left."""

    elapsed: float
    settled: int
    total: int | None
    done: int
    skipped: int
    dead: int
    retried: int
    in_flight: int
    waiting: int
    paused_hosts: int
    per_second: float | None
    left: float | None
    counts_items: bool = True
    """False: the figures are `handle()`'s own, in units of its own."""


@dataclass(slots=True)
class Meter:
    """Reads a live tally. Items that an earlier part of the run had settled do not count as speed."""

    tally: Tally
    now: Callable[[], float] = time.monotonic
    window: float = WINDOW
    counts_items: bool = True
    taken_at_most: int | None = None
    """Items that may be taken in all."""
    begun: float = field(init=False)
    before: int = field(init=False)
    dead_before: int = field(init=False)
    _samples: deque[tuple[float, int]] = field(init=False, default_factory=deque)

    def __post_init__(self) -> None:
        self.begun = self.now()
        self.before = settled(self.tally)
        self.dead_before = self.tally.dead
        self._samples.append((self.begun, self.before))

    @property
    def cut(self) -> bool:
        """Whether as many items were taken as may be."""
        return self.taken_at_most is not None and self.tally.taken >= self.taken_at_most

    def read(self) -> Reading:
        """The counts, and the speed over the recent window; over the whole run where nothing happened lately."""
        tally, now, so_far = self.tally, self.now(), settled(self.tally)
        self._sample(now, so_far)
        speed = self._recent() or self._overall(now, so_far)
        return Reading(
            elapsed=now - self.begun,
            settled=so_far,
            total=tally.total,
            done=tally.done,
            skipped=tally.skipped,
            dead=tally.dead,
            retried=tally.retried,
            in_flight=tally.in_flight,
            waiting=tally.waiting,
            paused_hosts=tally.paused_hosts,
            per_second=speed,
            counts_items=self.counts_items,
            left=max(tally.total - so_far, 0) / speed if speed and tally.total is not None else None,
        )

    def _sample(self, now: float, so_far: int) -> None:
        if so_far == self.before:
            self._samples.clear()  # the way to the first item, past those that are done already, is no speed
        self._samples.append((now, so_far))
        while len(self._samples) > 2 and now - self._samples[1][0] >= self.window:
            self._samples.popleft()

    def _recent(self) -> float | None:
        (first, before), (last, after) = self._samples[0], self._samples[-1]
        return (after - before) / (last - first) if last > first else None

    def _overall(self, now: float, so_far: int) -> float | None:
        return (so_far - self.before) / (now - self.begun) if now > self.begun else None


def settled(tally: Tally) -> int:
    """Items that have an outcome."""
    return tally.done + tally.skipped + tally.dead
