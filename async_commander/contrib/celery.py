"""Celery, over Redis or RabbitMQ: the task that carries runs, and what its workers do when they begin and end."""

from __future__ import annotations

import logging
import os
import signal
import sys
import threading
from contextlib import suppress
from typing import TYPE_CHECKING, Any, ClassVar

from billiard import active_children
from celery import shared_task, signals
from django.db import DatabaseError, router, transaction

from async_commander.command.registry import get_command, name_of
from async_commander.exceptions import AsyncCommanderError
from async_commander.models import Run
from async_commander.queues.doors import dispatch
from async_commander.queues.engine import Engine

if TYPE_CHECKING:
    from async_commander.queues.rescue import Watch

logger = logging.getLogger("async_commander.queues")

AGAIN_AFTER = 15
"""Seconds until a message comes again whose run could not be looked at: the database was away."""
STOP_SIGNAL = getattr(signal, "SIGUSR2", None)
"""By which a worker that is to end tells its child processes: Celery has no word for that."""


LIKE_A_RUN: dict[str, Any] = {
    "bind": True,
    "acks_late": True,
    "reject_on_worker_lost": True,
    "max_retries": None,
}
"""Options of a task whose message is done with when its run has ended."""


@shared_task(name="async_commander.run_command_task", **LIKE_A_RUN)
def run_command_task(
    self: Any, run: int | str, parameters: dict[str, Any] | None = None, database: str | None = None
) -> dict[str, Any]:
    """Carry a queued run, by its number. The task succeeds whatever becomes of the run, whose row has the rest.

    With the name of a command and its arguments, `run_command_task.delay("process_category", {"category": 6})`, as
    django_commander has it, the run's row is made here: once, however often the message comes. This task fails where
    the run does.
    """
    return carry_message(self, run, parameters or {}, database)


def carry_message(task: Any, run: int | str, parameters: dict[str, Any], database: str | None = None) -> dict[str, Any]:
    """Carry the run that a message asks for. See `run_command_task`; `task` is the one that got it."""
    from async_commander.queues.carrying import carry, end_as_failed
    from async_commander.runner.entry import told

    try:
        run_id = run if isinstance(run, int) else _made(run, parameters, task.request.id, database)
        if pool := _green_pool():
            end_as_failed(run_id, database or router.db_for_write(Run), AsyncCommanderError(_NO_LOOP.format(pool=pool)))
        result = carry(run_id, database=database)
    except DatabaseError as error:
        raise task.retry(exc=error, countdown=AGAIN_AFTER) from error
    if result is not None and not isinstance(run, int):
        told(result)
    return {"run": run_id, "status": None if result is None else str(result.status)}


_NO_LOOP = (
    "The Celery worker that got this run has the pool {pool}, under which no event loop runs. Have a worker with "
    "--pool prefork or threads take from this queue, or use `manage.py aworker`; then `aruns requeue` sends it again."
)


def _green_pool() -> str:
    """The name of what has replaced the threads of this process, if anything has."""
    gevent, eventlet = sys.modules.get("gevent.monkey"), sys.modules.get("eventlet.patcher")
    if gevent is not None and gevent.is_module_patched("threading"):
        return "gevent"
    return "eventlet" if eventlet is not None and eventlet.is_monkey_patched("thread") else ""


class CeleryEngine(Engine):
    """Sends by the project's Celery application, to its default queue or to `queue`."""

    queue: ClassVar[str | None] = None
    priority: ClassVar[int | None] = None

    def send(self, run_id: int, *, database: str, delay: float = 0) -> None:
        """See Engine. The broker is tried three times within a second or so."""
        where = {} if database == router.db_for_write(Run) else {"database": database}
        given = {"queue": self.queue, "priority": self.priority, "countdown": delay or None}
        with run_command_task.app.connection_for_write() as connection:
            # Before anything is published: Celery itself would wait for a RabbitMQ that is away without an end.
            connection.ensure_connection(max_retries=2, interval_start=0.1, interval_step=0.2, timeout=5)
            run_command_task.apply_async(
                (run_id,),
                where,
                connection=connection,
                ignore_result=True,
                **{name: value for name, value in given.items() if value is not None},
            )


class _Received(CeleryEngine):
    """Of a run whose message is here already."""

    name = "celery"

    def send(self, run_id: int, *, database: str, delay: float = 0) -> None:
        """See Engine."""


def _made(name: str, parameters: dict[str, Any], message: str | None, database: str | None) -> int:
    """The number of the run that this message asks for, whose row is made where there is none.

    Two workers that get the message in one moment may both make one: the older one is it.
    """
    alias = database or router.db_for_write(Run)
    command = name_of(get_command(name))
    asked = Run.objects.using(alias).filter(command=command, engine=_Received.name, asked__message=message)
    if message is None or not asked.exists():
        with transaction.atomic(using=alias):
            handle = dispatch(name, engine=_Received, **{"trigger": "celery", "database": database, **parameters})
            if message is None:
                return handle.run_id
            row = Run.objects.using(alias).get(pk=handle.run_id)
            row.asked["message"] = message
            row.save(using=alias, update_fields=["asked"])
    first, *others = asked.order_by("pk").values_list("pk", flat=True)
    Run.objects.using(alias).filter(pk__in=others, status="queued").delete()
    return first


_watches: list[Watch] = []


@signals.worker_ready.connect(dispatch_uid="async_commander.watch")
def _watch(**_: Any) -> None:
    """Look after runs whose worker is gone, or that were never sent, as long as this worker lives."""
    from async_commander.queues.rescue import Watch

    _watches.append(Watch(router.db_for_write(Run)))
    _watches[-1].start()


@signals.worker_shutdown.connect(dispatch_uid="async_commander.watch")
def _watch_no_more(**_: Any) -> None:
    while _watches:
        _watches.pop().stop()


@signals.worker_shutting_down.connect(dispatch_uid="async_commander.stop")
def _stop_runs(**_: Any) -> None:
    """A warm shutdown waits for the tasks in hand: their runs stop in order, and another worker goes on with them."""
    _stop_here()
    for child in active_children():
        if STOP_SIGNAL is not None and child.pid:
            with suppress(ProcessLookupError):
                os.kill(child.pid, STOP_SIGNAL)


@signals.worker_process_init.connect(dispatch_uid="async_commander.stop")
def _heed(**_: Any) -> None:
    """In a child process: heed the signal of the worker that it belongs to."""
    if STOP_SIGNAL is not None and threading.current_thread() is threading.main_thread():
        signal.signal(STOP_SIGNAL, _stop_here)


def _stop_here(*_: Any) -> None:
    from async_commander.queues.carrying import stop_all

    stop_all()
