"""One transaction on one thread: opened as late as the database allows, and truthful about its end."""

from __future__ import annotations

import logging
import re
import time
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

from django.db import DatabaseError, DataError, IntegrityError, connections, transaction
from django.db.transaction import TransactionManagementError

from async_commander.engine.charging import uncharged

from .connections import (
    drop,
    drop_changed,
    freshen,
    has_no_transaction,
    is_lost,
    is_postgres,
    keeps_one_snapshot,
    state_of,
    was_closed_here,
)
from .gate import GateHeldTooLong, gate_of
from .outage import ConnectionLost, EndedByItself, is_consequence, is_outage, is_transient
from .sqlite import begin, needs_write_lock, without_for_update
from .statements import bare, text_of
from .timeouts import Timeouts

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager
    from types import TracebackType
    from typing import Self

    from django.db.backends.base.base import BaseDatabaseWrapper

    from .gate import WriteGate
    from .lock_watch import LockWatch
    from .outage import Hurry
    from .sqlite import DatabaseFiles

logger = logging.getLogger(__name__)

BROKEN = (
    "A database error was caught without a savepoint, so that this transaction can only be rolled back. "
    "Put `async with self.db.atomic():` around the call that may fail, or atomic() in a synchronous function."
)

LEFT_OPEN = (
    "An atomic block was still open at the end of the item, so that its transaction was rolled back. "
    "Await every task that an item starts before its hook returns."
)

_ENDS = re.compile(
    r"(?>\s+|--[^\n]*\n|/\*.*?\*/)*+"
    r"(BEGIN|START\s+TRANSACTION|END|ABORT|COMMIT|PREPARE\s+TRANSACTION|"
    r"ROLLBACK(?!\s+(?:(?:WORK|TRANSACTION)\s+)?TO\b))\b",
    re.IGNORECASE | re.DOTALL,
)
"""Statements that end a transaction; where one is open, a BEGIN does so on MySQL."""
_SETS_AUTOCOMMIT = re.compile(r"\s*SET\b.*\bautocommit\b", re.IGNORECASE | re.DOTALL)
_COMMENTS = ("/*", "--", "#")


def ends_a_transaction(text: str, vendor: str = "postgresql") -> bool:
    """Whether one of several statements, of which a driver may send all in one go, ends the transaction.

    One that cannot be distinguished from what is quoted in it is taken to do so.
    """
    code = bare(text, vendor)
    return code is None or any(
        _ENDS.match(statement) or (vendor == "mysql" and _SETS_AUTOCOMMIT.match(statement))
        for statement in code.split(";")
    )


