"""What can go wrong, as a tree.

* AsyncCommanderError
  + CommandNotFound      no command of that name
  + InvalidCommand       a command, an argument or a setting that cannot be used as it is written
  + MissingDependency    a run that this one depends on has not succeeded
  + RunLocked            somebody else owns the run
    + RunFenced          ... and took it over while we worked
    + RunTaken           ... and it is the very run that was named
  + RunFailed            the run ended as failed; `.result` tells the rest
  + TooManyFailures      more items failed than `max_failures` allows
  + RestartsSpent        a part of a command that is always on failed too often to begin again
  + ItemError            one item cannot be done; `reason` says why it is given up
    + SkipItem           raised by a hook: leave this item out, on purpose
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, ClassVar

if TYPE_CHECKING:
    from async_commander.results import RunResult


class AsyncCommanderError(Exception):
    """The root of every error this package raises on purpose."""


class CommandNotFound(AsyncCommanderError):
    """No installed app has a command of that name."""


class InvalidCommand(AsyncCommanderError):
    """A command, an argument or a setting cannot be used as it is written."""


class MissingDependency(AsyncCommanderError):
    """A run that this one depends on has not succeeded."""


class RunLocked(AsyncCommanderError):
    """Somebody else owns the run."""


class RunFenced(RunLocked):
    """The run was taken over while this process worked on it; nothing more may be written."""


class RunTaken(RunLocked):
    """The very run that was named is at work elsewhere or, where it was queued, needs nobody any more."""


class RunFailed(AsyncCommanderError):
    """The run ended as failed."""

    def __init__(self, message: str, result: RunResult) -> None:
        super().__init__(message)
        self.result = result

    def __reduce__(self) -> tuple[type[RunFailed], tuple[str, RunResult]]:
        return type(self), (str(self), replace(self.result, failure=None))  # which may be anything


class TooManyFailures(AsyncCommanderError):
    """More items failed than `max_failures` allows."""


class RestartsSpent(AsyncCommanderError):
    """A part of a command that is always on failed too often, in too short a time, to begin again."""


class ItemError(AsyncCommanderError):
    """One item cannot be done; it is given up at once, without another attempt."""

    reason: ClassVar[str] = "permanent"


class SkipItem(ItemError):
    """Raised by a hook: leave this item out, on purpose. It is counted as skipped, not as failed."""

    reason: ClassVar[str] = "skipped"
