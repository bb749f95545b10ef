"""Reports runs to who listens, by signals and by mail. Nothing of that fails a run, or holds it for long."""

from __future__ import annotations

import logging
from concurrent.futures import Executor, Future
from concurrent.futures import wait as wait_for
from contextvars import copy_context
from functools import partial
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

from django.core.mail import mail_admins
from django.db import transaction

from async_commander.command.registry import get_command
from async_commander.conf import get_settings
from async_commander.database.connections import close_all, take_over_thread
from async_commander.engine.threads import DaemonThreads
from async_commander.exceptions import AsyncCommanderError
from async_commander.results import NOT_OVER, ErrorKind, RunResult, RunStatus, items_in_words
from async_commander.signals import run_finished

if TYPE_CHECKING:
    from collections.abc import Callable

    from django.dispatch import Signal

    from async_commander.models import Run

logger = logging.getLogger("async_commander.run")

P = ParamSpec("P")
T = TypeVar("T")

PATIENCE = 10.0
"""Seconds for which a receiver, or the mail server, is waited for."""
MAILED = frozenset({RunStatus.FAILED, RunStatus.CRASHED})
KINDS_IN_MAIL = 5


class Aside(Executor):
    """Runs calls on a daemon thread of their own, which keeps no connection. Who calls may leave."""

    def __init__(self) -> None:
        self._threads = DaemonThreads(1, name="async-commander-telling")

    def submit(self, function: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        """See concurrent.futures.Executor."""
        return self._threads.submit(_on_thread, partial(copy_context().run, function, *args, **kwargs))


def _on_thread(function: Callable[[], T]) -> T:
    take_over_thread()
    try:
        return function()
    finally:
        close_all()


def tell(signal: Signal, sender: Any, **facts: Any) -> None:
    """Call the receivers, from synchronous code: what they raise is logged by Django."""
    if signal.has_listeners(sender):
        signal.send_robust(sender=sender, **facts)


def tell_finished(sender: Any, result: RunResult, *, testing: bool = False) -> None:
    """Report a run that is over, and mail ADMINS where it failed and they are to know: not of a trial, `testing`."""
    if result.dry_run:
        return
    tell(run_finished, sender, run_id=result.run_id, command=result.command, result=result)
    if not testing and is_mailed(sender, result):
        wait_for([Aside().submit(mail, result)], timeout=PATIENCE)


def tell_ended_later(alias: str, run_id: int) -> None:
    """Of a run that was ended by its row, where nobody carried it: once that is committed."""
    transaction.on_commit(partial(_tell_ended, alias, run_id), using=alias, robust=True)


def _tell_ended(alias: str, run_id: int) -> None:
    from async_commander.models import Run

    run = Run.objects.using(alias).filter(pk=run_id).exclude(status__in=NOT_OVER).first()
    mails = get_settings().mail_admins
    if run is None or run.shard is not None:  # a shard is told of with the whole run
        return
    sender = None
    if mails or run_finished.receivers:
        try:
            sender = get_command(run.command)
        except AsyncCommanderError:
            logger.debug("%s, whose run %s was ended, cannot be imported here.", run.command, run.pk)
    tell_finished(sender, result_of(run), testing=run.testing)


def result_of(run: Run) -> RunResult:
    """How a run that has ended did so, by its row."""
    from .shards import COUNTS

    status, skipped = RunStatus(run.status), run.status == RunStatus.SKIPPED.value
    kinds = run.error_kinds.order_by("-count", "kind")
    return RunResult(
        run_id=run.pk,
        command=run.command,
        status=status,
        value=run.value,
        counts={name: getattr(run, name) for name in COUNTS},
        errors=[ErrorKind(one.kind, one.count, one.example, one.item) for one in kinds],
        duration=run.duration.total_seconds() if run.duration else 0.0,
        error="" if skipped else run.error,
        reason=run.error if skipped else "",
        complete=run.source_ended or status in (RunStatus.SUCCEEDED, RunStatus.SKIPPED),
        dry_run=run.dry_run,
        would=run.would,
    )


def is_mailed(sender: Any, result: RunResult) -> bool:
    """Whether ADMINS are to know: the command says so, or the settings."""
    wanted = getattr(sender, "mail_admins", None)
    return result.status in MAILED and (get_settings().mail_admins if wanted is None else bool(wanted))


def mail(result: RunResult) -> None:
    """Mail ADMINS what the run came to, in texts that are free of secrets. What goes wrong is logged."""
    run = f"Run {result.run_id} of {result.command}" if result.run_id is not None else f"A run of {result.command}"
    told = "has failed" if result.status is RunStatus.FAILED else "has crashed"
    counts = ", ".join(f"{number} {name}" for name, number in result.counts.items() if number)
    lines = [f"{run} {told}.", "", result.error]
    if counts:
        lines += ["", f"Items: {counts}"]
    lines += [
        f"{items_in_words(kind.count)} with {kind.kind}, for example {kind.item}: {kind.example}"
        for kind in result.errors[:KINDS_IN_MAIL]
    ]
    lines += ["", f"`manage.py aruns {result.run_id}` shows more."]
    try:
        mail_admins(f"{run} {told}", "\n".join(lines))
    except Exception:
        logger.exception("ADMINS could not be told that run %s %s.", result.run_id, told)