class LaneTransaction:
    """A transaction of the current thread's connection; open, commit and roll back on the same thread.

    On SQLite, BEGIN IMMEDIATE is sent before the first statement that writes, or reads for update, once the write gate
    is passed: who only reads never takes the write lock. With `shared` the connection is somebody else's: it is used as
    it is, and inside an open transaction this one is a savepoint. Who holds another gate has `gate_patience`, in
    seconds: two who wait for each other's gates would wait for ever. On PostgreSQL a transaction that is not shared is
    READ COMMITTED, whatever OPTIONS["isolation_level"] says. `files`: SQLite's, to be the same ones at each begin and
    before each commit. `hurry`: set when the lock of another process is not waited for any more. `watch`:
    keeps waits for locks from being charged to the item.
    """

    given_up = False
    """Set where nobody waits for this transaction any more: it does not wait at the gate either."""

    def __init__(
        self,
        alias: str,
        *,
        shared: bool = False,
        gate_limit: float | None = None,
        gate_patience: float | None = None,
        timeouts: Timeouts | None = None,
        files: DatabaseFiles | None = None,
        hurry: Hurry | None = None,
        watch: LockWatch | None = None,
    ) -> None:
        self.alias = alias
        self.hurry = hurry
        self.watch = None if shared else watch
        self._backend: int | None = None
        """The server's session, where it is known."""
        self.shared = shared
        self.gate_limit = gate_limit
        self.gate_patience = gate_patience
        self.timeouts = (None if shared else timeouts) or Timeouts()
        self.committed = False
        self.lost: Exception | None = None
        """What the connection was lost with: whatever fails from then on fails for that."""
        self._met: Exception | None = None
        """The error that broke this transaction, where that was nobody's fault."""
        self._found: tuple[Any, ...] | None = None
        self._away: Exception | None = None
        """The last sign that the database is away, met inside of a savepoint or not."""
        self._is_under_way = False
        """A statement was executed: the driver knows of the transaction."""
        self._files = files
        self._committing = False
        self._began_at: float | None = None
        self._begin: str | None = None
        self._gate: WriteGate | None = None
        self._inner_from: tuple[int, int] | None = None
        self._stack = ExitStack()

    @property
    def in_doubt(self) -> bool:
        """True after a COMMIT that ended in an error: the database may have done it."""
        return self._committing and not self.committed

    @property
    def gate_seconds_left(self) -> float | None:
        """How long the gate may still be kept; None where it is not held, or there is no limit."""
        if self._began_at is None or self.gate_limit is None or self._gate is None:
            return None
        return max(0.0, self._began_at + self.gate_limit - time.monotonic())

    def open(self) -> None:
        """Begin. Raises what connecting raises; then nothing is left open."""
        try:
            self._open(self._usable())
        except BaseException:
            self.roll_back()
            raise

    def check(self) -> None:
        """Raise what this transaction was broken by, where it can only be rolled back: at least the remedy."""
        needs_rollback = connections[self.alias].needs_rollback
        self._look_at_connection()
        try:
            if self.lost is not None:
                raise self.lost
            if needs_rollback:
                raise self._met or TransactionManagementError(BROKEN)
            if self._leave_inner_blocks():
                raise TransactionManagementError(LEFT_OPEN)
            if self._files is not None:
                self._files.check(connections[self.alias])
        except BaseException:
            self.roll_back()
            raise

    def commit(self) -> None:
        """Commit. Raises what COMMIT raises (see `in_doubt`); a failing on_commit hook is logged only."""
        self.check()
        self._committing = True
        try:
            self._stack.close()
        except Exception as error:  # of COMMIT, or of somebody's on_commit hook: anything
            if not self.committed:
                if isinstance(error, IntegrityError):
                    self._committing = False  # a constraint that is checked at COMMIT: there is no doubt about that
                else:
                    self._drop()  # what is not committed could be seen on this connection, and taken for committed
                raise
            logger.exception("An on_commit hook failed after its transaction was committed.")
        self.committed = True

    def roll_back(self) -> None:
        """Undo everything. Never raises: a connection that cannot roll back is dropped, and the database does it."""
        self._look_at_connection()
        self._leave_inner_blocks()
        try:
            self._stack.__exit__(DatabaseError, DatabaseError("rolled back"), None)
        except Exception:  # whatever it is, the database undoes what a closed connection has begun
            logger.debug("A rollback failed; its connection is dropped.", exc_info=True)
            self._drop()
        self._began_at = None

    def leave_nothing(self) -> None:
        """After the end, where the thread is lent to another item next: what this one has set is not for that."""
        if not self.shared:
            drop_changed(self.alias, self._found)

    def reason_for(self, error: Exception) -> Exception:
        """The error that this one is a consequence of, where that was nobody's fault; else itself."""
        self._look_at_connection()
        return (self.lost or self._met or error) if is_consequence(error) else error

    def give_up(self) -> None:
        """From any thread: nobody waits for it any more. It leaves the queue at the gate at once."""
        self.given_up = True
        gate = self._gate
        if gate is not None:
            gate.send_away(self)

    def overdue(self) -> GateHeldTooLong:
        """Roll back because the gate was held too long; the error to give to whom it may concern."""
        self.roll_back()
        return GateHeldTooLong(self.gate_limit or 0.0)

    def __enter__(self) -> Self:
        self.open()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is None:
            self.commit()
        else:
            self.roll_back()

    def _usable(self) -> BaseDatabaseWrapper:
        """This thread's connection."""
        return connections[self.alias] if self.shared else freshen(self.alias)

    def _block(self) -> AbstractContextManager[None]:
        """What the transaction is to Django."""
        return transaction.atomic(using=self.alias)

    def _open(self, connection: BaseDatabaseWrapper) -> None:
        if self._files is not None and connection.connection is None:
            self._files.check(connection)  # else it is before the commit
        connection.ensure_connection()  # before anybody listens: what prepares it has statements of its own
        self._found = state_of(connection)
        outermost = not connection.in_atomic_block
        if outermost and not self.shared:
            self._gate = gate_of(connection)
        self._stack.enter_context(connection.execute_wrapper(self._watched))
        self._stack.enter_context(self._block())
        if self._gate is not None and self._begin is None:
            # This backend begins past the wrappers: begin again, behind the gate.
            self._stack.close()
            self._gate.enter(self, patience=self.gate_patience)
            self._hold(self._gate)
            self._stack.enter_context(self._block())
        if (
            outermost
            and not self.shared
            and keeps_one_snapshot(connection, getattr(connection, "isolation_level", None))
        ):
            # All transactions of a run change the counts in its row: with one snapshot each, most of them would fail.
            with connection.cursor() as cursor:
                cursor.execute("SET TRANSACTION ISOLATION LEVEL READ COMMITTED")
        if is_postgres(connection):
            self._backend = self.timeouts.begin(connection)
        self._inner_from = len(connection.savepoint_ids), len(connection.atomic_blocks)
        if outermost:
            transaction.on_commit(self._mark_committed, using=self.alias)

    def _watched(self, execute: Callable[..., Any], sql: str, params: Any, many: bool, context: Any) -> Any:  # noqa: FBT001 - Django's own signature
        """Around each statement: begins late, and remembers what breaks the transaction."""
        connection, asked = context["connection"], time.monotonic()
        if self._inner_from is not None:
            self._check_that_it_goes_on(text_of(sql, connection.connection), connection.vendor)
        try:
            if connection.vendor == "sqlite":
                sql = without_for_update(sql)
                if self._gate is not None and self._swallowed(sql, connection, self._gate):
                    return None
            if self.watch is None or self._backend is None:
                result = execute(sql, params, many, context)
            else:
                with self.watch.over(self._backend):
                    result = execute(sql, params, many, context)
        except Exception as error:
            passed = self.timeouts.passed(error, time.monotonic() - asked)
            self._remember(passed or error, connection)
            if passed is not None:
                raise passed from error
            raise
        self._is_under_way = self._began_at is not None or connection.vendor != "sqlite"
        return result

    def _check_that_it_goes_on(self, text: str, vendor: str) -> None:
        """Refuse a statement that ends the transaction, and any other after its end: it would commit alone."""
        begins_with_comment = text.lstrip().startswith(_COMMENTS)
        ends = _ENDS.match((bare(text, vendor) or text) if begins_with_comment else text)
        if ends is not None and self.lost is None:
            self.lost = EndedByItself(f"sent {ends[1].upper()}, which was refused")
        self._look_at_connection()
        if isinstance(self.lost, EndedByItself):
            raise self.lost

    def _swallowed(self, sql: str, connection: BaseDatabaseWrapper, gate: WriteGate) -> bool:
        """Swallow BEGIN, and send it before the first statement that may write, or locks what it reads."""
        if self._begin is None:
            if sql.startswith("BEGIN"):
                self._begin = sql
            return self._begin is not None
        if self._began_at is None:
            if needs_write_lock(sql):
                self._begin_now(connection, gate)
        elif not self.committed and not connection.connection.in_transaction:
            # SQLite itself rolls back where a disk is full, say: from there on each statement would commit alone.
            raise self._met or ConnectionLost()
        return False

    def _begin_now(self, connection: BaseDatabaseWrapper, gate: WriteGate) -> None:
        def waits_on() -> bool:
            """For another process's lock: not where nobody waits for us, or the run is to end."""
            return not self.given_up and not (self.hurry is not None and self.hurry.is_over)

        mode = "EXCLUSIVE" if "EXCLUSIVE" in (self._begin or "") else "IMMEDIATE"
        with uncharged():  # other lanes hold the gate, and other processes the lock of the file
            gate.enter(self, patience=self.gate_patience)
            try:
                with connection.wrap_database_errors:
                    begin(connection, mode, waits_on)
            except BaseException:
                gate.leave()  # nothing was begun: the next statement that may write tries again
                raise
        self._hold(gate)

    def _hold(self, gate: WriteGate) -> None:
        # Under everything else in the stack: left after COMMIT or ROLLBACK, whatever these raise.
        rest = self._stack.pop_all()
        self._stack.callback(gate.leave)
        self._stack.push(rest)
        self._began_at = time.monotonic()

    def _remember(self, error: Exception, connection: BaseDatabaseWrapper) -> None:
        """What fails inside of a savepoint is undone with that, and breaks nothing."""
        if is_outage(error):
            self._away = error
        inside = self._inner_from is None or len(connection.savepoint_ids) > self._inner_from[0]
        if self._met is None and not inside and is_transient(error):
            self._met = error

    def _look_at_connection(self) -> None:
        """Find out whether what was done is undone already. The database says so to who asks it next only."""
        if self.lost is not None or self._inner_from is None:
            return
        connection = connections[self.alias]
        if is_lost(connection):
            by_itself = was_closed_here(connection) and self._away is None
            self.lost = EndedByItself("closed its database connection") if by_itself else self._met or ConnectionLost()
        elif self._is_under_way and has_no_transaction(connection):
            # SQLite itself rolls back where a disk is full, say: nobody else than the item did without such an error.
            by_itself = self._away is None
            self.lost = EndedByItself("ended its own transaction") if by_itself else self._met or ConnectionLost()

    def _drop(self) -> None:
        if not self.shared:
            drop(self.alias)

    def _leave_inner_blocks(self) -> bool:
        """Forget blocks whose end was cancelled: else Django takes our end for theirs, and ours never comes."""
        if self._inner_from is None:
            return False
        connection, (savepoints, blocks) = connections[self.alias], self._inner_from
        left = len(connection.atomic_blocks) > blocks
        del connection.savepoint_ids[savepoints:], connection.atomic_blocks[blocks:]
        self._inner_from = None
        return left

    def _mark_committed(self) -> None:
        self.committed = True


def commits_by_itself(alias: str) -> bool:
    """Whether a statement of this thread may be a transaction of its own: READ COMMITTED, on PostgreSQL."""
    connection = connections[alias]
    return is_postgres(connection) and not keeps_one_snapshot(connection, getattr(connection, "isolation_level", None))


class SingleStatement:
    """In the place of a transaction that has one statement, which commits itself: the round trips are saved.

    It is never idle in a transaction, and needs no time-out for that. Any error but one of its rows leaves its COMMIT
    in doubt, too.
    """

    def __init__(self, alias: str) -> None:
        self.alias = alias
        self.in_doubt = False
        """True after such an error."""

    def __enter__(self) -> Self:
        freshen(self.alias).ensure_connection()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is not None and not isinstance(error, (IntegrityError, DataError)):
            self.in_doubt = True
            drop(self.alias)
