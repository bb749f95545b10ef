"""The connection of the current thread: known to work before it is used, closed where it was opened."""

from __future__ import annotations

import threading
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any, cast

from django.db import Error, connections

if TYPE_CHECKING:
    from django.db.backends.base.base import BaseDatabaseWrapper
    from django.db.backends.postgresql.base import DatabaseWrapper as PostgresWrapper
    from django.db.backends.sqlite3.base import DatabaseWrapper as SQLiteWrapper

REST_SECONDS = 1.0
"""A connection that was idle for longer is tried before it is used again."""


class _Thread(threading.local):
    used_at = 0.0


_thread = _Thread()


def is_sqlite(connection: BaseDatabaseWrapper) -> bool:
    """Whether writers of this database exclude each other for whole transactions."""
    return connection.vendor == "sqlite"


def is_postgres(connection: BaseDatabaseWrapper) -> bool:
    """Whether this database has time-outs of its own, which end what nobody else can."""
    return connection.vendor == "postgresql"


def keeps_one_snapshot(connection: BaseDatabaseWrapper, level: Any) -> bool:
    """Whether transactions of this isolation level see the rows of their begin, and fail where others changed them."""
    if not is_postgres(connection):
        return False
    from django.db.backends.postgresql.psycopg_any import IsolationLevel  # there with its driver only

    return level in (IsolationLevel.REPEATABLE_READ, IsolationLevel.SERIALIZABLE)


def is_in_memory(connection: BaseDatabaseWrapper) -> bool:
    """Whether the database lives in this connection, so that no other thread can reach it."""
    return is_sqlite(connection) and bool(cast("SQLiteWrapper", connection).is_in_memory_db())


def freshen(alias: str) -> BaseDatabaseWrapper:
    """Give the current thread's connection to `alias`, closed first where it is broken or too old.

    The thread is one of ours: its connections commit at once, outside of transactions.
    """
    commit_at_once()
    for open_connection in connections.all(initialized_only=True):
        _close_if_stale(open_connection)
    connection = connections[alias]
    if is_sqlite(connection):
        # An open chunked read would hold an old snapshot, on which the next BEGIN IMMEDIATE fails at once.
        connection.features.can_use_chunked_reads = False
    return connection


def commit_at_once() -> None:
    """Have this thread's connections in autocommit, also where the project has set AUTOCOMMIT = False.

    With that, even the outermost `atomic()` does not commit. The project's own connections stay as they are.
    """
    for alias in connections:
        if not connections.settings[alias]["AUTOCOMMIT"]:
            connection = connections[alias]
            connection.settings_dict = {**connection.settings_dict, "AUTOCOMMIT": True}


def lay_aside() -> None:
    """End of a use: connections that belong to a pool go back to it, the others stay open for the next use.

    The thread is one of ours: nobody will ask which statements its connections remember with DEBUG on, and their
    values are whole batches of rows.
    """
    _thread.used_at = time.monotonic()
    for connection in connections.all(initialized_only=True):
        connection.queries_log.clear()
        if _is_pooled(connection):
            with suppress(Error):  # it is broken: the pool will notice
                connection.close()


def drop(alias: str) -> None:
    """Close this thread's connection to `alias` in whatever state it is, and forget it with its state."""
    with suppress(Exception):  # a broken connection may raise anything, and is forgotten all the same
        connections[alias].close()
    del connections[alias]


def close_all() -> None:
    """Close what this thread, one of ours, has opened; it may be used again."""
    for connection in connections.all(initialized_only=True):
        connection.queries_log.clear()
    connections.close_all()


def close_all_of_process() -> None:
    """Close what this thread has opened, and the process's own pools of connections. Raises nothing."""
    for connection in connections.all(initialized_only=True):
        with suppress(Exception):  # a broken connection may raise anything; it is gone with the process at last
            connection.close()
            if _is_pooled(connection):
                cast("PostgresWrapper", connection).close_pool()


def _close_if_stale(connection: BaseDatabaseWrapper) -> None:
    if connection.in_atomic_block:
        return
    if connection.settings_dict["CONN_MAX_AGE"] == 0:
        # "Close after each request" has no request here: the lane's end closes it.
        connection.close_at = None
    connection.close_if_unusable_or_obsolete()
    if connection.connection is not None and _rested_long() and not connection.is_usable():
        connection.close()


def _rested_long() -> bool:
    return time.monotonic() - _thread.used_at > REST_SECONDS


def _is_pooled(connection: BaseDatabaseWrapper) -> bool:
    return bool(connection.settings_dict["OPTIONS"].get("pool"))
