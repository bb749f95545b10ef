"""Who follows runs from inside: spans and figures of theirs, and the points at which a test ends one.

A `Reporter` hears what a person may want to know. An `Observer` stands around what is done, in the context in which
it is done; where nobody does, that costs an item next to nothing.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager, nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from async_commander.history.database_recorder import DatabaseRecorder

if TYPE_CHECKING:
    from async_commander.database.unit import Unit
    from async_commander.engine.context import RunContext
    from async_commander.history.recorder import Recorder, RunOwner
    from async_commander.results import RunResult

    from .plan import Plan
    from .signals import StopRequests

RUN, ITEM = "run", "item"
"""What an observer stands around, beside the hooks, which go by their names, and steps: STEP."""

_NOTHING = nullcontext()


@dataclass(frozen=True, slots=True, kw_only=True)
class ObservedRun:
    """A run that was opened just now, for whoever wants to follow it."""

    plan: Plan
    context: RunContext
    recorder: Recorder
    owner: RunOwner
    stops: StopRequests


class Observer(Protocol):
    """Follows one run. But for `committing` all of it is called on the run's event loop, and nothing may block."""

    def around(self, what: str, label: str) -> AbstractAsyncContextManager[object]:
        """Entered around the run, an item's attempt, a step, and each call of a hook, in the context of that.

        `what` is RUN, ITEM, STEP or the hook's name; `label` is the item's or the step's, else it is empty.
        """

    def committing(self, units: Sequence[Unit]) -> None:
        """See CommitObserver: on the lane."""
        del units

    def committed(self, units: Sequence[Unit]) -> bool:
        """See CommitObserver."""
        del units
        return False

    def finished(self, result: RunResult) -> None:
        """The run is closed, and this is what it came to; `around` it is left next."""
        del result


observers: list[Callable[[ObservedRun], Observer | None]] = []
"""Asked for each run of this process; None where that one is not followed."""


class Observers:
    """All observers of one run, as one; of most runs there is none."""

    def __init__(self, observing: Sequence[Observer] = ()) -> None:
        self._observing = observing
        self.anybody = bool(observing)
        """Whether there is one: an item asks before it calls `around`."""

    @classmethod
    def over(cls, run: ObservedRun) -> Observers:
        """Those who want to follow this run."""
        observing = [observer for make in observers if (observer := make(run)) is not None]
        them = cls(observing)
        if observing and isinstance(run.recorder, DatabaseRecorder):
            run.recorder.observers = them
        return them

    def around(self, what: str, label: str = "") -> AbstractAsyncContextManager[object]:
        """See Observer."""
        if not self._observing:
            return _NOTHING
        return self._all_around(what, label)

    @asynccontextmanager
    async def _all_around(self, what: str, label: str) -> AsyncIterator[None]:
        async with AsyncExitStack() as stack:
            for observer in self._observing:
                await stack.enter_async_context(observer.around(what, label))
            yield

    def finished(self, result: RunResult) -> None:
        """See Observer."""
        for observer in self._observing:
            observer.finished(result)

    def committing(self, units: Sequence[Unit]) -> None:
        """See CommitObserver."""
        for observer in self._observing:
            observer.committing(units)

    def committed(self, units: Sequence[Unit]) -> bool:
        """See CommitObserver."""
        told = [observer.committed(units) for observer in self._observing]  # each of them, whatever the first one says
        return any(told)
