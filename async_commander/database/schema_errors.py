"""Errors of a database that has not what the models say: the same for every item, and no retry helps."""

from __future__ import annotations

from django.db import DatabaseError

_STATES = ("42P01", "42703")  # undefined table, undefined column
_MYSQL = {1054, 1146}
_SQLITE = ("no such table: ", "no such column: ", " has no column named ")


def lacks_schema(error: BaseException | None) -> bool:
    """Whether a table or a column is not there, which `manage.py migrate` would have made."""
    if not isinstance(error, DatabaseError):
        return False
    while error is not None:
        state, number = getattr(error, "sqlstate", None), error.args[0] if error.args else None
        if state in _STATES or (state is None and isinstance(number, int) and number in _MYSQL):
            return True
        if getattr(error, "sqlite_errorcode", None) == 1 and any(words in str(error) for words in _SQLITE):
            return True
        error = error.__cause__
    return False
