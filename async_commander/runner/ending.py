"""How a run ended: its status, in which there is no room for doubt, and its words."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from async_commander.engine.results import RunStatus
from async_commander.exceptions import AsyncCommanderError

from .verdicts import kind_of, text_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from async_commander.engine.results import Tally


@dataclass(slots=True)
class Outcome:
    """What came of the work, as far as it is known. `complete`: the source was read to its end, and all is settled."""

    failure: BaseException | None = None
    complete: bool = True
    stopped: bool = False
    """Somebody asked for the end, and it may have come early."""
    timed_out: float | None = None
    """The time-out in seconds, where it was passed."""

    def status(self, tally: Tally) -> RunStatus:
        """`succeeded` only where nothing is left: no item dead, waiting or claimed."""
        if self.failure is not None or self.timed_out is not None:
            return RunStatus.FAILED
        if self.stopped or not self.complete or tally.retry or tally.claimed:
            return RunStatus.INTERRUPTED
        return RunStatus.PARTIAL if tally.dead else RunStatus.SUCCEEDED

    def told(self, redact: Callable[[str], str]) -> str:
        """Why the run failed, in one line; empty where it did not."""
        if self.failure is not None:
            text = text_of(self.failure, redact)
            return text if isinstance(self.failure, AsyncCommanderError) else f"{kind_of(self.failure)}: {text}"
        if self.timed_out is not None:
            return f"The run passed its time-out of {self.timed_out:g} s and was stopped in order."
        return ""
