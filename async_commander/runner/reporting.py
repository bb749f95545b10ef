"""The port through which a run shows how it goes."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import Protocol

from async_commander.engine.context import RunContext
from async_commander.history.recorder import LogLine
from async_commander.results import RunResult, RunStatus


class Reporter(Protocol):
    """Told of a run's way, on its event loop. Nothing here may block or raise."""

    def started(self, context: RunContext) -> None:
        """The run is open; `context.tally` is live from now on: poll it."""

    def message(self, text: str, level: int = logging.INFO) -> None:
        """A note about the run as a whole."""

    def item_failed(self, label: str, kind: str, text: str, final: bool) -> None:  # noqa: FBT001 - a fact, not a switch
        """An item failed: for good where `final`, else it will be tried again."""

    def logged(self, lines: Sequence[LogLine]) -> None:
        """These lines, some of them about items that failed, are in the run's log now, each with its number there."""

    def stage(self, text: str) -> None:
        """What the run is doing now: downloading, stopping …"""

    def asks(self, text: str) -> None:
        """A person is asked this, and is not to be disturbed; an empty text says that it is over."""

    def finished(self, result: RunResult) -> None:
        """The run is over and its status is stored."""

    async def watch(self) -> None:
        """Runs beside the run and is cancelled at its end."""


class Aside:
    """Reports a run that goes before another one, by notes of that one's reporter."""

    def __init__(self, reporter: Reporter) -> None:
        self._reporter = reporter

    def started(self, context: RunContext) -> None:
        """See Reporter."""

    def message(self, text: str, level: int = logging.INFO) -> None:
        """See Reporter."""
        self._reporter.message(text, level)

    def item_failed(self, label: str, kind: str, text: str, final: bool) -> None:  # noqa: FBT001 - a fact, not a switch
        """See Reporter."""
        self._reporter.item_failed(label, kind, text, final)

    def logged(self, lines: Sequence[LogLine]) -> None:
        """See Reporter."""

    def stage(self, text: str) -> None:
        """See Reporter."""

    def asks(self, text: str) -> None:
        """See Reporter."""
        self._reporter.asks(text)

    def finished(self, result: RunResult) -> None:
        """See Reporter."""
        number = f" (run {result.run_id})" if result.run_id is not None else ""
        self._reporter.message(f"{result.command}{number} {result.status}. {result.error}".rstrip())

    async def watch(self) -> None:
        """See Reporter."""


class Silent:
    """Tells nobody but the log."""

    logger = logging.getLogger("async_commander.run")

    def started(self, context: RunContext) -> None:
        """See Reporter."""

    def message(self, text: str, level: int = logging.INFO) -> None:
        """See Reporter."""
        self.logger.log(level, text)

    def item_failed(self, label: str, kind: str, text: str, final: bool) -> None:  # noqa: FBT001 - a fact, not a switch
        """See Reporter."""

    def logged(self, lines: Sequence[LogLine]) -> None:
        """See Reporter."""

    def stage(self, text: str) -> None:
        """See Reporter."""

    def asks(self, text: str) -> None:
        """See Reporter."""

    def finished(self, result: RunResult) -> None:
        """See Reporter."""

    async def watch(self) -> None:
        """See Reporter."""


Tell = Callable[[str, str, int], None]
"""Which run, what there is to say of it, and the level of that as `logging` has it."""


class OneOfMany:
    """Reports one run among others in this process, a line at a time, and keeps it in `opened` once it is open."""

    def __init__(self, name: str, tell: Tell, opened: dict[str, RunContext]) -> None:
        self._name = name
        self._tell = tell
        self._opened = opened

    def started(self, context: RunContext) -> None:
        """See Reporter."""
        self._opened[self._name] = context
        self._tell(self._name, f"runs (run {context.run_id}).", logging.INFO)

    def message(self, text: str, level: int = logging.INFO) -> None:
        """See Reporter."""
        self._tell(self._name, text, level)

    def item_failed(self, label: str, kind: str, text: str, final: bool) -> None:  # noqa: FBT001 - a fact, not a switch
        """See Reporter."""
        level = logging.WARNING if final else logging.INFO
        self._tell(self._name, f"{'dead' if final else 'again'}: {label}: {kind}: {text}", level)

    def logged(self, lines: Sequence[LogLine]) -> None:
        """See Reporter."""

    def stage(self, text: str) -> None:
        """See Reporter."""
        self._tell(self._name, text, logging.INFO)

    def asks(self, text: str) -> None:
        """See Reporter."""

    def finished(self, result: RunResult) -> None:
        """See Reporter."""
        done, dead = result.counts.get("done", 0), result.counts.get("dead", 0)
        level = logging.ERROR if result.status is RunStatus.FAILED else logging.INFO
        text = f"{result.status} (run {result.run_id}): done {done:,}, dead {dead:,}. {result.error}".rstrip()
        self._tell(self._name, text, level)

    async def watch(self) -> None:
        """See Reporter."""
