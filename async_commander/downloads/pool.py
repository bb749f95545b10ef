"""Connections: those that wait for another request, and how many there may be."""

from __future__ import annotations

import asyncio
import logging
from time import monotonic
from typing import TYPE_CHECKING

import httpx

from . import descriptors

if TYPE_CHECKING:
    from .connecting import Connector
    from .journey import Journey
    from .protocol import Ask, Connection, Origin

logger = logging.getLogger("async_commander.downloads")

IDLE_SECONDS = 15.0
"""For so long an idle connection is kept."""
UNANNOUNCED = 1.0
"""A server that closes a connection within so many seconds after its first answer does not keep any."""
PROVEN_AFTER = 0.05
"""A server that left a connection open for so many seconds after its first answer keeps them."""
REMEMBERED = 1024
"""Origins whose peculiarities are remembered."""
PATIENCE = 60.0
"""Seconds after which a lack of descriptors is an error of the request."""


class ConnectionPool:
    """The connections of one client: `size` requests at once, as many idle ones, all on one event loop.

    What bounds the requests is held while one is sent and read, and not by a stream in the caller's hands: who reads
    one may ask for more without waiting for himself. Where the process is short of file descriptors there are fewer.
    """

    def __init__(self, connector: Connector, size: int) -> None:
        self.connector = connector
        self._size = size
        self._room = descriptors.room_for(size)
        self._places = asyncio.Semaphore(self._room)
        self._too_many = 0
        """Places that there are and that are to go."""
        self._open: set[Connection] = set()
        self._opening = 0
        self._idle: dict[Connection, None] = {}  # the one that waits longest is the first
        self._idle_at: dict[Origin, dict[Connection, None]] = {}
        self._talkative: dict[Origin, bool] = {}
        self._keeps: dict[Origin, bool] = {}
        """Whether a server keeps its connections open, where that is known."""
        self._left = asyncio.Event()
        self._sweeper: asyncio.TimerHandle | None = None
        self._warned = self._closed = False

    def resize(self, size: int) -> None:
        """From now on so many requests at once, and idle connections. What is on its way goes on."""
        room = descriptors.room_for(size)
        self._too_many += self._room - room
        self._size, self._room = size, room
        while self._too_many < 0:
            self._too_many += 1
            self._places.release()

    async def enter(self, journey: Journey, patience: float | None) -> None:
        """Take a place among the requests that are on their way; the deadline does not run while it is waited for.

        `leave()` gives it back. httpx.PoolTimeout after `patience` seconds.
        """
        await self._take_a_place(journey, patience)
        while self._too_many > 0:  # that one is to go: it is never given back
            self._too_many -= 1
            await self._take_a_place(journey, patience)

    async def _take_a_place(self, journey: Journey, patience: float | None) -> None:
        if not self._places.locked():  # then this does not suspend, and nobody can come in between
            await self._places.acquire()
            return
        if self._room < self._size:
            self._warn()
        with journey.paused():
            try:
                async with asyncio.timeout(patience):
                    await self._places.acquire()
            except TimeoutError as error:
                raise httpx.PoolTimeout(f"{self._room} requests are on their way, for {patience:g} s") from error

    def leave(self) -> None:
        """See `enter()`."""
        if self._too_many > 0:
            self._too_many -= 1
        else:
            self._places.release()

    def reuse(self, origin: Origin, *, idempotent: bool) -> Connection | None:
        """An idle connection that is open and silent, if there is one.

        Where a server sent what nobody asked for, none of its connections is used twice: what comes late would be taken
        for an answer. What may not be sent twice gets a connection of its own until the server is known to keep them.
        """
        known = True if idempotent else self._keeps.get(origin)
        while known is not False and (there := self._idle_at.get(origin)):
            connection = next(iter(there) if known is None else reversed(there))
            age = monotonic() - (connection.idle_since or 0.0)
            if known is None and age < PROVEN_AFTER:
                return None
            self._take_out(connection)
            if age <= IDLE_SECONDS and connection.is_quiet():
                if known is None:
                    _remember(self._keeps, origin, value=True)
                return connection
            connection.abort()
        return None

    def _take_out(self, connection: Connection) -> None:
        del self._idle[connection]
        there = self._idle_at[connection.origin]
        del there[connection]
        if not there:
            del self._idle_at[connection.origin]
        connection.idle_since = None

    async def open(self, ask: Ask, journey: Journey) -> Connection:
        """A new connection. Where descriptors run out it is waited for, and the deadline does not run meanwhile."""
        is_full = self._opening + len(self._open) >= self._room and not self._drop_an_idle_one()
        if is_full and self._room < self._size:  # streams that are held open may pass the bound, after a while
            self._warn()
            await self._wait_for_one_that_closes(journey)
        waits_until = monotonic() + PATIENCE
        while True:
            self._opening += 1
            try:
                connection = await self.connector.connect(self, ask, journey)
            except httpx.ConnectError as error:
                if not descriptors.ran_out(error) or monotonic() > waits_until:
                    raise
            else:
                if not connection.is_over:
                    self._open.add(connection)
                return connection
            finally:
                self._opening -= 1
            self._warn()
            if not self._drop_an_idle_one():
                await self._wait_for_one_that_closes(journey)

    def _drop_an_idle_one(self) -> bool:
        for connection in self._idle:
            self._take_out(connection)
            connection.abort()
            return True
        return False

    async def _wait_for_one_that_closes(self, journey: Journey) -> None:
        with journey.paused():
            try:
                async with asyncio.timeout(1.0):
                    await self._left.wait()
            except TimeoutError:
                return

    def _warn(self) -> None:
        if not self._warned:
            self._warned = True
            logger.warning(
                "This process may have %s file descriptors (ulimit -n), and %d downloads at once need %d: as many as "
                "there is room for run at once. Raise the limit, or lower --threads.",
                descriptors.soft_limit(),
                self._size,
                descriptors.needed(self._size),
            )

    def give_back(self, connection: Connection, *, usable: bool) -> None:
        """Keep a connection for another request, or close it."""
        if connection.served > 1:
            _remember(self._keeps, connection.origin, value=True)
        if not usable or self._closed or connection.origin in self._talkative:
            connection.abort()
            return
        if len(self._idle) >= self._size:
            self._drop_an_idle_one()
        connection.idle_since = monotonic()
        self._idle[connection] = None
        self._idle_at.setdefault(connection.origin, {})[connection] = None
        if self._sweeper is None:
            self._sweeper = asyncio.get_running_loop().call_later(IDLE_SECONDS, self._sweep)

    def _sweep(self) -> None:
        self._sweeper = None
        oldest = monotonic() - IDLE_SECONDS
        for connection in list(self._idle):
            if (connection.idle_since or 0.0) <= oldest:
                self._take_out(connection)
                connection.abort()
        if self._idle:
            self._sweeper = asyncio.get_running_loop().call_later(IDLE_SECONDS / 2, self._sweep)

    def spoke(self, connection: Connection) -> None:
        """See Owner: from now on no connection of this server is used twice."""
        _remember(self._talkative, connection.origin, value=True)
        for other in list(self._idle_at.get(connection.origin, ())):
            self._take_out(other)
            other.abort()

    def lost(self, connection: Connection) -> None:
        """See Owner."""
        self._open.discard(connection)
        if connection.idle_since is not None:
            if connection.served == 1 and monotonic() - connection.idle_since < UNANNOUNCED:
                self.closes_early(connection)
            self._take_out(connection)
        # Wakes all who wait now; who waits from now on waits for the next one that closes.
        self._left.set()
        self._left = asyncio.Event()

    def closes_early(self, connection: Connection) -> None:
        """The server closed a connection that it had not said it would close."""
        _remember(self._keeps, connection.origin, value=False)

    async def aclose(self) -> None:
        """Close all connections, those under way too."""
        self._closed = True
        if self._sweeper is not None:
            self._sweeper.cancel()
        for connection in list(self._open):
            connection.abort()
        while self._open:
            await self._left.wait()
        self.connector.close()


def _remember(origins: dict[Origin, bool], origin: Origin, *, value: bool) -> None:
    if origin not in origins and len(origins) >= REMEMBERED:
        del origins[next(iter(origins))]
    origins[origin] = value
