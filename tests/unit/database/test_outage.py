"""Which database errors pass by themselves, and what kind of trouble they show."""

from __future__ import annotations

import sqlite3
import threading

import pytest
from django.db import DataError, IntegrityError, InterfaceError, InternalError, OperationalError, ProgrammingError
from django.db.transaction import TransactionManagementError

from async_commander.database import outage
from async_commander.database.gate import GateBusy, GateHeldTooLong
from async_commander.database.outage import (
    ConnectionLost,
    MemoryHeld,
    Outage,
    OutageTooLong,
    Trouble,
    is_consequence,
    is_locked,
    is_outage,
    is_read_only,
    is_transient,
    trouble_of,
)
from async_commander.database.sqlite import DatabaseFileGone
from async_commander.database.timeouts import IdleTooLong, LockedTooLong, StatementTooLong
from async_commander.exceptions import AsyncCommanderError, SkipItem

AWAY, ENDED, IN_THE_WAY = Trouble.AWAY, Trouble.ENDED, Trouble.IN_THE_WAY


class FromPostgres(Exception):
    def __init__(self, sqlstate: str | None) -> None:
        self.sqlstate = sqlstate


class FromSQLite(sqlite3.OperationalError):
    def __init__(self, code: int) -> None:
        self.sqlite_errorcode = code  # type: ignore[misc]


def caused(error: Exception, cause: BaseException) -> Exception:
    error.__cause__ = cause
    return error


def lost() -> Exception:
    return caused(OperationalError("the connection is lost"), FromPostgres(None))


@pytest.mark.parametrize(
    ("state", "trouble"),
    [
        ("08006", AWAY),  # connection failure
        ("08P01", AWAY),  # what PgBouncer says
        ("25006", AWAY),  # read-only
        ("25P03", AWAY),  # idle in transaction
        ("40001", IN_THE_WAY),  # serialisation, conflict with recovery
        ("40P01", IN_THE_WAY),  # deadlock
        ("53100", AWAY),  # disk full
        ("53200", ENDED),  # out of memory
        ("53300", AWAY),  # too many connections
        ("55P03", IN_THE_WAY),  # lock not available
        ("57014", ENDED),  # cancelled
        ("57P01", AWAY),  # shut down by an administrator, conflict with recovery
        ("57P02", AWAY),  # crashed
        ("57P03", AWAY),  # cannot connect now
        ("58030", AWAY),  # I/O error
        ("23505", None),  # unique
        ("42P01", None),  # undefined table
        ("54000", None),  # a limit of the program
        ("25P02", None),  # in a failed transaction
    ],
)
@pytest.mark.parametrize("kind", [OperationalError, InternalError, ProgrammingError])
def test_the_state_decides_whatever_class_the_driver_gave_the_error(
    state: str, trouble: Trouble | None, kind: type[Exception]
) -> None:
    assert trouble_of(caused(kind("text"), FromPostgres(state))) is trouble


@pytest.mark.parametrize(
    ("code", "trouble"),
    [
        (5, AWAY),
        (5 | 2 << 8, IN_THE_WAY),
        (6, IN_THE_WAY),
        (8 | 3 << 8, AWAY),
        (10, AWAY),
        (10 | 4 << 8, AWAY),
        (13, AWAY),
        (14, AWAY),
        (1, None),
        (19, None),
    ],
)
def test_the_code_of_sqlite_decides(code: int, trouble: Trouble | None) -> None:
    assert trouble_of(caused(OperationalError("text"), FromSQLite(code))) is trouble


@pytest.mark.parametrize(
    ("number", "trouble"),
    [(1205, IN_THE_WAY), (1213, IN_THE_WAY), (1290, AWAY), (1317, ENDED), (2006, AWAY), (2013, AWAY), (1054, None)],
)
def test_the_number_of_mysql_decides(number: int, trouble: Trouble | None) -> None:
    assert trouble_of(OperationalError(number, "text")) is trouble


