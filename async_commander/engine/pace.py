"""Politeness: how many starts at once, and how many per second, each host is given."""

from __future__ import annotations

import math
from collections import deque
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import anyio

from .charging import uncharged

if TYPE_CHECKING:
    from collections.abc import Callable

pace_key_held: ContextVar[str | None] = ContextVar("async_commander_pace_key_held", default=None)
"""The key whose turn the item in hand has taken already, so that the client behind it does not take another."""

_IDLE_KEYS_KEPT = 1024


@dataclass(slots=True, eq=False)
class _Turns:
    held: int = 0
    not_before: float = 0.0
    waiters: deque[anyio.Event] = field(default_factory=deque)

    def left(self) -> float:
        """Seconds until the next may begin. Without a pace or a pause the clock is not asked."""
        if self.not_before:
            left = self.not_before - anyio.current_time()
            if left > 0:
                return left
            self.not_before = 0.0
        return 0.0

    def idle(self, now: float) -> bool:
        return not self.held and not self.waiters and self.not_before <= now


class Pace:
    """Turns per key (a host): at most `per_key` held at once, begun at least `1 / per_second` seconds apart.

    A turn is taken by `reserve()` or `acquire()` and given back by `release()`. All methods belong to the event loop.
    Memory is bounded by the keys that are in use: idle ones are forgotten.
    """

    def __init__(self, per_key: int | None = None, per_second: float | None = None) -> None:
        self._per_key = math.inf if per_key is None else per_key
        self._interval = 1 / per_second if per_second else 0.0
        self._keys: dict[str, _Turns] = {}
        self._forget_at = _IDLE_KEYS_KEPT
        self.on_release: Callable[[str], None] | None = None
        """Called with a key when a turn of it is free and no `acquire()` waits for it."""

    def __len__(self) -> int:
        """Keys remembered now."""
        return len(self._keys)

    def wait(self, key: str, ahead: int = 0) -> float:
        """Seconds until a turn is free after `ahead` others had theirs; `math.inf`: not before one is released."""
        turns = self._keys.get(key)
        if turns is None:
            return ahead * self._interval
        if turns.held >= self._per_key:
            return math.inf
        return turns.left() + ahead * self._interval

    def reserve(self, key: str) -> float:
        """Take a turn if one is free and return 0; otherwise return `wait(key)`."""
        wait = self.wait(key)
        if wait == 0:
            turns = self._turns(key)
            turns.held += 1
            if self._interval:
                turns.not_before = max(turns.not_before, anyio.current_time()) + self._interval
        return wait

    def release(self, key: str) -> None:
        """Give a turn back. Raises ValueError if none is held."""
        turns = self._keys.get(key)
        if turns is None or not turns.held:
            raise ValueError(f"no turn of {key!r} is held: each reserve() or acquire() is released once")
        turns.held -= 1
        self._announce(key, turns)

    def pause(self, key: str, seconds: float) -> None:
        """Begin nothing for this key in the next `seconds`; of several pauses the longest wins."""
        turns = self._turns(key)
        turns.not_before = max(turns.not_before, anyio.current_time() + seconds)

    async def acquire(self, key: str) -> None:
        """Wait for a turn and take it, in the order of asking. That time is not charged to the item in hand."""
        wait = self.reserve(key)
        if not wait:
            return
        with uncharged():
            while wait:
                await (self._released(key) if wait == math.inf else self._rested(key, wait))
                wait = self.reserve(key)

    async def _released(self, key: str) -> None:
        turns, mine = self._keys[key], anyio.Event()
        turns.waiters.append(mine)
        try:
            await mine.wait()
        except BaseException:
            if mine.is_set():
                self._announce(key, turns)
            else:
                turns.waiters.remove(mine)
            raise

    async def _rested(self, key: str, seconds: float) -> None:
        try:
            await anyio.sleep(seconds)
        except BaseException:
            self._announce(key, self._turns(key))  # the turn that was offered to us is somebody else's now
            raise

    def _announce(self, key: str, turns: _Turns) -> None:
        if turns.waiters:
            turns.waiters.popleft().set()
        elif self.on_release is not None:
            self.on_release(key)

    def _turns(self, key: str) -> _Turns:
        turns = self._keys.get(key)
        if turns is None:
            if len(self._keys) >= self._forget_at:
                self._forget_idle()
            turns = self._keys[key] = _Turns()
        return turns

    def _forget_idle(self) -> None:
        now = anyio.current_time()
        self._keys = {key: turns for key, turns in self._keys.items() if not turns.idle(now)}
        # Twice what is in use, so that looking through all keys stays cheap per key.
        self._forget_at = max(_IDLE_KEYS_KEPT, 2 * len(self._keys))
