"""A pace whose turns several processes share: each leases a part of a host's, again and again while it needs it."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import anyio

from .pace import Pace

MOST_TURNS = 1_000_000
"""What "any number" is where a number is needed."""
BEAT = 1.0
"""Seconds between two times that the lease of a host is asked for."""


@dataclass(frozen=True, slots=True)
class Demand:
    """What one process would have of a host now."""

    turns: int
    """At once, those that it holds included."""
    held: int
    rate: float
    """Starts per second."""
    paused: float = 0.0
    """For so many seconds more the host has asked to be left alone."""


@dataclass(frozen=True, slots=True)
class Grant:
    """What it gets, for so long as the lease is agreed to last."""

    turns: float
    rate: float
    paused: float = 0.0


@dataclass(slots=True)
class _Lease:
    turns: float = 0
    interval: float = math.inf
    until: float = -math.inf
    asked_at: float = -math.inf
    peak: int = 0
    """Turns held at once, at most, since it was asked for last."""
    begun: int = 0
    lacks_turns: bool = False
    """Somebody had to wait for one since then."""
    lacks_rate: bool = False


class LeasedPace(Pace):
    """See Pace. Nothing is begun at a host without a lease of it that is still good, by this process's own clock.

    Without bounds there is nothing to share, and no lease. Other bounds are asked for at once, and hold with the leases
    that come of it.

    `wanted` is called when a lease is lacking. Who keeps them takes the `demands()`, and brings what is `granted()`.
    """

    def __init__(self, per_key: int | None, per_second: float | None, *args: Any) -> None:
        super().__init__(per_key, per_second, *args)
        self._leases: dict[str, _Lease] = {}
        self.wanted: Callable[[], None] = lambda: None

    def change(self, per_key: int | None, per_second: float | None) -> None:
        """See Pace."""
        super().change(per_key, per_second)
        for lease in self._leases.values():
            lease.asked_at = -math.inf
        if self._leases:
            self.wanted()

    def wait(self, key: str) -> float:
        """See Pace; `math.inf` also: not before there is a lease."""
        if not self._bounded:
            return super().wait(key)
        host, now = self._host(key), anyio.current_time()
        lease = self._leases.setdefault(key, _Lease())
        if now >= lease.until or host.held >= lease.turns or lease.interval == math.inf:
            lease.lacks_turns = lease.lacks_turns or host.held >= lease.turns
            lease.lacks_rate = lease.lacks_rate or lease.interval == math.inf
            self.wanted()
            return math.inf
        wait = super().wait(key)
        if wait and host.next_start - now == wait:
            lease.lacks_rate = True
        return wait

    def reserve(self, key: str) -> float:
        """See Pace."""
        wait = super().reserve(key)
        if not wait and (lease := self._leases.get(key)) is not None:
            lease.begun += 1
            lease.peak = max(lease.peak, self.held(key))
        return wait

    def throttled(self, key: str, asked: float | None = None, *, since: float = math.inf) -> None:
        """See Pace; the others hear of it at once."""
        super().throttled(key, asked, since=since)
        if not self._bounded:
            return
        self._leases.setdefault(key, _Lease()).asked_at = -math.inf
        self.wanted()

    def demands(self) -> dict[str, Demand]:
        """What is lacking now, and what is in use and due to be asked for again. Idle leases are given back."""
        now, demands = anyio.current_time(), {}
        most = 1 / self._interval if self._interval else math.inf
        for key, lease in list(self._leases.items()):
            fresh = lease.until == -math.inf and lease.asked_at == -math.inf
            if not fresh and now - lease.asked_at < BEAT:
                continue
            host, seconds = self._host(key), max(BEAT, min(now - lease.asked_at, 10 * BEAT))
            turns = self._per_key if lease.lacks_turns else min(max(host.held, lease.peak) + 1, self._per_key)
            rate = most if lease.lacks_rate else min(2 * lease.begun / seconds, most)
            used = fresh or host.in_use or lease.begun or lease.lacks_turns or lease.lacks_rate
            idle = not (used and self._bounded)
            paused = max(0.0, host.paused_until - now)
            if idle:
                del self._leases[key]
                demands[key] = Demand(0, 0, 0.0, paused)
                continue
            least = min(most, 1 / BEAT)
            demands[key] = Demand(int(min(turns, MOST_TURNS)), host.held, max(rate, least), paused)
            lease.asked_at, lease.peak, lease.begun = now, host.held, 0
            lease.lacks_turns = lease.lacks_rate = False
        return demands

    def granted(self, grants: Mapping[str, Grant], until: float) -> None:
        """These leases are good until then, on the event loop's clock."""
        now = anyio.current_time()
        for key, grant in grants.items():
            if (lease := self._leases.get(key)) is None:
                continue
            host = self._host(key)
            lease.turns, lease.until = grant.turns, until
            lease.interval = 1 / grant.rate if grant.rate else math.inf
            if now + grant.paused > max(host.paused_until, now) + BEAT / 4:  # another process has heard it
                host.paused_at, host.paused_until = now, now + grant.paused
                host.window, host.threshold = 1, max(1.0, min(host.window, host.held) / 2)
            for _ in range(max(1, min(len(host.waiters), int(min(grant.turns, 1000))))):
                self._announce(key, host)

    def _spacing(self, key: str) -> float:
        lease = self._leases.get(key)
        return lease.interval if lease is not None and self._interval else 0.0

    @property
    def _bounded(self) -> bool:
        return self._per_key != math.inf or self._interval > 0
