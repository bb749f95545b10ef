"""The ledger of a dry run: in memory, and gone with it."""

from __future__ import annotations

import heapq
import time
from array import array
from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from uuid import UUID

from async_commander.results import ItemOutcome, ItemState

from .recorder import Admission, Candidate, Known, Stored

_EMPTY = 0
_SHORT = (1 << 64) - 1


class KeySet:
    """Keys that were met, in 16 to 32 bytes each: the first half of a key, which is a digest, stands for it.

    Open addressing; two of a thousand million keys are taken for one with a chance of 3 %. (Source: "Addressing for
    Random-Access Storage", W. W. Peterson, 1957.)
    """

    def __init__(self) -> None:
        self._slots = array("Q", [_EMPTY]) * 1024
        self._count = 0

    def __contains__(self, key: UUID) -> bool:
        mark = _mark(key)
        return self._slots[self._place(mark)] == mark

    def add(self, key: UUID) -> None:
        """From now on it is in."""
        mark = _mark(key)
        place = self._place(mark)
        if self._slots[place] == _EMPTY:
            self._slots[place] = mark
            self._count += 1
            if 2 * self._count > len(self._slots):
                marks, self._slots = self._slots, array("Q", [_EMPTY]) * (2 * len(self._slots))
                for one in filter(None, marks):
                    self._slots[self._place(one)] = one

    def discard(self, key: UUID) -> None:
        """It is not in any more; those behind it move up, so that each is found where it is looked for."""
        place, size = self._place(_mark(key)), len(self._slots)
        if self._slots[place] == _EMPTY:
            return
        self._slots[place] = _EMPTY
        self._count -= 1
        place = (place + 1) % size
        while (mark := self._slots[place]) != _EMPTY:
            self._slots[place] = _EMPTY
            self._slots[self._place(mark)] = mark
            place = (place + 1) % size

    def _place(self, mark: int) -> int:
        """Where it is, or would go."""
        slots, size = self._slots, len(self._slots)
        place = mark % size
        while slots[place] not in (_EMPTY, mark):
            place = (place + 1) % size
        return place


def _mark(key: UUID) -> int:
    return key.int & _SHORT or 1


class MemoryLedger:
    """Which items were handed out, and what became of each: those in hand, those that wait, counts of the others."""

    def __init__(self, *, remembers: bool = True) -> None:
        """Without `remembers`, for a command that keeps no history, a key is known while its item is in hand."""
        self.taken_at_most: int | None = None
        self._remembers = remembers
        self._met = KeySet()
        self._in_hand: dict[UUID, bool] = {}
        """Whether each has waited here before."""
        self._waiting: dict[UUID, tuple[int, ItemOutcome]] = {}
        """Each with the number of its entry in `due`."""
        self._due: list[tuple[float, int, UUID]] = []
        """When each that waits is to go on, in order; entries that are out of date are passed over."""
        self._by_follow = KeySet()
        self._settled: Counter[str] = Counter()
        self._given_back = 0
        self._restarted = False
        self._number = 0

    def counts(self) -> dict[str, int]:
        """The six counts of the accounting."""
        counts = {state.value: self._settled[state.value] for state in ItemState}
        counts |= {"retry": len(self._waiting) + self._given_back, "claimed": len(self._in_hand)}
        return {"taken": sum(counts.values()), **counts}

    def let_go(self) -> None:
        """The run has ended: what is in hand is as if never taken, or would wait."""
        self._given_back += sum(self._in_hand.values())
        self._in_hand.clear()

    # -- handing out -------------------------------------------------------------------------------------------

    def source_restarted(self) -> None:
        """What is met again from now on is no duplicate."""
        self._restarted = True

    def admit(self, candidates: Sequence[Candidate], room: int | None) -> Admission:
        """See Recorder."""
        answer = Admission()
        room = min((one for one in (room, self._room_left()) if one is not None), default=None)
        for key in [candidate.key for candidate in candidates]:
            if key in self._by_follow:
                self._by_follow.discard(key)  # the source yields it, too
            elif key in self._waiting and self._waiting[key][1].item is None:
                answer.again[key] = self._take_out(key)
                answer.from_retry += 1
            elif key in self._met:
                answer.duplicates += not self._restarted
            elif room is None or len(answer.fresh) < room:
                answer.fresh.add(key)
                self._met.add(key)
                self._in_hand[key] = False
            else:
                answer.left_out.add(key)
        self._settled[ItemState.SKIPPED.value] += answer.duplicates
        return answer

    def stored(self, room: int) -> Stored:
        """See Recorder."""
        found: list[Known] = []
        now, next_in = time.monotonic(), None
        while self._due and next_in is None and len(found) < room:
            at, number, key = self._due[0]
            is_current = key in self._waiting and self._waiting[key][0] == number
            if is_current and at > now:
                next_in = at - now
                continue
            heapq.heappop(self._due)
            if is_current:
                found.append(self._take_out(key))
        return Stored(found, len(found), 0.0 if self._due and next_in is None else next_in)

    def claim(self, keys: Iterable[UUID]) -> None:
        """See Recorder."""
        self._in_hand.update(dict.fromkeys(keys, True))

    def adopt(self, key: UUID) -> None:
        """See Recorder."""
        self._waiting.pop(key, None)

    def state_of(self, key: UUID) -> ItemState | None:
        """See Recorder."""
        return ItemState.RETRY if key in self._waiting else None

    def release(self, fresh: Collection[UUID], known: Sequence[ItemOutcome]) -> None:
        """See Recorder."""
        for key in fresh:
            self._in_hand.pop(key, None)
            self._met.discard(key)
        for outcome in known:
            self._wait(outcome, 0.0)

    def _room_left(self) -> int | None:
        return None if self.taken_at_most is None else max(0, self.taken_at_most - self.counts()["taken"])

    def _take_out(self, key: UUID) -> Known:
        _, outcome = self._waiting.pop(key)
        self._in_hand[key] = True
        return Known(
            key, outcome.attempts, 0, outcome.label, outcome.item, outcome.error_kind, outcome.error, line=outcome.line
        )

    # -- outcomes ----------------------------------------------------------------------------------------------

    def finish(self, outcome: ItemOutcome) -> None:
        """What became of an item in hand; those that it brought up wait from now on."""
        if outcome.state is ItemState.RETRY:
            self._wait(outcome, outcome.delay or 0.0)
        else:
            self._in_hand.pop(outcome.key, None)
            self._settled[outcome.state.value] += 1
            if not self._remembers:
                self._met.discard(outcome.key)
        new = list({item.key: item for item in outcome.followed if item.key not in self._met}.values())
        room = self._room_left()
        outcome.left_out = 0 if room is None else max(0, len(new) - room)
        outcome.followed_new = len(new) - outcome.left_out
        for item in new[: outcome.followed_new]:
            self._met.add(item.key)
            self._by_follow.add(item.key)
            self._wait(ItemOutcome(key=item.key, label=item.label, attempts=0, item=item.item, line=item.line), 0.0)

    def _wait(self, outcome: ItemOutcome, delay: float) -> None:
        self._in_hand.pop(outcome.key, None)
        self._number += 1
        outcome.state = ItemState.RETRY
        self._waiting[outcome.key] = self._number, outcome
        if outcome.item is not None:
            heapq.heappush(self._due, (time.monotonic() + delay, self._number, outcome.key))
