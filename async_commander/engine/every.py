"""A clock for bots."""

from __future__ import annotations

import math
import random
from typing import TYPE_CHECKING

import anyio

from .context import current_run

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

_ON_TIME = 0.01


def every(seconds: float, *, jitter: float = 0.0, immediately: bool = True) -> AsyncIterator[int]:
    """Tick at regular times, for `async for`.

    Tick n is due n × `seconds` after the start, by the event loop's clock, however long the ticks before it took; ticks
    that were missed are skipped. They are numbers: from 0, or from 1 where the first one is not `immediately`. Each
    comes up to `jitter` seconds late, at random, without moving the others. They end when the run that this is part of
    is asked to stop. Raises TypeError for what is no number, ValueError for a period that is not positive, or a jitter
    that is not shorter than it. While the run is
    paused none comes.
    """
    _check_number(f"every({seconds!r})", seconds)
    _check_number(f"jitter={jitter!r}", jitter)
    if not 0 < seconds < math.inf:
        raise ValueError(f"every({seconds}): a time above 0 seconds is needed, and not infinitely much")
    if not 0 <= jitter < seconds:
        raise ValueError(f"jitter={jitter}: from 0 to less than the period of {seconds} seconds is allowed")
    return _ticks(seconds, jitter, 0 if immediately else 1)


def _check_number(said: str, value: object) -> None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError(f"{said}: a number of seconds is needed")


async def _ticks(seconds: float, jitter: float, number: int) -> AsyncIterator[int]:
    start, run = anyio.current_time(), current_run()
    while True:
        late = random.random() * jitter  # noqa: S311 (spreads load, keeps no secret)
        with anyio.CancelScope(deadline=start + number * seconds + late):
            await (anyio.sleep_forever() if run is None else run.stop_asked.wait())
        if run is not None:
            await run.gate.passed()
            if run.stopping:
                return
        yield number
        # A tick that is late by less than a hundredth of the period was not missed: clocks are no better than that.
        behind = math.ceil((anyio.current_time() - start) / seconds - _ON_TIME)
        number = max(number + 1, behind)
