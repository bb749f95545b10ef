"""Errors of a database that has not what the models say: the same for every item, and no retry helps."""

from __future__ import annotations

from typing import TYPE_CHECKING

from django.db import DatabaseError

if TYPE_CHECKING:
    from collections.abc import Iterator

_STATES = ("42P01", "42703")  # undefined table, undefined column
_MYSQL = {1054, 1146}
_SQLITE = ("no such table: ", "no such column: ", " has no column named ")


def lacks_schema(error: BaseException) -> bool:
    """Whether a table or a column is not there, which `manage.py migrate` would have made."""
    return isinstance(error, DatabaseError) and any(map(_tells_of_it, _with_causes(error)))


def _with_causes(error: BaseException) -> Iterator[BaseException]:
    one: BaseException | None = error
    while one is not None:
        yield one
        one = one.__cause__


def _tells_of_it(error: BaseException) -> bool:
    state = getattr(error, "sqlstate", None)
    if state is not None:
        return state in _STATES
    number = error.args[0] if error.args else None
    if isinstance(number, int):
        return number in _MYSQL
    return getattr(error, "sqlite_errorcode", None) == 1 and any(words in str(error) for words in _SQLITE)
