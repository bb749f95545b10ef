"""Keeps many bots running in one process, each by itself: what ends one of them is no concern of the others."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING

import anyio
from asgiref.sync import sync_to_async
from django.db import router

from async_commander.command.declaration import declaration_of, filled_in
from async_commander.command.registry import name_of
from async_commander.database.lanes import must_share
from async_commander.engine.restarts import LONGEST, Restarts
from async_commander.exceptions import AsyncCommanderError
from async_commander.models import Run
from async_commander.results import RunResult, RunStatus
from async_commander.runner.many_runs import ManyRuns
from async_commander.runner.plan import database_of, make_plan
from async_commander.runner.reporting import OneOfMany, Reporter, Tell
from async_commander.runner.request import split_call
from async_commander.runner.run import execute
from async_commander.runner.verdicts import kind_of

if TYPE_CHECKING:
    from async_commander.command.base import AsyncCommand
    from async_commander.runner.signals import StopRequests

logger = logging.getLogger("async_commander.run")

TRIGGER = "abots"
STANDBY_SECONDS = 5.0
"""So often one that another process keeps out looks whether it is its turn."""


class Supervisor:
    """Runs each of these commands until it is asked to stop, and begins it again whenever its run has ended.

    Each has a run of its own, and begins again by itself when its source fails (see `runner.always_on`); this is for
    the run that ended all the same: its restarts were spent, its lease was lost, the database was away for too long.
    It begins anew after a pause, from a minute on where its run failed. One that another process keeps out stands by.
    """

    def __init__(self, bots: Sequence[type[AsyncCommand]], *, tell: Tell, database: str | None = None) -> None:
        self._bots = bots
        self._tell = tell
        self._database = database
        self._runs = ManyRuns(database or router.db_for_write(Run), tell)

    async def run(self, stops: StopRequests) -> None:
        """Keep them running until `stops` is asked; each ends in order then."""
        await self._runs.keep((partial(self._kept, cls) for cls in self._bots), stops)

    async def _kept(self, cls: type[AsyncCommand], stops: StopRequests) -> None:
        name, restarts, stands_by = name_of(cls), Restarts(), False
        while not self._runs.stopping.is_set():
            result = await self._run_once(cls, stops)
            if self._runs.stopping.is_set():
                return
            if result is not None and result.locked:
                if not stands_by:
                    self._tell(name, f"stands by. {result.error}", logging.INFO)
                stands_by, pause = True, STANDBY_SECONDS
            else:
                failed = result is None or result.status is not RunStatus.SUCCEEDED
                stands_by, pause = False, restarts.pause(anyio.current_time())
                pause = max(pause, LONGEST) if failed else pause
                self._tell(name, f"begins again in {pause:.1f} s.", logging.WARNING if failed else logging.INFO)
            await self._runs.rest(pause)

    async def _run_once(self, cls: type[AsyncCommand], stops: StopRequests) -> RunResult | None:
        """One run; None where there was none."""
        name = name_of(cls)
        try:
            asked = {"trigger": TRIGGER, **filled_in(cls, {})}
            if self._database is not None:
                asked["database"] = self._database
            request, own = split_call({k: v for k, v in asked.items() if k != "progress"}, declaration_of(cls).names)
            shared = await sync_to_async(must_share)(database_of(request))
            plan = make_plan(cls(**own), request, shared=shared)
            with self._runs.one(name, stops) as (reporter, own_stops):
                return await execute(plan, reporter, own_stops)
        except Exception as error:
            told = "" if isinstance(error, AsyncCommanderError) else f"{kind_of(error)}: "
            self._tell(name, f"could not begin. {told}{error}", logging.ERROR)
            if not isinstance(error, AsyncCommanderError):
                logger.exception("%s could not begin", name)
            return None


def reporter_of(name: str, tell: Tell) -> Reporter:
    """What reports one bot among others."""
    return OneOfMany(name, tell, {})
