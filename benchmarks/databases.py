"""Which databases can be measured on here, and what a contender's process needs to know to use one."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from .settings import POSTGRES

if TYPE_CHECKING:
    import psycopg

DATABASES = ("sqlite", "postgres")


class NoDatabaseError(Exception):
    """There is no such database server; the message says where it was looked for."""


def environment(database: str, folder: Path) -> dict[str, str]:
    """Environment variables that choose an empty database. NoDatabaseError where PostgreSQL cannot give one."""
    if database == "postgres":
        _create_postgres_database_anew()
    return {"BENCHMARK_DATABASE": database, "BENCHMARK_SQLITE": str(folder / "benchmarks.sqlite3")}


def measured_in_a_process(module: str, database: str, settings: str = "benchmarks.settings") -> None:
    """Run the benchmark of this name again, with the arguments of this process, where an empty database is chosen."""
    with tempfile.TemporaryDirectory(prefix="benchmarks-") as folder:
        chosen = environment(database, Path(folder)) | {"DJANGO_SETTINGS_MODULE": settings}
        line = [sys.executable, "-m", f"benchmarks.{module}", *sys.argv[1:]]
        subprocess.run(line, env=os.environ | chosen, check=True)


def postgres_version() -> str:
    """The server's version. NoDatabaseError if there is none."""
    with _maintenance_connection() as connection:
        number = connection.info.server_version
        return f"PostgreSQL {number // 10000}"


def _create_postgres_database_anew() -> None:
    """The one of an earlier benchmark may have the tables of another release."""
    with _maintenance_connection() as connection:
        from psycopg import errors, sql

        name = sql.Identifier(POSTGRES["NAME"])
        try:
            connection.execute(sql.SQL("DROP DATABASE IF EXISTS {}").format(name))
        except errors.ObjectInUse as error:
            raise NoDatabaseError(f"another benchmark is using the database {POSTGRES['NAME']}") from error
        connection.execute(sql.SQL("CREATE DATABASE {}").format(name))


def _maintenance_connection() -> psycopg.Connection:
    """A connection to the server's own database, from where another one can be created."""
    try:
        import psycopg
    except ImportError as error:
        raise NoDatabaseError("psycopg is not installed, so there is no PostgreSQL") from error
    try:
        return psycopg.connect(
            host=POSTGRES["HOST"],
            port=POSTGRES["PORT"],
            user=POSTGRES["USER"],
            password=POSTGRES["PASSWORD"],
            dbname="postgres",
            autocommit=True,
            connect_timeout=5,
        )
    except psycopg.OperationalError as error:
        raise NoDatabaseError(f"no PostgreSQL at {POSTGRES['HOST']}:{POSTGRES['PORT']}") from error
