"""Taking turns at a host, and obeying it when it asks for time."""

from __future__ import annotations

import asyncio
import time
from datetime import UTC
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from typing import TYPE_CHECKING

import httpx

from async_commander.engine.pace import pace_key_held

if TYPE_CHECKING:
    from collections.abc import Callable

    from async_commander.engine.pace import Pace

    from .journey import Journey

ASKS_FOR_TIME = frozenset({HTTPStatus.TOO_MANY_REQUESTS, HTTPStatus.SERVICE_UNAVAILABLE})
"""The statuses by which a server asks to be left alone for a while."""
_LONGEST = 10 * 365 * 24 * 3600.0


def retry_after(found: httpx.Response | BaseException) -> float | None:
    """Seconds from now that a response, or the response of an `httpx.HTTPStatusError`, asks to be left alone.

    Both forms of the header are read, a number and a date. None where there is no header, or no sense in it.
    """
    response = found if isinstance(found, httpx.Response) else getattr(found, "response", None)
    if not isinstance(response, httpx.Response):
        return None
    value = response.headers.get("Retry-After", "").strip()
    seconds = float(value[:12]) if value.isascii() and value.isdigit() else _until(value)
    return None if seconds is None else min(max(seconds, 0.0), _LONGEST)


def _until(date: str) -> float | None:
    try:
        when = parsedate_to_datetime(date[:100])
        return (when if when.tzinfo else when.replace(tzinfo=UTC)).timestamp() - time.time()
    except (ValueError, TypeError, IndexError, OverflowError):
        return None


def pace_key(url: httpx.URL | str) -> str:
    """What requests to this URL are paced by: its host, in lower case and ASCII, without the port."""
    return httpx.URL(url).raw_host.decode("ascii").lower()


def _nothing() -> None:
    """For requests that hold no slot of their own."""


class Turns:
    """One slot of the pace for each request from before it is sent until its body is closed."""

    def __init__(
        self, pace: Pace | None, *, retry_after_cap: float, on_retry_after: Callable[[str, float], None] | None
    ) -> None:
        self._pace = pace
        self._cap = retry_after_cap
        self._on_retry_after = on_retry_after
        self._held: set[tuple[object, str]] = set()
        """The hosts whose turn each task holds: one that waited for a second would wait for itself."""

    async def take(self, journey: Journey) -> Callable[[], None]:
        """Wait for the host's turn, unless whoever started this request holds it already; returns what gives it back.

        The journey's deadline does not run meanwhile.
        """
        pace, host, holder = self._pace, journey.host, (asyncio.current_task(), journey.host)
        if pace is None or pace_key_held.get() == host or holder in self._held:
            return _nothing
        if pace.reserve(host) > 0:
            with journey.paused():
                await pace.acquire(host)
        self._held.add(holder)

        def give_back() -> None:
            self._held.discard(holder)
            pace.release(host)

        return give_back

    def listen(self, journey: Journey, response: httpx.Response) -> None:
        """Pass on to the pace whether the host asks for time, with a number of seconds or without, or answers."""
        if response.status_code not in ASKS_FOR_TIME:
            if self._pace is not None:
                self._pace.answered(journey.host)
            return
        seconds = retry_after(response)
        if self._pace is not None:
            self._pace.throttled(journey.host, seconds)
        if self._on_retry_after is not None and seconds is not None:
            self._on_retry_after(journey.host, min(seconds, self._cap))
