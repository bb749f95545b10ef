"""What the project wants of each connection of a run: a schema, a role, a tenant. The ledger is read as before it."""

from __future__ import annotations

import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, cast

from django.db import connections

from async_commander.exceptions import InvalidCommand

from .connections import View, view_before, view_of
from .outage import is_transient

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from django.db.backends.base.base import BaseDatabaseWrapper

_SET = "SELECT set_config('search_path', %s, false), set_config('role', %s, false)"
_SET_LOCAL = "SELECT set_config('search_path', %s, true), set_config('role', %s, true)"


class _Views(threading.local):
    """Of the connections of one thread, by alias: before they were prepared, and after it, where that differs."""

    def __init__(self) -> None:
        self.of: dict[str, tuple[View, View]] = {}


class Preparation:
    """Calls `prepare(connection)` for each connection that a run opens, on the connection's thread.

    The rows of the run itself are in the same transactions, and where the connection found their tables before it was
    prepared: on PostgreSQL search path and role are set back for them, for the rest of the transaction.
    """

    def __init__(self, prepare: Callable[[BaseDatabaseWrapper], Any]) -> None:
        self._prepare = prepare
        self._views = _Views()

    def prepare(self, connection: BaseDatabaseWrapper) -> None:
        """For a connection that is open and not used yet. Raises InvalidCommand where the project's function fails."""
        before = _view(connection)
        try:
            self._prepare(connection)
        except Exception as error:
            if is_transient(error):
                raise
            raise InvalidCommand(
                f"prepare_connection() failed for the connection to {connection.alias!r}: "
                f"{type(error).__name__}: {error}"
            ) from error
        after = _view(connection)
        self._views.of.pop(connection.alias, None)
        if before is not None and after is not None and before != after:
            self._views.of[connection.alias] = before, after

    @contextmanager
    def as_ledger(self, alias: str) -> Iterator[None]:
        """In the transaction that is open: find the tables of the run."""
        self._see(alias, 0)
        yield
        self._see(alias, 1)  # not after an error: what is rolled back takes this along

    @contextmanager
    def as_project(self, alias: str) -> Iterator[None]:
        """Inside of `as_ledger()`: find the tables of the project."""
        self._see(alias, 1)
        yield
        self._see(alias, 0)

    def undo(self, connection: BaseDatabaseWrapper) -> None:
        """Set a connection that is somebody else's back to the search path and the role that it had."""
        views = self._views.of.pop(connection.alias, None)
        if views is not None:
            with connection.cursor() as cursor:
                cursor.execute(_SET, views[0])

    def _see(self, alias: str, which: int) -> None:
        if alias in self._views.of:
            _see(alias, self._views.of[alias][which])


class SetByItem:
    """Stands in for a preparation where there is none: an item may set search path and role in its transaction.

    Its own rows go where it looks, those of the run to where its connection looked before.
    """

    def __init__(self) -> None:
        self._views = _Views()

    @contextmanager
    def as_ledger(self, alias: str) -> Iterator[None]:
        """In the transaction that is open: find the tables of the run."""
        before = view_before(alias)
        if before is None:
            yield
            return
        self._views.of[alias] = before, view_of(connections[alias])
        try:
            _see(alias, before)
            yield
        finally:
            del self._views.of[alias]

    @contextmanager
    def as_project(self, alias: str) -> Iterator[None]:
        """Inside of `as_ledger()`: find those that the item finds."""
        views = self._views.of.get(alias)
        if views is not None:
            _see(alias, views[1])
        yield
        if views is not None:
            _see(alias, views[0])


class Tenant:
    """The tenant of a connection whose backend knows tenants, as django-tenants does."""

    def __init__(self, connection: BaseDatabaseWrapper) -> None:
        self.tenant = getattr(connection, "tenant", None)
        self.schema_name = cast("Any", connection).schema_name

    def give_to(self, connection: Any) -> None:
        """Have another connection work for this tenant."""
        if self.tenant is not None and hasattr(connection, "set_tenant"):
            connection.set_tenant(self.tenant)
        else:
            connection.set_schema(self.schema_name)


class Tenants:
    """The tenants that the caller's connections work for, by alias: to be made on the caller's thread. Mostly none."""

    def __init__(self) -> None:
        self._tenants = {one.alias: Tenant(one) for one in connections.all() if getattr(one, "schema_name", None)}

    def __bool__(self) -> bool:
        return bool(self._tenants)

    def give_to(self, connection: BaseDatabaseWrapper) -> None:
        """Have a connection of the run work for the tenant of the caller's."""
        if connection.alias in self._tenants:
            self._tenants[connection.alias].give_to(connection)


def _see(alias: str, view: View) -> None:
    with connections[alias].cursor() as cursor:
        cursor.execute(_SET_LOCAL, view)


def _view(connection: BaseDatabaseWrapper) -> View | None:
    if connection.vendor != "postgresql":
        return None
    return view_of(connection)
