"""Which database errors pass by themselves."""

from __future__ import annotations

import sqlite3
import threading

import pytest
from django.db import DataError, IntegrityError, InterfaceError, InternalError, OperationalError, ProgrammingError

from async_commander.database import outage
from async_commander.database.gate import GateBusy, GateHeldTooLong
from async_commander.database.outage import (
    MemoryHeld,
    Outage,
    OutageTooLong,
    is_locked,
    is_read_only,
    is_transient,
)


class FromPostgres(Exception):
    def __init__(self, sqlstate: str | None) -> None:
        self.sqlstate = sqlstate


class FromSQLite(sqlite3.OperationalError):
    def __init__(self, code: int) -> None:
        self.sqlite_errorcode = code  # type: ignore[misc]


def caused(error: Exception, cause: BaseException) -> Exception:
    error.__cause__ = cause
    return error


@pytest.mark.parametrize(
    "error",
    [
        InterfaceError("connection already closed"),
        OperationalError("server closed the connection unexpectedly"),
        GateHeldTooLong(7.5),
        GateBusy(7.5),
        *(
            caused(OperationalError(state), FromPostgres(state))
            for state in ("08006", "40001", "40P01", "53300", "57P01", "58030", "55P03")
        ),
        caused(OperationalError("the connection is lost"), FromPostgres(None)),
        *(caused(OperationalError("busy"), FromSQLite(code)) for code in (5, 6, 10, 13, 5 | 2 << 8)),
        *(OperationalError(number, "text") for number in (1205, 1213, 2006, 2013)),
    ],
    ids=str,
)
def test_these_pass(error: BaseException) -> None:
    assert is_transient(error)


@pytest.mark.parametrize(
    "error",
    [
        IntegrityError("duplicate"),
        DataError("too long"),
        ProgrammingError("no such table"),
        OutageTooLong(60, OperationalError("away")),
        caused(OperationalError("no such table"), FromSQLite(1)),
        caused(OperationalError("statement timeout"), FromPostgres("57014")),
        caused(OperationalError("index row size"), FromPostgres("54000")),
        OperationalError(1054, "unknown column"),
        RuntimeError("no database error"),
        ConnectionError("no database error"),
    ],
    ids=str,
)
def test_these_do_not(error: BaseException) -> None:
    assert not is_transient(error)


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
    assert not is_transient(error)
    assert not is_read_only(OperationalError(1205, "text"))


def test_a_lock_in_memory_is_not_waited_out(monkeypatch: pytest.MonkeyPatch) -> None:
    held = caused(OperationalError("database table is locked"), FromSQLite(262))
    patience = Outage(60, threading.Event())
    patience.wait_out(held)
    monkeypatch.setattr(outage, "MEMORY_PATIENCE", 0.0)
    with pytest.raises(MemoryHeld, match=r"transaction=True.*run_command\(\)"):
        patience.wait_out(held)
    assert not is_transient(MemoryHeld(held))
