"""The ledger of one run: which items were handed out, and what became of each.

Every method is synchronous, is called inside a transaction on whichever lane's thread that transaction is open, and
ends with the fence. What is kept in memory is bounded by the items in hand; it is changed after the commit only.

Who asks what the ledger knows in order to change it holds the lock of the run's row from before the question: for
`finish` that is done here, for all others their caller has changed the row (see `changes`). So an item cannot be handed
out and brought up by another one at the same time. Locks are taken in this order: rows of the project, the run's row,
rows of the ledger, the lease. Statements of the writer that have the fence inside of them lock the lease first, shared,
as who takes the run over does: that is safe because only the writer closes the run, which locks the lease last.
"""

from __future__ import annotations

import math
import threading
import time
from collections import Counter, deque
from collections.abc import Collection, Iterable, Sequence
from contextlib import suppress
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from django.db.models import Count, F, Max, Q, QuerySet

from async_commander.database.chunks import chunks
from async_commander.database.unit import Unit
from async_commander.exceptions import InvalidCommand, ItemError
from async_commander.models import Run, RunClaim, RunItem
from async_commander.results import Followed, ItemOutcome, ItemState, items_in_words

from .key_filter import KeyFilter
from .lease import Ownership, SteadyClock, fence
from .ledger_rows import COLUMNS, cursor_of, find_items, insert_batch, insert_claim, insert_outcomes, move_counts
from .moments import as_stored, moment
from .recorder import Admission, Candidate, Known, SafeCursor, Stored, outcomes_of

CRASHES_ALONE = 2
"""From so many crashes on an item runs alone."""
CRASHES_DEAD = 3
"""So many, and it is given up."""
_OPEN = (ItemState.RETRY.value, ItemState.CLAIMED.value)
_OF_THE_SOURCE = Q(line__isnull=False, by_follow=False)
"""Items of a line, whose place in it only the source knows."""
PART_OF_A_LINE = 16
"""So many are given back where a line is called."""
_COUNTED_ANEW = (ItemState.DEAD.value, ItemState.RETRY.value, ItemState.CLAIMED.value)


