"""The connection of the current thread: known to work before it is used, closed where it was opened."""

from __future__ import annotations

import re
import select
import threading
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any, ParamSpec, Protocol, TypeVar, cast

from asgiref.sync import sync_to_async
from django.db import connections
from django.db.backends.signals import connection_created

from async_commander.engine.threads import check_loop

from . import sqlite
from .statements import text_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from django.db.backends.base.base import BaseDatabaseWrapper
    from django.db.backends.postgresql.base import DatabaseWrapper as PostgresWrapper

P = ParamSpec("P")
T = TypeVar("T")

View = tuple[str, str]
"""Where PostgreSQL looks for tables, and as whom."""
_IDLE = 0
"""What libpq says of a connection without a transaction."""
REST_SECONDS = 1.0
"""A connection that was idle for longer is tried before it is used again."""


_SETS_THE_SESSION = re.compile(
    r"(?>\s+|--[^\n]*\n|/\*.*?\*/)*+"
    r"(?:SET\s+(?!LOCAL\b|TRANSACTION\b|CONSTRAINTS\b)|(?:RESET|DISCARD|PRAGMA|ATTACH|LISTEN|LOAD|PREPARE|USE)\b"
    r"|CREATE\s+(?:(?:GLOBAL|LOCAL)\s+)?TEMP)",
    re.IGNORECASE | re.DOTALL,
)
_LOCKS_FOR_THE_SESSION = re.compile(r"\bpg_(?:try_)?advisory_lock(?:_shared)?\s*\(|\bGET_LOCK\s*\(", re.IGNORECASE)


_MOVES = re.compile(r"\bSET\b[^;]*\b(?:search_path|SCHEMA|ROLE)\b|set_config\([^;]*(?:search_path|role)", re.IGNORECASE)
_VIEW = "SELECT current_setting('search_path'), current_setting('role')"


class Prepares(Protocol):
    """What the project wants of a connection when it is opened."""

    def prepare(self, connection: BaseDatabaseWrapper) -> None: ...


class _Thread(threading.local):
    ours = False
    """Whether a run made this thread, so that nobody else uses its connections."""
    preparation: Prepares | None = None
    used_at = 0.0

    def __init__(self) -> None:
        self.changed: set[str] = set()
        """Aliases of the connections on which a statement has set what outlives its transaction."""
        self.views: dict[str, View] = {}
        """Of the connections on which an item has set search path or role: as they were before it."""


_thread = _Thread()


def is_postgres(connection: BaseDatabaseWrapper) -> bool:
    """Whether this database has time-outs of its own, which end what nobody else can."""
    return connection.vendor == "postgresql"


def keeps_one_snapshot(connection: BaseDatabaseWrapper, level: Any) -> bool:
    """Whether transactions of this isolation level see the rows of their begin, and fail where others changed them."""
    if not is_postgres(connection):
        return False
    from django.db.backends.postgresql.psycopg_any import IsolationLevel  # there with its driver only

    return level in (IsolationLevel.REPEATABLE_READ, IsolationLevel.SERIALIZABLE)


def freshen(alias: str) -> BaseDatabaseWrapper:
    """Give the current thread's connection to `alias`, closed first where it is broken or too old.

    The thread is one of ours: its connections commit at once, outside of transactions.
    """
    take_over_thread()
    for one in connections.all(initialized_only=True):
        if one.in_atomic_block:
            continue
        if one.settings_dict["CONN_MAX_AGE"] == 0:
            # "Close after each request" has no request here: the lane's end closes it.
            one.close_at = None
        try:
            one.close_if_unusable_or_obsolete()
            if one.connection is None:
                continue
            rested_long = time.monotonic() - _thread.used_at > REST_SECONDS
            # To ask the database costs a round trip, so only a connection that gives cause is asked.
            if (rested_long or is_lost(one) or _has_spoken(one)) and not one.is_usable():
                close(one)
        except Exception:  # noqa: BLE001  whatever it is, this one is of no use
            close(one)
    connection = connections[alias]
    _have_it_behave(connection)  # before it is open, too: a statement is made before it needs a connection
    return connection


