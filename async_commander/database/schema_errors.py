"""Errors of a database that has not what the models say: the same for every item, and no retry helps."""

from __future__ import annotations

from django.db import DatabaseError

from async_commander.text.tracebacks import causes

_STATES = ("42P01", "42703")  # undefined table, undefined column
_MYSQL = {1054, 1146}
_SQLITE = ("no such table: ", "no such column: ", " has no column named ")


def lacks_schema(error: BaseException | None) -> bool:
    """Whether a table or a column is not there, which `manage.py migrate` would have made."""
    if not isinstance(error, DatabaseError):
        return False
    for link in causes(error):
        state, number = getattr(link, "sqlstate", None), link.args[0] if link.args else None
        if state in _STATES or (state is None and isinstance(number, int) and number in _MYSQL):
            return True
        if getattr(link, "sqlite_errorcode", None) == 1 and any(words in str(link) for words in _SQLITE):
            return True
    return False
