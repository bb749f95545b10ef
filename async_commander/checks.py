"""System checks, numbered: what would go wrong later is said before anything runs."""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

from django.apps import AppConfig
from django.conf import settings as django_settings
from django.core.checks import CheckMessage, Error, register
from django.core.checks import Warning as Caution
from django.core.exceptions import ImproperlyConfigured
from django.core.files.storage import storages
from django.db import connections, router
from django.utils.module_loading import import_string

from async_commander.command.annotations import label_of
from async_commander.command.base import AsyncCommand
from async_commander.command.declaration import declaration_of, idle_names
from async_commander.command.needs import check_dependency, circles_in, graph_of
from async_commander.command.parser import check_parser
from async_commander.command.registry import CommandFile, find_clashes, get_commands, get_runnable, load_command
from async_commander.conf import NAME, Settings, get_settings
from async_commander.database.connections import keeps_one_snapshot
from async_commander.downloads import descriptors
from async_commander.engine.limits import Limits
from async_commander.exceptions import AsyncCommanderError, InvalidCommand
from async_commander.models import Run

TAG = "async_commander"
PATIENCE_SECONDS = 20
_CLASH = "async_commander.E004"
SPARE_CONNECTIONS = 8
"""Beside the lanes: the writer, the heartbeat, the hooks that belong to no item, and the leases of cached methods."""


@register(TAG)
def check_settings(app_configs: Sequence[AppConfig] | None, **_: Any) -> list[CheckMessage]:
    """E001: ASYNC_COMMANDER cannot be used as it is written. The other checks wait until it can."""
    del app_configs
    try:
        settings = get_settings()
        Limits(**settings.limits)
        get_commands()
        # Imported where they are needed: every manage.py loads this module at its start, and these load httpx and more.
        if settings.internal_hosts:
            from async_commander.downloads.guard import AddressGuard

            AddressGuard.of(settings.internal_hosts)
        if settings.cache:
            from async_commander.cache.store import open_store

            open_store()
        if settings.uploads:
            storages[settings.uploads]
        if settings.engine != Settings().engine:
            from async_commander.queues.engine import engine_of

            engine_of()
        if settings.prepare_connection and not callable(import_string(settings.prepare_connection)):
            raise ImproperlyConfigured(f"{settings.prepare_connection!r} is no function of a connection")
    except (ImportError, ImproperlyConfigured, InvalidCommand, TypeError, ValueError) as error:
        told = str(error)
        return [Error(told if told.startswith(NAME) else f"{NAME}: {told}", id="async_commander.E001")]
    return []


_for_a_run: ContextVar[bool] = ContextVar("async_commander_for_a_run", default=False)


@contextmanager
def checks_for_a_run() -> Iterator[None]:
    """For the block, checks say nothing of command names that clash: these do not stand in the way of a run."""
    token = _for_a_run.set(True)
    try:
        yield
    finally:
        _for_a_run.reset(token)


@register(TAG)
def check_names(app_configs: Sequence[AppConfig] | None, **_: Any) -> list[CheckMessage]:
    """E002: two files of one app give one command name, and nothing distinguishes them.
    E004: files of two apps give one command name.

    They break that name only, so that they do not stop the runs of commands.
    """
    if _for_a_run.get() or check_settings(app_configs):
        return []
    return [_clash(name, files) for name, files in find_clashes().items()]


def _clash(name: str, files: Sequence[CommandFile]) -> CheckMessage:
    told = f"The command name {name!r} is given by {len(files)} files: {', '.join(str(file.path) for file in files)}."
    full_names = {file.full_name for file in files}
    if len(full_names) < len(files):
        return Error(told, hint="Rename all but one of the files in each app.", id="async_commander.E002")
    hint = (
        f"Rename all but one of them. As long as they stay, {' and '.join(sorted(full_names))} run them, and {name!r} "
        f'alone runs none; where the apps are others\', put "{_CLASH}" into SILENCED_SYSTEM_CHECKS.'
    )
    return Error(told, hint=hint, id=_CLASH)


@register(TAG)
def check_sqlite(app_configs: Sequence[AppConfig] | None, **_: Any) -> list[CheckMessage]:
    """W001: SQLite would answer "database is locked" where several lanes or processes write."""
    del app_configs
    alias = router.db_for_write(Run)
    options = connections[alias].settings_dict["OPTIONS"]
    if connections[alias].vendor != "sqlite":
        return []
    wishes = {
        '"transaction_mode": "IMMEDIATE"': str(options.get("transaction_mode", "")).upper() == "IMMEDIATE",
        f'"timeout": {PATIENCE_SECONDS}': float(options.get("timeout", 5)) >= PATIENCE_SECONDS,
        '"init_command": "PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL;"': (
            "journal_mode=wal" in str(options.get("init_command", "")).lower().replace(" ", "")
        ),
    }
    missing = [line for line, is_there in wishes.items() if not is_there]
    if not missing:
        return []
    return [
        Caution(
            f"The SQLite database {alias!r} is not set up for concurrent writers.",
            hint=f"Add to DATABASES[{alias!r}]['OPTIONS']: {', '.join(missing)}.",
            id="async_commander.W001",
        )
    ]


