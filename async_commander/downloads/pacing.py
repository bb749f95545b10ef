"""Taking turns at a host, and obeying it when it asks for time."""

from __future__ import annotations

import asyncio
import re
import time
from collections import Counter
from contextvars import ContextVar
from datetime import UTC
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from typing import TYPE_CHECKING

import httpx

from async_commander.engine.pace import pace_key_held

from .scope import item_scope

if TYPE_CHECKING:
    from collections.abc import Sequence

    from async_commander.engine.pace import Pace

    from .journey import Journey

ASKS_FOR_TIME = frozenset({HTTPStatus.TOO_MANY_REQUESTS, HTTPStatus.SERVICE_UNAVAILABLE})
"""The statuses by which a server asks to be left alone for a while."""
_LONGEST = 10 * 365 * 24 * 3600.0
_NUMBER = re.compile(r"[0-9]+(\.[0-9]*)?")
"""Whole seconds, says RFC 9110; some servers have fractions."""


def retry_after(found: httpx.Response | BaseException) -> float | None:
    """Seconds from now that a response, or the response of an `httpx.HTTPStatusError`, asks to be left alone.

    Both forms of the header are read, a number and a date. None where there is no header, or no sense in it.
    """
    response = found if isinstance(found, httpx.Response) else getattr(found, "response", None)
    if not isinstance(response, httpx.Response):
        return None
    return seconds_in(response.headers.get("Retry-After", ""))


def seconds_in(header: str) -> float | None:
    """The same, of the header's value."""
    value = header.strip()[:100]
    if _NUMBER.fullmatch(value):
        seconds = float(value)
    else:
        try:
            when = parsedate_to_datetime(value)
            seconds = (when if when.tzinfo else when.replace(tzinfo=UTC)).timestamp() - time.time()
        except (ValueError, TypeError, IndexError, OverflowError):
            return None
    return min(max(seconds, 0.0), _LONGEST)


def pace_key(url: httpx.URL | str) -> str:
    """What requests to this URL are paced by: its host, in lower case and ASCII, without the port."""
    return httpx.URL(url).raw_host.decode("ascii").lower()


_asked_by: ContextVar[object] = ContextVar("async_commander_asked_by", default=None)
"""Who asked for turns in this context: for a task of its own, the one that started it."""


class Turn:
    """What a request holds of its host, if anything."""

    __slots__ = ("_holder", "_host", "_turns")

    def __init__(self, turns: Turns | None, holder: object, host: str) -> None:
        self._turns, self._holder, self._host = turns, holder, host

    def give_back(self) -> None:
        """To be called once, when the body is closed."""
        if self._turns is not None:
            self._turns.give_back(self._holder, self._host)


_NO_TURN = Turn(None, None, "")
"""For requests that hold no turn of their own."""


class Turns:
    """One turn of the pace for each request, from before it is sent until its body is closed.

    Whoever holds a turn may ask for another: an item that streams from one host and asks a second, beside one that
    streams from the second and asks the first, would wait for ever. So nobody who holds a turn waits for one whose
    holders all wait, and a task waits a second at most for the turn of the task that started it.
    """

    def __init__(self, pace: Pace | None) -> None:
        self._pace = pace
        self._held: dict[object, Counter[str]] = {}
        """The hosts whose turns each item holds, or each task that belongs to no item."""
        self._waiting: Counter[str] = Counter()
        """By host, how many of those who hold a turn of it wait for another host's."""

    async def take(self, host: str, journey: Journey) -> Turn:
        """Wait for the host's turn, unless the item in hand holds it already.

        The journey's deadline does not run meanwhile.
        """
        pace = self._pace
        if pace is None or pace_key_held.get() == host:
            return _NO_TURN
        holder = item_scope.get() or asyncio.current_task()
        mine = self._held.get(holder, ())
        if host in mine:
            return _NO_TURN
        if pace.reserve(host) > 0:
            held = {key for key in (*mine, pace_key_held.get()) if key is not None}
            starter = _asked_by.get()
            patience = 1.0 if starter is not holder and host in self._held.get(starter, ()) else None
            with journey.paused():
                if not await self._wait(pace, host, held, patience):
                    return _NO_TURN
        if _asked_by.get() is not holder:
            _asked_by.set(holder)
        self._held.setdefault(holder, Counter())[host] += 1
        return Turn(self, holder, host)

    def give_back(self, holder: object, host: str) -> None:
        """See Turn."""
        turns = self._held[holder]
        turns[host] -= 1
        if not turns[host]:
            del turns[host]
        if not turns:
            del self._held[holder]
        if self._pace is not None:
            self._pace.release(host)

    async def _wait(self, pace: Pace, host: str, held: set[str], patience: float | None) -> bool:
        """Wait for a turn; False where it would never come."""
        if held and self._waiting[host] >= pace.held(host) > 0:
            return False
        self._waiting.update(held)
        try:
            async with asyncio.timeout(patience):
                await pace.acquire(host)
        except TimeoutError:
            return False
        finally:
            self._waiting.subtract(held)
            self._waiting += Counter()  # forgets those that nobody waits with
        return True

    def listen(self, host: str, status: int, raw: Sequence[tuple[bytes, bytes]], since: float) -> None:
        """Tell the pace whether the host asks for time, with a number of seconds or without, or answers.

        `since` is when the request was sent, on the event loop's clock.
        """
        if self._pace is None:
            return
        if status in ASKS_FOR_TIME:
            seconds = seconds_in(httpx.Headers(list(raw)).get("Retry-After", ""))
            self._pace.throttled(host, seconds, since=since)
        else:
            self._pace.answered(host, since=since)
