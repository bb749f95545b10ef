"""PostgreSQL's own time-outs, for one transaction at a time: what a process began ends even if that cannot end it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from django.db import OperationalError

if TYPE_CHECKING:
    from django.db.backends.base.base import BaseDatabaseWrapper

LOCK_SECONDS = 30.0
"""For so long an item waits for a lock that somebody else has."""
LOCK_SHARE = 0.5
"""And for no more than this share of its `item_timeout`: what it does itself has the rest, and whoever only waited is
which gets another error than who worked for too long."""
SHORTEST_IDLE = 10.0
_LONGEST = 2**31 - 1
"""Milliseconds, 24 days: PostgreSQL has no longer time-out."""

_IDLE_TOO_LONG = "25P03"
_CANCELLED = "57014"
_NO_LOCK = "55P03"


class IdleTooLong(OperationalError):
    """A transaction was left open too long without a database call, and was ended; it may be tried again."""

    def __init__(self, limit: float) -> None:
        super().__init__(
            f"The item kept its transaction open for more than {limit:g} s without a database call, and was rolled "
            "back: its locks would have outlived the run's lease. Await first and write last: fetch and compute before "
            "the first save, or queue the rows with self.db.add(), which needs no transaction until the item is "
            "finished."
        )


class LockedTooLong(OperationalError):
    """Another transaction kept a lock for as long as an item waits for one; it may be tried again."""

    def __init__(self, limit: float) -> None:
        super().__init__(f"Another transaction kept a lock for longer than the {limit:g} s that an item waits for one.")


class StatementTooLong(OperationalError):
    """A statement took as long as the whole item may; it may be tried again."""

    def __init__(self, limit: float) -> None:
        super().__init__(
            f"One statement of the item took longer than {limit:g} s, its item_timeout and a wait for a lock, and was "
            "ended."
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Timeouts:
    """Seconds, each None where it is to be as it is. What the project has set up itself is left alone.

    They hold for the transaction only, as SET LOCAL does: so the connection is as found afterwards, and a pooler in
    transaction mode gives them to nobody else. Other databases have none.
    """

    idle: float | None = None
    """In a transaction, without a statement."""
    lock: float | None = None
    """Waiting for one lock."""
    statement: float | None = None
    """One statement."""

    @classmethod
    def of_writer(cls, *, lease_seconds: float) -> Timeouts:
        """For who writes for many items, and would rather wait for a lock than fail them all.

        A process that is stopped in the middle must not keep its locks for longer than the run.
        """
        return cls(idle=max(lease_seconds, SHORTEST_IDLE))

    @classmethod
    def of_items(cls, *, lease_seconds: float, item_timeout: float | None) -> Timeouts:
        """For an item on its lane."""
        lock = LOCK_SECONDS if item_timeout is None else min(LOCK_SECONDS, LOCK_SHARE * item_timeout)
        statement = None if item_timeout is None else item_timeout + lock
        return replace(cls.of_writer(lease_seconds=lease_seconds), lock=lock, statement=statement)

    @property
    def when_idle(self) -> Timeouts:
        """The same, for who waits for locks and statements."""
        return replace(self, lock=None, statement=None)

    def begin(self, connection: BaseDatabaseWrapper) -> int | None:
        """Set them for the transaction that is open on this connection, in one statement.

        Returns the number of the server's session, which is the same until the transaction ends.
        """
        statement = _statement(self)
        if not statement:
            return None
        with connection.cursor() as cursor:
            cursor.execute(statement)
            row: tuple[Any, ...] = cursor.fetchone()
        return int(row[-1])

    def passed(self, error: BaseException, seconds: float) -> OperationalError | None:
        """Which of these a statement that ended in this error after so many seconds has passed, if any."""
        state = getattr(error.__cause__, "sqlstate", None)
        if state == _IDLE_TOO_LONG and self.idle is not None:
            return IdleTooLong(self.idle)
        if state == _NO_LOCK and self.lock is not None and seconds >= self.lock:  # NOWAIT, or a shorter one: at once
            return LockedTooLong(self.lock)
        if state == _CANCELLED and self.statement is not None and seconds >= self.statement:
            return StatementTooLong(self.statement)
        return None


@lru_cache(maxsize=64)
def _statement(timeouts: Timeouts) -> str:
    named = {
        "idle_in_transaction_session_timeout": timeouts.idle,
        "lock_timeout": timeouts.lock,
        "statement_timeout": timeouts.statement,
    }
    calls = [_call(name, seconds) for name, seconds in named.items() if seconds is not None]
    return f"SELECT {', '.join(calls)}, pg_backend_pid()" if calls else ""


def _call(name: str, seconds: float) -> str:
    milliseconds = min(max(1, int(seconds * 1000)), _LONGEST)
    return f"CASE WHEN current_setting('{name}') = '0' THEN set_config('{name}', '{milliseconds}ms', true) END"
