"""Queued runs that reached no worker: found again, and sent again.

A message is lost where the process dies between COMMIT and sending, where the queue cannot be reached, or where a
worker dies, or stops, and its run waits again. In all of these the row says `queued` and not `sent`.
"""

from __future__ import annotations

import logging
import threading
import time
from datetime import timedelta

from django.db import DatabaseError, transaction
from django.db.models import Q

from async_commander.database.connections import close_all
from async_commander.exceptions import AsyncCommanderError, InvalidCommand
from async_commander.history.lease import database_now
from async_commander.history.reading import notice_crashes
from async_commander.history.runs import UNFINISHED
from async_commander.models import Run
from async_commander.results import AT_WORK, RunStatus

from .engine import engine_of
from .sending import send_again

logger = logging.getLogger("async_commander.queues")

LOOK_SECONDS = 10.0
"""So often one process looks."""
YOUNG = timedelta(seconds=10)
"""Whoever wrote the row is about to send it."""
RESENT_AFTER = timedelta(minutes=5)
"""A queue that was emptied is not waited for, nor one that delivers late what a killed worker had fetched (Redis: after
an hour). What waits in one longer than that is sent twice."""
AT_ONCE = 100

_looked: dict[str, float] = {}


def rescue(alias: str) -> int:
    """Send queued runs again that reached no worker, the oldest first; returns how many.

    Runs whose worker is gone come back to their queues by that. Several processes may do so at once: a message too many
    does no harm.
    """
    notice_crashes(alias)
    now = database_now(alias)
    waiting = Run.objects.using(alias).filter(status=RunStatus.QUEUED.value).exclude(engine="")
    was_begun, is_old = Q(heartbeat__isnull=False), Q(started__lt=now - YOUNG)
    lost = waiting.filter((Q(sent=None) & (was_begun | is_old)) | Q(sent__lt=now - RESENT_AFTER))
    sent = 0
    for run in lost.order_by("pk").only("engine")[:AT_ONCE]:
        try:
            engine = engine_of(run.engine)
        except InvalidCommand as error:
            logger.warning("Run %s waits for a queue that this process does not have. %s", run.pk, error)
            continue
        if engine.has_messages:
            sent += send_again(run.pk, engine, alias)
    return sent


def requeue(alias: str, run_id: int) -> Run:
    """Send a run to a worker once more: one that waits, or one that has ended and can be gone on with.

    InvalidCommand where it cannot; AsyncCommanderError where its queue cannot be reached, and then it waits there.
    """
    notice_crashes(alias)
    with transaction.atomic(using=alias):
        run = Run.objects.using(alias).select_for_update().numbered(run_id)
        engine = engine_of(run.engine or None)
        if run.status != RunStatus.QUEUED.value:
            _check_unfinished(run)
            if run.status == RunStatus.FAILED.value and run.pruned is None:
                run.source_ended = False  # all of it is dead: the source is asked for what is new
            run.status, run.engine, run.finished, run.cancel_requested_at = "queued", engine.name, None, None
        run.sent = None
        run.asked = {name: value for name, value in run.asked.items() if name != "left"}
        columns = ("status", "engine", "finished", "cancel_requested_at", "source_ended", "sent", "asked")
        run.save(using=alias, update_fields=columns)
    if engine.has_messages and not send_again(run.pk, engine, alias):
        raise AsyncCommanderError(f"Run {run.pk} is queued, and {engine.name} could not be reached: see the log.")
    return run


def _check_unfinished(run: Run) -> None:
    if run.dry_run:
        raise InvalidCommand(f"Run {run.pk} is a dry run, which keeps nothing that could be gone on with.")
    if run.status in AT_WORK or run.status not in UNFINISHED:
        states = ", ".join(status for status in UNFINISHED if status not in AT_WORK)
        raise InvalidCommand(f"Run {run.pk} is {run.status}: only queued, {states} runs are sent to a worker again.")


def look_after(alias: str) -> None:
    """The same now and then, beside other work of this process: an error is logged, and nothing else."""
    if time.monotonic() - _looked.get(alias, float("-inf")) < LOOK_SECONDS:
        return
    _looked[alias] = time.monotonic()
    try:
        rescue(alias)
    except DatabaseError as error:
        logger.warning("Lost messages could not be looked for: %s", error)


class Watch:
    """A thread that looks after lost messages as long as a worker process lives that is not always called."""

    def __init__(self, alias: str) -> None:
        self._alias = alias
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name="async_commander-watch", daemon=True)

    def start(self) -> None:
        """Begin to look."""
        self._thread.start()

    def stop(self) -> None:
        """Look no more. Waits for a look under way."""
        self._ended.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._ended.wait(LOOK_SECONDS):
            try:
                look_after(self._alias)
            finally:
                close_all()
