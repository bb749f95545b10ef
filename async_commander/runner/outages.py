"""A database that is away is nobody's fault: who meets it is tried again, at no cost, while the writer waits, too."""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING

from async_commander.database.outage import OUTAGE_BUDGET, is_outage
from async_commander.engine.ports import Verdict

if TYPE_CHECKING:
    from .in_hand import InHand

logger = logging.getLogger("async_commander.run")


class Outages:
    """Judges errors that tell of an outage, for all items of one run.

    The run fails where nothing was committed for `OUTAGE_BUDGET` seconds. An item that alone meets such errors, for as
    long, is judged by its error like any other: it may be the reason for them.
    """

    def __init__(self) -> None:
        self._since: float | None = None

    def committed(self) -> None:
        """The database is there."""
        self._since = None

    def verdict(self, mark: InHand, error: BaseException) -> Verdict | None:
        """What is to be done with an item; None where its error tells of no outage, or has told of it for too long."""
        if not is_outage(error):
            return None
        now = time.monotonic()
        if self._since is None:
            self._since = now
            logger.warning("The database is away. What meets that is tried again, for up to %g s.", OUTAGE_BUDGET)
        mark.away_since = mark.away_since or now
        if now - self._since > OUTAGE_BUDGET:
            logger.error("The database did not come back within %g s: resume the run when it is there.", OUTAGE_BUDGET)
            return Verdict("fatal")
        return Verdict("retry", free=True) if now - mark.away_since <= OUTAGE_BUDGET else None
