"""The results of a run's cached methods: found, or made and kept, by one at a time.

What happens is written once, in `Keeper._steps()`: a generator that says what is to be waited for. A coroutine and a
plain function wait for it in their own ways.
"""

from __future__ import annotations

import asyncio
import logging
import math
import time
from collections.abc import Callable, Generator
from concurrent.futures import Future
from contextvars import ContextVar
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import anyio
from django.db import DatabaseError, connections

from async_commander.database.connections import close_all
from async_commander.database.surroundings import Surroundings
from async_commander.database.unit import current_unit, unit_on_lane
from async_commander.engine.charging import uncharged
from async_commander.engine.threads import DaemonThreads, loop_is_running

from .codecs import Packed, pack_result
from .entries import Damaged, Entry
from .flights import Flight, flights
from .keys import key_of
from .leases import Holder, Leases

if TYPE_CHECKING:
    from async_commander.command.cached import CachedCall
    from async_commander.database.lanes import LanePool

    from .store import Store

logger = logging.getLogger("async_commander.cache")

PATIENCE = 60.0
"""Seconds for which another process is waited for that makes the result; then it is made here, too."""
_PAUSE, _LONGEST_PAUSE = 0.05, 1.0
_CLOCK_ERROR = 300.0
"""Seconds by which the clock of whoever wrote an entry may be ahead of ours."""
_THREADS = 8


@dataclass(frozen=True, slots=True)
class Disk:
    """To be done where it may block."""

    function: Callable[[], Any]


@dataclass(frozen=True, slots=True)
class Pause:
    """To be waited, at nobody's expense."""

    seconds: float


@dataclass(frozen=True, slots=True)
class Others:
    """To be waited for, at nobody's expense."""

    future: Future[Any]


@dataclass(frozen=True, slots=True)
class Work:
    """The function itself is to be called."""

    call: CachedCall


Steps = Generator[Disk | Pause | Others | Work, Any, Any]

_being_made: ContextVar[frozenset[str]] = ContextVar("async_commander_being_made", default=frozenset())
"""Keys whose functions this code is part of: who calls itself must not wait for itself."""


