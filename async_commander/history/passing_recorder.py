"""Records a run that keeps no rows of what is done: messages that come and go, or items nobody will ask for again."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING
from uuid import UUID, uuid4

from async_commander.results import ItemOutcome, ItemState

from .database_recorder import DatabaseRecorder
from .lease import fence
from .ledger_rows import find_items, insert_outcomes, move_counts
from .recorder import Admission, Candidate, Stored, outcomes_of

if TYPE_CHECKING:
    from async_commander.database.unit import Unit


class PassingRecorder(DatabaseRecorder):
    """See DatabaseRecorder: the run, its lease and its notes are the same, and each commit has the fence in it.

    The ledger has rows of dead items only. An item that is in hand is known in memory, where a second one of its key is
    a duplicate; once it is settled it is forgotten, so that memory stays bounded. What a crash finds in hand nobody but
    the source knows of. The counts in the run's row are of items that have an outcome.
    """

    keeps_items = calls_back = False

    def __init__(self, *, batch_size: int, lease_seconds: float) -> None:
        super().__init__(batch_size=batch_size, lease_seconds=lease_seconds)
        self._in_hand: set[UUID] = set()
        self._duplicates = 0

    async def admit(self, candidates: Sequence[Candidate], *, room: int | None = None) -> Admission:
        """See Recorder: asks no database."""
        answer = Admission()
        for key, _ in candidates:
            if key in self._in_hand:
                answer.duplicates += 1
            elif room is None or len(answer.fresh) < room:
                answer.fresh.add(key)
                self._in_hand.add(key)
            else:
                answer.left_out.add(key)
        self._duplicates += answer.duplicates
        return answer

    def source_restarted(self) -> None:
        """See Recorder: what it yields from now on is new, as far as anybody knows."""

    async def claim(self, keys: Sequence[UUID]) -> None:
        """See Recorder: no item is ever held back."""

    async def stored(self, room: int, *, source_ended: bool, called: Sequence[UUID] = ()) -> Stored:
        """See Recorder: nothing is."""
        return Stored()

    async def adopt(self, key: UUID) -> None:
        """See Recorder: no item waits in the ledger."""

    async def state_of(self, key: UUID) -> ItemState | None:
        """See Recorder: nothing is known of an item in hand."""
        return None

    async def release(self, fresh: Sequence[UUID], known: Sequence[ItemOutcome]) -> None:
        """See Recorder: whoever sent it knows that it was not acknowledged."""
        self._in_hand.difference_update(fresh)

    def finish_items(self, units: Sequence[Unit]) -> None:
        """See DatabaseRecorder: the dead, the counts and the fence."""
        outcomes = outcomes_of(units)
        states = Counter(outcome.state.value for outcome in outcomes)
        move_counts(self._ownership.alias, self._ownership.run_id, {"taken": states.total(), **+states})
        if dead := [outcome for outcome in outcomes if outcome.state is ItemState.DEAD]:
            taken = {row.key for row in find_items(self._ownership, [one.key for one in dead])}
            for outcome in dead:
                if outcome.key in taken:  # its namesake died before
                    outcome.key = uuid4()
            insert_outcomes(self._ownership, dead)
        fence(self._ownership)

    def finishes_at_once(self, units: Sequence[Unit]) -> bool:
        """See WriterOwner."""
        return False

    def recorded(self, units: Sequence[Unit]) -> set[int]:
        """See WriterOwner: nobody can tell; a unit whose COMMIT got no answer is written once more."""
        return set()

    def units_settled(self, units: Sequence[Unit], error: BaseException | None) -> None:
        """See WriterOwner."""
        if error is None:
            self._in_hand.difference_update(outcome.key for outcome in outcomes_of(units))
        super().units_settled(units, error)

    def let_go_of_items(self) -> None:
        """Count the duplicates: nothing of theirs was ever committed."""
        if self._duplicates:
            counts = {"taken": self._duplicates, "skipped": self._duplicates}
            move_counts(self._ownership.alias, self._ownership.run_id, counts)
