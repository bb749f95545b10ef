"""Which database errors pass by themselves, and how long they are waited out. This is the one place that decides."""

from __future__ import annotations

import math
import random
import threading
import time
from enum import Enum
from typing import TYPE_CHECKING, TypeVar

from django.db import OperationalError
from django.db.transaction import TransactionManagementError

from async_commander.engine.awake import awake
from async_commander.exceptions import AsyncCommanderError
from async_commander.text.errors import readable

from .gate import GateBusy, GateHeldTooLong
from .sqlite import DatabaseFileGone
from .timeouts import IdleTooLong, LockedTooLong, StatementTooLong

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")

OUTAGE_BUDGET = 60.0
"""Seconds for which a database that is away is waited for."""
HURRIED_SECONDS = 1.0
"""For so long a lock of SQLite's file is waited for still once the run is to end."""
FIRST_WAIT = 0.05
LONGEST_WAIT = 2.0
MEMORY_PATIENCE = 1.0
"""Seconds for which a lock of an SQLite database in memory is waited out: who holds it is in this process."""


class Trouble(Enum):
    """Errors that pass by themselves. Any other is the fault of a row, of a statement or of the project."""

    AWAY = "away"
    """The database gives no answer, or takes no writes, whoever asks. It is waited out, and costs nobody an attempt."""
    ENDED = "ended"
    """One statement was ended from outside, or was too much for the server: waited out, and smaller ones may do."""
    HELD_UP = "held up"
    """Another transaction kept a lock for as long as one waits for it: the fault of whoever holds it."""
    IN_THE_WAY = "in the way"
    """Another transaction was in the way: the same work may succeed a little later."""


_STATES = {
    "08": Trouble.AWAY,  # connection exceptions, and what a pooler in between says
    "25006": Trouble.AWAY,  # read-only: a standby, until it is promoted
    "25P03": Trouble.AWAY,  # idle in transaction, and disconnected for it
    "25P04": Trouble.AWAY,  # transaction too long, and disconnected for it
    "40": Trouble.IN_THE_WAY,  # deadlock, serialisation, conflict with recovery
    "53": Trouble.AWAY,  # disk full, too many connections
    "53200": Trouble.ENDED,  # out of memory
    "55P03": Trouble.IN_THE_WAY,  # lock not available
    "57014": Trouble.ENDED,  # cancelled, by somebody or by a time-out
    "57P": Trouble.AWAY,  # shut down, crashed, cannot connect now, database dropped, idle session
    "58": Trouble.AWAY,  # I/O and other system errors
    "72": Trouble.IN_THE_WAY,  # snapshot too old
}
"""By SQLSTATE, its class, or what it begins with; the longest one decides."""
_SQLITE = {
    5: Trouble.AWAY,  # busy: another process has the file's write lock
    5 | 2 << 8: Trouble.IN_THE_WAY,  # busy because of a snapshot that another one outdated
    6: Trouble.IN_THE_WAY,  # locked, within this process
    8: Trouble.AWAY,  # read-only
    9: Trouble.ENDED,  # interrupted
    10: Trouble.AWAY,  # I/O error
    13: Trouble.AWAY,  # disk full
    14: Trouble.AWAY,  # cannot open
    15: Trouble.AWAY,  # locking protocol
}
"""By extended or primary error code."""
_MYSQL = {
    **dict.fromkeys((1020, 1205, 1213, 3572), Trouble.IN_THE_WAY),  # record changed, lock wait, deadlock, NOWAIT
    **dict.fromkeys((1317, 1969, 3024), Trouble.ENDED),  # interrupted, statement too long
    **dict.fromkeys((1021, 1040, 1041, 1053, 1114, 1203, 1226, 1290, 1792, 1836), Trouble.AWAY),  # full, read-only
    **dict.fromkeys((0, 1047, 1158, 1159, 1160, 1161, 1927), Trouble.AWAY),  # the network, killed
    **dict.fromkeys((2002, 2003, 2006, 2013, 2014, 2055, 4031), Trouble.AWAY),  # the client's side of these
}
_READ_ONLY_STATE = "25006"
_IN_FAILED_TRANSACTION = "25P02"
_SQLITE_LOCKED = (5, 6)
_SQLITE_READ_ONLY = 8
_SQLITE_LOCKED_IN_MEMORY = 262
_MYSQL_READ_ONLY = (1290, 1792, 1836)


