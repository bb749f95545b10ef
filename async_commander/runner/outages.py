"""A database that is away, or locked, is not the fault of who meets it: that is tried again, at no cost."""

from __future__ import annotations

import logging
import math
from typing import Protocol

from async_commander.database.outage import OUTAGE_BUDGET, is_held_up, is_outage
from async_commander.engine.awake import awake
from async_commander.engine.ports import Verdict

logger = logging.getLogger("async_commander.run")


class Absence:
    """The time for which the database was away, or locked, as one met it: it ends where that is not met for so long."""

    __slots__ = ("_began", "_ends_after", "_last_met")

    def __init__(self, ends_after: float) -> None:
        self._ends_after = ends_after
        self._began = self._last_met = -math.inf

    def met(self) -> float:
        """How long it has lasted by now, in seconds: 0 where it begins."""
        now = awake.time()
        if now - self._last_met > self._ends_after:
            self._began = now
        self._last_met = now
        return now - self._began


class Waiting(Protocol):
    """An item, or a source, that may meet an outage."""

    absence: Absence | None


class Outages:
    """Judges errors that show an outage, for the items and the sources of one run.

    The run fails where nothing, not even a sign of life, was committed for `OUTAGE_BUDGET` seconds. One that alone
    meets such errors, for as long, is judged by its error like any other: it may be the reason for them.
    `longest_wait`, in seconds, is the most that lies between two attempts.
    """

    def __init__(self, longest_wait: float) -> None:
        self._ends_after = OUTAGE_BUDGET + longest_wait
        self.over()

    def over(self) -> None:
        """The database is there: something was committed, or the run's lease renewed."""
        self._absence = Absence(self._ends_after)

    def verdict(self, who: Waiting, error: BaseException) -> Verdict | None:
        """What is to be done with who met it; None where an error shows no outage and no lock, or did for too long."""
        if is_held_up(error):
            who.absence = who.absence or Absence(self._ends_after)
            return Verdict("retry", free=True) if who.absence.met() <= OUTAGE_BUDGET else None
        if not is_outage(error):
            return None
        away = self._absence.met()
        if away == 0:
            logger.warning(
                "The database is away (%s). What meets that is tried again, for up to %g s.",
                str(error).strip(), OUTAGE_BUDGET,
            )  # fmt: skip
        who.absence = who.absence or Absence(self._ends_after)
        away_from_it = who.absence.met()
        if away > OUTAGE_BUDGET:
            logger.error("The database did not come back within %g s: resume the run when it is there.", OUTAGE_BUDGET)
            return Verdict("fatal")
        return Verdict("retry", free=True) if away_from_it <= OUTAGE_BUDGET else None
