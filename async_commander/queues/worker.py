"""A worker without a broker: takes queued runs from their table, the oldest first, and carries some at a time."""

from __future__ import annotations

import logging
from collections.abc import Collection
from datetime import timedelta

import anyio
from asgiref.sync import sync_to_async
from django.db import DatabaseError, connections, transaction
from django.db.models import Q

from async_commander.database.connections import drop
from async_commander.database.outage import is_outage
from async_commander.exceptions import AsyncCommanderError
from async_commander.history.lease import database_now
from async_commander.models import Run
from async_commander.results import RunStatus
from async_commander.runner.many_runs import ManyRuns
from async_commander.runner.reporting import Tell
from async_commander.runner.signals import StopRequests

from .carrying import acarry
from .rescue import look_after

logger = logging.getLogger("async_commander.queues")

BEGUN_WITHIN = timedelta(seconds=60)
"""A worker that took a run and died before it began it keeps it from others for so long."""
OUTAGE_SECONDS = 5.0
"""Between two looks at a database that is away."""


class Worker:
    """Carries queued runs of these engines, at most `concurrency` at a time on one event loop, until it is to stop.

    `interval` is the time in seconds between two looks at an empty queue. With `burst` it ends when the queue is empty
    and nothing is in hand, with `max_runs` after so many runs.
    """

    def __init__(
        self,
        engines: Collection[str],
        *,
        alias: str,
        tell: Tell,
        concurrency: int = 1,
        interval: float = 1.0,
        burst: bool = False,
        max_runs: int | None = None,
    ) -> None:
        self._engines = engines
        self._alias = alias
        self._tell = tell
        self._concurrency = concurrency
        self._interval = interval
        self._burst = burst
        self._left = max_runs
        self._in_hand = 0
        self._turn = anyio.Lock()
        self._runs = ManyRuns(alias, tell)

    async def run(self, stops: StopRequests) -> None:
        """Carry runs until `stops` is asked, or there is nothing more to do. Runs in hand then stop in order."""
        await self._runs.keep([self._carry_runs] * self._concurrency, stops)

    async def _carry_runs(self, stops: StopRequests) -> None:
        while (run := await self._next()) is not None:
            try:
                await self._carry(run, stops)
            finally:
                self._in_hand -= 1

    async def _carry(self, run: Run, stops: StopRequests) -> None:
        name = f"{run.command} #{run.pk}"
        try:
            with self._runs.one(name, stops) as (reporter, own):
                await acarry(run.pk, database=self._alias, reporter=reporter, stops=own)
        except (AsyncCommanderError, DatabaseError) as error:  # it waits in its queue as before
            self._tell(name, f"could not be begun: {error}", logging.ERROR)
        except Exception as error:
            self._tell(name, f"broke off: {type(error).__name__}: {error}", logging.ERROR)
            logger.exception("Run %s broke off", run.pk)

    async def _next(self) -> Run | None:
        """A run to carry, which is in hand then; None where there is no more to do. One looks, the others wait."""
        async with self._turn:
            while not self._runs.stopping.is_set() and self._left != 0:
                try:
                    run = await sync_to_async(self._take)()
                except DatabaseError as error:
                    if not is_outage(error):
                        raise
                    self._tell("worker", f"the database is away: {error}", logging.WARNING)
                    await sync_to_async(drop)(self._alias)
                    await self._runs.rest(OUTAGE_SECONDS)
                    continue
                if run is not None:
                    self._in_hand += 1
                    self._left = None if self._left is None else self._left - 1
                    return run
                if self._burst and not self._in_hand:
                    return None
                await self._runs.rest(self._interval)
        return None

    def _take(self) -> Run | None:
        """The oldest run that waits, kept from other workers until it is begun: two of them do not take the same."""
        look_after(self._alias)
        now = database_now(self._alias)
        waiting = Run.objects.using(self._alias).filter(status=RunStatus.QUEUED.value, engine__in=self._engines)
        ready = waiting.filter(Q(sent=None) | Q(sent__lt=now - BEGUN_WITHIN)).order_by("pk").only("command")
        if not ready.exists():
            return None
        features = connections[self._alias].features
        with transaction.atomic(using=self._alias):
            locked = ready.select_for_update(skip_locked=features.has_select_for_update_skip_locked)
            run = locked.first()
            taken = run is not None and ready.filter(pk=run.pk).update(sent=now)
        return run if taken else None
