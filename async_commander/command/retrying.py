"""Which errors pass by themselves, so that another attempt may help."""

from __future__ import annotations

from django.db import InterfaceError, OperationalError

from async_commander.database.outage import is_transient as database_may_recover
from async_commander.exceptions import ItemError

_DATABASE = (OperationalError, InterfaceError)
"""Deadlocks, serialisation failures, locks and lost connections arrive as these two on every backend."""


def is_passing(error: BaseException) -> bool:
    """True for time-outs, connection errors, the statuses 408, 425, 429 and 5xx, and database errors that pass.

    A group passes where all of its members do.
    """
    from async_commander.downloads.errors import is_transient  # a command without downloads needs no client

    if isinstance(error, BaseExceptionGroup):
        return all(map(is_passing, error.exceptions))
    if isinstance(error, ItemError):
        return False
    return isinstance(error, _DATABASE) or database_may_recover(error) or is_transient(error)
