"""Runs beside each other in one process, which are asked to stop together, and are one service to systemd."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import anyio
from asgiref.sync import sync_to_async
from django.db import connections

from .reporting import OneOfMany, Reporter, Tell
from .service import ServiceManager
from .signals import StopRequests

if TYPE_CHECKING:
    from async_commander.engine.context import RunContext


class ManyRuns:
    """Has loops carry one run after another until the process is to stop. Each run stops in order then.

    `alias` is the database that is asked for a sign of life, and `tell` shows what each run has to say.
    """

    def __init__(self, alias: str, tell: Tell) -> None:
        self._alias = alias
        self._tell = tell
        self._open: dict[str, RunContext] = {}
        self.stopping = anyio.Event()
        """No run is to begin any more."""

    async def keep(
        self, loops: Iterable[Callable[[StopRequests], Coroutine[Any, Any, None]]], stops: StopRequests
    ) -> None:
        """Run these until they end, each in a task; `stops` asks all runs to."""
        own, loop = StopRequests(), asyncio.get_running_loop()

        def asked(count: int) -> None:
            del count
            loop.call_soon_threadsafe(self.stopping.set)

        with stops.reaching(own):
            own.listen(asked)
            async with anyio.create_task_group() as beside:
                if (manager := ServiceManager.of_process()) is not None:
                    beside.start_soon(manager.attend, self._open.values(), self.stopping, sync_to_async(self._ask))
                async with anyio.create_task_group() as tasks:
                    for each in loops:
                        tasks.start_soon(each, stops)
                beside.cancel_scope.cancel()

    @contextmanager
    def one(self, name: str, stops: StopRequests) -> Iterator[tuple[Reporter, StopRequests]]:
        """For a run: the reporter that tells it from the others, and what asks it to stop."""
        own = StopRequests()
        try:
            with stops.reaching(own):
                yield OneOfMany(name, self._tell, self._open), own
        finally:
            self._open.pop(name, None)

    async def rest(self, seconds: float) -> None:
        """Wait for so long, or until the process is to stop."""
        with anyio.move_on_after(seconds):
            await self.stopping.wait()

    def _ask(self) -> None:
        """Whether the database answers."""
        with connections[self._alias].cursor() as cursor:
            cursor.execute("SELECT 1")
