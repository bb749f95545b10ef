"""Runs that are watched from outside: the readers of one event loop share one connection, and one look a second."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from contextlib import asynccontextmanager, nullcontext
from contextvars import Context
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary

import anyio
from asgiref.sync import sync_to_async
from django.db import DatabaseError, router

from async_commander.database.lanes import must_share, open_lanes
from async_commander.database.outage import is_outage, is_transient
from async_commander.engine.threads import check_loop
from async_commander.events import Place, RunFinished
from async_commander.history.events import Look, events_of
from async_commander.models import Run

from .mailbox import Mailbox
from .signals import StopRequests, open_run, served_runs

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Collection, Mapping, Sequence

    from async_commander.database.lanes import LanePool
    from async_commander.events import RunEvent

LOOK_SECONDS = 1.0
ROUNDS_PER_CHECK = 5
"""In one of so many rounds runs are noticed whose owner is gone."""
PATIENCE = 60.0
"""Seconds for which a database that is away is waited for."""


async def watch(run_id: int, *, after: str | None, using: str | None) -> AsyncGenerator[RunEvent]:
    """See `doors.awatch`."""
    check_loop()
    alias = using or router.db_for_write(Run)
    reader = Reader(run_id, Place.of(run_id, after))
    if await sync_to_async(must_share)(alias):
        async for news in _alone(reader, alias):
            yield news
        return
    watches = _watches.setdefault(asyncio.get_running_loop(), {})
    if alias not in watches or not watches[alias].is_open:
        watches[alias] = Watch(alias)
    async with watches[alias].read_by(reader):
        while (event := await reader.mailbox.get()) is not None:
            yield event


async def _alone(reader: Reader, alias: str) -> AsyncGenerator[RunEvent]:
    """In a test, on its connection and in its transaction: nobody else sees what it sees."""
    while True:
        reader.tell(await sync_to_async(events_of)(reader.run_id, reader.place, using=alias))
        while (waiting := reader.mailbox.take()) is not None:
            yield waiting
        if reader.mailbox.closed:
            return
        await anyio.sleep(LOOK_SECONDS)


@dataclass(eq=False)
class Reader:
    """Who watches one run, and how far the reader has heard of it."""

    run_id: int
    place: Place | None
    told: bool = False
    mailbox: Mailbox = field(default_factory=Mailbox)

    def tell(self, news: Sequence[RunEvent] | Exception) -> None:
        """Hand over what is new. After the end of the run, or where it cannot be read, nothing more will come."""
        self.told = True
        if isinstance(news, Exception):
            self.mailbox.close(news)
            return
        for event in news:
            self.mailbox.put(event)
            self.place = Place.of(self.run_id, event.id)
        if news and isinstance(news[-1], RunFinished):
            self.mailbox.close()


class Watch:
    """Looks at the runs that are watched in one database, on a lane of its own, as long as anybody reads."""

    def __init__(self, alias: str) -> None:
        self._alias = alias
        self._readers: set[Reader] = set()
        self._changed = asyncio.Event()
        self.is_open = True
        """Whether readers may come: after the last one has left it gives its connection back."""
        self._is_served = open_run.get() is None
        # No task group could hold it, for readers come and go in tasks of their own. It has nothing of the request of
        # the first one in its context.
        self._task = asyncio.get_running_loop().create_task(
            self._look_again_and_again(), name=f"watched runs of {alias}", context=Context()
        )

    @asynccontextmanager
    async def read_by(self, reader: Reader) -> AsyncIterator[None]:
        """For the block this reader hears what is new of the run."""
        self._readers.add(reader)
        self._changed.set()
        try:
            yield
        finally:
            self._readers.discard(reader)
            if not self._readers:
                self.is_open = False
                self._changed.set()
                with anyio.CancelScope(shield=True):
                    await asyncio.wait([self._task])

    async def _look_again_and_again(self) -> None:
        loop, stops, failure = asyncio.get_running_loop(), StopRequests(), None

        def server_stops(count: int) -> None:
            """It waits for its responses: they end, and the clients come back to the next one."""
            del count
            loop.call_soon_threadsafe(self._close)

        stops.listen(server_stops)
        try:
            async with open_lanes(self._alias, 1) as lanes:
                with served_runs.heard_by(stops) if self._is_served else nullcontext():
                    await self._rounds(lanes)
        except Exception as error:  # noqa: BLE001 - it is raised where somebody reads
            failure = error
        finally:
            self._close(failure)

    def _close(self, error: Exception | None = None) -> None:
        self.is_open = False
        self._changed.set()
        for reader in self._readers:
            reader.mailbox.close(error)

    async def _rounds(self, lanes: LanePool) -> None:
        number, next_round, answered = 0, 0.0, anyio.current_time()
        while self.is_open:
            self._changed.clear()
            now = anyio.current_time()
            is_due = now >= next_round
            if is_due:
                number, next_round = number + 1, now + LOOK_SECONDS
            readers = [one for one in self._readers if (is_due or not one.told) and not one.mailbox.closed]
            places: defaultdict[int, defaultdict[Place | None, list[Reader]]] = defaultdict(lambda: defaultdict(list))
            for reader in readers:
                places[reader.run_id][reader.place].append(reader)
            notice_crash = is_due and number % ROUNDS_PER_CHECK == 1
            try:
                news = await lanes.call(partial(_look, self._alias, places, notice_crash=notice_crash))
            except DatabaseError as error:
                away = is_outage(error) or is_transient(error)
                if not away or anyio.current_time() - answered > PATIENCE:
                    raise
            else:
                answered = anyio.current_time()
                for reader, place in [(one, one.place) for one in readers]:
                    reader.tell(news[reader.run_id, place])
            with anyio.CancelScope(deadline=next_round):
                await self._changed.wait()


def _look(
    alias: str, places: Mapping[int, Collection[Place | None]], *, notice_crash: bool
) -> dict[tuple[int, Place | None], Sequence[RunEvent] | Exception]:
    """What is new of these runs after these places. What is wrong with one of them is for its own readers."""
    news: dict[tuple[int, Place | None], Sequence[RunEvent] | Exception] = {}
    for run_id, of_run in places.items():
        try:
            look = Look(alias, run_id, notice_crash=notice_crash)
            news |= {(run_id, place): look.after(place) for place in of_run}
        except DatabaseError:
            raise
        except Exception as error:  # noqa: BLE001 - it is raised where somebody reads
            news |= {(run_id, place): error for place in of_run}
    return news


_watches: WeakKeyDictionary[asyncio.AbstractEventLoop, dict[str, Watch]] = WeakKeyDictionary()
