"""Keeps the record of a run that has no event loop: that of a plain Django command, or of a function."""

from __future__ import annotations

import logging
import os
import queue
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import AbstractContextManager
from functools import partial
from typing import TypeVar

from django.db import DatabaseError, IntegrityError

from async_commander.database.connections import close_all, drop
from async_commander.database.lanes import must_share
from async_commander.database.outage import is_locked, is_read_only, patiently
from async_commander.database.touched import Recording, Unrecorded
from async_commander.database.transaction import LaneTransaction
from async_commander.exceptions import RunFenced, RunLocked

from . import runs, unstored_ends
from .changes import Changes
from .exclusive import ATTEMPTS, begin, naps_while_waiting
from .heartbeat import BEATS_PER_LEASE
from .lease import LEASE_SECONDS, Ownership, renew
from .ownership import this_process
from .provenance import recorded, write_touched
from .recorder import Ending, Opening

logger = logging.getLogger("async_commander.run")

T = TypeVar("T")

NOTE_SECONDS = 1.0
"""Between two looks for objects that were committed and are not recorded yet."""


class Keeper:
    """Begins one run, shows from time to time that its process lives, and closes it.

    All that on a thread with a connection of its own, so that it is no part of what the run does with its connections.
    Inside a transaction of the caller's (a test's, a migration's) the record is part of that.
    """

    def __init__(self, alias: str, *, lease_seconds: float = LEASE_SECONDS) -> None:
        self._alias = alias
        self._lease_seconds = lease_seconds
        self._shared = must_share(alias)
        self._pid = os.getpid()
        self._hurry = threading.Event()
        self._calls: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self._ownership: Ownership | None = None
        self._touched: Recording | None = None
        self._changes: Changes
        self._thread = threading.Thread(target=self._work, name="async-commander-keeper", daemon=True)
        if not self._shared:
            self._thread.start()

    def begin(self, opening: Opening, say: Callable[[str], None]) -> int:
        """The number of the run. Raises RunLocked, OnceMet, and the database's errors; then there is no run.

        Where another run is in the way and `opening` says so, it is waited for, which is said.
        """
        self._call(lambda: None, patient=False)  # as long as there is no run there is no outage to be waited out
        told = ""
        for nap in naps_while_waiting():
            try:
                return self._begin(opening) if self._shared else self._on_thread(partial(self._begin, opening))
            except RunLocked as locked:
                if not opening.wait:
                    raise
                if str(locked) != told:
                    told = str(locked)
                    say(f"{told} Waiting for that.")
            time.sleep(nap)
        raise AssertionError("the naps have no end")

    def recorded(self, *, everything: bool, dry_run: bool = False) -> AbstractContextManager[Recording | None]:
        """For the block, objects that are written are recorded for the run: those that say so, or all of them."""
        assert self._ownership is not None  # noqa: S101 - the run has begun
        run_id = self._ownership.run_id
        if dry_run:
            return recorded(Unrecorded(self._alias, run_id))
        write = partial(write_touched, self._alias, run_id)
        self._touched = Recording(self._alias, run_id, write, everything=everything, shared=self._shared)
        return recorded(self._touched)

    def close(self, ending: Ending) -> None:
        """Write the end of the run, where one was begun, and let the thread go. Raises nothing of the database's.

        In a process that was forked meanwhile there is no such thread, and the run is not this process's to end.
        """
        if os.getpid() != self._pid:
            return
        try:
            if not self._shared:
                self._on_thread(lambda: None)  # what was begun while nobody waited for it any more is known after it
            if (ownership := self._ownership) is not None:
                self._close(ownership, ending)
        finally:
            self._calls.put(None)
            if not self._shared:
                self._thread.join()

    def _close(self, ownership: Ownership, ending: Ending) -> None:
        def end() -> None:
            if self._touched is not None:
                self._touched.keep(of_this_block=False)
            runs.close(ownership, ending, add_output=False, whole=True)

        try:
            self._call(self._changes.once(end))
        except RunFenced as error:
            logger.warning("The end of run %s was not recorded: %s", ownership.run_id, error)
        except DatabaseError as error:
            if not self._shared:
                unstored_ends.keep(ownership, this_process(), ending)
            logger.warning("The end of run %s could not be recorded: %s", ownership.run_id, error)

    # -- on the thread, or on the caller's where the connection is shared ----------------------------------------------

    def _begin(self, opening: Opening) -> int:
        def work() -> tuple[Ownership, None]:
            runs.sweep(self._alias)
            return begin(self._alias, opening, self._lease_seconds), None

        attempt = self._transact if self._shared else self._patiently
        ownership, _ = attempt(runs.opened_once(work))
        self._ownership, self._changes = ownership, Changes(ownership)
        return ownership.run_id

    def _call(self, work: Callable[[], T], *, patient: bool = True) -> T:
        if self._shared:
            return self._transact(work)
        return self._on_thread(partial(self._patiently if patient else self._transact, work))

    def _on_thread(self, work: Callable[[], T]) -> T:
        future: Future[T] = Future()

        def call() -> None:
            try:
                future.set_result(work())
            except BaseException as error:  # noqa: BLE001  the caller hears it
                future.set_exception(error)

        self._calls.put(call)
        return _awaited(future)

    def _patiently(self, work: Callable[[], T]) -> T:
        def never_passes(error: BaseException) -> bool:
            """Before there is a run, a database that takes no writes is set up so."""
            return self._ownership is None and is_read_only(error)

        for attempt in range(ATTEMPTS):
            try:
                return patiently(partial(self._transact, work), self._hurry, unless=never_passes)
            except IntegrityError:  # another process began the same at this moment: the next look sees its run
                if attempt + 1 == ATTEMPTS:
                    raise
        raise AssertionError("the last attempt returns or raises")

    def _transact(self, work: Callable[[], T]) -> T:
        with LaneTransaction(self._alias, shared=self._shared):
            return work()

    def _work(self) -> None:
        pause = self._lease_seconds / BEATS_PER_LEASE
        beats_at = time.monotonic() + pause
        try:
            while True:
                try:
                    call = self._calls.get(timeout=min(NOTE_SECONDS, pause))
                except queue.Empty:
                    self._note()
                    if time.monotonic() >= beats_at:
                        self._beat()
                        beats_at = time.monotonic() + pause
                    continue
                if call is None:
                    return
                call()
        finally:
            close_all()

    def _note(self) -> None:
        touched = self._touched
        if touched is not None and touched.is_waiting:
            self._try(touched.keep, "What run %s has written could not be recorded yet: %s")

    def _beat(self) -> None:
        ownership = self._ownership
        if ownership is not None:
            self._try(lambda: renew(ownership, self._lease_seconds), "The lease of run %s could not be renewed: %s")

    def _try(self, work: Callable[[], object], failed: str) -> None:
        try:
            self._transact(work)
        except DatabaseError as error:
            # Where the command itself has SQLite's lock it lives, and who looks at its run from this host knows.
            level = logging.DEBUG if is_locked(error) else logging.WARNING
            logger.log(level, failed, self._ownership and self._ownership.run_id, error)
            drop(self._alias)


def _awaited(future: Future[T]) -> T:
    """The result of work on the thread. It is not left half done: a first Ctrl-C comes through when it has ended."""
    interrupt: BaseException | None = None
    while True:
        try:
            result = future.result()
        except (KeyboardInterrupt, SystemExit) as error:
            if interrupt is not None:
                raise
            interrupt = error
            continue
        except Exception:
            if interrupt is not None:
                raise interrupt from None
            raise
        if interrupt is not None:
            raise interrupt
        return result
