"""Politeness: how many starts at once, and how many per second, each host is given, and when it is left alone.

A host that asks for time (429, 503) is paused, and then approached again step by step:

    closed ──asks for time──▶ open ──pause over──▶ half-open, one probe ──answers──▶ closed, window 1, 2, 3 …
                               ▲                     │
                               └────asks again───────┘     asked for longer than `host_budget`: its items are given up
"""

from __future__ import annotations

import logging
import math
import random
from contextvars import ContextVar
from dataclasses import dataclass, field
from heapq import nlargest
from typing import TYPE_CHECKING, ClassVar

import anyio

from async_commander.exceptions import ItemError

from .charging import uncharged
from .limits import Retry

if TYPE_CHECKING:
    from collections.abc import Callable

_logger = logging.getLogger(__name__)

pace_key_held: ContextVar[str | None] = ContextVar("async_commander_pace_key_held", default=None)
"""The key whose turn the item in hand has taken already, so that the client behind it does not take another."""

_IDLE_KEYS_KEPT = 1024
MOST_IDLE_KEYS = 16_384
"""Hosts that are remembered only because they are paused, or were: of more those are forgotten whose time is up first.
The items that wait for them know it themselves."""
TOLD_ONE_BY_ONE = 100
"""Pauses that have a line of the log each; of more, each tenfold number has one."""
_GUESSED_SECONDS = 1.0
"""How long a turn is held, as long as none of the host's was given back."""
_NEWEST_WEIGHS = 0.2


class HostUnavailable(ItemError):
    """A host asked for time, again and again, for longer than `Retry.host_budget` allows."""

    reason: ClassVar[str] = "throttled"


@dataclass(slots=True, eq=False)
class _Host:
    held: int = 0
    next_start: float = 0.0
    """When the rate allows the next start."""
    paused_at: float = -math.inf
    paused_until: float = 0.0
    pauses: int = 0
    """Since its last answer."""
    unanswered_since: float = 0.0
    """When the first of these pauses began."""
    window: float = math.inf
    """Turns at once: 1 after a pause, then more with each answer."""
    threshold: float = math.inf
    """Up to here the window doubles; above it grows by one each time all of it has answered."""
    seconds: float | None = None
    """How long a turn is held, on average; None where none was given back yet."""
    told: bool = False
    waiters: list[anyio.Event] = field(default_factory=list)
    """The first in line first. A deque for each of thousands of hosts would be ten times as large."""

    def left(self) -> float:
        """Seconds until the next may begin. Without a pace or a pause the clock is not asked."""
        begins = max(self.next_start, self.paused_until)
        return max(0.0, begins - anyio.current_time()) if begins else 0.0

    @property
    def in_use(self) -> bool:
        return self.held > 0 or bool(self.waiters)

    def remembered_until(self, budget: float) -> float:
        """How long what is known of it matters, once it is in use no more."""
        return max(self.next_start, self.paused_until + (budget if self.pauses else 0.0))


