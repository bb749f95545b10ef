"""The bounds of one answer, in numbers, and the memory that all bodies share."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from time import monotonic
from typing import TYPE_CHECKING, Any, Protocol

from .errors import BodyTooSlow, HeadersTooLarge

if TYPE_CHECKING:
    from collections.abc import Sequence

MAX_HEADERS = 256
MAX_HEADER_BYTES = 64 * 1024
"""Names and values of one head, or of the fields after a body."""
MAX_HEAD = MAX_HEADER_BYTES + 4 * MAX_HEADERS + 8 * 1024
"""Bytes on the wire: the fields, what stands between them, and the status line; interim answers count, too."""
MAX_INTERIM = 100
"""Answers like 100 and 103 before the final one."""
MAX_HEAD_LINES = MAX_HEADERS + 2 * MAX_INTERIM + 2

RATIO = 200
RATIO_FROM = 1024 * 1024
"""A body may grow 200 times when it is decoded; up to one MiB any factor is fine."""

SLOWEST = 1024
SLOW_AFTER = 10.0
"""A body must bring 1,024 bytes a second on the average once it was waited for so many seconds."""

PIECE = 64 * 1024
"""Bytes that are read, or decoded, in one step."""

FREE = 128 * 1024
"""Bytes that each body may hold in memory without asking."""
SHARED = 32 * 1024 * 1024
"""Bytes that all bodies may hold together above that, unless a client is given another number."""
DRIP = 16 * 1024
"""Bytes a second: a body that brings less gives its memory to those who wait for it."""
PATIENCE = 2.0
"""For so many seconds they wait, and for so many the pace of a body is measured."""


def bound_of(name: str, value: object) -> float:
    """A bound on something; ValueError for what is no number above 0."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < math.inf:
        raise ValueError(f"{name}={value!r}: it has to be a number, and more than 0")
    return value


def timeout_of(extensions: Mapping[str, Any], name: str) -> float | None:
    """The time-out of this name that a request has: seconds, or None, with which only the deadline ends the wait.

    ValueError for what is neither.
    """
    times = extensions.get("timeout") or {}
    value = times.get(name) if isinstance(times, Mapping) else times
    if value is None or value == math.inf:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not value >= 0:
        raise ValueError(f"timeout, {name}={value!r}: it has to be a number of seconds, or None")
    return value


def check_headers(raw: Sequence[tuple[bytes, bytes]]) -> None:
    """HeadersTooLarge for too many, or too large ones."""
    size = sum([len(name) + len(value) for name, value in raw])
    if len(raw) > MAX_HEADERS or size > MAX_HEADER_BYTES:
        raise HeadersTooLarge(
            f"{len(raw)} headers of {size} bytes: {MAX_HEADERS} headers and {MAX_HEADER_BYTES} bytes are allowed"
        )


class Holder(Protocol):
    """A body, as its memory sees it."""

    def give_up(self, error: Exception) -> None:
        """End the body with this error, wherever it waits."""


@dataclass(slots=True)
class _Share:
    bytes: int = 0
    wants: bool = False
    """Whether the body waits for memory, and not for its server."""
    since: float = field(default_factory=monotonic)
    recent: int = 0
    """Bytes since then."""
    last: float = field(default_factory=monotonic)

    def speed(self, now: float) -> float:
        """Bytes a second, of late."""
        return 0.0 if now - self.last >= PATIENCE else self.recent / max(now - self.since, PATIENCE / 2)


class BodyMemory:
    """A budget of `shared` bytes for what bodies hold above `FREE`, so that memory is bounded by few large bodies.

    The body that asked first is never refused, so there is always one that gets on; the others wait for those before
    them when the budget is used up. A body that brings less than `DRIP` bytes a second while others wait is given up.
    All methods belong to one event loop.
    """

    def __init__(self, shared: int) -> None:
        self._shared = shared
        self._shares: dict[Holder, _Share] = {}  # in the order of asking
        self._taken = 0
        self._freed = asyncio.Event()

    @property
    def taken(self) -> int:
        """Bytes of the budget that are in use now."""
        return self._taken

    def take(self, holder: Holder, size: int) -> bool:
        """Take so many bytes for this body, if they are there; it keeps its place in the order either way."""
        share = self._shares.get(holder)
        if share is None:
            share = self._shares[holder] = _Share()
        if self._taken + size > self._shared and next(iter(self._shares)) is not holder:
            return False
        share.bytes += size
        self._taken += size
        now = monotonic()
        if now - share.since > PATIENCE:
            share.since, share.recent = now, 0
        share.recent += size
        share.last = now
        return True

    async def wait(self, holder: Holder, size: int) -> None:
        """Take so many bytes for this body as soon as they are there. The deadline of its request runs meanwhile."""
        share = self._shares[holder]
        share.wants = True
        try:
            while not self.take(holder, size):
                try:
                    async with asyncio.timeout(PATIENCE):
                        await self._freed.wait()
                except TimeoutError:
                    self._give_up_a_drip()
        finally:
            share.wants = False
            share.since = share.last = monotonic()
            share.recent = 0

    def _give_up_a_drip(self) -> None:
        """End the slowest of the bodies that hold memory and wait for their servers."""
        now = monotonic()
        speeds = {holder: share.speed(now) for holder, share in self._shares.items() if not share.wants and share.bytes}
        slowest = min(speeds, key=speeds.__getitem__, default=None)
        if slowest is not None and speeds[slowest] < DRIP:
            slowest.give_up(
                BodyTooSlow(
                    f"other bodies wait for the memory that this one holds, and it brings {speeds[slowest]:.0f} bytes "
                    f"a second: at least {DRIP} are expected then"
                )
            )

    def give_back(self, holder: Holder) -> None:
        """Forget the body and all that it took."""
        share = self._shares.pop(holder, None)
        if share is not None:
            self._taken -= share.bytes
            # Wakes all who wait now, in the order of asking; who waits from now on waits for the next body.
            self._freed.set()
            self._freed = asyncio.Event()