class Ledger:
    """The items of one run, as long as this process owns it."""

    def __init__(self, ownership: Ownership) -> None:
        self.ownership = ownership
        self._clock = SteadyClock(ownership.alias)
        self.taken_at_most: int | None = None
        """How many items the run may take in all, those that others bring up included."""
        self.keeps_steps = False
        """Whether its rows are steps of `handle()`: none of them was claimed or taken, and no count moves."""
        self.cursor: SafeCursor | None = None
        """Up to where the source is settled, by outcomes that are committed."""
        self._cursor_written: SafeCursor | None = None
        self._first_row_of_this_epoch = 0
        self._claim_of: dict[UUID, int] = {}
        self._open_claims: Counter[int] = Counter()
        self._closed_claims: deque[int] = deque()
        self._alone: set[UUID] = set()
        self._pending: tuple[int, Collection[UUID]] | None = None
        self._restarted = False
        self._has_earlier_rows = False
        self._follows = False
        """An item has brought up others: of a shard, so that those of other shards are likely to bring up its own."""
        self._pruned: datetime | None = None
        """Since when the run's items that are done have no rows any more."""
        self._keys_met = KeyFilter()
        self._keys_mutex = threading.Lock()
        """Who looks for a key there and adds it then is not always kept out by the lock of the run's row."""

    # -- taking over and letting go ----------------------------------------------------------------------------

    def take_over(self, *, crashed: bool, longest_wait: float) -> int:
        """Take in what an earlier epoch left, and count anew. Returns how many items wait for the source.

        With `crashed` its owner ended without a word: what it had claimed and left without an outcome stays claimed,
        one crash the more. Else nothing is suspect, and all of that is given back. Of an item that could not be stored
        only the key is known: it is claimed until the source yields it, or has ended without it. What waits for more
        than `longest_wait` seconds has its moment from a clock that was wrong: it is due now. Of a run whose source was
        read to its end nothing waits for it that is stored.
        """
        self._has_earlier_rows = True
        claims = self._claims().filter(epoch__lt=self.ownership.epoch)
        if crashed:
            for some in chunks(list(_keys_of(claims))):
                known = self._find(some)
                unfinished = [row.pk for row in known if row.state == ItemState.CLAIMED.value]
                self._items().filter(pk__in=unfinished).update(crashes=F("crashes") + 1)
                unseen = set(some) - {row.key for row in known}
                self._insert([ItemOutcome(key=key, state=ItemState.CLAIMED, attempts=0, crashes=1) for key in unseen])
            claims.delete()
        else:
            self._give_back(claims)
        now = self._clock.now()
        waiting = self._items().filter(state=ItemState.RETRY.value)
        # What goes in the source's order waits for the source, too, unless another item brought it up.
        for_the_source = waiting.filter(Q(item__isnull=True) | _OF_THE_SOURCE)
        for_the_source.update(state=ItemState.CLAIMED.value, next_at=None)
        brought_up = self._items().filter(line__isnull=False, by_follow=True, item__isnull=False)
        brought_up = brought_up.filter(state__in=_OPEN, crashes__lt=CRASHES_DEAD)
        brought_up.update(state=ItemState.RETRY.value, next_at=now)  # as one, so that they come as they were brought up
        waiting.filter(next_at__gt=now + timedelta(seconds=longest_wait)).update(next_at=now)
        counts = self.recount()
        runs = Run.objects.using(self.ownership.alias).only("source_ended", "pruned", "cursor")
        run = runs.get(pk=self.ownership.run_id)
        self._pruned = run.pruned if self.ownership.parent is None else runs.get(pk=self.ownership.parent).pruned
        self.cursor = self._cursor_written = cursor_of(run)
        if self._pruned is not None and not run.source_ended:
            raise InvalidCommand(
                f"Run {self.ownership.ledger} is being removed since {moment(self._pruned)}, for its age (KEEP_DAYS): "
                "what it has done is not known any more. Begin a new run."
            )
        # Of any run, for this run's own would take a scan: what we insert from now on comes after it all the same.
        newest = RunItem.objects.using(self.ownership.alias).aggregate(number=Max("id"))
        self._first_row_of_this_epoch = (newest["number"] or 0) + 1
        fence(self.ownership)
        claimed = self._items().filter(state=ItemState.CLAIMED.value)
        if run.source_ended and not claimed.filter(Q(item__isnull=True) | _OF_THE_SOURCE).exists():
            return 0
        return counts[ItemState.CLAIMED.value]

    def let_go(self) -> None:
        """Give back all that has no outcome, wherever it was when the run ended, so that nothing is claimed by nobody.

        The run's row is locked before, the lease released after: who commits at the same time is counted, or fenced.
        """
        self._give_back(self._claims())
        self.recount()
        move_counts(self.ownership.alias, self.ownership.run_id, {}, self.cursor)

    def _give_back(self, claims: QuerySet[RunClaim]) -> None:
        """New items as if never taken; those with a row wait for the next attempt, or for the source to yield them.

        Of one that crashed only the key may be known: it stays claimed.
        """
        fresh = 0
        for some in chunks(list(_keys_of(claims))):
            fresh += len(some) - len(self._find(some))
        in_hand = self._items().filter(Q(item__isnull=False) | Q(crashes=0), state=ItemState.CLAIMED.value)
        in_hand.update(state=ItemState.RETRY.value, next_at=self._clock.now())
        self._count(taken=-fresh, claimed=-fresh)
        claims.delete()

    def recount(self) -> dict[str, int]:
        """Set the counts by what is stored. Of what is done and of duplicates the row's own count is the truth.

        Reads as many rows as there are items without success.
        """
        open_ones = self._items().filter(state__in=_COUNTED_ANEW).values_list("state").annotate(Count("pk"))
        counts = {**dict.fromkeys(_COUNTED_ANEW, 0), **dict(open_ones)}
        taken = F("done") + F("skipped") + sum(counts.values())
        Run.objects.using(self.ownership.alias).filter(pk=self.ownership.run_id).update(taken=taken, **counts)
        return counts

    def source_restarted(self) -> None:
        """From now on a known key is no duplicate: the source was begun anew."""
        self._restarted = True

    # -- handing out -------------------------------------------------------------------------------------------

    def reserve(self, candidates: Sequence[Candidate], room: int | None = None) -> Collection[UUID] | None:
        """Return the keys of a chunk that is surely new, for `claim_new`; None where only the ledger knows: `admit`.

        It asks no database and needs no lock of the run's row: an item that brings up one of these keys from now on
        finds it among those that are being claimed.
        """
        keys = {one.key: None for one in candidates}  # a dict, as all that is made of it: their hashes are Python's
        if self._has_earlier_rows or self._restarted or self.taken_at_most is not None or len(keys) < len(candidates):
            return None
        if self._follows and self.ownership.parent is not None:
            return None
        if room is not None and room < len(keys):
            return None
        with self._keys_mutex:
            if self._keys_met.among(keys):
                return None
            self._pending = 0, keys
            self._keys_met.add(keys)
        return keys

    def claim_new(self, keys: Collection[UUID], change: int) -> Admission:
        """Claim what was reserved, as this change of the run; on PostgreSQL in one statement."""
        claim = insert_claim(self.ownership, keys, {"taken": len(keys), "claimed": len(keys)}, change=change)
        self._pending = claim, keys
        return Admission(fresh=set(keys))

    def admit(self, candidates: Sequence[Candidate], room: int | None = None) -> Admission:
        """Decide about a chunk, and claim what is to run now: of new items at most `room`, the others are left out.

        A key that the source yields twice is a duplicate. One that another item brings up, before or after, is not.
        """
        answer = Admission()
        self._pending = None
        room = min((one for one in (room, self._room_left()) if one is not None), default=None)
        known = {row.key: row for row in self._find(self._met({one.key for one in candidates}))}
        brought_up = [row.pk for row in known.values() if row.by_follow]
        for candidate in candidates:
            self._judge(candidate, known.get(candidate.key), answer, math.inf if room is None else room)
        if brought_up:
            self._items().filter(pk__in=brought_up).update(by_follow=False)
        back = [known[key] for key in answer.again if known[key].state == ItemState.RETRY.value]
        self._move(back, ItemState.CLAIMED, next_at=None)
        answer.from_retry = len(back)
        self._claim(
            [*answer.fresh, *(key for key, item in answer.again.items() if item.crashes < CRASHES_ALONE)],
            taken=len(answer.fresh) + answer.duplicates,
            claimed=len(answer.fresh) + len(back),
            retry=-len(back),
            skipped=answer.duplicates,
        )
        return answer

    def _judge(self, candidate: Candidate, row: RunItem | None, answer: Admission, room: float) -> None:
        # Another item brought it up, or it is the ledger's from an earlier epoch: that the source yields it, too, is
        # no duplicate.
        expected = row is not None and (row.by_follow or row.pk < self._first_row_of_this_epoch)
        key, duplicate = candidate.key, not (self._restarted or expected)
        if key in answer.fresh or key in answer.again:
            answer.duplicates += not self._restarted
        elif key in self._claim_of or key in self._alone or (row is not None and self._is_elsewhere(row)):
            answer.duplicates += duplicate
        elif row is None:
            if len(answer.fresh) < room:
                answer.fresh.add(key)
                with self._keys_mutex:
                    self._keys_met.add([key])
            else:
                answer.left_out.add(key)
        elif row.state == ItemState.CLAIMED.value or (row.state == ItemState.RETRY.value and row.item is None):
            known = Known(key, row.attempts, row.crashes, error_kind=row.error_kind, error=row.error)
            (answer.crashed if row.crashes >= CRASHES_DEAD else answer.again)[key] = known
        else:
            answer.duplicates += duplicate
        if row is not None:
            row.by_follow = False

    def claim(self, keys: Sequence[UUID]) -> None:
        """Claim items that have a row already, right before they run."""
        self._claim(keys)

    def stored(self, room: int, *, source_ended: bool, called: Sequence[UUID] = ()) -> Stored:
        """Claim at most `room` items that were kept for later and whose time has come; first, the next ones of lines.

        Those of a line that were put by come by their places in it.
        """
        self._pending = None
        now = self._clock.now()
        put_by = self._waiting_items().filter(next_at__isnull=True)
        next_ones = [row for line in called for row in put_by.filter(line=line).order_by("place")[:PART_OF_A_LINE]]
        due = list(self._waiting_items().filter(next_at__lte=now).order_by("next_at", "id")[:room])
        room, due = room + len(next_ones), [*next_ones, *due]
        self._move(due, ItemState.CLAIMED, next_at=None)
        rows, gone, dead = due, 0, 0
        if source_ended and len(due) < room:
            left, gone, dead = self._left_over(room - len(due), [row.key for row in due])
            rows = due + left
        next_in: float | None = 0.0
        if len(rows) + gone + dead < room:
            timed = self._waiting_items().filter(next_at__isnull=False)
            moment = timed.order_by("next_at").values_list("next_at", flat=True).first()
            next_in = max(0.0, (moment - now).total_seconds()) if moment else None
        claimed = [row.key for row in rows if row.crashes < CRASHES_ALONE]
        self._claim(claimed, retry=-len(due), claimed=len(due))
        items = [
            Known(
                row.key, row.attempts, row.crashes, row.label, row.item, row.error_kind, row.error,
                line=row.line, called=place < len(next_ones),
            )
            for place, row in enumerate(rows)
        ]  # fmt: skip
        return Stored(items, len(due), next_in, gone, dead)

    def _move(self, rows: Sequence[RunItem], state: ItemState, **columns: Any) -> None:
        if rows:
            self._items().filter(pk__in=[row.pk for row in rows]).update(state=state.value, **columns)

    def _waiting_items(self) -> Any:
        """Those that can be handed out: an item that JSON could not keep waits until the source yields it again."""
        return self._items().filter(state=ItemState.RETRY.value, item__isnull=False)

    def _left_over(self, room: int, due: Sequence[UUID]) -> tuple[list[RunItem], int, int]:
        """What a crashed owner had in hand and the source did not yield again."""
        in_hand = [*self._claim_of, *self._alone, *due]
        claimed = self._items().filter(state=ItemState.CLAIMED.value).exclude(key__in=in_hand)
        rows = list(claimed.order_by("next_at", "id")[:room])  # as the index has them
        runnable = [row for row in rows if row.item is not None and row.crashes < CRASHES_DEAD]
        dead = [row for row in rows if row.crashes >= CRASHES_DEAD]
        lost = [row for row in rows if row.item is None and row.crashes < CRASHES_DEAD]
        still_dead = [row for row in lost if row.reason]  # it was tried again, and only the source could give it
        gone = [row for row in lost if not row.reason]
        self._move(dead, ItemState.DEAD, reason="crashed")
        self._move(still_dead, ItemState.DEAD)
        self._move(gone, ItemState.SKIPPED, reason="gone")
        given_up = len(dead) + len(still_dead)
        self._count(claimed=-given_up - len(gone), dead=given_up, skipped=len(gone))
        return runnable, len(gone), given_up

    def _claim(self, keys: Sequence[UUID], **counts: int) -> None:
        """Claim these, change the counts, and see that the lease is ours."""
        if keys:
            self._pending = insert_claim(self.ownership, keys, _moved(**counts)), keys
        else:
            self._count(**counts)
            fence(self.ownership)

    # -- outcomes ----------------------------------------------------------------------------------------------

    def finish(self, units: Sequence[Unit]) -> None:
        """The ledger rows, the counts and the fence of a batch: the last statements of its transaction.

        A unit without an outcome belongs to a hook of the run as a whole: only the fence is its.
        """
        outcomes = outcomes_of(units)
        if self.keeps_steps:
            self._insert(outcomes)
            fence(self.ownership)
            return
        if delayed := [outcome for outcome in outcomes if outcome.delay is not None]:
            now = self._clock.now()
            for outcome in delayed:
                outcome.next_at = now + timedelta(seconds=outcome.delay or 0.0)
        states = Counter(outcome.state for outcome in outcomes)
        counts = _moved(claimed=-len(outcomes), **{state.value: number for state, number in states.items()})
        closed: list[int] = []
        with suppress(IndexError):  # several lanes may take from here at once: each claim goes to one of them
            while True:
                closed.append(self._closed_claims.popleft())
        # Only one that the row has not: of a transaction that is rolled back, it comes with the next one, or the end.
        cursor = None if self.cursor is self._cursor_written else self.cursor
        self._cursor_written = self.cursor
        if outcomes and _are_new(outcomes):
            lease_first = _are_the_writers(units)
            insert_batch(self.ownership, outcomes, counts, closed, lease_first=lease_first, safe=cursor)
            return
        # The lock of the run's row comes first.
        move_counts(self.ownership.alias, self.ownership.run_id, counts, cursor)
        self._insert([outcome for outcome in outcomes if not outcome.known])
        self._update([outcome for outcome in outcomes if outcome.known])
        following = [outcome for outcome in outcomes if outcome.followed]
        room, followed = self._room_left() if following else None, 0
        for outcome in following:
            followed += self._follow(outcome, None if room is None else room - followed)
        self._count(taken=followed, retry=followed)
        if closed:
            self._claims().filter(pk__in=closed).delete()
        fence(self.ownership)

    def finishes_at_once(self, units: Sequence[Unit]) -> bool:
        """Whether `finish` is a single statement on PostgreSQL, which may be a transaction of its own."""
        outcomes = outcomes_of(units)
        if self.keeps_steps or not units or any(unit.outcome is None for unit in units):
            return False
        return _are_new(outcomes) and _are_the_writers(units)

    def recorded(self, units: Sequence[Unit]) -> set[int]:
        """Which of these units (by position) are in the ledger already: their commit's answer was lost on the way.

        Of a unit without an outcome nothing is known: it is written again.
        """
        placed = {place: unit.outcome for place, unit in enumerate(units) if unit.outcome is not None}
        wanted = {outcome.key: outcome for outcome in placed.values()}
        found = ((wanted[row.key], row) for row in self._find(wanted))
        there = {row.key for one, row in found if (row.state, row.attempts) == (one.state.value, one.attempts)}
        return {place for place, outcome in placed.items() if outcome.key in there}

    def state_of(self, key: UUID) -> ItemState | None:
        """What the ledger says of one item; None where it has no row.

        One that another shard has is skipped: it counts as a duplicate, whose claim is taken back. The row may be that
        of whoever took the run over: also who only reads is fenced, as the number of each change is the owner's.
        """
        row = next(iter(self._find([key])), None)
        state = None if row is None else ItemState(row.state)
        if row is not None and self._is_elsewhere(row):
            claim = self._claims().get(pk=self._claim_of[key])
            claim.keys = [one for one in claim.keys if UUID(one) != key]
            claim.save(update_fields=["keys"])
            self._count(claimed=-1, skipped=1)
            state = ItemState.SKIPPED
        fence(self.ownership)
        return state

    def kept(self, key: UUID) -> Known | None:
        """A step that is done."""
        return next((Known(row.key, label=row.label, item=row.item) for row in self._find([key])), None)

    def adopt(self, key: UUID) -> None:
        """Make a claimed item and its own waiting row one: it was followed while the source yielded it."""
        waiting = self._items().filter(key=key, state=ItemState.RETRY.value)
        moved = waiting.update(state=ItemState.CLAIMED.value, next_at=None)
        self._count(taken=-moved, retry=-moved)
        fence(self.ownership)

    def _follow(self, outcome: ItemOutcome, room: int | None) -> int:
        wanted = {item.key: item for item in outcome.followed}
        is_shard, self._follows = self.ownership.parent is not None, True
        with self._keys_mutex:
            met = wanted if is_shard else self._met(wanted)  # another shard may have them
            self._keys_met.add(wanted)
        for row in self._find(met):
            del wanted[row.key]
        pending = () if self._pending is None else self._pending[1]
        for key in [key for key in wanted if key in self._claim_of or key in pending]:
            del wanted[key]
        left_out = [] if room is None else list(wanted)[room:]
        for key in left_out:
            del wanted[key]
        if wanted and self._pruned is not None:
            raise ItemError(
                f"self.follow() names {items_in_words(len(wanted))} of which nobody knows whether they are done: what "
                f"run {self.ownership.ledger} had done was removed on {moment(self._pruned)} (KEEP_DAYS). A new run "
                f"takes them: --again {self.ownership.ledger}."
            )
        outcome.left_out = len(left_out)
        now = self._clock.now()
        # They come in the order given. Two shards insert in that of keys: those that bring up the same wait for each
        # other at most.
        waiting = [_waiting(item, now + timedelta(microseconds=place)) for place, item in enumerate(wanted.values())]
        if is_shard:
            waiting.sort(key=lambda outcome: outcome.key)
        outcome.followed_new = insert_outcomes(self.ownership, waiting, unless_there=is_shard)
        return outcome.followed_new

    def _room_left(self) -> int | None:
        """How many more items may be taken; None: any number. The run's row is locked, so that it stays so."""
        if self.taken_at_most is None:
            return None
        runs = Run.objects.using(self.ownership.alias).select_for_update().filter(pk=self.ownership.run_id)
        return max(0, self.taken_at_most - runs.values_list("taken", flat=True).get())

    def _insert(self, outcomes: Sequence[ItemOutcome]) -> None:
        insert_outcomes(self.ownership, outcomes)

    def _update(self, outcomes: Sequence[ItemOutcome]) -> None:
        for outcome in outcomes:
            self._items().filter(key=outcome.key).update(**_columns(outcome))

    def _count(self, **changes: int) -> None:
        move_counts(self.ownership.alias, self.ownership.run_id, _moved(**changes))

    # -- giving back -------------------------------------------------------------------------------------------

    def release(self, fresh: Sequence[UUID], known: Sequence[ItemOutcome]) -> None:
        """Give claims back: fresh items as if never taken, known ones to be run later from their stored item.

        Counts what it finds still claimed, so that doing it twice is doing it once.
        """
        later, now = 0, self._clock.now()
        for outcome in known:
            outcome.state, outcome.next_at = ItemState.RETRY, now
            claimed = self._items().filter(key=outcome.key, state=ItemState.CLAIMED.value)
            later += claimed.update(**_columns(outcome))
        keys, withdrawn = {*fresh, *(outcome.key for outcome in known)}, set[UUID]()
        for claim in self._claims().filter(pk__in={self._claim_of[key] for key in keys if key in self._claim_of}):
            mine = {UUID(key) for key in claim.keys} & keys
            claim.keys = [key for key in claim.keys if UUID(key) not in mine]
            claim.save(update_fields=["keys"])
            withdrawn |= mine
        gone = len(withdrawn & set(fresh))
        self._count(taken=-gone, claimed=-gone - later, retry=later)
        fence(self.ownership)

    # -- what is in hand, in memory ----------------------------------------------------------------------------

    def claimed(self, held_back: Iterable[UUID] = ()) -> None:
        """The last claim is committed: remember its keys, and those that were held back to run alone."""
        self._alone.update(held_back)
        if self._pending is not None:
            claim, keys = self._pending
            self._claim_of.update(dict.fromkeys(keys, claim))
            self._open_claims[claim] += len(keys)
            self._pending = None

    def settled(self, keys: Collection[UUID]) -> None:
        """These items have an outcome, or were given back: forget them, and drop claims that are worked off."""
        if self._alone:
            self._alone.difference_update(keys)
        for claim, number in Counter(self._claim_of.pop(key, None) for key in keys).items():
            if claim is not None:
                self._open_claims[claim] -= number
                if not self._open_claims[claim]:
                    del self._open_claims[claim]
                    self._closed_claims.append(claim)

    def _met(self, keys: Collection[UUID]) -> Collection[UUID]:
        """Those that the ledger may know: of a run that is all ours, what was handed out or brought up before."""
        if self._has_earlier_rows or self._restarted:
            return keys
        return self._keys_met.among(keys)

    def _is_elsewhere(self, row: RunItem) -> bool:
        """Whether another shard has it."""
        return self.ownership.parent is not None and row.shard != self.ownership.shard

    def _find(self, keys: Collection[UUID]) -> list[RunItem]:
        return find_items(self.ownership, keys)

    def _items(self) -> Any:
        """Those of this owner: all of the run's, or of its shard's."""
        items = RunItem.objects.using(self.ownership.alias).filter(run_id=self.ownership.ledger)
        return items if self.ownership.parent is None else items.filter(shard=self.ownership.shard)

    def _claims(self) -> Any:
        return RunClaim.objects.using(self.ownership.alias).filter(run_id=self.ownership.run_id)


