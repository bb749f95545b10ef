"""The workers of a pipeline: started when first needed, at rest when there is nothing to do."""

from __future__ import annotations

from typing import TYPE_CHECKING

import anyio
from anyio.lowlevel import checkpoint

if TYPE_CHECKING:
    from collections.abc import Callable


class Workers:
    """At most `size` workers. `wake()` gets one of them to look for work; it is up to that one to wake the next.

    So a burst of news costs one wake-up, and a worker that finds enough for two brings the second.
    """

    def __init__(self, size: int) -> None:
        self._size = size
        self._start: Callable[[], object] | None = None
        self._started = 0
        self._resting: list[anyio.Event] = []
        self._one_is_coming = False

    def open(self, start: Callable[[], object]) -> None:
        """From now on `start` is called to start a worker."""
        self._start = start

    def resize(self, size: int) -> None:
        """From now on at most `size`. Those that are too many end: who rests now, the others after what they carry."""
        self._size = size
        for bell in self._resting[: max(0, self._started - size)]:
            bell.set()
        del self._resting[: max(0, self._started - size)]
        self.wake()

    @property
    def too_many(self) -> bool:
        """Whether a worker that has nothing in hand is to end."""
        return self._started > self._size

    def leave(self) -> None:
        """A worker ends, because they are too many: what it was called for is another one's now."""
        self._started -= 1
        self.wake()

    def close(self) -> None:
        """Start and wake nobody any more."""
        self._start = None

    @property
    def all_rest(self) -> bool:
        """No worker is up."""
        return len(self._resting) == self._started

    def wake(self) -> None:
        """Have one worker look for work, unless one is on its way, or all are up."""
        if self._one_is_coming or self._start is None:
            return
        if self._resting:
            self._one_is_coming = True
            self._resting.pop().set()
        elif self._started < self._size:
            self._one_is_coming = True
            self._started += 1
            self._start()

    async def join(self) -> None:
        """To be awaited by a worker before anything else."""
        await checkpoint()  # eager tasks would start each worker on top of the stack of the one before
        self._one_is_coming = False

    async def rest(self, on_all_resting: Callable[[], None]) -> None:
        """Wait to be woken. Calls back first if nobody is up any more."""
        bell = anyio.Event()
        self._resting.append(bell)
        if self.all_rest:
            on_all_resting()
        await bell.wait()
        self._one_is_coming = False
