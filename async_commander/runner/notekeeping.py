"""Beside the work: shows that the loop turns, and hands log lines and figures to the recorder from time to time."""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING

import anyio

from async_commander.engine.undisturbed import to_its_end
from async_commander.exceptions import RunFenced
from async_commander.history.recorder import Notes

if TYPE_CHECKING:
    from async_commander.engine.context import RunContext
    from async_commander.history.figures import Figures
    from async_commander.history.log_capture import LogCapture
    from async_commander.history.recorder import Recorder, RunOwner

    from .reporting import Reporter

logger = logging.getLogger("async_commander.run")

NOTE_SECONDS = 1.0


class NoteKeeper:
    """Keeps the notes of one run. With `by_hand` the counts are what the command says itself, by `self.progress()`."""

    def __init__(
        self,
        context: RunContext,
        recorder: Recorder,
        *,
        capture: LogCapture,
        figures: Figures,
        by_hand: bool,
        owner: RunOwner,
        reporter: Reporter,
    ) -> None:
        self._tally = context.tally
        self._gate = context.gate
        self._pausable_told = self._gate.met
        self._recorder = recorder
        self._capture = capture
        self._figures = figures
        self._by_hand = by_hand
        self._owner = owner
        self._reporter = reporter
        self._total_told: int | None = None
        self._done_told = 0

    async def tick(self) -> None:
        """Tell the recorder again and again that the loop turns; until cancelled."""
        while True:
            self._recorder.tick()
            await anyio.sleep(self._recorder.tick_seconds)

    async def keep(self) -> None:
        """Write what has come, every second; until cancelled."""
        while True:
            await anyio.sleep(NOTE_SECONDS)
            await self.write()

    async def write(self) -> None:
        """Write what has come since the last time. Where that fails the run goes on: the ledger is what counts."""
        total, self._total_told = (
            None if self._tally.total == self._total_told else self._tally.total,
            self._tally.total,
        )
        done: int | None = None
        if self._by_hand and self._tally.done != self._done_told:  # what self.progress() said
            done = self._done_told = self._tally.done
        pausable, self._pausable_told = self._gate.met and not self._pausable_told, self._gate.met
        notes = Notes(
            pausable=pausable,
            logs=self._capture.take(),
            slices=self._figures.slices(time.monotonic()),
            errors=self._figures.changed_kinds(),
            slowest=self._figures.changed_slowest(),
            total=total,
            done=done,
        )
        try:
            written = await to_its_end(self._recorder.note(notes))
        except RunFenced as error:
            self._owner.record_lost(error)
        except Exception:
            self._capture.lost(notes.logs)
            logger.exception("Log lines and figures of this run could not be kept")
        else:
            if written:
                self._reporter.logged(written)
