"""Faults at an exact place: before or after the n-th statement or commit of a process, on whichever connection."""

from __future__ import annotations

import os
import signal
import sqlite3
import threading
from collections import Counter
from contextlib import suppress
from typing import Any, NoReturn

from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.backends.utils import CursorWrapper

_mutex = threading.Lock()
_passed: Counter[str] = Counter()
_fired = False

KINDS = ("kill", "error", "full", "lost")


def set_up(*, kind: str, place: str, when: str, number: int) -> None:
    """Fire once. `kind`: kill, error, full, lost; `place`: statement or commit; `when`: before or after."""

    def visit(where: str, moment: str, connection: BaseDatabaseWrapper) -> None:
        global _fired  # noqa: PLW0603 - once per process
        with _mutex:
            if moment == "before":
                _passed[where] += 1
            fires = not _fired and (where, moment) == (place, when) and _passed[where] == number
            _fired |= fires
        if fires:
            _fire(kind, connection)

    _wrap(CursorWrapper, "_execute", "statement", visit)
    _wrap(CursorWrapper, "_executemany", "statement", visit)
    _wrap(BaseDatabaseWrapper, "_commit", "commit", visit)


def report() -> None:
    """Say how many places of each kind were passed, and whether the trap was sprung."""
    print("PLACES", _passed["statement"], _passed["commit"], "TRAPPED" if _fired else "", flush=True)


def _wrap(owner: type, name: str, place: str, visit: Any) -> None:
    original = getattr(owner, name)

    def trapped(self: Any, *args: Any) -> Any:
        connection = getattr(self, "db", self)
        visit(place, "before", connection)
        result = original(self, *args)
        visit(place, "after", connection)
        return result

    setattr(owner, name, trapped)


def _fire(kind: str, connection: BaseDatabaseWrapper) -> None:
    if kind == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    with connection.wrap_database_errors:
        if connection.vendor == "sqlite":
            _fail_sqlite(kind, connection.connection)
        else:
            _fail_postgres(kind, connection.connection)


def _fail_sqlite(kind: str, raw: Any) -> NoReturn:
    text, code = {
        "error": ("database is locked", sqlite3.SQLITE_BUSY),
        "full": ("database or disk is full", sqlite3.SQLITE_FULL),
        "lost": ("disk I/O error", sqlite3.SQLITE_IOERR),
    }[kind]
    if kind == "full" and raw.in_transaction:
        raw.execute("ROLLBACK")  # as SQLite itself does
    error = sqlite3.OperationalError(text)
    error.sqlite_errorcode = code
    raise error


def _fail_postgres(kind: str, raw: Any) -> NoReturn:
    import psycopg

    if kind == "lost":
        raw.close()
        raise psycopg.OperationalError("server closed the connection unexpectedly")
    with suppress(psycopg.Error):
        raw.execute("SELECT 1/0")  # a real error leaves the transaction aborted
    raise (
        psycopg.errors.SerializationFailure("could not serialize")
        if kind == "error"
        else psycopg.errors.DiskFull("could not extend file")
    )
