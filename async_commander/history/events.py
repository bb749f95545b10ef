"""The events of a run as its rows tell them, to any process and at any time."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Any

from django.db import DatabaseError, router
from django.utils import timezone

from async_commander.database.lanes import must_share
from async_commander.database.transaction import LaneTransaction
from async_commander.events import ItemFailed, LeftOut, LogLine, Place, Progress, RunEvent, RunFinished, RunStarted
from async_commander.models import Run, RunLog
from async_commander.results import AT_WORK, NOT_OVER, RunStatus

from .runs import is_orphan, mark_crashed
from .shards import COUNTS
from .telling import result_of

if TYPE_CHECKING:
    from . import recorder

LINES_AT_ONCE = 500
"""Of a run's log; of more than that the last ones are told, and how many were left out."""


def events_of(run_id: int, place: Place | None, *, using: str | None = None) -> list[RunEvent]:
    """See `doors.run_events`."""
    return Look(using or router.db_for_write(Run), run_id, notice_crash=True).after(place)


class Look:
    """One look at the row of a run; then at its log from one place or another on.

    Who reads the row first has read all lines of a run that is over.
    """

    def __init__(self, alias: str, run_id: int, *, notice_crash: bool) -> None:
        rows = Run.objects.using(alias).defer("output", "traceback", "options", "limits", "cursor")
        run = rows.numbered(run_id)
        if notice_crash and run.status in AT_WORK and is_orphan(alias, run):
            with suppress(DatabaseError), LaneTransaction(alias, shared=must_share(alias)):  # it may be read-only
                mark_crashed(alias, run)
                run.refresh_from_db(using=alias)
        self.run = run
        self._lines = RunLog.objects.using(alias).filter(run_id=run_id)

    @property
    def is_over(self) -> bool:
        """Whether the run has ended."""
        return self.run.status not in NOT_OVER

    def after(self, place: Place | None) -> list[RunEvent]:
        """What there is to tell who has come so far; None: who knows nothing of the run yet."""
        run, events = self.run, list[RunEvent]()
        if place is None:
            if run.status == RunStatus.QUEUED.value:
                return events
            place = Place(run.pk)
            events.append(
                RunStarted(
                    run_id=run.pk,
                    id=str(place),
                    at=run.started,
                    command=run.command,
                    parameters=run.parameters,
                    dry_run=run.dry_run,
                    testing=run.testing,
                )
            )
        lines = list(self._lines.filter(pk__gt=place.line).order_by("-pk")[: LINES_AT_ONCE + 1])[::-1]
        if len(lines) > LINES_AT_ONCE:
            last = lines.pop(0).pk
            count = self._lines.filter(pk__gt=place.line, pk__lte=last).count()
            events.append(LeftOut(run_id=run.pk, id=str(Place(run.pk, last)), count=count))
        events += [event_of_line(run.pk, line, line.pk) for line in lines]
        last_place = events[-1].id if events else str(place)
        events.append(_progress(run, last_place))
        if self.is_over:
            at = run.finished or run.heartbeat or timezone.now()
            events.append(RunFinished(run_id=run.pk, id=last_place, at=at, result=result_of(run), value=run.value))
        return events


def _progress(run: Run, place: str) -> Progress:
    counts: dict[str, Any] = {name: getattr(run, name) for name in ("total", *COUNTS)}
    seconds = run.duration.total_seconds() if run.duration else 0.0
    stage = f"paused{run.paused.who}" if run.paused else ""
    if run.status == RunStatus.QUEUED.value:
        stage = "waiting for a worker"
    elif run.question:
        stage = f"waiting for an answer: {run.question}"
    if run.status in AT_WORK and run.cancel_requested_at:
        stage = "stopping"
    return Progress(run_id=run.pk, id=place, seconds=seconds, stage=stage, **counts)


def event_of_line(run_id: int | str | None, line: RunLog | recorder.LogLine, number: int | None) -> RunEvent:
    """What a line of a run's log tells: itself, or that an item failed."""
    place = str(Place(run_id, number or 0))
    key = None if line.item_key is None else str(line.item_key)
    if line.failure is not None:
        return ItemFailed(run_id=run_id, id=place, at=line.at, item_key=key, **line.failure)
    return LogLine(
        run_id=run_id,
        id=place,
        at=line.at,
        level=line.level,
        logger=line.logger,
        message=line.message,
        item_key=key,
    )
