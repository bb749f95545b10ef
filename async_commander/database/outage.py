"""Which database errors pass by themselves, and how long they are waited out."""

from __future__ import annotations

import random
import time
from typing import TYPE_CHECKING

from django.db import InterfaceError, OperationalError

from .gate import GateBusy, GateHeldTooLong
from .timeouts import IdleTooLong

if TYPE_CHECKING:
    import threading

OUTAGE_BUDGET = 60.0
"""Seconds for which a database that is away is waited for."""
FIRST_WAIT = 0.05
LONGEST_WAIT = 2.0
MEMORY_PATIENCE = 1.0
"""Seconds for which a lock of an SQLite database in memory is waited out: who holds it is in this process."""

# SQLSTATE classes: connection, transaction rolled back (deadlock, serialisation), resources, operator intervention,
# system; and a lock that was not available. Not 57014: a statement cancelled for its length may do in a smaller batch.
_PASSING_CLASSES = ("08", "40", "53", "57P", "58", "55P03")
_OUTAGE_CLASSES = ("08", "53", "57P", "58")
_SQLITE_PASSING = {5, 6, 10, 13, 14, 15}  # busy, locked, I/O error, full, cannot open, protocol
_SQLITE_OUTAGE = {10, 13, 14}
_SQLITE_LOCKED = {5, 6}
_SQLITE_READ_ONLY = 8
_SQLITE_LOCKED_IN_MEMORY = 262
_MYSQL_PASSING = {1040, 1053, 1205, 1213, 2002, 2003, 2006, 2013, 2055}
_MYSQL_OUTAGE = _MYSQL_PASSING - {1205, 1213}
_MYSQL_READ_ONLY = {1290, 1792, 1836}
_READ_ONLY_STATE = "25006"


class OutageTooLong(OperationalError):
    """The database stayed away for longer than the run can wait."""

    def __init__(self, budget: float, error: BaseException) -> None:
        super().__init__(
            f"The database did not come back within {budget:g} s: {error}. "
            "What was committed stays; resume the run when the database is there."
        )


class MemoryHeld(OutageTooLong):
    """Another connection of this process keeps the SQLite database in memory locked, and may be waiting for us."""

    def __init__(self, error: BaseException) -> None:
        OperationalError.__init__(
            self,
            f"Another connection of this process has a transaction open in the SQLite database in memory ({error}), "
            "and what it waits for may be this run. In an async test use @pytest.mark.django_db(transaction=True), "
            "or write a synchronous test with async_commander.testing.run_command().",
        )


def is_read_only(error: BaseException) -> bool:
    """Whether the database is there, and refuses every write."""
    cause = error.__cause__
    number = error.args[0] if error.args else None
    return (
        getattr(cause, "sqlstate", None) == _READ_ONLY_STATE
        or getattr(cause, "sqlite_errorcode", 0) & 0xFF == _SQLITE_READ_ONLY
        or (isinstance(number, int) and number in _MYSQL_READ_ONLY)
    )


def is_locked(error: BaseException) -> bool:
    """Whether another connection holds the lock of an SQLite file: the database is there."""
    return getattr(error.__cause__, "sqlite_errorcode", 0) & 0xFF in _SQLITE_LOCKED


def is_transient(error: BaseException) -> bool:
    """Whether the same work may succeed a little later: connection lost, deadlock, serialisation, locked, disk full."""
    if isinstance(error, (InterfaceError, GateBusy, GateHeldTooLong, IdleTooLong)):
        return True
    return isinstance(error, OperationalError) and not isinstance(error, OutageTooLong) and _is_passing(error)


def is_outage(error: BaseException) -> bool:
    """Whether the database is away or full, so that nobody gets an answer now, whatever was asked."""
    if isinstance(error, InterfaceError):
        return "clos" in str(error)  # "the connection is closed": it was lost before
    if not isinstance(error, OperationalError) or isinstance(error, OutageTooLong):
        return False
    cause = error.__cause__
    sqlstate, sqlite_code = getattr(cause, "sqlstate", None), getattr(cause, "sqlite_errorcode", None)
    if sqlstate is not None:
        return str(sqlstate).startswith(_OUTAGE_CLASSES)
    if sqlite_code is not None:
        return sqlite_code & 0xFF in _SQLITE_OUTAGE
    number = error.args[0] if error.args else None
    return number in _MYSQL_OUTAGE if isinstance(number, int) else hasattr(cause, "sqlstate")


def _is_passing(error: OperationalError) -> bool:
    cause = error.__cause__
    sqlstate = getattr(cause, "sqlstate", None)
    if sqlstate is not None:
        return str(sqlstate).startswith(_PASSING_CLASSES)
    sqlite_code = getattr(cause, "sqlite_errorcode", None)
    if sqlite_code is not None:
        return sqlite_code & 0xFF in _SQLITE_PASSING
    number = error.args[0] if error.args else None
    return number in _MYSQL_PASSING if isinstance(number, int) else True


def _is_held_in_memory(error: BaseException) -> bool:
    return getattr(error.__cause__, "sqlite_errorcode", 0) == _SQLITE_LOCKED_IN_MEMORY


class Outage:
    """The patience for one piece of work: growing waits with jitter, until `budget` seconds are over."""

    def __init__(self, budget: float, hurry: threading.Event) -> None:
        self._budget = budget
        self._hurry = hurry
        self._began = time.monotonic()
        self._ends = self._began + budget
        self._wait = FIRST_WAIT

    def wait_out(self, error: BaseException) -> None:
        """Sleep in this thread before the next attempt. Raises OutageTooLong where there is none any more."""
        if _is_held_in_memory(error) and time.monotonic() >= self._began + MEMORY_PATIENCE:
            raise MemoryHeld(error) from error
        if self._hurry.is_set() or time.monotonic() >= self._ends:
            raise OutageTooLong(self._budget, error) from error
        jitter = random.uniform(0.5, 1.0)  # noqa: S311  it spreads, it need not surprise
        self._hurry.wait(min(jitter * self._wait, self._ends - time.monotonic()))
        self._wait = min(2 * self._wait, LONGEST_WAIT)
