"""Records a dry run: its row, its log and its figures in the database, its items in memory only."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any
from uuid import UUID

from async_commander.database.touched import Unrecorded
from async_commander.models import Run
from async_commander.results import ItemOutcome, ItemState

from .database_recorder import DatabaseRecorder
from .memory_ledger import MemoryLedger
from .one_by_one import OneByOne
from .provenance import recorded
from .recorder import Admission, Candidate, LogLine, Notes, Stored, outcomes_of

if TYPE_CHECKING:
    from async_commander.database.lanes import LanePool
    from async_commander.database.unit import Unit

    from .recorder import ItemsOwner


class DryRunRecorder(OneByOne, DatabaseRecorder):
    """Keeps the run, marked, and no ledger. Each unit is written alone, on a lane, whose transaction is rolled back.

    So a guilty one is found at once, and none sees the rows of another. The run's own rows are written by the writer,
    whose lane is part of no rehearsal.
    """

    calls_back = False

    def __init__(self, *, batch_size: int, lease_seconds: float, remembers: bool = True) -> None:
        super().__init__(batch_size=batch_size, lease_seconds=lease_seconds)
        self._memory = MemoryLedger(remembers=remembers)

    def attach(self, lanes: LanePool) -> None:
        """See Recorder."""
        super().attach(lanes)
        self.lend_from(lanes, lanes.alone())  # several would wait for each other's locks, and gain nothing
        self._has_items = False
        self._noted: dict[str, int] = {}

    @contextmanager
    def objects_recorded(self, *, everything: bool) -> Iterator[None]:
        """See Recorder: no object is written, and none is linked."""
        del everything
        with recorded(Unrecorded(self._ownership.alias, self._ownership.run_id)):
            yield

    def begin_steps(self, owner: ItemsOwner) -> None:
        """See Recorder: no step is kept."""
        self._items = owner

    # -- the items ---------------------------------------------------------------------------------------------

    def begin_items(self, owner: ItemsOwner, *, taken_at_most: int | None) -> None:
        """See Recorder."""
        self._items, self._has_items = owner, True
        self._memory.taken_at_most = taken_at_most

    async def admit(self, candidates: Sequence[Candidate], *, room: int | None = None) -> Admission:
        """See Recorder."""
        return self._memory.admit(candidates, room)

    def source_restarted(self) -> None:
        """See Recorder."""
        self._memory.source_restarted()

    async def claim(self, keys: Sequence[UUID]) -> None:
        """See Recorder."""
        self._memory.claim(keys)

    async def stored(self, room: int, *, source_ended: bool, called: Sequence[UUID] = ()) -> Stored:
        """See Recorder."""
        del source_ended, called  # nobody has left anything, and nothing is put by
        return self._memory.stored(room)

    async def adopt(self, key: UUID) -> None:
        """See Recorder."""
        self._memory.adopt(key)

    async def state_of(self, key: UUID) -> ItemState | None:
        """See Recorder."""
        return self._memory.state_of(key)

    async def release(self, fresh: Sequence[UUID], known: Sequence[ItemOutcome]) -> None:
        """See Recorder."""
        self._memory.release(fresh, known)

    def settled(self, unit: Unit, error: BaseException | None) -> None:
        """See OneByOne."""
        if error is None:
            for outcome in outcomes_of([unit]):
                self._memory.finish(outcome)
        self._items.settled([unit], error)

    async def aclose(self) -> None:
        """See Recorder."""
        if self._queued is not self._lanes:
            await self._queued.aclose()
        await super().aclose()

    # -- the record --------------------------------------------------------------------------------------------

    async def note(self, notes: Notes) -> Sequence[LogLine]:
        """See Recorder."""
        counts = self._memory.counts()
        if self._has_items and counts != self._noted:
            self._noted = counts
            await self._change(partial(self._write, counts))
        return await super().note(notes)

    def let_go_of_items(self) -> None:
        """See DatabaseRecorder."""
        self._memory.let_go()
        if self._has_items:
            self._write(self._memory.counts())

    def _write(self, columns: dict[str, Any]) -> None:
        Run.objects.using(self._ownership.alias).filter(pk=self._ownership.run_id).update(**columns)
