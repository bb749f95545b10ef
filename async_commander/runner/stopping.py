"""The end of a run that somebody asks for, in stages, from anywhere and at any time.

What else is asked of it from outside goes on to `steering.py`.

first request, or the time-out      ─▶ stop: items in hand are finished, nothing more is begun
second request, or the end of grace ─▶ cancel: what still waits for somebody else is ended
the record is lost                  ─▶ abort: nothing that is done from now on would be kept
"""

from __future__ import annotations

import asyncio
import logging
import math
from contextlib import contextmanager
from typing import TYPE_CHECKING

import anyio
from asgiref.sync import ThreadSensitiveContext

from async_commander.command.shapes import ItemCommand
from async_commander.engine.awake import awake
from async_commander.results import items_in_words

from .calling import PerCall
from .hook_lanes import Kind, calls_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from async_commander.history.recorder import Orders

    from .hook_lanes import HookLanes
    from .session import RunSession
    from .sharded import ShardedWork
    from .signals import StopRequests
    from .steering import Steering
    from .work import Work

logger = logging.getLogger("async_commander.run")


class Stopping:
    """Hears the requests to stop one run, and sees to it that they are met."""

    def __init__(
        self,
        session: RunSession,
        work: Work | ShardedWork,
        stops: StopRequests,
        hook_lanes: HookLanes,
        steering: Steering,
    ) -> None:
        self._session = session
        self._steering = steering
        self._context = session.context
        self._grace = session.request.grace
        self._work = work
        self._stops = stops
        self._hook_lanes = hook_lanes
        self._loop = asyncio.get_running_loop()
        self._asked = anyio.Event()
        self._cancelled = False
        self.beside_work: anyio.CancelScope | None = None
        """Around what is under way before and after the work: a cancel ends it."""
        self.lost: BaseException | None = None
        """Why nothing more can be recorded, where that is so."""
        self.cancelled = False
        """Its end was asked for in its row: it is not to go on, neither here nor elsewhere."""
        self.timed_out = False
        """The run passed its time-out."""

    @contextmanager
    def heard(self) -> Iterator[None]:
        """For the time of the block requests are met, also those that came before it."""
        self._session.recorder.answer_to(self)
        self._stops.listen(self._requested_anywhere, on_loop=self._requested)
        try:
            yield
        finally:
            self._stops.listen(None)

    def deadline(self) -> float:
        """Of what begins now and is no work: after a cancel it has one more grace."""
        return anyio.current_time() + self._grace if self._cancelled else math.inf

    def record_lost(self, error: BaseException) -> None:
        """The record is somebody else's, or its database is gone for good."""
        self.lost = self.lost or error
        self._work.abort(error)

    def record_alive(self) -> None:
        """See RunOwner."""
        self._session.outages.over()

    def ordered(self, orders: Orders) -> None:
        """See RunOwner."""
        self.cancelled = self.cancelled or orders.cancel is not None
        self._steering.hear(orders)

    def _requested_anywhere(self, count: int) -> None:
        """From a signal handler, which may interrupt anything: only leaves word on the loop."""
        self._loop.call_soon_threadsafe(self._requested, count)

    def _requested(self, count: int) -> None:
        if count >= 2:
            self._cancel()
        elif not self._context.stopping:
            self._stop()

    def _stop(self) -> None:
        self._context.stop()
        self._work.stop()
        self._session.reporter.stage(f"stopping: {self._in_hand()}")
        self._asked.set()

    def _in_hand(self) -> str:
        if not isinstance(self._session.command, ItemCommand):
            return f"{', '.join(self._context.steps_in_hand) or 'handle()'} is waited for"
        return f"{items_in_words(self._context.tally.in_flight)} in hand"

    def _cancel(self) -> None:
        self._context.stop()
        self._cancelled = True
        self._session.reporter.stage("cancelling what is still in hand")
        self._session.lanes.hurry.patience = self._grace
        self._session.recorder.hurry()
        self._session.hooks.hurry(self._grace)
        self._work.cancel()
        if self.beside_work is not None:
            self.beside_work.cancel()

    async def cancel_after_grace(self) -> None:
        """Once the run is asked to stop, cancel what is in hand when the grace is over. A task beside the run."""
        await self._asked.wait()
        await awake.sleep(self._grace)
        self._stops.ask_up_to(2)

    async def time_out(self) -> None:
        """Ask the run to stop when its time-out is over. A task beside the run."""
        await self._steering.time_is_up()
        self.timed_out = True
        if self._session.hooks.has("on_timeout"):
            try:  # it may fail or hang: the run is stopped all the same
                with anyio.move_on_after(self._grace) as patience:
                    async with ThreadSensitiveContext(executor=PerCall(self._hook_lanes)):
                        with calls_of(Kind.BESIDE):
                            await self._session.hooks.call("on_timeout")
            except Exception as error:  # noqa: BLE001 - the log has it
                self._session.log_failure("on_timeout() failed", error)
            if patience.cancelled_caught:
                logger.error("on_timeout() did not end within the grace of %g s and was cancelled.", self._grace)
        self._stops.ask_up_to(1)
