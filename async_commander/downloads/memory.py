"""What all the bodies that are being read at the same time may hold together."""

from __future__ import annotations

import asyncio

FREE = 128 * 1024
"""Bytes that each body may hold without asking."""
SHARED = 32 * 1024 * 1024
"""Bytes that all bodies may hold together above that, unless they are told otherwise."""


class BodyMemory:
    """A budget of `shared` bytes for what bodies hold above `FREE`, so that memory is bounded by few large bodies.

    The body that asked first is never refused, so there is always one that gets on; the others wait for those before
    them when the budget is used up. All methods belong to one event loop.
    """

    def __init__(self, shared: int) -> None:
        self._shared = shared
        self._held: dict[object, int] = {}  # in the order of asking
        self._taken = 0
        self._freed = asyncio.Event()

    @property
    def taken(self) -> int:
        """Bytes of the budget that are in use now."""
        return self._taken

    def take(self, holder: object, size: int) -> bool:
        """Take so many bytes for this body, if they are there; it keeps its place in the order either way."""
        held = self._held.setdefault(holder, 0)
        if self._taken + size > self._shared and next(iter(self._held)) is not holder:
            return False
        self._held[holder] = held + size
        self._taken += size
        return True

    async def wait(self, holder: object, size: int) -> None:
        """Take so many bytes for this body as soon as they are there."""
        while not self.take(holder, size):
            await self._freed.wait()

    def give_back(self, holder: object) -> None:
        """Forget the body and all that it took."""
        held = self._held.pop(holder, None)
        if held is not None:
            self._taken -= held
            self._freed.set()
            self._freed = asyncio.Event()
