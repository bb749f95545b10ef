"""What the tests have done in processes of the pool."""

from __future__ import annotations

from django.db import connection


def query() -> tuple[bool, int]:
    """Whether a connection was open already, and the number of its server process (0 where there is none)."""
    was_open = connection.connection is not None
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_backend_pid()" if connection.vendor == "postgresql" else "SELECT 0")
        return was_open, int(cursor.fetchone()[0])