class ConnectionLost(OperationalError):
    """A connection was lost in the middle of a transaction; what was done in it is undone."""

    def __init__(self) -> None:
        super().__init__(
            "The database connection was lost in the middle of a transaction: all that was done in it is undone."
        )


class EndedByItself(AsyncCommanderError):
    """An item ended the transaction that it works in, or closed its connection: no other attempt would help it."""

    def __init__(self, what: str) -> None:
        super().__init__(
            f"The item {what}: its rows would not commit together with its outcome. Leave the item's transaction and "
            "its connection to the run; put what may fail into transaction.atomic(), and what is to stay in any case "
            "on a connection of its own."
        )


_OURS: dict[type[Exception], Trouble] = {
    GateHeldTooLong: Trouble.IN_THE_WAY,
    IdleTooLong: Trouble.IN_THE_WAY,
    StatementTooLong: Trouble.IN_THE_WAY,
    LockedTooLong: Trouble.HELD_UP,
    ConnectionLost: Trouble.AWAY,
    GateBusy: Trouble.AWAY,
}
"""Errors of our own."""


class OutageTooLong(OperationalError):
    """The database stayed away for longer than the run can wait."""

    def __init__(self, budget: float, error: BaseException, *, hurried: bool = False) -> None:
        until = ", when the run was asked to end," if hurried else ""
        super().__init__(
            f"The database did not come back within {budget:g} s{until}: {str(error).rstrip('.')}. "
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


def trouble_of(error: BaseException) -> Trouble | None:
    """What kind of trouble an error shows, however it is wrapped; None where trying again helps nobody.

    It may be one of Django's errors, one of the driver's that nobody wrapped, one that Django raises in consequence, or
    one of the project's own that was raised from any of these. A group is in trouble where one of its members is.
    """
    error = readable(error)
    if isinstance(error, BaseExceptionGroup):
        troubles = list(map(trouble_of, error.exceptions))
        return next((one for one in Trouble if one in troubles), None)
    link: BaseException | None = error
    seen: set[int] = set()  # `raise error from error` makes a circle
    while link is not None and not isinstance(link, (AsyncCommanderError, OutageTooLong, DatabaseFileGone)):
        if id(link) in seen:
            return None
        seen.add(id(link))
        if (ours := next((trouble for kind, trouble in _OURS.items() if isinstance(link, kind)), None)) is not None:
            return ours
        if isinstance(link, TransactionManagementError):  # Django's own, and never the first one
            link = link.__cause__ or link.__context__
        elif _is_a(link, "DatabaseError") or _is_a(link, "InterfaceError"):
            return _trouble_by_code(link)
        else:
            link = link.__cause__
    return None


def is_transient(error: BaseException) -> bool:
    """Whether the same work may succeed a little later."""
    return trouble_of(error) is not None


def is_outage(error: BaseException) -> bool:
    """Whether the database did not do what was asked for reasons of its own, so that it is nobody's fault."""
    return trouble_of(error) in (Trouble.AWAY, Trouble.ENDED)


def is_held_up(error: BaseException) -> bool:
    """Whether the time went by in a wait for a lock that somebody else kept."""
    return trouble_of(error) is Trouble.HELD_UP


def may_do_in_parts(error: BaseException) -> bool:
    """Whether less at once may succeed where this failed."""
    return trouble_of(error) is Trouble.ENDED


def is_consequence(error: BaseException) -> bool:
    """Whether this only says that an earlier error has broken the transaction."""
    return isinstance(error, TransactionManagementError) or _state(error.__cause__) == _IN_FAILED_TRANSACTION


def is_read_only(error: BaseException) -> bool:
    """Whether the database is there, and refuses every write."""
    cause, number = error.__cause__, _number(error)
    return (
        _state(cause) == _READ_ONLY_STATE
        or getattr(cause, "sqlite_errorcode", 0) & 0xFF == _SQLITE_READ_ONLY
        or number in _MYSQL_READ_ONLY
    )


def is_locked(error: BaseException) -> bool:
    """Whether another connection holds the lock of an SQLite file: the database is there."""
    return getattr(error.__cause__, "sqlite_errorcode", 0) & 0xFF in _SQLITE_LOCKED


def _trouble_by_code(error: BaseException) -> Trouble | None:
    """By the code that the database or its driver gave, else by the kind of error."""
    cause = error.__cause__ or error
    state, sqlite_code, number = _state(cause), getattr(cause, "sqlite_errorcode", None), _number(error)
    if state is not None:
        return next((_STATES[state[:length]] for length in (5, 3, 2) if state[:length] in _STATES), None)
    if sqlite_code is not None:
        return _SQLITE.get(sqlite_code, _SQLITE.get(sqlite_code & 0xFF))
    if number is not None:
        return _MYSQL.get(number)
    if "closed" in str(error):  # "connection already closed", "Cannot operate on a closed database."
        return Trouble.AWAY
    if _is_a(error, "OperationalError"):
        # A driver that knows codes and has none never reached the server, or lost it.
        return Trouble.AWAY if hasattr(cause, "sqlstate") or hasattr(cause, "pgcode") else Trouble.IN_THE_WAY
    return Trouble.IN_THE_WAY if _is_a(error, "InterfaceError") else None


def _is_a(error: BaseException, name: str) -> bool:
    """By the names of the DB-API, which Django's errors and those of every driver have."""
    return any(one.__name__ == name for one in type(error).__mro__)


def _state(error: BaseException | None) -> str | None:
    state = getattr(error, "sqlstate", None) or getattr(error, "pgcode", None)
    return state if isinstance(state, str) else None


def _number(error: BaseException) -> int | None:
    number = error.args[0] if error.args else None
    return number if isinstance(number, int) else None


LEAVING_SECONDS = 0.5
"""For the other lanes to close."""


class Hurry(threading.Event):
    """Set when nothing is waited out any more: the run is to end."""

    def __init__(self) -> None:
        super().__init__()
        self._asked_at = math.inf
        self.patience = math.inf
        """Seconds after that moment for which a call is waited for that does not return from its thread."""
        self._leaves_at = math.inf

    def set(self) -> None:
        """See Event."""
        self._asked_at = min(self._asked_at, time.monotonic())
        super().set()

    @property
    def is_over(self) -> bool:
        """Whether it is so long ago that not even a lock that others keep for a moment is waited for."""
        return time.monotonic() >= self._asked_at + HURRIED_SECONDS

    @property
    def leaves(self) -> bool:
        """Whether it is so long ago that what is still at work on its thread is left there."""
        return time.monotonic() >= min(self._leaves_at, self._asked_at + self.patience)

    def leave_soon(self) -> None:
        """A call waits on its thread for what will not come, and is left there."""
        self._leaves_at = min(self._leaves_at, time.monotonic() + LEAVING_SECONDS)


class Outage:
    """The patience for one piece of work: growing waits with jitter, until `budget` seconds are over."""

    def __init__(self, budget: float, hurry: threading.Event) -> None:
        self._budget = budget
        self._hurry = hurry
        self._began = awake.time()
        self._ends = self._began + budget
        self._wait = FIRST_WAIT

    def wait_out(self, error: BaseException) -> None:
        """Sleep in this thread before the next attempt. Raises OutageTooLong where there is none any more."""
        code = getattr(error.__cause__, "sqlite_errorcode", 0)
        if code == _SQLITE_LOCKED_IN_MEMORY and awake.time() >= self._began + MEMORY_PATIENCE:
            raise MemoryHeld(error) from error
        if self._hurry.is_set():
            raise OutageTooLong(round(awake.time() - self._began, 1), error, hurried=True) from error
        if awake.time() >= self._ends:
            raise OutageTooLong(self._budget, error) from error
        jitter = random.uniform(0.5, 1.0)  # noqa: S311  it spreads, it need not surprise
        self._hurry.wait(min(jitter * self._wait, self._ends - awake.time()))
        self._wait = min(2 * self._wait, LONGEST_WAIT)


def patiently(
    work: Callable[[], T],
    hurry: threading.Event,
    *,
    budget: float = OUTAGE_BUDGET,
    unless: Callable[[BaseException], bool] | None = None,
) -> T:
    """Do the work in this thread; do it again while that may help. Raises OutageTooLong when the budget is spent.

    `unless(error)`: what is not waited out here although it passes. `hurry`: set when nothing is waited out any more.
    """
    outage = Outage(budget, hurry)
    while True:
        try:
            return work()
        except Exception as error:
            if not is_transient(error) or (unless is not None and unless(error)):
                raise
            outage.wait_out(error)
