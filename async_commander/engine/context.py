"""The run that the current task belongs to."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

import anyio

from async_commander.results import Tally

from .limits import Limits, Retry


@dataclass(frozen=True, slots=True, kw_only=True)
class Shard:
    """One part of a run that is cut into `count`; `index` counts from 0."""

    index: int
    count: int
    by_range: bool = False
    """Whether it has a range of primary keys; else the keys of items whose hash falls to it."""
    first: Any = None
    """The first key of the range; None: it has no lower end."""
    before: Any = None
    """The first key behind it; None: it has no upper end."""

    def has(self, key: UUID) -> bool:
        """Whether the item of this key falls to it, by the key's hash."""
        return key.int % self.count == self.index


class Gate:
    """In front of whatever is to begin anew: an item, a step, a tick. Who comes while it is closed waits."""

    def __init__(self) -> None:
        self._opened: anyio.Event | None = None
        self.closed = False
        """Nothing is to begin now."""
        self.met = False
        """Somebody comes by now and then, so that to close it has an effect."""

    def close(self) -> None:
        """From now on nothing begins."""
        self._opened, self.closed = self._opened or anyio.Event(), True

    def open(self) -> None:
        """Let all begin that wait."""
        opened, self._opened, self.closed = self._opened, None, False
        if opened is not None:
            opened.set()

    async def passed(self) -> None:
        """Wait as long as it is closed."""
        self.met = True
        while self._opened is not None:
            await self._opened.wait()


@dataclass(slots=True, kw_only=True)
class RunContext:
    """One open run, as anything inside it may see it: read it, do not change it."""

    run_id: int | str | None
    command: str
    parameters: dict[str, Any] = field(default_factory=dict)
    options: dict[str, Any] = field(default_factory=dict)
    limits: Limits
    retry: Retry
    dry_run: bool = False
    testing: bool = False
    verbosity: int = 1
    tally: Tally = field(default_factory=Tally)
    shard: Shard | None = None
    """Which part of the run this process carries; None where it carries all of it, or starts those that do."""
    started: float = 0.0
    """On the event loop's clock, in seconds."""
    stopping: bool = False
    """True from the moment the run was asked to stop."""
    steps_in_hand: list[str] = field(default_factory=list)
    """Steps of `handle()` that are under way, by their labels."""
    steps_kept: int = 0
    """Those that are known to be done, by an earlier sitting of the run as well."""
    stop_asked: anyio.Event = field(default_factory=anyio.Event, repr=False)
    """Set in that moment."""
    gate: Gate = field(default_factory=Gate, repr=False)
    """Closed while the run is paused."""

    @property
    def paused(self) -> bool:
        """True while nothing new is to begin, because somebody asked for a pause."""
        return self.gate.closed

    def stop(self) -> None:
        """The run was asked to stop. Who waits at its gate sees that."""
        self.stopping = True
        self.stop_asked.set()
        self.gate.open()


_current: ContextVar[RunContext | None] = ContextVar("async_commander_run", default=None)


def current_run() -> RunContext | None:
    """The run that this code is part of, or None outside of any."""
    return _current.get()


@contextmanager
def run_entered(context: RunContext) -> Iterator[None]:
    """Make this the run of the current task, and of the tasks that it starts."""
    token = _current.set(context)
    try:
        yield
    finally:
        _current.reset(token)