@pytest.mark.parametrize(
    ("error", "trouble"),
    [
        (InterfaceError("connection already closed"), AWAY),
        (InterfaceError(0, ""), AWAY),
        (ProgrammingError("Cannot operate on a closed database."), AWAY),
        (lost(), AWAY),
        (ConnectionLost(), AWAY),
        (GateBusy(7.5), AWAY),
        (GateHeldTooLong(7.5), IN_THE_WAY),
        (IdleTooLong(30), IN_THE_WAY),
        (StatementTooLong(30), IN_THE_WAY),
        (LockedTooLong(30), Trouble.HELD_UP),
        (OperationalError("a driver that knows no codes"), IN_THE_WAY),
        (FromSQLite(10), AWAY),  # nobody wrapped it
        (caused(ValueError("the project's own"), lost()), AWAY),
        (caused(TransactionManagementError("in consequence"), lost()), AWAY),
        (ExceptionGroup("tasks", [ValueError("one"), lost()]), AWAY),
    ],
    ids=str,
)
def test_trouble_is_seen_however_it_is_wrapped(error: BaseException, trouble: Trouble) -> None:
    assert trouble_of(error) is trouble
    assert is_transient(error)
    assert is_outage(error) == (trouble is AWAY)


def test_an_error_of_the_driver_that_nobody_wrapped_is_known() -> None:
    psycopg = pytest.importorskip("psycopg")
    assert trouble_of(psycopg.errors.AdminShutdown("terminating connection")) is AWAY
    assert trouble_of(psycopg.OperationalError("server closed the connection unexpectedly")) is AWAY
    assert trouble_of(psycopg.errors.UniqueViolation("duplicate")) is None


@pytest.mark.parametrize(
    "error",
    [
        IntegrityError("duplicate"),
        DataError("too long"),
        ProgrammingError("no such table"),
        TransactionManagementError("durable"),
        OutageTooLong(60, lost()),
        caused(OutageTooLong(60, lost()), lost()),
        DatabaseFileGone("db.sqlite3", deleted=True),
        caused(AsyncCommanderError("cannot be reached"), lost()),
        caused(SkipItem("on purpose"), lost()),
        RuntimeError("no database error"),
        ConnectionError("no database error"),
    ],
    ids=str,
)
def test_these_do_not_pass(error: BaseException) -> None:
    assert not is_transient(error)


def test_an_error_while_another_one_was_handled_is_its_own() -> None:
    error = IntegrityError("duplicate")
    error.__context__ = lost()
    assert not is_transient(error)


def test_what_an_earlier_error_has_broken_is_told_apart() -> None:
    assert is_consequence(TransactionManagementError("You can't execute queries"))
    assert is_consequence(caused(InternalError("current transaction is aborted"), FromPostgres("25P02")))
    assert not is_consequence(lost())


@pytest.mark.parametrize(("code", "locked"), [(5, True), (6 | 1 << 8, True), (14, False), (10, False)])
def test_a_locked_file_is_a_database_that_is_there(code: int, locked: bool) -> None:
    assert is_locked(caused(OperationalError("text"), FromSQLite(code))) is locked
    assert not is_locked(OperationalError("connection refused"))


def test_patience_ends() -> None:
    outage = Outage(0.0, threading.Event())
    error = OperationalError("connection refused")
    with pytest.raises(OutageTooLong, match=r"within 0 s: connection refused.*resume") as caught:
        outage.wait_out(error)
    assert caught.value.__cause__ is error


def test_in_a_hurry_there_is_none() -> None:
    hurry = threading.Event()
    hurry.set()
    with pytest.raises(OutageTooLong):
        Outage(60.0, hurry).wait_out(OperationalError("away"))


@pytest.mark.parametrize(
    "error",
    [
        caused(OperationalError("attempt to write a readonly database"), FromSQLite(8 | 3 << 8)),
        caused(InternalError("cannot execute INSERT in a read-only transaction"), FromPostgres("25006")),
        OperationalError(1290, "running with the --read-only option"),
    ],
    ids=str,
)
def test_a_database_that_refuses_every_write_is_told_apart(error: BaseException) -> None:
    assert is_read_only(error)
    assert not is_read_only(OperationalError(1205, "text"))


def test_a_lock_in_memory_is_not_waited_out(monkeypatch: pytest.MonkeyPatch) -> None:
    held = caused(OperationalError("database table is locked"), FromSQLite(262))
    patience = Outage(60, threading.Event())
    patience.wait_out(held)
    monkeypatch.setattr(outage, "MEMORY_PATIENCE", 0.0)
    with pytest.raises(MemoryHeld, match=r"transaction=True.*run_command\(\)"):
        patience.wait_out(held)
    assert not is_transient(MemoryHeld(held))
