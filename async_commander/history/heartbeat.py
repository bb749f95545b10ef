"""The sign of life: renews a run's lease from a thread of its own, as long as the event loop turns.

In between it looks each second for what is asked of the run from outside: one read of its row by the key.
"""

from __future__ import annotations

import logging
import threading
import time
from typing import Protocol

from django.db.utils import Error as DatabaseError

from async_commander.database.connections import close_all, drop, freshen
from async_commander.database.outage import Hurry
from async_commander.database.timeouts import Timeouts
from async_commander.database.transaction import LaneTransaction
from async_commander.engine.threads import start_soon

from .lease import Ownership, Renewal, orders_of, renew
from .recorder import Orders

logger = logging.getLogger("async_commander.heartbeat")

BEATS_PER_LEASE = 4
LOOK_SECONDS = 1.0
"""Between two looks at what is asked of the run."""


class HeartOwner(Protocol):
    """Whose run it is."""

    def beaten(self, renewal: Renewal) -> None:
        """What a heartbeat found. Called on the heartbeat's own thread."""

    def looked(self, orders: Orders) -> None:
        """What is asked of the run, as it was found between two heartbeats. Called on that thread, too."""


class Heartbeat:
    """Renews `ownership` every quarter of `seconds`, unless the loop has not ticked for half of them.

    It reports each renewal to `owner`. `hurry`: set when a locked SQLite file is not waited for any more.
    """

    def __init__(self, ownership: Ownership, seconds: float, owner: HeartOwner, hurry: Hurry) -> None:
        self._ownership = ownership
        self._seconds = seconds
        self._timeouts = Timeouts.of_writer(lease_seconds=seconds)
        self._owner = owner
        self._hurry = hurry
        self._ended, self._over = threading.Event(), threading.Event()
        self._ticked = time.monotonic()
        self._thread = threading.Thread(target=self._run, name=f"heartbeat-run-{ownership.run_id}", daemon=True)

    def start(self) -> None:
        """Begin to beat."""
        start_soon(self._thread)

    def tick(self) -> None:
        """The event loop is alive. To be called at least every eighth of the lease."""
        self._ticked = time.monotonic()

    def stop(self) -> None:
        """Stop beating and wait for the beat under way. Blocks: call it on a worker thread."""
        self._ended.set()
        self._over.wait()

    def _run(self) -> None:
        beat_at = time.monotonic() + self._seconds / BEATS_PER_LEASE
        try:
            while not self._ended.wait(min(LOOK_SECONDS, max(0.0, beat_at - time.monotonic()))):
                if time.monotonic() < beat_at:
                    self._look()
                    continue
                beat_at = time.monotonic() + self._seconds / BEATS_PER_LEASE
                if time.monotonic() - self._ticked < self._seconds / 2:
                    self._beat()
        finally:
            try:
                close_all()
            finally:
                self._over.set()

    def _look(self) -> None:
        """Where the database is away, the next heartbeat says so."""
        try:
            freshen(self._ownership.alias)
            orders = orders_of(self._ownership)
        except DatabaseError:
            drop(self._ownership.alias)
            return
        if orders is not None:
            self._owner.looked(orders)

    def _beat(self) -> None:
        try:
            with LaneTransaction(self._ownership.alias, timeouts=self._timeouts, hurry=self._hurry):
                renewal = renew(self._ownership, self._seconds)
        except DatabaseError as error:
            logger.warning("The lease of run %s could not be renewed: %s", self._ownership.run_id, error)
            drop(self._ownership.alias)
            return
        self._owner.beaten(renewal)