@register(TAG)
def check_pool(app_configs: Sequence[AppConfig] | None, **_: Any) -> list[CheckMessage]:
    """W002: the connection pool is smaller than what one run may hold."""
    if check_settings(app_configs):
        return []
    alias = router.db_for_write(Run)
    pool = connections[alias].settings_dict["OPTIONS"].get("pool")
    if not pool:
        return []
    largest = (pool if isinstance(pool, dict) else {}).get("max_size", 4)
    needed = Limits.layered(Limits(**get_settings().limits)).db_lanes + SPARE_CONNECTIONS
    if largest is None or largest >= needed:
        return []
    return [
        Caution(
            f"The connection pool of {alias!r} has max_size={largest}; one run may hold {needed} connections.",
            hint=f'Set "max_size" to {needed} or more, or fewer `db_lanes` in ASYNC_COMMANDER["LIMITS"].',
            id="async_commander.W002",
        )
    ]


@register(TAG)
def check_isolation(app_configs: Sequence[AppConfig] | None, **_: Any) -> list[CheckMessage]:
    """W004: PostgreSQL is to keep one snapshot for each transaction, and the transactions of items keep none."""
    del app_configs
    alias = router.db_for_write(Run)
    level = connections[alias].settings_dict["OPTIONS"].get("isolation_level")
    if not keeps_one_snapshot(connections[alias], level):
        return []
    return [
        Caution(
            f"DATABASES[{alias!r}]['OPTIONS'] has an isolation_level above READ COMMITTED. The transactions of items "
            "are READ COMMITTED all the same: they all change the counts of their run.",
            hint="Where items meet on a row that they read and then change, read it with select_for_update(). If that "
            'is done, put "async_commander.W004" into SILENCED_SYSTEM_CHECKS.',
            id="async_commander.W004",
        )
    ]


@register(TAG)
def check_admins(app_configs: Sequence[AppConfig] | None, **_: Any) -> list[CheckMessage]:
    """W007: runs that fail are to be mailed to ADMINS, and there are none."""
    if check_settings(app_configs) or django_settings.ADMINS or not get_settings().mail_admins:
        return []
    return [
        Caution(
            f"{NAME}['MAIL_ADMINS'] is True, and ADMINS is empty: nobody gets a mail for a run that fails.",
            hint="Name somebody in ADMINS, or leave MAIL_ADMINS out.",
            id="async_commander.W007",
        )
    ]


@register(TAG)
def check_descriptors(app_configs: Sequence[AppConfig] | None, **_: Any) -> list[CheckMessage]:
    """W005: the process may not open a connection for each download at once; so also for each command."""
    if check_settings(app_configs):
        return []
    return list(_short_of_descriptors(Limits(**get_settings().limits), "ASYNC_COMMANDER['LIMITS']"))


def _short_of_descriptors(limits: Limits, whose: str) -> Iterator[CheckMessage]:
    threads, allowed = Limits.layered(limits).threads, descriptors.soft_limit()
    if allowed is not None and allowed < descriptors.needed(threads):
        yield Caution(
            f"{whose}: threads={threads} needs {descriptors.needed(threads)} file descriptors, and a process may have "
            f"{allowed} here (ulimit -n). Runs go on with fewer downloads at once.",
            hint=f"Raise the soft limit: ulimit -n {descriptors.needed(threads)}, or LimitNOFILE= of systemd. Or lower "
            "`threads`.",
            id="async_commander.W005",
        )


@register(TAG)
def check_commands(app_configs: Sequence[AppConfig] | None, **_: Any) -> list[CheckMessage]:
    """E003: a command's file cannot be imported, or its class cannot be used. W006: a name in a command is misspelt.
    E005: a command depends on what does not exist. E006: commands depend on one another in a circle.

    Imports every command, and so only where this tag was asked for: not before each `migrate` and `runserver`.
    """
    # Django does not say which tags were asked for. Its `run_checks()`, which calls this, knows.
    frame = inspect.currentframe()
    asked_for = frame.f_back.f_locals.get("tags") if frame and frame.f_back else None
    if TAG not in (asked_for or ()) or check_settings(app_configs):
        return []
    return list(broken_commands())


def broken_commands() -> Iterator[CheckMessage]:
    """One message for each command that cannot be used, or not as it is meant."""
    usable: list[type[AsyncCommand]] = []
    for name, file in get_runnable().items():
        try:
            command_class = load_command(file)
            declaration_of(command_class)
            check_parser(command_class)
        except AsyncCommanderError as error:
            yield Error(str(error), obj=name, id="async_commander.E003")
            continue
        usable.append(command_class)
        for dependency in declaration_of(command_class).dependencies:
            try:
                check_dependency(command_class, dependency)
            except InvalidCommand as error:
                yield Error(str(error), obj=name, id="async_commander.E005")
        if "threads" in command_class.limits.given:
            yield from _short_of_descriptors(command_class.limits, name)
        for owner, found, meant in idle_names(command_class):
            yield Caution(
                f"{label_of(owner)}.{found} is not used by a run; did you mean {meant}?",
                hint=f"Rename it. Where it is a helper or a constant of your own, begin its name with _ (`_{found}`).",
                obj=name,
                id="async_commander.W006",
            )
    for circle in circles_in(graph_of(usable)):
        yield Error(
            f"These commands depend on one another in a circle: {' → '.join(circle)}. None of them can be run first.",
            hint="Take one of them out of the `dependencies` of another one.",
            obj=circle[0],
            id="async_commander.E006",
        )
