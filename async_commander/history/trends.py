"""What the last runs of each command came to; and the names under which runs are recorded, without reading them all."""

from __future__ import annotations

from collections.abc import Collection
from functools import reduce
from operator import or_
from typing import Literal

from django.db import connections
from django.db.models import OuterRef, Q, Subquery

from async_commander.models import Run

EACH = 20
NAMES_LISTED = 200
SHOWN = ("command", "status", "started", "finished", "heartbeat", "taken", "done", "skipped", "dead")


def recent_of(alias: str, runs: Collection[Run], each: int = EACH) -> dict[str, list[Run]]:
    """The last runs of the commands of these ones, the oldest first; two queries, which read no more rows than that.

    Only some columns are read.
    """
    one_each = {run.command: run.pk for run in runs}
    rows = Run.objects.using(alias)
    same = rows.filter(command=OuterRef("command")).order_by("-id").values("pk")
    known = rows.filter(pk__in=one_each.values()).annotate(first=Subquery(same[each - 1 : each]))
    wanted = [Q(command=command, pk__gte=first or 0) for command, first in known.values_list("command", "first")]
    if not wanted:
        return {}
    found: dict[str, list[Run]] = {}
    for run in rows.filter(reduce(or_, wanted)).only(*SHOWN).order_by("pk"):
        found.setdefault(run.command, []).append(run)
    return {command: last[-each:] for command, last in found.items()}


def recorded(alias: str, column: Literal["command", "user"]) -> list[str]:
    """The values of a column of runs, in order; as many looks into its index as there are values, in one query."""
    connection = connections[alias]
    table, name = map(connection.ops.quote_name, (Run._meta.db_table, column))
    statement = (
        f"SELECT name FROM (WITH RECURSIVE names(name) AS (SELECT min({name}) FROM {table} UNION ALL "  # noqa: S608 - ours
        f"SELECT (SELECT min({name}) FROM {table} WHERE {name} > names.name) FROM names WHERE names.name IS NOT NULL) "
        f"SELECT name FROM names WHERE name IS NOT NULL AND name <> '' LIMIT {NAMES_LISTED}) AS found"
    )
    with connection.cursor() as cursor:
        cursor.execute(statement)
        return [row[0] for row in cursor.fetchall()]
