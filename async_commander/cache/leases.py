"""One at a time among processes: who makes a result holds a lease for it in the ledger's database."""

from __future__ import annotations

import threading
from concurrent.futures import Future, InvalidStateError
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from django.db import DatabaseError
from django.db.models import F, QuerySet

from async_commander.database.lent_lane import settle
from async_commander.history.ownership import Owner, this_process
from async_commander.models import Lease

if TYPE_CHECKING:
    from async_commander.database.lanes import LanePool

_AT_ONCE = 200
"""Names in one statement: SQLite takes no more than 999 values in all."""


@dataclass(frozen=True, slots=True)
class Holder:
    """Who holds a lease that was asked for."""

    owner: Owner
    epoch: int


@dataclass(frozen=True, slots=True)
class _Question:
    answer: Future[Holder | None]
    deposed: Holder | None


class Leases:
    """The leases of one process, asked for and given back in batches, on a lane that no item has.

    The database only spares double work here: an entry is written whole by anybody, and where the database does not
    answer everybody makes their own.
    """

    def __init__(self, lanes: LanePool) -> None:
        self._lanes = lanes
        self._mutex = threading.RLock()
        self._asked: dict[str, _Question] = {}
        self._done: set[str] = set()
        self._turn: Future[None] | None = None

    def ask(self, key: str, *, deposed: Holder | None = None) -> Future[Holder | None]:
        """Ask for the lease of a key. None: it is ours, until `release()`. Else who holds it.

        `deposed` held it for longer than one can wait: it loses it. Of a process that has ended nothing needs to be
        said. One caller of a key at a time.
        """
        answer: Future[Holder | None] = Future()
        with self._mutex:
            self._asked[_name(key)] = _Question(answer, deposed)
            self._see_to_it()
        return answer

    def release(self, key: str) -> None:
        """Give the lease of a key back, if it is ours. Never blocks."""
        with self._mutex:
            self._done.add(_name(key))
            self._see_to_it()

    async def aclose(self) -> None:
        """Give all back that was to be given back, and let the lane go."""
        turn = self._turn
        if turn is not None:
            with suppress(Exception):  # the leases are this process's, which will have ended
                await settle(turn)
        await self._lanes.aclose()

    def _see_to_it(self) -> None:
        if self._turn is None:
            self._turn = self._lanes.post(self._work)
            self._turn.add_done_callback(self._not_begun)

    def _not_begun(self, turn: Future[None]) -> None:
        """The lane had no connection, or is closed."""
        error = None if turn.cancelled() else turn.exception()
        if error is None:
            return
        with self._mutex:
            asked, self._asked, self._turn = self._asked, {}, None
        for question in asked.values():
            _answer(question, error)

    def _work(self) -> None:
        """On the lane: all that was asked for until now, and what comes meanwhile."""
        while True:
            with self._mutex:
                asked, self._asked = self._asked, {}
                done, self._done = self._done - asked.keys(), set()
                if not (asked or done):
                    self._turn = None
                    return
            try:
                with self._lanes.transaction(kept=True), self._lanes.as_ledger():
                    self._give_back(sorted(done))
                    holders = self._holders(asked)
            except Exception as error:  # noqa: BLE001 - whoever asked is told, and works without a lease
                for question in asked.values():
                    _answer(question, error)
            else:
                for name, question in asked.items():
                    _answer(question, holders[name])

    def _give_back(self, names: list[str]) -> None:
        for start in range(0, len(names), _AT_ONCE):
            self._rows(names[start : start + _AT_ONCE]).filter(**this_process().columns).delete()

    def _holders(self, asked: dict[str, _Question]) -> dict[str, Holder | None]:
        """Who holds what was asked for; None for us. Rows come in one order: so nobody waits in a circle."""
        names, me = sorted(asked), this_process()
        found: dict[str, Holder | None] = {}
        for start in range(0, len(names), _AT_ONCE):
            some = names[start : start + _AT_ONCE]
            new = [Lease(name=name, epoch=1, **me.columns) for name in some]
            Lease.objects.using(self._lanes.alias).bulk_create(new, ignore_conflicts=True)
            for lease in self._rows(some):
                holder = Holder(Owner.of(lease), lease.epoch)
                ours = holder.owner == me
                if not ours and (holder == asked[lease.name].deposed or holder.owner.is_gone()):
                    row = self._rows([lease.name]).filter(epoch=lease.epoch)
                    ours = bool(row.update(epoch=F("epoch") + 1, **me.columns))
                found[lease.name] = None if ours else holder
            for name in some:  # given back between the two statements
                found.setdefault(name, Holder(me, 0))
        return found

    def _rows(self, names: list[str]) -> QuerySet[Lease]:
        return Lease.objects.using(self._lanes.alias).filter(name__in=names)


def _name(key: str) -> str:
    return f"cache:{key}"


def _answer(question: _Question, answer: Holder | BaseException | None) -> None:
    with suppress(InvalidStateError):  # who asked was cancelled
        if isinstance(answer, BaseException):
            question.answer.set_exception(answer if isinstance(answer, DatabaseError) else DatabaseError(str(answer)))
        else:
            question.answer.set_result(answer)