class Pace:
    """Turns per key (a host): at most `per_key` held at once, begun at least `1 / per_second` seconds apart.

    A turn is taken by `reserve()` or `acquire()` and given back by `release()`. `throttled()` and `answered()` say what
    the host said: the one pauses it, for as long as it asked for, or `retry` says; the other lets more at once to it
    again. All methods belong to the event loop. Memory is bounded by the keys in use: idle ones are forgotten, and
    so are those of paused hosts where there are very many.
    """

    def __init__(self, per_key: int | None = None, per_second: float | None = None, retry: Retry | None = None) -> None:
        self._per_key = math.inf if per_key is None else per_key
        self._interval = 1 / per_second if per_second else 0.0
        self._retry = retry or Retry()
        self._hosts: dict[str, _Host] = {}
        self._unanswered: set[str] = set()
        self._forget_at = _IDLE_KEYS_KEPT
        self._told = 0
        self._changed = anyio.Event()
        self.on_release: Callable[[str], None] | None = None
        """Called with a key when a turn of it may be free and no `acquire()` waits for it."""

    def change(self, per_key: int | None, per_second: float | None) -> None:
        """Other bounds, from now on. Turns that are held stay so, also where they are more than that."""
        self._per_key = math.inf if per_key is None else per_key
        self._interval = 1 / per_second if per_second else 0.0
        changed, self._changed = self._changed, anyio.Event()
        changed.set()
        soonest = anyio.current_time() + self._interval
        for host in self._hosts.values():
            host.next_start = min(host.next_start, soonest)
            waiting, host.waiters = host.waiters, []
            for bell in waiting:  # each looks anew, and waits in its place where it has to
                bell.set()

    def __len__(self) -> int:
        """Keys remembered now."""
        return len(self._hosts)

    @property
    def paused(self) -> int:
        """Hosts that asked for time and have not answered since: their circuit is open or half-open."""
        return len(self._unanswered)

    def wait(self, key: str) -> float:
        """Seconds until a turn may be free; `math.inf`: not before one is released."""
        host = self._hosts.get(key)
        if host is None:
            return 0.0
        return math.inf if host.held >= min(self._per_key, host.window) else host.left()

    def expected(self, key: str, ahead: int) -> float:
        """Seconds until one that has so many ahead of it will have its turn, as far as is known."""
        host = self._hosts.get(key) or _Host()
        seconds = _GUESSED_SECONDS if host.seconds is None else host.seconds
        return host.left() + ahead * max(self._interval, seconds / min(self._per_key, host.window))

    def measured(self, key: str) -> bool:
        """Whether `expected()` is more than a guess."""
        host = self._hosts.get(key)
        return self._interval > 0 or (host is not None and host.seconds is not None)

    def held(self, key: str) -> int:
        """Turns of this key that are taken now."""
        host = self._hosts.get(key)
        return host.held if host is not None else 0

    def reserve(self, key: str) -> float:
        """Take a turn if one is free and return 0; otherwise return `wait(key)`."""
        wait = self.wait(key)
        if wait == 0:
            host = self._host(key)
            host.held += 1
            if self._interval:
                host.next_start = max(host.next_start, anyio.current_time()) + self._spacing(key)
        return wait

    def release(self, key: str, seconds: float | None = None) -> None:
        """Give a turn back that was held for so many seconds. Raises ValueError if none is held."""
        host = self._hosts.get(key)
        if host is None or not host.held:
            raise ValueError(f"no turn of {key!r} is held: each reserve() or acquire() is released once")
        host.held -= 1
        if seconds is not None:
            known = seconds if host.seconds is None else host.seconds
            host.seconds = known + _NEWEST_WEIGHS * (seconds - known)
        self._announce(key, host)

    async def acquire(self, key: str) -> None:
        """Wait for a turn and take it, in the order of asking. That time is not charged to the item in hand.

        Raises HostUnavailable where the host's budget is spent.
        """
        wait = self.reserve(key)
        if not wait:
            return
        with uncharged():
            while wait:
                if self.spent(key):
                    raise self.unavailable(key)
                host, bell = self._hosts[key], anyio.Event()
                if wait == math.inf:
                    host.waiters.append(bell)
                try:
                    if wait == math.inf:
                        await bell.wait()
                    else:
                        with anyio.move_on_after(wait):
                            await self._changed.wait()
                except BaseException:
                    if wait == math.inf and not bell.is_set():
                        host.waiters.remove(bell)
                    else:  # the turn that was offered to us is somebody else's now
                        self._announce(key, host)
                    raise
                wait = self.reserve(key)

    # What the host says

    def throttled(self, key: str, asked: float | None = None, *, since: float = math.inf) -> None:
        """The host asked for time, for `asked` seconds or without a number, in answer to what began at `since`.

        Answers to what was under way when the pause began belong to that pause: they only make it longer.
        """
        host, now = self._host(key), anyio.current_time()
        asked = None if asked is None else self._retry.asked(asked)
        if now < host.paused_until or since < host.paused_at:
            host.paused_until = max(host.paused_until, now + (asked or 0.0))
            return
        if not host.pauses:
            host.unanswered_since = now
            self._unanswered.add(key)
        host.pauses += 1
        host.threshold = max(1.0, min(host.window, host.held) / 2)
        host.window = 1
        pause = asked or self._retry.longest(host.pauses) * (0.5 + random.random() / 2)  # noqa: S311 (spreads load)
        host.paused_at, host.paused_until = now, now + pause
        if self.spent(key) or not host.told:
            host.told = True
            self._tell(key, pause)
        while self.spent(key) and host.waiters:
            host.waiters.pop(0).set()
        if self.spent(key):
            self._announce(key, host)

    def answered(self, key: str, *, since: float = math.inf) -> None:
        """The host answered what began at `since`: if that was after its pause, more may be sent to it at once."""
        host = self._hosts.get(key)
        if host is None or host.window == math.inf or since < host.paused_at:
            return
        if anyio.current_time() < host.paused_until:
            return
        if host.pauses:
            host.pauses = 0
            self._unanswered.discard(key)
        host.window += 1 if host.window < host.threshold else 1 / host.window
        self._announce(key, host)

    def spent(self, key: str) -> bool:
        """Whether the host is paused, and was, without an answer, for as long as `host_budget` allows by then."""
        host = self._hosts.get(key)
        if host is None or not host.pauses or anyio.current_time() >= host.paused_until:
            return False
        return host.paused_until - host.unanswered_since > self._retry.host_budget

    def unavailable(self, key: str) -> HostUnavailable:
        """The error of items that are given up because the host's budget is spent."""
        host = self._host(key)
        waited = max(0.0, host.paused_at - host.unanswered_since)
        return HostUnavailable(
            f"{key} asked for time {host.pauses} times in {waited:.0f} s without one answer between; "
            f"Retry(host_budget={self._retry.host_budget:g}) allows no further pause"
        )

    def _spacing(self, key: str) -> float:
        """Seconds between two starts, where there is a rate."""
        del key
        return self._interval

    def _announce(self, key: str, host: _Host) -> None:
        if host.waiters:
            host.waiters.pop(0).set()
        elif self.on_release is not None:
            self.on_release(key)

    def _tell(self, key: str, pause: float) -> None:
        self._told += 1
        if self._told <= TOLD_ONE_BY_ONE:
            given_up = "; its items are given up" if self.spent(key) else ""
            _logger.warning("%s asks for time: nothing is sent to it for %.1f s%s.", key, pause, given_up)
        elif str(self._told).strip("0") == "1":
            _logger.warning("Hosts asked for time %d times by now: the last is %s.", self._told, key)

    def _host(self, key: str) -> _Host:
        host = self._hosts.get(key)
        if host is None:
            if len(self._hosts) >= self._forget_at:
                self._forget()
            host = self._hosts[key] = _Host()
        return host

    def _forget(self) -> None:
        now, budget = anyio.current_time(), self._retry.host_budget
        kept = {key: host for key, host in self._hosts.items() if host.in_use}
        idle = [(host.remembered_until(budget), key) for key, host in self._hosts.items() if key not in kept]
        idle = [one for one in idle if one[0] > now]
        for _, key in nlargest(MOST_IDLE_KEYS, idle) if len(idle) > MOST_IDLE_KEYS else idle:
            kept[key] = self._hosts[key]
        self._hosts = kept
        self._unanswered &= kept.keys()
        # Twice what is in use, so that looking through all keys stays cheap per key.
        self._forget_at = max(_IDLE_KEYS_KEPT, 2 * len(kept))
