"""One writer at a time on an SQLite file: a queue in memory, where the database itself would answer "locked"."""

from __future__ import annotations

import os
import threading
from collections import deque
from functools import cache
from typing import TYPE_CHECKING, Protocol

from django.db import OperationalError

from .sqlite import is_in_memory, is_sqlite

if TYPE_CHECKING:
    from django.db.backends.base.base import BaseDatabaseWrapper


class GateHeldTooLong(OperationalError):
    """An item kept the write gate too long and was rolled back; it may be tried again."""

    def __init__(self, limit: float) -> None:
        super().__init__(
            f"The item kept SQLite's only write lock for more than {limit:g} s, and was rolled back: nobody else "
            "could write. Await first and write last: fetch and compute before the first save, or queue the rows "
            "with self.db.add(), which needs no lock until the item is finished."
        )


class GateBusy(OperationalError):
    """Others kept the write gate for longer than one can wait; it may be tried again."""

    def __init__(self, patience: float) -> None:
        super().__init__(f"SQLite's only write lock was not to be had within {patience:g} s: others write there.")


class GateLeft(Exception):
    """The transaction that waited at the gate was given up meanwhile."""


class Waiter(Protocol):
    """Who waits at a gate; `given_up` is read when it comes and whenever somebody is let in."""

    given_up: bool


class _Place:
    """A place in the queue. Its bolt opens once: let in, or sent away."""

    __slots__ = ("bolt", "let_in", "thread", "waiter")

    def __init__(self, waiter: Waiter | None) -> None:
        self.waiter = waiter
        self.thread = threading.get_ident()
        self.let_in = False
        self.bolt = threading.Lock()
        self.bolt.acquire()


class WriteGate:
    """A lock that lets threads in strictly in the order of their coming, and a thread that is in again at once."""

    def __init__(self) -> None:
        self._mutex = threading.Lock()
        self._queue: deque[_Place] = deque()
        self._holder: int | None = None
        self._depth = 0

    @property
    def held(self) -> bool:
        """Whether any thread is in."""
        return self._holder is not None

    @property
    def waiting(self) -> int:
        """How many threads stand in the queue."""
        return len(self._queue)

    def enter(self, waiter: Waiter | None = None, *, patience: float | None = None) -> None:
        """Wait in this thread until it is let in.

        Raises GateLeft where `waiter` is or was given up, GateBusy where that takes longer than `patience` seconds.
        """
        with self._mutex:
            if waiter is not None and waiter.given_up:
                raise GateLeft
            if self._holder is None:
                self._holder = threading.get_ident()
            if self._holder == threading.get_ident():
                self._depth += 1
                return
            place = _Place(waiter)
            self._queue.append(place)
        if not place.bolt.acquire(timeout=-1 if patience is None else patience):
            with self._mutex:
                if place in self._queue:  # else it was let in, or sent away, at the last moment
                    self._queue.remove(place)
                    raise GateBusy(patience or 0.0)
        if not place.let_in:
            raise GateLeft

    def leave(self) -> None:
        """Let the next one in; to be called by the thread that entered."""
        with self._mutex:
            if self._holder != threading.get_ident():
                raise RuntimeError("a thread left the write gate without having entered it")
            self._depth -= 1
            if not self._depth:
                self._let_next_in()

    def taken_from(self, thread: int) -> None:
        """Let the next one in, in the place of a thread whose transaction somebody else has ended."""
        with self._mutex:
            if self._holder == thread:
                self._depth = 0
                self._let_next_in()

    def _let_next_in(self) -> None:
        self._holder = None
        if self._queue:
            place = self._queue.popleft()
            self._holder, self._depth, place.let_in = place.thread, 1, True
            place.bolt.release()

    def send_away(self, waiter: Waiter) -> None:
        """Give up `waiter`: if it stands in the queue it leaves at once, if it comes later it is refused."""
        with self._mutex:
            waiter.given_up = True
            for place in self._queue:
                if place.waiter is waiter:
                    self._queue.remove(place)
                    place.bolt.release()
                    return


_gates: dict[str, WriteGate] = {}
_gates_mutex = threading.Lock()
_real_path = cache(os.path.realpath)  # it asks the file system for each part of the path


def gate_of(connection: BaseDatabaseWrapper) -> WriteGate | None:
    """The gate of this connection's database file, one per file and process; None where none is needed."""
    if not is_sqlite(connection) or is_in_memory(connection):
        return None
    path = _real_path(connection.settings_dict["NAME"])
    with _gates_mutex:
        return _gates.setdefault(path, WriteGate())
