"""`throttle_on()`: the command says for how many seconds nothing is to begin, for the sake of what its items share."""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING

from async_commander.command.shapes import is_passing
from async_commander.downloads.pacing import retry_after
from async_commander.engine.brake import ASKED_EVERY

from .always_on import AlwaysOn
from .hook_lanes import Kind, calls_of
from .verdicts import kind_of, text_of

if TYPE_CHECKING:
    from .outages import Absence
    from .session import RunSession

logger = logging.getLogger("async_commander.run")


class Holding:
    """Asks the hook for the pipeline's brake, and keeps in the run what became of it.

    An outage, and an error that passes, are trouble of the run's: nothing begins until the hook is asked again, as
    often and after such waits as a source would be. Any other error ends the run.
    """

    def __init__(self, session: RunSession) -> None:
        self._session = session
        self._always_on = AlwaysOn(session, "throttle_on") if type(session.command).always_on else None
        self._failures = self._attempts = 0
        self._times = 0
        self._seconds = 0.0
        self.absence: Absence | None = None
        """Of the database."""

    async def seconds_to_wait(self) -> float:
        """See Holder."""
        try:
            with calls_of(Kind.BRAKE):
                async with self._session.rows_of_its_own():
                    seconds = await self._session.hooks.call("throttle_on")
        except Exception as error:  # noqa: BLE001 - judged there, and raised where it does not pass
            return await self._after(error)
        self._failures = self._attempts = 0
        self.absence = None
        if seconds:
            self._times += 1
            if str(self._times).strip("0") == "1":  # the first time, and each tenfold number
                logger.warning(
                    "throttle_on(): nothing begins for %.1f s (the %s time; held back for %.1f s before).",
                    seconds, f"{self._times:,}.", self._seconds,
                )  # fmt: skip
        return float(seconds or 0.0)

    def held(self, seconds: float) -> None:
        """See Holder: the stage “held” of the run's figures has them all."""
        self._seconds += seconds
        now = time.monotonic()
        self._session.figures.took("held", now - seconds, now)

    async def _after(self, error: Exception) -> float:
        """How long to wait before the hook is asked again. Raises the error where no waiting helps."""
        session, retry = self._session, self._session.context.retry
        if self._always_on is not None:
            await self._always_on.again(error)
            return 0.0
        self._failures += 1
        verdict = session.outages.verdict(self, error)
        self._attempts += verdict is None  # an outage costs none
        again = verdict.kind == "retry" if verdict else is_passing(error) and retry.again(self._attempts)
        if session.context.stopping or not again:
            raise error
        # Not sooner than it is asked again: between the two items would begin.
        delay = max(retry.delay(self._failures, retry_after=retry_after(error)), ASKED_EVERY)
        told = f"{kind_of(error)}: {text_of(error, session.redact)}"
        session.reporter.message(f"throttle_on() failed ({told}); it is asked again in {delay:.1f} s.", logging.WARNING)
        return delay
