"""What the old packages have recorded, as runs: so that what ran once is skipped, and dependencies are met."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from django.db import connections, router, transaction
from django.utils import timezone

from async_commander.command.identity import identity
from async_commander.exceptions import InvalidCommand
from async_commander.history.tracking import NAME_LENGTH, kept_values, plain_identity, redactor_of_values
from async_commander.models import Run
from async_commander.results import RunStatus

TRIGGER = "import"
_EXECUTIONS = "SELECT * FROM django_managed_commands_commandexecution ORDER BY executed_at, id"
_LOGS = """
SELECT c.name, c.parameters, l.start_time, l.end_time, l.options, l.error IS NOT NULL AS failed
FROM django_commander_commandlog l JOIN django_commander_command c ON c.id = l.command_id
WHERE l.end_time IS NOT NULL OR l.error IS NOT NULL ORDER BY l.id
"""


def import_executions(*, using: str | None = None) -> int:
    """The executions of django-managed-commands as runs; returns how many. A second call does nothing.

    What was to run once, and whose newest execution says that it has, is skipped from then on.
    """
    return _imported("django_managed_commands_commandexecution", _execution, _EXECUTIONS, using)


def import_command_logs(*, using: str | None = None) -> int:
    """The logs of django_commander as runs; returns how many. A second call does nothing.

    Those that say neither an end nor an error are left out: whatever they were, they are not running. What an error was
    is pickled in there, and is not read.
    """
    return _imported("django_commander_commandlog", _log, _LOGS, using)


def _imported(table: str, run_of: Callable[[Mapping[str, Any]], Run], statement: str, using: str | None) -> int:
    alias = using or router.db_for_write(Run)
    connection = connections[alias]
    if table not in connection.introspection.table_names():
        raise InvalidCommand(f"The database {alias!r} has no table {table}: there is nothing to import.")
    with transaction.atomic(using=alias):
        if Run.objects.using(alias).filter(trigger=TRIGGER, host=table).exists():
            return 0
        runs = [run_of(row) for row in _rows(connection, statement)]
        newest = {run.command: run for run in runs}
        taken = set(Run.objects.using(alias).exclude(once_key=None).values_list("once_key", flat=True))
        for run in runs:
            run.host = table
            if run.once_key is not None and (newest[run.command] is not run or run.once_key in taken):
                run.once_key = None
        Run.objects.using(alias).bulk_create(runs, batch_size=500)
    return len(runs)


def _rows(connection: Any, statement: str) -> Iterator[dict[str, Any]]:
    with connection.cursor() as cursor:
        cursor.execute(statement)
        names = [column[0] for column in cursor.description]
        for row in cursor.fetchall():
            yield dict(zip(names, row, strict=True))


def _execution(row: Mapping[str, Any]) -> Run:
    success, once = bool(row["success"]), bool(row["run_once"])
    finished, name = _moment(row["executed_at"]), _name(row["command_name"])  # that package writes it at the end
    return _run(
        name,
        plain_identity(name),
        _json(row["parameters"]),
        success=success,
        started=finished - timedelta(seconds=row["duration"] or 0),
        finished=finished,
        options={"run_once": True} if once else {},
        once_key=plain_identity(name) if success and once else None,
        output=row["output"],
        error=row["error_message"],
    )


def _log(row: Mapping[str, Any]) -> Run:
    name, parameters, started = _name(row["name"]), _json(row["parameters"]), _moment(row["start_time"])
    return _run(
        name,
        identity(name, parameters),
        parameters,
        success=not row["failed"],
        started=started,
        finished=_moment(row["end_time"]) if row["end_time"] else started,
        options=_json(row["options"]),
        error="failed, as django_commander recorded it" if row["failed"] else "",
    )


def _run(name: str, known_by: str, parameters: dict[str, Any], *, success: bool, **columns: Any) -> Run:
    redact = redactor_of_values(parameters)
    return Run(
        command=name,
        identity=known_by,
        parameters=kept_values(parameters, redact),
        status=(RunStatus.SUCCEEDED if success else RunStatus.FAILED).value,
        trigger=TRIGGER,
        **columns,
    )


def _name(name: str) -> str:
    return name[:NAME_LENGTH]


def _json(value: Any) -> dict[str, Any]:
    found = json.loads(value) if isinstance(value, str) else value
    return found if isinstance(found, dict) else {}


def _moment(value: Any) -> datetime:
    """A column's value as Django has it; SQLite gives a text, and only PostgreSQL knows of time zones."""
    moment = datetime.fromisoformat(value) if isinstance(value, str) else value
    return moment.replace(tzinfo=UTC) if timezone.is_naive(moment) else moment