class Keeper:
    """For one run. `refresh`: what was kept before the run began counts as absent."""

    def __init__(self, store: Store, command: str, *, refresh: bool, lanes: LanePool | None) -> None:
        self._store = store
        self._command = command
        self._valid_from = time.time() if refresh else -math.inf
        self._alias = lanes.alias if lanes is not None else None
        self._leases = None if lanes is None else Leases(lanes)
        self._threads = DaemonThreads(_THREADS, name="async-commander-cache")
        self._told: set[str] = set()

    async def aclose(self) -> None:
        """Give back what is held."""
        self._threads.shutdown()
        if self._leases is not None:
            await self._leases.aclose()

    async def aresult(self, call: CachedCall) -> Any:
        """The result of a call of an `async def`."""
        unit = current_unit.get()
        steps = self._steps(call, alone=unit is not None and unit.lane is not None)
        answer, failure = None, None
        while True:
            try:
                step = steps.send(answer) if failure is None else steps.throw(failure)
            except StopIteration as end:
                return end.value
            answer, failure = None, None
            try:
                answer = await self._awaited(step)
            except BaseException as error:  # noqa: BLE001 - the steps have their own mind about it
                failure = error

    def result(self, call: CachedCall) -> Any:
        """The result of a call of a plain function, in its thread."""
        unit = unit_on_lane.get()
        in_transaction = self._alias is not None and connections[self._alias].in_atomic_block
        alone = loop_is_running() or in_transaction or (unit is not None and unit.lane is not None)
        steps = self._steps(call, alone=alone)
        answer, failure = None, None
        while True:
            try:
                step = steps.send(answer) if failure is None else steps.throw(failure)
            except StopIteration as end:
                return end.value
            answer, failure = None, None
            try:
                answer = _waited(step)
            except BaseException as error:  # noqa: BLE001 - the steps have their own mind about it
                failure = error

    async def _awaited(self, step: Disk | Pause | Others | Work) -> Any:
        match step:
            case Work(call):
                return await call.make()
            case Disk(function):
                function = partial(_closing_connections, function)
                return await asyncio.wrap_future(self._threads.submit(Surroundings().run, function))
            case Others(future):
                with uncharged():
                    return await asyncio.wrap_future(future)
            case Pause(seconds):
                with uncharged():
                    return await anyio.sleep(seconds)

    # -- what happens ------------------------------------------------------------------------------------------

    def _steps(self, call: CachedCall, *, alone: bool) -> Steps:
        """One call from its key to its result.

        `alone`: the caller holds what others may need before they get on (a lane, SQLite's write lock, the event
        loop), and waits for nobody.
        """
        key = key_of(self._command, call)
        if alone or key in _being_made.get():
            found = yield Disk(partial(self._find, call, key))
            return (found or (yield from self._make(call, key))).value()
        while True:
            flight = flights.join((self._store.area, key, self._valid_from))
            if isinstance(flight, Flight):
                break
            packed = yield Others(flight)
            if packed is not None:
                return packed.value()
        try:
            packed = yield from self._find_or_make(call, key)
        except Exception as error:
            flight.fail(error)
            raise
        except BaseException:
            flight.hand_over()
            raise
        flight.land(packed)
        return packed.value()

    def _find_or_make(self, call: CachedCall, key: str) -> Generator[Any, Any, Packed]:
        """What is kept, or another process makes meanwhile; else it is made here."""
        found: Packed | None = yield Disk(partial(self._find, call, key))
        if found is not None:
            return found
        if self._leases is None:
            return (yield from self._make(call, key))
        pause, began = _PAUSE, time.monotonic()
        deposed: Holder | None = None
        try:
            while True:
                try:
                    holder: Holder | None = yield Others(self._leases.ask(key, deposed=deposed))
                except DatabaseError as error:
                    name = call.caching.name
                    logger.debug("No lease for a result of %s, which is made without one: %s", name, error)
                    break
                found = yield Disk(partial(self._find, call, key))
                if found is not None:
                    return found
                if holder is None:
                    break
                yield Pause(pause)
                pause = min(2 * pause, _LONGEST_PAUSE)
                deposed = holder if time.monotonic() - began > PATIENCE else None
            return (yield from self._make(call, key))
        finally:
            self._leases.release(key)

    def _make(self, call: CachedCall, key: str) -> Generator[Any, Any, Packed]:
        around = _being_made.get()
        _being_made.set(around | {key})
        try:
            value = yield Work(call)
        finally:
            _being_made.set(around)
        packed = pack_result(call.caching.name, value)
        entry = Entry(key=key, command=self._command, function=call.caching.name, created=time.time(), packed=packed)
        yield Disk(partial(self._keep, entry))
        return packed

    # -- the store ---------------------------------------------------------------------------------------------

    def _find(self, call: CachedCall, key: str) -> Packed | None:
        """What is kept and still good. Trouble with the store is logged once, and costs the time to make it anew."""
        try:
            entry = self._store.read(self._command, key)
        except Damaged as error:
            self._tell("damaged", f"A kept result of {call.caching.name} cannot be used and is made anew: {error}")
            return None
        except Exception as error:  # noqa: BLE001 - each storage has its own
            self._tell("unread", f"Kept results cannot be read, and are made anew: {type(error).__name__}: {error}")
            return None
        if entry is None:
            return None
        age = time.time() - entry.created
        good = -_CLOCK_ERROR <= age < call.caching.seconds and entry.created >= self._valid_from
        return entry.packed if good else None

    def _keep(self, entry: Entry) -> None:
        try:
            self._store.write(entry)
        except Exception as error:  # noqa: BLE001 - each storage has its own
            self._tell("unwritten", f"A result cannot be kept, the work goes on: {type(error).__name__}: {error}")

    def _tell(self, kind: str, text: str) -> None:
        if kind in self._told:
            logger.debug("%s", text)
        else:
            self._told.add(kind)
            logger.warning("%s", text)


def _waited(step: Disk | Pause | Others | Work) -> Any:
    match step:
        case Work(call):
            return call.make()
        case Disk(function):
            return function()
        case Others(future):
            with uncharged():
                return future.result()
        case Pause(seconds):
            with uncharged():
                return time.sleep(seconds)


def _closing_connections(function: Callable[[], Any]) -> Any:
    """For storages that are in a database: our threads keep no connection."""
    try:
        return function()
    finally:
        close_all()
