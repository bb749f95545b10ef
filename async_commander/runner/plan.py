"""Everything that is settled about a run before it begins."""

from __future__ import annotations

import getpass
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any

from django.db import connections, router

from async_commander.command.arguments import arguments_of, to_json
from async_commander.command.base import AsyncCommand
from async_commander.command.identity import identity
from async_commander.command.redaction import is_secret_name, redacted_text, redacted_value
from async_commander.command.registry import name_of
from async_commander.command.values import plain_json
from async_commander.conf import get_settings
from async_commander.database.missing import lacks_schema
from async_commander.engine.limits import Limits
from async_commander.exceptions import AsyncCommanderError, InvalidCommand
from async_commander.history.recorder import Opening, Recorder
from async_commander.models import Run

from .request import RunRequest


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """A command with all that was decided about its run. `secrets` are values to keep out of every text."""

    command: AsyncCommand
    name: str
    alias: str
    limits: Limits
    request: RunRequest
    opening: Opening
    shared: bool
    recorder: Recorder | None = None
    secrets: tuple[object, ...] = field(default=(), repr=False)


def database_of(request: RunRequest) -> str:
    """The alias of the database that a run is recorded in. InvalidCommand where it is not configured."""
    alias = request.database or router.db_for_write(Run)
    if alias not in connections:
        raise InvalidCommand(f"There is no database {alias!r}; DATABASES has {', '.join(connections)}.")
    return alias


def make_plan(
    command: AsyncCommand,
    request: RunRequest,
    *,
    shared: bool,
    recorder: Recorder | None = None,
    processes: int | None = None,
) -> Plan:
    """Settle everything about a run. `processes` is the pool's size where no layer of limits gives one.

    Raises InvalidCommand for whatever cannot be used, before anything is begun.
    """
    cls = type(command)
    name = name_of(cls)
    parameters = to_json(cls, command.parameters)
    options = {**request.stored_options(), **_own_options(command)}
    declared = arguments_of(cls)
    limits = layered_limits(cls, request, processes)
    return Plan(
        command=command,
        name=name,
        alias=database_of(request),
        limits=limits,
        request=request,
        shared=shared,
        recorder=recorder,
        secrets=tuple(secrets_of(command)),
        opening=Opening(
            command=name,
            identity=identity(name, parameters),
            parameters=redacted_value(parameters, redacted_text, shown=declared),
            options=redacted_value(plain_json(options), redacted_text, shown=declared),
            limits={bound: getattr(limits, bound) for bound in Limits.__annotations__},
            trigger=request.trigger,
            user=request.user or _login(request),
            resume=request.resume,
            resume_run=request.resume_run,
        ),
    )


def as_before(plan: Plan, stored: dict[str, Any]) -> Plan:
    """The plan of a resumed run: what was asked of it the first time applies, but for limits and progress."""
    request = replace(plan.request, force=bool(stored.get("force")))
    return replace(plan, request=request, opening=replace(plan.opening, options=stored))


def layered_limits(cls: type[AsyncCommand], request: RunRequest, processes: int | None = None) -> Limits:
    """The bounds of a run: this call's, the class's, the settings', the defaults."""
    try:
        settings = Limits(**get_settings().limits)
    except (TypeError, ValueError) as error:
        raise InvalidCommand(f"ASYNC_COMMANDER['LIMITS']: {error}") from error
    fallback = None if processes is None else Limits(processes=processes)
    return Limits.layered(request.limits, cls.limits, settings, fallback)


def _own_options(command: AsyncCommand) -> dict[str, Any]:
    cls, known = type(command), arguments_of(type(command))
    extra = {name: value for name, value in command.options.items() if name not in known}
    return {**extra, **to_json(cls, command.options)}


def secrets_of(command: AsyncCommand) -> Iterator[object]:
    """The values to keep out of every text; none of them is in the identity."""
    known = arguments_of(type(command))
    for name, value in command.options.items():
        if known[name].secret if name in known else is_secret_name(name):
            yield from value if isinstance(value, list | tuple) else (value,)


def _login(request: RunRequest) -> str:
    if request.trigger != "terminal":
        return ""
    try:
        return getpass.getuser()
    except (OSError, KeyError):
        return ""


def missing_tables(error: BaseException, alias: str) -> AsyncCommanderError | None:
    """The remedy, where the reason for a database error is that the migrations were not run."""
    if not lacks_schema(error) or "async_commander_" not in str(error).lower():
        return None
    option = "" if alias == "default" else f" --database {alias}"
    return InvalidCommand(
        f"The database {alias!r} lacks the tables of async_commander ({error}). "
        f"Run `manage.py migrate async_commander{option}` first."
    )
