"""A run for a worker: its row first, with the caller's transaction, then a message that has its number."""

from __future__ import annotations

import logging
from dataclasses import fields, replace
from functools import partial
from typing import Any

from django.db import transaction

from async_commander.command.arguments import REQUIRED, Argument
from async_commander.command.base import AsyncCommand
from async_commander.command.declaration import declaration_of
from async_commander.command.registry import find_command
from async_commander.exceptions import CommandNotFound, InvalidCommand
from async_commander.history import runs
from async_commander.history.lease import database_now
from async_commander.models import Run
from async_commander.results import RunStatus
from async_commander.runner.plan import Plan
from async_commander.runner.request import RunRequest
from async_commander.text.redactor import HIDDEN

from .engine import Engine
from .handle import RunHandle

logger = logging.getLogger("async_commander.queues")

ASKED = ("run_dependencies", "refresh_cache", "yes", "ask", "grace", "verbosity", "lease_seconds")
"""What is asked of a run beside the options that every run's row keeps, and that its worker is told."""
_HERE_ONLY = {
    "stdout": "what it writes is kept in its row",
    "stderr": "what it writes is kept in its row",
}


def enqueue(plan: Plan, engine: Engine) -> RunHandle:
    """Write the row of a queued run, and have it sent. See `doors.dispatch`."""
    check_sendable(plan)
    alias, asked = plan.alias, asked_of(plan.request)
    handle = RunHandle(0, alias, is_committed=False)

    def committed() -> None:
        handle.is_committed = True

    with transaction.atomic(using=alias):
        opening = replace(plan.opening, identity=runs.known_identity(alias, plan.opening))
        run = runs.add(
            alias,
            opening,
            status=RunStatus.QUEUED.value,
            limits=opening.limits,
            engine=engine.name,
            asked=asked,
            started=database_now(alias),
        )
        if not engine.has_messages:
            pass
        elif engine.sends_within(alias):
            engine.send(run.pk, database=alias)
            Run.objects.using(alias).filter(pk=run.pk).update(sent=run.started)
        else:
            transaction.on_commit(partial(send_again, run.pk, engine, alias), using=alias)
        handle.run_id = run.pk
        transaction.on_commit(committed, using=alias)
    return handle


def send_again(run_id: int, engine: Engine, alias: str) -> bool:
    """Send a queued run to a worker. False where the queue could not be reached: then it is sent later."""
    try:
        engine.send(run_id, database=alias)
    except Exception as error:  # noqa: BLE001 - whatever a queue's client raises
        logger.error(  # noqa: TRY400 - a broker that is away is worth one line
            "Run %s is queued, and no worker could be told of it: %s: %s. A worker that looks for such runs finds it; "
            "`manage.py aruns requeue` sends it again.",
            run_id,
            type(error).__name__,
            error,
        )
        return False
    Run.objects.using(alias).filter(pk=run_id, status=RunStatus.QUEUED.value).update(sent=database_now(alias))
    return True


def asked_of(request: RunRequest) -> dict[str, Any]:
    """What a worker is told of a request beside what the run's own columns keep."""
    absent = {field.name: field.default for field in fields(RunRequest)}
    asked = {name: getattr(request, name) for name in ASKED}
    return {
        "limits": {name: getattr(request.limits, name) for name in request.limits.given},
        **{name: value for name, value in asked.items() if value != absent[name]},
    }


def check_sendable(plan: Plan) -> None:
    """InvalidCommand for a run that a worker could not carry as it is asked for."""
    cls, request = type(plan.command), plan.request
    try:
        found = find_command(plan.name)
    except CommandNotFound:
        found = None
    if found is None:
        raise InvalidCommand(
            f"{plan.name} is in no commands folder of an installed app, where a worker could find it: move it there."
        )
    if cls.always_on:
        raise InvalidCommand(
            f"{plan.name} is always on, and would hold a worker for ever: run it by `manage.py abots`."
        )
    going_on = [name for name in ("resume", "resume_run") if getattr(request, name)]
    if going_on:
        raise InvalidCommand(
            f"{going_on[0]} goes on with a run that was, and a worker is sent new ones: `manage.py aruns requeue ID` "
            "sends that one."
        )
    for name, why in _HERE_ONLY.items():
        if getattr(request, name) is not None:
            raise InvalidCommand(f"{name}=… cannot reach a run in another process: leave it out, {why}.")
    known = declaration_of(cls).arguments
    for name, stored in {**plan.opening.parameters, **plan.opening.options}.items():
        if HIDDEN in str(stored) and not (name in known and _comes_by_environment(plan.command, known[name])):
            variable = known[name].option.env if name in known else None
            told = f"{name} has a secret in it, which no queued run keeps, so that its worker would not have it."
            if variable is None:
                told += ' Declare it with Option(env="…"), and set that variable where the workers run.'
            else:
                told += f" Leave it out, and set the environment variable {variable} here and where the workers run."
            raise InvalidCommand(told)


def _comes_by_environment(command: AsyncCommand, argument: Argument) -> bool:
    """Whether a worker has a secret from its own environment. What ours says must not be something else."""
    if argument.option.env is None or not argument.secret:
        return False
    here = argument.from_env()
    ours = argument.default if here is REQUIRED else argument.accept_text(here)
    return bool(getattr(command, argument.name) == ours)
