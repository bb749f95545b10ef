"""Everything that is written for a while, on any database, is rolled back at its end."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

from django.db import connections, transaction
from django.db.backends.signals import connection_created

from .connections import is_ours

if TYPE_CHECKING:
    from django.db.backends.base.base import BaseDatabaseWrapper


@contextmanager
def rehearsed(alias: str) -> Iterator[None]:
    """For the block, each connection to a database is in a transaction that is rolled back at the end.

    The one to `alias` from the beginning on, and those that are open; any other one as soon as it is opened, on
    whichever thread, so that no database is connected to for this alone. `on_commit` hooks do not run. What a database
    commits by itself (DDL on MariaDB), and a COMMIT that is sent as raw SQL, it cannot roll back.
    """
    blocks = _Blocks()
    connection_created.connect(blocks.opened)
    try:
        for one in connections.all(initialized_only=True):
            if one.connection is not None or one.alias == alias:
                blocks.enter(one)
        if alias not in blocks.aliases():
            blocks.enter(connections[alias])
        yield
    finally:
        connection_created.disconnect(blocks.opened)
        blocks.leave()


class _Blocks:
    """The transactions of one rehearsal."""

    def __init__(self) -> None:
        self._mutex = threading.Lock()
        self._entered: list[tuple[int, BaseDatabaseWrapper, transaction.Atomic]] = []

    def opened(self, connection: BaseDatabaseWrapper, **_: Any) -> None:
        """Somebody has connected to a database. The threads of runs are none of ours: they keep records."""
        if not is_ours() and connections[connection.alias] is connection and not connection.in_atomic_block:
            self.enter(connection)

    def aliases(self) -> set[str]:
        """Of the databases in which this thread is in a transaction."""
        return {one.alias for thread, one, _ in self._entered if thread == threading.get_ident()}

    def enter(self, connection: BaseDatabaseWrapper) -> None:
        """Begin a transaction. One that is begun in it and says `durable=True` is no error, as in a test."""
        known = {id(one) for _, one, _ in self._entered}
        block = transaction.Atomic(connection.alias, savepoint=True, durable=False)
        block._from_testcase = True  # type: ignore[attr-defined]  # noqa: SLF001 - as Django's own TestCase does
        if id(connection) in known:
            return
        with self._mutex:
            self._entered.append((threading.get_ident(), connection, block))
        block.__enter__()

    def leave(self) -> None:
        """Roll all of them back, the newest first."""
        for thread, connection, block in reversed(self._entered):
            if thread == threading.get_ident():
                if connection.in_atomic_block and connection.connection is not None:
                    transaction.set_rollback(True, using=connection.alias)
                block.__exit__(None, None, None)
            else:
                _drop(connection)


def _drop(connection: BaseDatabaseWrapper) -> None:
    """Close the connection of another thread: its database rolls back what was not committed."""
    connection.inc_thread_sharing()
    try:
        with suppress(Exception):
            connection.close()
    finally:
        connection.dec_thread_sharing()
        connection.in_atomic_block = connection.closed_in_transaction = connection.needs_rollback = False
        connection.savepoint_ids.clear()
        connection.atomic_blocks.clear()
