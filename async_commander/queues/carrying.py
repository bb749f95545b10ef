"""What every worker does with a message: carry the run that it is about, if that needs somebody."""

from __future__ import annotations

import logging
from contextlib import nullcontext
from dataclasses import dataclass, replace
from typing import Any

from asgiref.sync import sync_to_async
from django.db import connections, router

from async_commander.command.base import AsyncCommand, check_made
from async_commander.command.declaration import declaration_of
from async_commander.command.options import REQUESTS
from async_commander.command.registry import get_command
from async_commander.engine.limits import Limits
from async_commander.exceptions import AsyncCommanderError, CommandNotFound, InvalidCommand, MissingDependency
from async_commander.history.lease import LEASE_SECONDS, database_now, owner_of
from async_commander.history.runs import is_orphan, mark_crashed
from async_commander.history.telling import tell_ended_later
from async_commander.models import Run
from async_commander.results import AT_WORK, NOT_OVER, RunResult, RunStatus
from async_commander.runner.entry import drive_from_call, drive_on_loop
from async_commander.runner.plan import stored_arguments
from async_commander.runner.reporting import Reporter, Silent
from async_commander.runner.request import STORED, RunRequest
from async_commander.runner.signals import StopRequests, open_run, served_runs

from .engine import Engine, engine_of
from .rescue import look_after
from .sending import send_again

logger = logging.getLogger("async_commander.queues")

UNUSABLE = (CommandNotFound, InvalidCommand, MissingDependency)
"""What is wrong with the request, and is so for each worker of this code."""
LONGEST_WATCH = 300.0


@dataclass(frozen=True, slots=True)
class Load:
    """A queued run, ready to be begun."""

    run_id: int
    alias: str
    command: AsyncCommand
    request: RunRequest
    engine: Engine | None
    """Which sends it, where messages do."""


def carry(run_id: int, *, database: str | None = None) -> RunResult | None:
    """Carry a queued run to its end, from synchronous code, and return how it ended.

    None where it needs nobody: it has ended, was cancelled, is in the hands of a worker that lives, or is not there at
    all. So a message may come as often as it likes. A run whose worker is gone is gone on with.

    A run that cannot be begun as it is asked for (its command is unknown to this process, an argument is gone, a
    dependency is lacking) ends as *failed*, and its row says why. Where SIGTERM stops this process, the run stops in
    order and waits in its queue again.

    Raises the database's errors, and AsyncCommanderError where it cannot be reached: then the message is to be sent
    again.
    """
    load = _loaded(run_id, database)
    if load is None:
        return None
    stops = StopRequests()
    under_way.add(stops)
    try:
        with served_runs.heard_by(stops) if open_run.get() is None else nullcontext():
            result = drive_from_call(load.command, load.request, Silent(), stops=stops)
    except UNUSABLE as error:
        end_as_failed(load.run_id, load.alias, error)
        return None
    finally:
        under_way.discard(stops)
    return _settled(load, result)


under_way: set[StopRequests] = set()
"""Of the runs that `carry()` has in hand in this process."""


def stop_all() -> None:
    """Ask all of them to stop in order, and to wait in their queue for another worker. From any thread, or a signal."""
    for stops in tuple(under_way):
        stops.ask_up_to(1)


async def acarry(
    run_id: int,
    *,
    database: str | None = None,
    reporter: Reporter | None = None,
    stops: StopRequests | None = None,
) -> RunResult | None:
    """The same on a running event loop. A cancel of the caller stops the run in order; it waits in its queue again.

    So does whoever asks `stops`, in the place of SIGTERM.
    """
    load = await sync_to_async(_loaded)(run_id, database)
    if load is None:
        return None
    try:
        result = await drive_on_loop(load.command, load.request, reporter or Silent(), stops=stops)
    except UNUSABLE as error:
        await sync_to_async(end_as_failed)(load.run_id, load.alias, error)
        return None
    return await sync_to_async(_settled)(load, result)


def _loaded(run_id: Any, database: Any) -> Load | None:
    """The run of a message, made ready; None where it needs nobody, or has failed by that."""
    alias = database or router.db_for_write(Run)
    _renew(alias)
    look_after(alias)
    run = Run.objects.using(alias).filter(pk=run_id).first() if type(run_id) is int else None
    if run is None:
        logger.error("A message names the run %.80r, which is not there: nothing was done.", run_id)
        return None
    if run.status in AT_WORK and is_orphan(alias, run):
        mark_crashed(alias, run)
        run.refresh_from_db(using=alias)
    engine = _engine_of(run)
    if engine is not None and engine.can_delay() and run.status in NOT_OVER:
        _watch(run, engine, alias)
    if run.status != RunStatus.QUEUED.value:
        owner = f" by {owner_of(alias, run.pk)}" if run.status in AT_WORK else ""
        logger.info("Run %s of %s is %s%s: nothing is to be done.", run.pk, run.command, run.status, owner)
        return None
    if engine is not None:
        # The message is used up: should this worker die before it has begun, the next one that looks sends it again.
        Run.objects.using(alias).filter(pk=run.pk, status=RunStatus.QUEUED.value).update(sent=None)
    try:
        return Load(run.pk, alias, _command_of(run, alias), _request_of(run, alias), engine)
    except (AsyncCommanderError, TypeError, ValueError) as error:
        end_as_failed(run.pk, alias, error)
        return None