def _are_new(outcomes: Sequence[ItemOutcome]) -> bool:
    """Whether nobody else can be about to write what they write: the first rows of their items, and no others."""
    return not any(outcome.known or outcome.followed for outcome in outcomes)


def _are_the_writers(units: Sequence[Unit]) -> bool:
    """Whether none commits on a lane of its own, which its item has asked for."""
    return not any(unit.lane is not None and unit.lane.taken for unit in units)


def _keys_of(claims: QuerySet[RunClaim]) -> set[UUID]:
    return {UUID(key) for claim in claims for key in claim.keys}


def _columns(outcome: ItemOutcome) -> dict[str, Any]:
    columns = {name: getattr(outcome, name) for name in COLUMNS if name != "save_ms"}
    columns["save_ms"] = int((time.monotonic() - outcome.handed_over) * 1000)
    columns |= {name: as_stored(columns[name]) for name in ("started", "next_at")}
    return columns


def _moved(**changes: int) -> dict[str, int]:
    return {name: change for name, change in changes.items() if change}


def _waiting(item: Followed, now: datetime) -> ItemOutcome:
    return ItemOutcome(
        key=item.key,
        label=item.label,
        state=ItemState.RETRY,
        attempts=0,
        next_at=now,
        item=item.item,
        line=item.line,
        by_follow=True,
    )