def take_over_thread(preparation: Prepares | None = None) -> None:
    """The current thread is one of ours: its connections commit at once, and each is prepared when it is opened.

    With AUTOCOMMIT = False even the outermost `atomic()` would not commit. The project's own connections stay as they
    are. `preparation`: what each connection is prepared with from now on; None leaves that as it is.
    """
    _thread.ours = True
    if preparation is not None:
        _thread.preparation = preparation
    for alias in connections:
        if not connections.settings[alias]["AUTOCOMMIT"]:
            _set(connections[alias], "AUTOCOMMIT", value=True)


async def beside_loop(function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Call it with the connection that the ORM's own async methods use. AsyncCommanderError where there is no loop."""
    check_loop()
    return await sync_to_async(function)(*args, **kwargs)


def is_ours() -> bool:
    """Whether a run made the current thread, so that nobody else uses its connections."""
    return _thread.ours


def lay_aside() -> None:
    """End of a use: connections that belong to a pool go back to it, the others stay open for the next use.

    So do those that were prepared, which are nobody else's any more. The thread is one of ours: nobody will ask which
    statements its connections remember with DEBUG on, and their values are whole batches of rows.
    """
    _thread.used_at = time.monotonic()
    for connection in connections.all(initialized_only=True):
        connection.queries_log.clear()
        if _is_pooled(connection) and _thread.preparation is None:
            close(connection)


def close(connection: BaseDatabaseWrapper) -> None:
    """Close a connection in whatever state it is. Raises nothing: a broken one is gone all the same.

    One that was prepared is closed before its pool gets it back, so that what was set there is set for nobody else.
    """
    if _thread.preparation is not None and _is_pooled(connection) and connection.connection is not None:
        with suppress(Exception):
            connection.connection.close()
    with suppress(Exception):
        connection.close()


def drop(alias: str) -> None:
    """Close this thread's connection to `alias` in whatever state it is, and forget it with its state."""
    close(connections[alias])
    del connections[alias]


def state_of(connection: BaseDatabaseWrapper) -> tuple[Any, ...]:
    """What Django, or a backend with tenants, keeps with the connection itself."""
    return (
        list(connection.execute_wrappers),
        connection.force_debug_cursor,
        getattr(connection, "tenant", None),
        getattr(connection, "schema_name", None),
    )


def view_of(connection: BaseDatabaseWrapper) -> View:
    """Search path and role of a connection to PostgreSQL."""
    with connection.cursor() as cursor:
        cursor.execute(_VIEW)
        search_path, role = cursor.fetchone()
    return search_path, role


def view_before(alias: str) -> View | None:
    """Search path and role that this thread's connection had before an item set others; None where none has."""
    return _thread.views.get(alias)


def drop_changed(alias: str, found: tuple[Any, ...] | None) -> None:
    """End of an item: close those connections of this thread on which it has set something that outlives it.

    `found`: the state of the one to `alias` before the item. What was set is gone with the connection, which is closed
    for its pool, too; the next item's is set up and prepared as new.
    """
    changed, _thread.changed = _thread.changed, set()
    _thread.views.clear()
    if found is not None and state_of(connections[alias]) != found:
        changed.add(alias)
    for one in changed:
        with suppress(Exception):  # a broken one is gone all the same
            cast("Any", connections[one].connection).close()
        drop(one)


def open_blocks() -> int:
    """How many `atomic()` blocks are open on this thread, on all its connections; a dry run's own are none of them."""
    return sum(
        not cast("Any", block)._from_testcase  # noqa: SLF001 - how a TestCase marks its own
        for connection in connections.all(initialized_only=True)
        for block in connection.atomic_blocks
    )


def drop_open_blocks() -> None:
    """Roll back the blocks that are open on this thread, whose end will not come: their connections are dropped."""
    for connection in connections.all(initialized_only=True):
        if connection.in_atomic_block and _thread.ours:
            drop(connection.alias)


def close_all() -> None:
    """Close what this thread, one of ours, has opened; it may be used again."""
    for connection in connections.all(initialized_only=True):
        connection.queries_log.clear()
        close(connection)


def close_all_of_process() -> None:
    """Close what this thread has opened, and the process's own pools of connections. Raises nothing."""
    for connection in connections.all(initialized_only=True):
        with suppress(Exception):  # a broken connection may raise anything; it is gone with the process at last
            connection.close()
            if _is_pooled(connection):
                cast("PostgresWrapper", connection).close_pool()


def is_lost(connection: BaseDatabaseWrapper) -> bool:
    """Whether a connection that was open is not any more, and what was begun on it is undone."""
    raw = connection.connection
    closed_here = raw is None or connection.closed_in_transaction or _refuses_to_say(raw)
    return closed_here or bool(getattr(raw, "closed", False)) or not getattr(raw, "open", True)


def _refuses_to_say(raw: Any) -> bool:
    """Whether this is a connection of SQLite's that was closed past Django: even to ask it raises."""
    try:
        getattr(raw, "in_transaction", None)
    except Exception:  # noqa: BLE001 - the driver's own ProgrammingError
        return True
    return False


def was_closed_here(connection: BaseDatabaseWrapper) -> bool:
    """Whether this process itself has closed a connection, and not its server or the network."""
    raw = connection.connection
    if raw is None or connection.closed_in_transaction or _refuses_to_say(raw):
        return True
    return getattr(raw, "closed", False) is True and getattr(raw, "broken", True) is False  # psycopg 3 knows which


def has_no_transaction(connection: BaseDatabaseWrapper) -> bool:
    """Whether an open connection that has begun a transaction is in none any more; without asking the server.

    False where its driver does not know, as MySQL's.
    """
    raw: Any = connection.connection
    if hasattr(raw, "pgconn"):
        return bool(raw.pgconn.transaction_status == _IDLE)
    if hasattr(raw, "get_transaction_status"):  # psycopg2
        return bool(raw.get_transaction_status() == _IDLE)
    return not getattr(raw, "in_transaction", True)


def _set_up(*, connection: BaseDatabaseWrapper, **_: Any) -> None:
    """A receiver of Django's: a connection was opened, for the first time or again."""
    if not _thread.ours:
        return
    _have_it_behave(connection)
    if sqlite.is_sqlite(connection):
        sqlite.begin_at_once(connection)
    if _thread.preparation is not None:
        try:
            _thread.preparation.prepare(connection)
        except BaseException:
            close(connection)  # nothing may be done on it as it is
            raise
    _thread.changed.discard(connection.alias)
    _thread.views.pop(connection.alias, None)


def _have_it_behave(connection: BaseDatabaseWrapper) -> None:
    if _note_changes not in connection.execute_wrappers:
        connection.execute_wrappers.insert(0, _note_changes)
    if sqlite.is_sqlite(connection):
        # An open chunked read would hold an old snapshot, on which the next BEGIN IMMEDIATE fails at once.
        connection.features.can_use_chunked_reads = False
        sqlite.lock_rows(connection)
    elif _is_pooled(connection) and not connection.settings_dict.get("DISABLE_SERVER_SIDE_CURSORS"):
        # Between two calls it is the pool's: a cursor on the server would be gone, or somebody else's, by then.
        _set(connection, "DISABLE_SERVER_SIDE_CURSORS", value=True)


def _note_changes(execute: Callable[..., Any], sql: Any, params: Any, many: bool, context: Any) -> Any:  # noqa: FBT001 - Django's own signature
    """Around each statement on a thread of ours."""
    connection = context["connection"]
    text = text_of(sql, connection.connection)
    # What a statement says itself; what a function of the database sets cannot be seen.
    outlives_its_transaction = (
        any(map(_SETS_THE_SESSION.match, text.split(";")))
        or text.count("set_config(") > text.count(", true)")
        or (("lock" in text or "LOCK" in text) and _LOCKS_FOR_THE_SESSION.search(text) is not None)
    )
    if outlives_its_transaction:
        _thread.changed.add(connection.alias)
    moves = ("SET" in text[:20].upper() or "set_config(" in text) and connection.alias not in _thread.views
    if moves and is_postgres(connection) and connection.in_atomic_block and _MOVES.search(text):
        _thread.views[connection.alias] = view_of(connection)
    return execute(sql, params, many, context)


connection_created.connect(_set_up, dispatch_uid="async_commander")


def _set(connection: BaseDatabaseWrapper, name: str, *, value: bool) -> None:
    connection.settings_dict = {**connection.settings_dict, name: value}


def _has_spoken(connection: BaseDatabaseWrapper) -> bool:
    """Whether PostgreSQL has sent something to a connection that asked nothing: its end, most likely."""
    if not is_postgres(connection) or not hasattr(select, "poll"):
        return False
    poll = select.poll()
    poll.register(cast("Any", connection.connection), select.POLLIN)
    return bool(poll.poll(0))


def _is_pooled(connection: BaseDatabaseWrapper) -> bool:
    return bool(connection.settings_dict["OPTIONS"].get("pool"))
