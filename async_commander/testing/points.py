"""The points of a run at which a test interrupts it, or crashes it: `item:3`, `commit:2:after`."""

from __future__ import annotations

import re
import threading
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Self, cast

from django.db import connections
from django.db.backends.signals import connection_created
from django.db.models import Q

from async_commander.exceptions import InvalidCommand, RunFenced
from async_commander.models import Lease
from async_commander.runner.in_hand import in_hand
from async_commander.runner.observing import ITEM, RUN, ObservedRun, Observer, observers
from async_commander.runner.signals import open_run

if TYPE_CHECKING:
    from uuid import UUID

    from django.db.backends.base.base import BaseDatabaseWrapper

    from async_commander.database.unit import Unit

PLACES = (
    *("item", "download", "parse_and_save", "parse_and_save_many", "commit", "committed"),
    *("step", "handle", "cleanup"),
)
"""Where a run can be ended: an attempt at an item, a call of a hook, a step of `handle()`, and a transaction that has
rows of the command or outcomes of its items.
"""
_POINT = re.compile(rf"({'|'.join(PLACES)}):([1-9][0-9]*)(?::(before|after))?")
_PASSES = ("ROLLBACK", "RELEASE")
"""Statements that give up, or end, what was begun before the crash."""


class Crash(BaseException):
    """Ends the hook at which a test crashes its run. No `except Exception` catches it."""


@dataclass(frozen=True, slots=True)
class Point:
    """The n-th time that a run comes to a place, before what is done there or after it."""

    place: str
    number: int
    after: bool = False

    @classmethod
    def of(cls, text: str, name: str) -> Self:
        """Read one; `name` is the argument's. InvalidCommand for what is none."""
        found = _POINT.fullmatch(text) if isinstance(text, str) else None
        if found is None:
            raise InvalidCommand(
                f"{name}={text!r:.80} is no point of a run: write PLACE:NUMBER, as in 'item:3' or 'commit:2', and "
                f"':after' behind it for the moment after it ('commit:2:after'). The places are {', '.join(PLACES)}; "
                "numbers begin with 1."
            )
        return cls(found[1], int(found[2]), found[3] == "after")

    def __str__(self) -> str:
        return f"{self.place}:{self.number}{':after' if self.after else ''}"


