"""PostgreSQL: whether a statement of an item only waits for somebody's lock, which is not charged to the item."""

from __future__ import annotations

import logging
import threading
import time
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from django.db import connections
from django.db.utils import Error as DatabaseError

from async_commander.engine.charging import Wait, item_clock

from .connections import close_all, drop, freshen

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

    from async_commander.engine.charging import ItemClock

logger = logging.getLogger(__name__)

LOOK_SECONDS = 0.1
"""A statement that takes so long is looked at, again and again; a shorter wait for a lock counts as the item's work."""
PATIENCE_SECONDS = 10.0
"""For so long a look that failed is not repeated."""


@dataclass(slots=True, eq=False)
class _Statement:
    """One that is under way, and what of its time is not accounted for yet."""

    wait: Wait
    since: float = field(default_factory=time.monotonic)
    waits: bool = False

    def account(self, now: float, *, waits: bool) -> None:
        """Charge the time until now, unless the lock was waited for all the time, as far as is known."""
        if not waits:
            self.wait.charge(now - self.since)
        self.since, self.waits = now, waits


class LockWatch:
    """While a statement lasts, the clock of its item stands still; what of its time was no wait is charged as it goes.

    The database tells only other connections what a statement waits for: there is one for that, on a thread of its own,
    which begins when a statement takes long for the first time.
    """

    def __init__(self, alias: str) -> None:
        self._alias = alias
        self._mutex = threading.Lock()
        self._under_way: dict[int, _Statement] = {}
        self._something = threading.Event()
        self._ended = threading.Event()
        self._thread: threading.Thread | None = None
        self._closed: Future[None] = Future()

    @contextmanager
    def over(self, backend: int) -> Iterator[None]:
        """For the time of a statement in this session of the server, on the thread that sends it."""
        clock: ItemClock | None = item_clock.get()
        if clock is None:
            yield
            return
        statement = _Statement(Wait(clock))
        with self._mutex:
            self._under_way[backend] = statement
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="async-commander-locks", daemon=True)
                self._thread.start()
        self._something.set()
        try:
            yield
        finally:
            with self._mutex:
                del self._under_way[backend]
                statement.account(time.monotonic(), waits=statement.waits)
            statement.wait.over()

    def close(self) -> Future[None]:
        """Look no more; the connection is closed when the future is done."""
        self._ended.set()
        self._something.set()
        with self._mutex:
            if self._thread is None:
                self._thread = threading.current_thread()  # so that none begins any more
                self._closed.set_result(None)
        return self._closed

    def _run(self) -> None:
        try:
            while not self._ended.wait(LOOK_SECONDS):
                with self._mutex:
                    began_before = time.monotonic() - LOOK_SECONDS
                    long = {pid: one for pid, one in self._under_way.items() if one.since <= began_before or one.waits}
                    if not self._under_way:
                        self._something.clear()
                if long:
                    self._look(long)
                self._something.wait()
        finally:
            try:
                close_all()
            finally:
                self._closed.set_result(None)

    def _look(self, statements: dict[int, _Statement]) -> None:
        try:
            waiting = _waiting(self._alias, statements)
        except DatabaseError:
            logger.debug("Whether items wait for locks could not be seen.", exc_info=True)
            drop(self._alias)
            self._ended.wait(PATIENCE_SECONDS)
            return
        now = time.monotonic()
        with self._mutex:
            for backend, statement in statements.items():
                if self._under_way.get(backend) is statement:
                    statement.account(now, waits=backend in waiting)


def _waiting(alias: str, backends: Collection[int]) -> set[int]:
    """Which of these sessions wait for a lock. Each user of the server may see that."""
    freshen(alias)
    with connections[alias].cursor() as cursor:
        cursor.execute("SELECT pid FROM pg_locks WHERE NOT granted AND pid = ANY(%s)", [list(backends)])
        return {pid for (pid,) in cursor.fetchall()}
