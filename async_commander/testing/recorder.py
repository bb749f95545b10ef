"""A recorder that keeps a run in memory."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING
from uuid import UUID

from async_commander.exceptions import InvalidCommand
from async_commander.history.exclusive import OnceMet
from async_commander.history.ledger import CRASHES_ALONE
from async_commander.history.one_by_one import OneByOne
from async_commander.history.provenance import recorded
from async_commander.history.recorder import (
    Admission,
    Candidate,
    Ending,
    Known,
    LogLine,
    Notes,
    Opened,
    Opening,
    Rows,
    SafeCursor,
    Slice,
    Stored,
    outcomes_of,
)
from async_commander.history.runs import is_whole
from async_commander.results import ErrorKind, ItemOutcome, ItemState, RunStatus

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    from async_commander.database.lanes import LanePool
    from async_commander.database.unit import Unit
    from async_commander.history.recorder import ItemsOwner, RunOwner


class InMemoryRecorder(OneByOne):
    """A recorder for tests without a ledger: `run_command(Command(), recorder=InMemoryRecorder())`.

    A command that writes no rows needs no database at all, unless its `parse_and_save` is a plain `def`, which has a
    transaction. `items` holds the outcomes by the ledger's key, `steps` those of the steps of a `handle()`, `logs`,
    `slices` and `errors` what was noted, `ending` the end. The same recorder given to a second run with `resume=True`
    goes on where the first one ended.
    """

    keeps_items, calls_back = True, False
    can_be_answered = False

    def __init__(self) -> None:
        self.tick_seconds = 1.0
        self.items: dict[UUID, ItemOutcome] = {}
        self.steps: dict[UUID, ItemOutcome] = {}
        self.logs: list[LogLine] = []
        self.slices: list[Slice] = []
        self.errors: dict[str, ErrorKind] = {}
        self.cursor: SafeCursor | None = None
        self.opening: Opening | None = None
        self.ending: Ending | None = None
        self.epoch = 0
        self._due: dict[UUID, float] = {}
        self._in_hand: set[UUID] = set()
        self._old: set[UUID] = set()
        self._by_follow: set[UUID] = set()
        self._restarted = self._keeps_steps = False
        self._numbers = itertools.count(1)
        self._number = 0
        self._duplicates = 0
        self._taken_at_most: int | None = None
        self._owner: ItemsOwner

    # -- the run -----------------------------------------------------------------------------------------------

    def attach(self, lanes: LanePool) -> None:
        """See Recorder."""
        self.lend_from(lanes, lanes)

    async def open(self, opening: Opening, say: Callable[[str], None]) -> Opened:
        """See Recorder."""
        if opening.retry_failed is not None:
            raise InvalidCommand(
                "An InMemoryRecorder keeps no run to try failed items of again: record it in a database."
            )
        last, succeeded = self.opening, self.ending is not None and self.ending.status is RunStatus.SUCCEEDED
        is_met = succeeded and last is not None and last.identity == opening.identity and is_whole(last.options)
        if opening.once and is_met and not opening.force:
            raise OnceMet(opening.command, self._number)
        resumed = opening.resume and self.ending is not None and self.ending.status is not RunStatus.SUCCEEDED
        if not resumed:
            for kept in (self.items, self.steps, self._due, self._by_follow, self.logs, self.slices, self.errors):
                kept.clear()
            self._duplicates, self.cursor = 0, None
            self._number = next(self._numbers)
        self.opening, self.ending, self._restarted = opening, None, False
        self.epoch += 1
        self._old = set(self.items)
        # What the last sitting had in hand is as if never taken, or waits: for its time, or for the source.
        self._in_hand.clear()
        for key, outcome in self.items.items():
            goes_in_order = outcome.line is not None and key not in self._by_follow
            if outcome.state is ItemState.RETRY and (outcome.item is None or goes_in_order):
                outcome.state = ItemState.CLAIMED
                self._due.pop(key, None)
            elif outcome.state is ItemState.RETRY:
                self._due.setdefault(key, time.monotonic())
        counts = self._counts()
        return Opened(
            run_id=self._number,
            epoch=self.epoch,
            resumed=resumed,
            counts=counts,
            recovered=counts["claimed"],
            testing=opening.testing,
            cursor=self.cursor,
        )

    def _counts(self) -> dict[str, int]:
        counts = {state.value: 0 for state in ItemState}
        for outcome in self.items.values():
            counts[outcome.state.value] += 1
        counts["taken"] = len(self.items) + self._duplicates
        counts["skipped"] += self._duplicates
        return counts

    async def rows(self) -> Rows:
        """See Recorder."""
        return Rows()

    async def close(self, ending: Ending) -> dict[str, int]:
        """See Recorder."""
        self.ending = ending
        for outcome in self.items.values():
            if outcome.state is ItemState.CLAIMED:
                outcome.state = ItemState.RETRY
        return self._counts()

    async def aclose(self) -> None:
        """See Recorder."""

    def hurry(self) -> None:
        """See Recorder."""

    def tick(self) -> None:
        """See Recorder."""

    async def note(self, notes: Notes) -> Sequence[LogLine]:
        """See Recorder."""
        written = [replace(line, number=number) for number, line in enumerate(notes.logs, len(self.logs) + 1)]
        self.logs.extend(written)
        self.slices.extend(notes.slices)
        self.errors.update({kind.kind: replace(kind) for kind in notes.errors})
        return written

    # -- the items ---------------------------------------------------------------------------------------------

    def answer_to(self, owner: RunOwner) -> None:
        """See Recorder. The record is never lost, and nobody asks anything of the run in it."""

    async def asks(self, question: str) -> None:
        """See Recorder: nobody sees it."""

    def objects_recorded(self, *, everything: bool) -> AbstractContextManager[object]:
        """See Recorder: there is no run that rows could refer to."""
        del everything
        return recorded(None)

    def begin_items(self, owner: ItemsOwner, *, taken_at_most: int | None) -> None:
        """See Recorder."""
        self._owner, self._taken_at_most = owner, taken_at_most

    def begin_steps(self, owner: ItemsOwner) -> None:
        """See Recorder."""
        self._owner, self._keeps_steps = owner, True

    async def kept(self, key: UUID) -> Known | None:
        """See Recorder."""
        step = self.steps.get(key)
        return None if step is None else Known(key, label=step.label, item=step.item)

    def _room_left(self) -> int | None:
        if self._taken_at_most is None:
            return None
        return max(0, self._taken_at_most - len(self._in_hand | self.items.keys()) - self._duplicates)

    async def admit(self, candidates: Sequence[Candidate], *, room: int | None = None) -> Admission:
        """See Recorder."""
        answer = Admission()
        room = min((one for one in (room, self._room_left()) if one is not None), default=None)
        for key in [candidate.key for candidate in candidates]:
            if key in self._by_follow:
                self._by_follow.remove(key)
            elif key in answer.fresh or key in self._in_hand or (key in self.items and key not in self._old):
                answer.duplicates += not self._restarted
            elif key not in self.items:
                if room is None or len(answer.fresh) < room:
                    answer.fresh.add(key)
                else:
                    answer.left_out.add(key)
            elif self.items[key].state is ItemState.CLAIMED:
                answer.again[key] = self._take_out(key)
            elif self.items[key].state is ItemState.RETRY and self.items[key].item is None:
                answer.again[key] = self._take_out(key)
                answer.from_retry += 1
        self._in_hand |= answer.fresh
        self._duplicates += answer.duplicates
        return answer

    def source_settled(self, cursor: SafeCursor) -> None:
        """See Recorder."""
        self.cursor = cursor

    def source_restarted(self) -> None:
        """See Recorder."""
        self._restarted = True

    async def claim(self, keys: Sequence[UUID]) -> None:
        """See Recorder."""
        self._in_hand.update(keys)

    async def stored(self, room: int, *, source_ended: bool, called: Sequence[UUID] = ()) -> Stored:
        """See Recorder."""
        del called  # nothing is put by
        now = time.monotonic()
        kept = {key: at for key, at in self._due.items() if self.items[key].item is not None}
        due = sorted((at, key) for key, at in kept.items() if at <= now)[:room]
        found = [self._take_out(key) for _, key in due]
        waiting = min((at for key, at in kept.items() if key in self._due), default=None)
        next_in = None if waiting is None else max(0.0, waiting - now)
        claimed = [
            one for key, one in self.items.items() if one.state is ItemState.CLAIMED and key not in self._in_hand
        ]
        gone = [one for one in claimed if one.item is None] if source_ended else []
        for outcome in gone:
            outcome.state, outcome.reason = ItemState.SKIPPED, "gone"
        left = [self._take_out(one.key) for one in claimed if source_ended and one.item is not None]
        return Stored([*found, *left], len(found), next_in, gone=len(gone))

    def _take_out(self, key: UUID) -> Known:
        self._due.pop(key, None)
        outcome = self.items[key]
        self._in_hand.add(key)
        crashes = min(outcome.crashes, CRASHES_ALONE - 1)
        told = outcome.error_kind, outcome.error
        return Known(key, outcome.attempts, crashes, outcome.label, outcome.item, *told, line=outcome.line)

    async def adopt(self, key: UUID) -> None:
        """See Recorder."""
        self._take_out(key)

    async def state_of(self, key: UUID) -> ItemState | None:
        """See Recorder."""
        return self.items[key].state if key in self.items else None

    async def release(self, fresh: Sequence[UUID], known: Sequence[ItemOutcome]) -> None:
        """See Recorder."""
        for outcome in known:
            outcome.delay = 0.0
            self._keep(outcome)
        self._in_hand.difference_update(fresh)

    def settled(self, unit: Unit, error: BaseException | None) -> None:
        """See OneByOne."""
        if error is None:
            for outcome in outcomes_of([unit]):
                self._keep(outcome)
        self._owner.settled([unit], error)

    def _keep(self, outcome: ItemOutcome) -> None:
        if self._keeps_steps:
            self.steps[outcome.key] = outcome
            return
        self.items[outcome.key] = outcome
        self._in_hand.discard(outcome.key)
        if outcome.state is ItemState.RETRY:
            self._due[outcome.key] = time.monotonic() + (outcome.delay or 0.0)
        unknown = (item for item in outcome.followed if item.key not in self.items and item.key not in self._in_hand)
        new = list({item.key: item for item in unknown}.values())
        room = self._room_left()
        outcome.left_out = 0 if room is None else max(0, len(new) - room)
        outcome.followed_new = len(new) - outcome.left_out
        for item in new[: outcome.followed_new]:
            waiting = ItemOutcome(
                key=item.key, label=item.label, state=ItemState.RETRY, attempts=0, item=item.item, line=item.line
            )
            self.items[item.key], self._due[item.key] = waiting, time.monotonic()
            self._by_follow.add(item.key)
