"""Keeps many bots running in one process, each by itself: what ends one of them is no concern of the others."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from typing import TYPE_CHECKING

import anyio
from asgiref.sync import sync_to_async
from django.db import connections, router

from async_commander.command.declaration import declaration_of, filled_in
from async_commander.command.registry import name_of
from async_commander.database.lanes import must_share
from async_commander.engine.restarts import LONGEST, Restarts
from async_commander.exceptions import AsyncCommanderError
from async_commander.models import Run
from async_commander.results import RunResult, RunStatus
from async_commander.runner.plan import database_of, make_plan
from async_commander.runner.reporting import OneOfMany, Reporter, Tell
from async_commander.runner.request import split_call
from async_commander.runner.run import execute
from async_commander.runner.service import ServiceManager
from async_commander.runner.signals import StopRequests
from async_commander.runner.verdicts import kind_of

if TYPE_CHECKING:
    from async_commander.command.base import AsyncCommand
    from async_commander.engine.context import RunContext

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
        self._stopping = anyio.Event()
        self._open: dict[str, RunContext] = {}

    async def run(self, stops: StopRequests) -> None:
        """Keep them running until `stops` is asked; each ends in order then."""
        own, loop = StopRequests(), asyncio.get_running_loop()

        def asked(count: int) -> None:
            del count
            loop.call_soon_threadsafe(self._stopping.set)

        with stops.reaching(own):
            own.listen(asked)
            async with anyio.create_task_group() as beside:
                beside.start_soon(self._attended)
                async with anyio.create_task_group() as tasks:
                    for cls in self._bots:
                        tasks.start_soon(self._kept, cls, stops)
                beside.cancel_scope.cancel()

    async def _kept(self, cls: type[AsyncCommand], stops: StopRequests) -> None:
        name, restarts, stands_by = name_of(cls), Restarts(), False
        while not self._stopping.is_set():
            result = await self._run_once(cls, stops)
            if self._stopping.is_set():
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
            with anyio.move_on_after(pause):
                await self._stopping.wait()

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
            own_stops = StopRequests()
            with stops.reaching(own_stops):
                return await execute(plan, OneOfMany(name, self._tell, self._open), own_stops)
        except Exception as error:
            told = "" if isinstance(error, AsyncCommanderError) else f"{kind_of(error)}: "
            self._tell(name, f"could not begin. {told}{error}", logging.ERROR)
            if not isinstance(error, AsyncCommanderError):
                logger.exception("%s could not begin", name)
            return None
        finally:
            self._open.pop(name, None)

    async def _attended(self) -> None:
        """Tell the service manager that started this process of all of them as one."""
        manager = ServiceManager.of_process()
        if manager is not None:
            await manager.attend(self._open.values(), self._stopping, sync_to_async(self._ask))

    def _ask(self) -> None:
        """Whether the database answers."""
        with connections[self._database or router.db_for_write(Run)].cursor() as cursor:
            cursor.execute("SELECT 1")


def reporter_of(name: str, tell: Tell) -> Reporter:
    """What tells of one bot among others."""
    return OneOfMany(name, tell, {})
