"""What SQLite needs so that a run keeps there what it keeps on PostgreSQL."""

from __future__ import annotations

import os
import re
import time
from typing import TYPE_CHECKING, Any, cast

from django.db import OperationalError

if TYPE_CHECKING:
    from collections.abc import Callable

    from django.db.backends.base.base import BaseDatabaseWrapper
    from django.db.backends.sqlite3.base import DatabaseWrapper as SQLiteWrapper

FOR_UPDATE = "/* FOR UPDATE */"
"""Stands in a SELECT where other databases have FOR UPDATE, and takes the write lock, which is the only one."""
_WRITTEN_OUT = re.compile(
    r"\bFOR\s+(?:NO\s+KEY\s+)?UPDATE(?:\s+OF\s+[\w\s\".,]+?)?(?:\s+NOWAIT|\s+SKIP\s+LOCKED)?(?=\s*;?\s*$)",
    re.IGNORECASE,
)
SLICE = 250
"""Milliseconds after which a wait for the lock of another process looks up."""
_BUSY = 5
_VARIANTS = ("", "_nowait", "_skip_locked", "_of")
_FEATURES = (*(f"has_select_for_update{variant}" for variant in _VARIANTS), "has_select_for_no_key_update")


def is_sqlite(connection: BaseDatabaseWrapper) -> bool:
    """Whether writers of this database exclude each other for whole transactions."""
    return connection.vendor == "sqlite"


def is_in_memory(connection: BaseDatabaseWrapper) -> bool:
    """Whether the database lives in this connection, so that no other thread can reach it."""
    return is_sqlite(connection) and bool(cast("SQLiteWrapper", connection).is_in_memory_db())


class DatabaseFileGone(OperationalError):
    """The database file was deleted or replaced while a run had it open."""

    def __init__(self, path: str, *, deleted: bool) -> None:
        super().__init__(
            f"The SQLite database {path} was {'deleted' if deleted else 'replaced by another file'} while this run had "
            "it open: what it wrote into the old file cannot be found any more. Nothing more is written. Put the file "
            "back and resume the run, or begin a new one; stop all runs before a database file is moved or restored."
        )


class DatabaseFiles:
    """The files of the SQLite databases of one run, each to be the one that was opened first."""

    def __init__(self) -> None:
        self._first: dict[str, tuple[int, int]] = {}

    def check(self, connection: BaseDatabaseWrapper) -> None:
        """To be called on an open connection, and before one is opened. Raises DatabaseFileGone."""
        if not is_sqlite(connection) or is_in_memory(connection):
            return
        path = str(connection.settings_dict["NAME"])
        try:
            found = os.stat(path)  # noqa: PTH116  called for each transaction
        except FileNotFoundError:
            if path in self._first:
                raise DatabaseFileGone(path, deleted=True) from None
            return
        if self._first.setdefault(path, (found.st_dev, found.st_ino)) != (found.st_dev, found.st_ino):
            raise DatabaseFileGone(path, deleted=False)


def lock_rows(connection: BaseDatabaseWrapper) -> bool:
    """Have `select_for_update()`, in every variant, put FOR_UPDATE into its SQL, and ask for a transaction.

    False where there is nothing to do, or it is done already.
    """
    wrapper: Any = connection
    if not is_sqlite(connection) or wrapper.features.has_select_for_update:
        return False
    for name in _FEATURES:
        setattr(wrapper.features, name, True)
    wrapper.ops.for_update_sql = lambda *_, **__: FOR_UPDATE
    return True


def begin(connection: BaseDatabaseWrapper, mode: str, waits_on: Callable[[], bool]) -> None:
    """Send BEGIN, and wait for the lock of another process for as long as this connection does.

    SQLite itself cannot be interrupted while it waits: it waits in slices, and `waits_on()` says between them
    whether there is still a reason to. The error of the last one is raised.
    """
    wrapper: Any = connection
    raw, began = wrapper.connection, time.monotonic()
    (patience,) = raw.execute("PRAGMA busy_timeout").fetchone()
    slices = patience > SLICE
    try:
        if slices:
            raw.execute(f"PRAGMA busy_timeout={SLICE}")
        while True:
            try:
                raw.execute(f"BEGIN {mode}")
            except wrapper.Database.OperationalError as error:
                waited = time.monotonic() - began
                if error.sqlite_errorcode & 0xFF != _BUSY or waited >= patience / 1000 or not waits_on():
                    raise
            else:
                return
    finally:
        if slices:
            raw.execute(f"PRAGMA busy_timeout={patience}")


def begin_at_once(connection: BaseDatabaseWrapper) -> None:
    """Have blocks of the project's own take the write lock at their begin: a read in a deferred one locks nothing."""
    wrapper: Any = connection
    if wrapper.transaction_mode != "EXCLUSIVE":
        wrapper.transaction_mode = "IMMEDIATE"


def stop_locking_rows(connection: BaseDatabaseWrapper) -> None:
    """Leave a connection that is somebody else's as it was found."""
    for name in _FEATURES:
        vars(connection.features).pop(name, None)
    vars(connection.ops).pop("for_update_sql", None)


def needs_write_lock(sql: str) -> bool:
    """Whether a statement writes, may write, or reads in order to write."""
    return not sql.startswith("SELECT") or FOR_UPDATE in sql


def without_for_update(sql: str) -> str:
    """Raw SQL that has FOR UPDATE at its end, which SQLite does not understand, with FOR_UPDATE in its place."""
    reads = sql.lstrip()[:6].upper().startswith(("SELECT", "WITH"))
    return _WRITTEN_OUT.sub(FOR_UPDATE, sql) if reads and "UPDATE" in sql[-200:].upper() else sql