@dataclass
class Tested(Observer):
    """A run of a test, and where it is to end. `run` is there once the run was opened."""

    interrupt_at: Point | None = None
    crash_at: Point | None = None
    run: ObservedRun | None = None
    crashed: bool = False
    """The run looks as if it were killed: nothing of it is written any more."""
    interrupted: bool = False
    reached: Counter[str] = field(default_factory=Counter)
    """How often the run has come to each place."""
    labels: dict[UUID, str] = field(default_factory=dict)
    """Of the items that were begun, by their keys."""
    _ends_with: Unit | None = None
    """Of the transaction after which the run crashes: it is on its way."""
    _committed: int = 0
    """Transactions that are known to be committed."""

    _counting: threading.Lock = field(default_factory=threading.Lock)
    """Items that have lanes commit on several threads."""

    @classmethod
    def asked_for(cls, interrupt_at: str | None, crash_at: str | None) -> Self:
        """InvalidCommand for points that are none, and for both of them."""
        if interrupt_at is not None and crash_at is not None:
            raise InvalidCommand("interrupt_at and crash_at: a run ends once; give one of them.")
        return cls(
            None if interrupt_at is None else Point.of(interrupt_at, "interrupt_at"),
            None if crash_at is None else Point.of(crash_at, "crash_at"),
        )

    @property
    def _run(self) -> ObservedRun:
        assert self.run is not None  # noqa: S101 - it was opened
        return self.run

    @property
    def alias(self) -> str:
        """The database of the run's record."""
        return self._run.plan.alias

    @contextmanager
    def begun_next(self) -> Iterator[None]:
        """For the block, this is the run that it begins."""
        token = _tested.set(self)
        try:
            yield
        finally:
            _tested.reset(token)

    # -- the run comes along -----------------------------------------------------------------------------------

    @asynccontextmanager
    async def around(self, what: str, label: str) -> AsyncIterator[None]:
        """See Observer."""
        if what == RUN:
            yield
            return
        if what == ITEM and (ticket := in_hand.get()) is not None:
            self.labels[ticket.uuid] = label
        self.reached[what] += what in PLACES
        number = self.reached[what]  # others come to the same place meanwhile
        await self._pass(what, number, after=False)
        yield
        await self._pass(what, number, after=True)

    async def _pass(self, place: str, number: int, *, after: bool) -> None:
        here = Point(place, number, after)
        if here == self.interrupt_at:
            self._interrupt(on_loop=True)
        if here == self.crash_at:
            # A crash may come before the COMMIT of items that are finished, or after it: a test wants to know which.
            await self._run.recorder.drain()
            self._die()
        if self.crashed:
            raise Crash(f"crash_at={str(self.crash_at)!r}")

    def committing(self, units: Sequence[Unit]) -> None:
        """See CommitObserver."""
        with self._counting:
            self.reached["commit"] += 1
            before = Point("commit", self.reached["commit"])
            after = replace(before, after=True)
            too_late = self._ends_with is not None and all(unit is not self._ends_with for unit in units)
            self.crashed |= too_late or before == self.crash_at
            if self.crashed:
                raise self._gone()
            if after == self.crash_at:
                self._ends_with = units[0]
        if before == self.interrupt_at:
            self._interrupt(on_loop=False)

    def committed(self, units: Sequence[Unit]) -> bool:
        """See CommitObserver."""
        self._committed += 1
        if self.interrupt_at == Point("commit", self._committed, after=True):
            self._interrupt(on_loop=True)
        if self._ends_with is not None and any(unit is self._ends_with for unit in units):
            self._die()
        return self.crashed

    # -- and ends ----------------------------------------------------------------------------------------------

    def _interrupt(self, *, on_loop: bool) -> None:
        if not self.interrupted:
            self.interrupted = True
            self._run.stops.ask(on_loop=on_loop)

    def _die(self) -> None:
        self.crashed = True
        self._run.owner.record_lost(self._gone())

    def _gone(self) -> RunFenced:
        return RunFenced(f"This process is dead, as far as its run is concerned: crash_at={str(self.crash_at)!r}.")

    @contextmanager
    def cut_off(self) -> Iterator[None]:
        """For the block, once the run has crashed, no statement of this process passes.

        To be entered on the caller's thread: what its connections do from the end of the block on passes again.
        """
        armed: list[BaseDatabaseWrapper] = []

        def refuse(execute: Callable[..., Any], sql: str, params: Any, many: bool, context: Any) -> Any:  # noqa: FBT001 - Django's own signature
            if self.crashed and not str(sql).lstrip().upper().startswith(_PASSES):
                raise self._gone()
            return execute(sql, params, many, context)

        def arm(connection: BaseDatabaseWrapper, **_: Any) -> None:
            connection.execute_wrappers.append(refuse)
            armed.append(connection)

        if self.crash_at is None:
            yield
            return
        for connection in connections.all(initialized_only=True):
            arm(connection)
        connection_created.connect(arm, weak=False)
        try:
            yield
        finally:
            connection_created.disconnect(arm)
            for connection in armed:
                connection.execute_wrappers.remove(refuse)

    def disown(self) -> None:
        """Leave the run as a killed process leaves it: its lease names an owner that is gone."""
        run_id = self._run.context.run_id
        leases = Lease.objects.using(self.alias).filter(Q(name=f"run:{run_id}") | Q(run=cast("int", run_id)))
        leases.update(boot_id="a boot before this one")

    def check(self) -> None:
        """AssertionError where the run did not come to its point; what it came to instead."""
        for name, point, ended in (
            ("interrupt_at", self.interrupt_at, self.interrupted),
            ("crash_at", self.crash_at, self.crashed),
        ):
            if point is not None and not ended:
                came = ", ".join(f"{place} {number}×" for place, number in sorted((+self.reached).items()))
                raise AssertionError(
                    f"{name}={str(point)!r} was never reached: the run came to {came or 'none of the places'}. "
                    f"The places are {', '.join(PLACES)}."
                )


_tested: ContextVar[Tested | None] = ContextVar("async_commander_tested", default=None)


def _observe(run: ObservedRun) -> Observer | None:
    """A run that the test's run begins, or that goes before it, is none of its business."""
    tested = _tested.get()
    if tested is None or open_run.get() is not None or run.plan.before:
        return None
    tested.run = run
    return tested


observers.append(_observe)
