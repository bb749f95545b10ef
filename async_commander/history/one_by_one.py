"""Units that are written one by one, each on a lane in a transaction of its own: for recorders without a Writer."""

from __future__ import annotations

import asyncio
from abc import abstractmethod
from concurrent.futures import Future
from functools import partial
from typing import TYPE_CHECKING, Any

from async_commander.database.lent_lane import settle
from async_commander.database.misfits import with_misfits, written_now
from async_commander.database.surroundings import Surroundings

if TYPE_CHECKING:
    from async_commander.database.lanes import LanePool
    from async_commander.database.unit import Unit


class OneByOne:
    """That part of a Recorder. `lend_from` comes first, and `settled` is the recorder's own."""

    def lend_from(self, lanes: LanePool, queued: LanePool) -> None:
        """A unit is written on the lane that it has, else on one of `queued`. On the run's event loop."""
        self._lanes = lanes
        self._queued = queued
        self._surroundings = Surroundings()
        self._loop = asyncio.get_running_loop()
        self._unsettled = 0
        self._all_settled: Future[None] | None = None

    @abstractmethod
    def settled(self, unit: Unit, error: BaseException | None) -> None:
        """On the event loop, once for every unit that was put: it is committed, or what it could not be for."""

    def within(self, surroundings: Surroundings) -> None:
        """See Recorder."""
        self._surroundings = surroundings

    def put(self, unit: Unit) -> None:
        """See Recorder."""
        unit.close()
        self._unsettled += 1
        lane = unit.lane or (self._queued.lend() if unit.has_rows else None)
        write = partial(self._surroundings.run, unit.write, self._lanes)
        ended = None if lane is None else lane.end(commit=True, before=write, take=unit.has_rows)
        if ended is None:
            self._loop.call_soon(self._settle, unit, None)
        else:
            ended.add_done_callback(partial(self._lane_ended, unit))

    def _lane_ended(self, unit: Unit, ended: Future[Any]) -> None:
        self._loop.call_soon_threadsafe(self._settle, unit, ended.exception())

    def _settle(self, unit: Unit, error: BaseException | None) -> None:
        if error is None:
            unit.forget()
        else:
            unit.restore()
            error = with_misfits(error, unit)
        self._unsettled -= 1
        self.settled(unit, error)
        if not self._unsettled and self._all_settled is not None:
            self._all_settled.set_result(None)
            self._all_settled = None

    async def commit(self, unit: Unit) -> None:
        """See Recorder."""
        write = partial(self._surroundings.run, unit.write, self._lanes)
        ended = self._lanes.lend().end(commit=True, before=write, take=True)
        with written_now(unit):
            if ended is not None:
                await settle(ended)

    async def drain(self) -> None:
        """See Recorder."""
        if self._unsettled:
            self._all_settled = self._all_settled or Future()
            await asyncio.shield(asyncio.wrap_future(self._all_settled))
