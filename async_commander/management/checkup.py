"""What `arun --check` looks at beside the commands: a line for each thing that has to be there for a run."""

from __future__ import annotations

import re
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, requires, version
from secrets import token_hex
from typing import NamedTuple

from django.core.files.base import ContentFile
from django.core.files.storage import storages
from django.db import DatabaseError, connections, router
from django.db.migrations.exceptions import InconsistentMigrationHistory
from django.db.migrations.executor import MigrationExecutor

from async_commander.cache.store import make_default
from async_commander.checks import check_settings
from async_commander.conf import get_settings
from async_commander.exceptions import AsyncCommanderError
from async_commander.models import Run

PACKAGE = "async-commander"
_EXTRA = re.compile(r"(?P<package>[\w.-]+).*extra == ['\"](?P<extra>[\w-]+)['\"]")
OK, FAILED, ABSENT = "OK", "FAILED", "—"


class Line(NamedTuple):
    """One thing that was looked at: `outcome` is OK, FAILED, or — for what is not there and need not be."""

    outcome: str
    what: str
    text: str

    def __str__(self) -> str:
        return f"{self.outcome:<7} {self.what:<11} {self.text}"


def looked_at() -> Iterator[Line]:
    """Settings, services, migrations, storage and extras, in this order. Where the settings fail, nothing else."""
    if errors := check_settings(None):
        yield from (Line(FAILED, "settings", error.msg) for error in errors)
        return
    yield Line(OK, "settings", "ASYNC_COMMANDER can be used as it is written")
    for alias in connections:
        yield from _database(alias)
    yield _storage()
    yield from _extras()


def _database(alias: str) -> Iterator[Line]:
    connection = connections[alias]
    try:
        connection.ensure_connection()
        number = ".".join(map(str, connection.get_database_version()))
    except DatabaseError as error:
        yield Line(FAILED, "services", f"the database {alias!r} does not answer: {str(error).strip()}")
        return
    yield Line(OK, "services", f"the database {alias!r} answers: {connection.display_name} {number}")
    if alias != router.db_for_write(Run):
        return
    try:
        executor = MigrationExecutor(connection)
        lacking = executor.migration_plan(executor.loader.graph.leaf_nodes())
    except (DatabaseError, InconsistentMigrationHistory) as error:
        yield Line(FAILED, "migrations", str(error).strip())
        return
    apps = sorted({migration.app_label for migration, _ in lacking})
    remedy = f"{len(lacking)} to be applied, of {', '.join(apps)}: manage.py migrate --database {alias}"
    yield Line(FAILED, "migrations", remedy) if lacking else Line(OK, "migrations", f"all are applied to {alias!r}")


def _storage() -> Line:
    """Write, read and remove something where results of cached methods are kept."""
    alias = get_settings().cache
    where = f"STORAGES[{alias!r}]" if alias else "this user's folder on this machine"
    try:
        storage = storages[alias] if alias else make_default()
        name = storage.save(f"async-commander-check-{token_hex(8)}", ContentFile(b"check"))
        with storage.open(name) as file:
            told = file.read()
        storage.delete(name)
    except Exception as error:  # noqa: BLE001 - of whichever storage
        text = str(error) if isinstance(error, AsyncCommanderError) else f"{type(error).__name__}: {error}"
        return Line(FAILED, "storage", f"{where} cannot be used: {text}")
    fits = told == b"check"
    return Line(OK if fits else FAILED, "storage", f"{where} {'keeps' if fits else 'does not keep'} what is put there")


def _extras() -> Iterator[Line]:
    """What the package's own extras need; nothing is missing that no command asks for, so nothing fails here."""
    try:
        found = [match for line in requires(PACKAGE) or () if (match := _EXTRA.match(line))]
    except PackageNotFoundError:
        found = []
    for extra in dict.fromkeys(match["extra"] for match in found):
        packages = dict.fromkeys(match["package"] for match in found if match["extra"] == extra)
        try:
            there = ", ".join(f"{package} {version(package)}" for package in packages)
        except PackageNotFoundError:
            yield Line(ABSENT, "extras", f"{extra} is not installed: pip install '{PACKAGE}[{extra}]'")
        else:
            yield Line(OK, "extras", f"{extra}: {there}")