def _command_of(run: Run, alias: str) -> AsyncCommand:
    """The command of a run with its arguments. InvalidCommand, CommandNotFound, TypeError where this code lacks it."""
    cls = get_command(run.command)
    declared = declaration_of(cls).names
    gone = [name for name in {**run.parameters, **run.options} if name not in declared and name not in REQUESTS]
    if gone:
        raise InvalidCommand(
            f"{run.command} has no argument {' and no '.join(gone)} in this worker, and the run was asked for with it: "
            "its code is not the sender's. Have them run the same release, then send it again."
        )
    stored = stored_arguments(cls, run.pk, alias, ())
    if stored.lacking:
        lacking = " and of ".join(stored.lacking)
        raise InvalidCommand(
            f"No queued run keeps the value of {lacking}: set its environment variable, which the argument names by "
            "Option(env=…), where the workers run."
        )
    command = cls(**stored.values)
    check_made(command)
    return command


def _request_of(run: Run, alias: str) -> RunRequest:
    asked = {name: value for name, value in run.asked.items() if name in REQUESTS}
    kept = {name: value for name, value in run.options.items() if name in STORED}
    return RunRequest(
        limits=Limits(**run.asked.get("limits", {})),
        **kept,
        **asked,
        queued=run.pk,
        database=alias,
        trigger=run.trigger,
        user=run.user,
        test=run.testing,
        dry_run=run.dry_run,
        wait=True,  # for its turn: the message is not sent again for that
    )


def _engine_of(run: Run) -> Engine | None:
    try:
        engine = engine_of(run.engine) if run.engine else None
    except InvalidCommand as error:
        logger.warning("Run %s came from a queue that this process does not have. %s", run.pk, error)
        return None
    return engine if engine is not None and engine.has_messages else None


def _watch(run: Run, engine: Engine, alias: str) -> None:
    """Have the queue look at this run again, should its worker not live until then. Rarer the longer it has lasted."""
    lease = float(run.asked.get("lease_seconds", LEASE_SECONDS))
    age = (database_now(alias) - run.started).total_seconds() if run.status in AT_WORK else 0.0
    try:
        engine.send(run.pk, database=alias, delay=max(lease, min(age / 10, LONGEST_WATCH)))
    except Exception as error:  # noqa: BLE001 - whatever a queue's client raises
        logger.warning("No later look at run %s could be asked for: %s: %s", run.pk, type(error).__name__, error)


def end_as_failed(run_id: int, alias: str, error: Exception) -> None:
    """End a queued run that cannot be begun, and say why in its row."""
    logger.error("Run %s cannot be begun: %s", run_id, error)
    _end(run_id, alias, RunStatus.FAILED, str(error))


def _settled(load: Load, result: RunResult) -> RunResult | None:
    """Tell the row where no run was opened, and another worker where the run waits again."""
    if result.locked:
        logger.info("Run %s: %s", load.run_id, result.error)
        return result if result.run_id is not None else None
    if result.run_id is None:
        _renew(load.alias)
        if result.status is RunStatus.SKIPPED:
            _end(load.run_id, load.alias, RunStatus.SKIPPED, result.reason)
            return replace(result, run_id=load.run_id)
        waiting = Run.objects.using(load.alias).filter(pk=load.run_id, status=RunStatus.QUEUED.value)
        waiting.update(sent=None)  # it was to stop before it began
    if (load.engine is not None) and (result.run_id is None or result.status is RunStatus.QUEUED):
        send_again(load.run_id, load.engine, load.alias)
    return result


def _renew(alias: str) -> None:
    """A worker lives for long: a connection that the server has closed since, or is older than CONN_MAX_AGE, goes."""
    connection = connections[alias]
    if not connection.in_atomic_block:
        connection.close_if_unusable_or_obsolete()


def _end(run_id: int, alias: str, status: RunStatus, told: str) -> None:
    waiting = Run.objects.using(alias).filter(pk=run_id, status=RunStatus.QUEUED.value)
    ended = waiting.update(status=status.value, finished=database_now(alias), error=told, once_key=None)
    if ended and status is RunStatus.FAILED:  # who was skipped was told of by its run
        tell_ended_later(alias, run_id)
