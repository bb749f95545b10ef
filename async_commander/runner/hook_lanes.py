"""Lanes for the hooks of the run as a whole: one that stands still on its thread keeps none of another kind waiting."""

from __future__ import annotations

from contextlib import asynccontextmanager, contextmanager
from contextvars import ContextVar
from enum import Enum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from async_commander.database.lanes import LanePool


class Kind(Enum):
    """What may stand still while the others go on. Each has one lane, so that it stays on one thread."""

    SOURCE = "all that reads the source: a plain generator may wait in it for as long as it likes"
    BESIDE = "committed() and on_timeout(), which belong to what is done, and to what hangs"
    BRAKE = "throttle_on(), which is asked while all others go on"
    OTHER = "the ORM calls of handle(), lifespan(), cleanup(), and of download() before its item has a lane"


_kind: ContextVar[Kind | None] = ContextVar("async_commander_kind_of_hook", default=None)


@contextmanager
def calls_of(kind: Kind) -> Iterator[None]:
    """Within the block, in this context, synchronous calls go to the lane of this kind."""
    token = _kind.set(kind)
    try:
        yield
    finally:
        _kind.reset(token)


class HookLanes:
    """They must not wait for items, nor for each other. A lane opens its connection when it is used first."""

    def __init__(self, lanes: LanePool) -> None:
        self.shared = lanes.shared
        self.rehearsal = lanes.rehearsal
        self._of = {kind: lanes.alone() for kind in Kind}
        if lanes.rehearsal is not None and not lanes.shared:
            for one in self._of.values():
                one.timeouts = None  # a hook keeps its transaction for as long as it lasts

    @property
    def current(self) -> LanePool:
        """For a call from this context."""
        return self._of[_kind.get() or Kind.OTHER]

    async def aclose(self) -> None:
        """Close them, after what they do now; the caller's own lane stays."""
        if not self.shared:
            for lanes in self._of.values():
                await lanes.aclose()


@asynccontextmanager
async def lanes_for_hooks(lanes: LanePool) -> AsyncIterator[HookLanes]:
    """For the time of a run."""
    hook_lanes = HookLanes(lanes)
    try:
        with calls_of(Kind.OTHER):  # also where this run is begun by a hook of another one
            yield hook_lanes
    finally:
        await hook_lanes.aclose()
