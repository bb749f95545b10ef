"""What is too old leaves the history: in pieces that hold no lock for long, whatever runs beside it.

    the ledger, by rising numbers   what runs had done that ended long ago; all of the runs that are to go
    the log, by rising numbers      lines that are old, but those of runs at work
    the runs, by rising numbers     those that ended very long ago, with all that hangs on them
    leases, files                   those of processes that are gone

Rows of one time lie side by side, those of one run do not: so a table is walked once, a range of its rows at a time,
and asked whose they are. Each range is a transaction of its own, which grows and shrinks with the time that it takes
and is followed by as long a rest. It locks the rows of the runs that it takes from, first: one that is opened again at
that moment is left alone, or knows what it has lost by `Run.pruned`.
"""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import Any, TypeVar

from django.db.models import Max, Model, ProtectedError, QuerySet, RestrictedError
from django.db.models.functions import Coalesce

from async_commander.database.lanes import must_share
from async_commander.database.outage import patiently
from async_commander.database.transaction import LaneTransaction
from async_commander.models import Lease, Run, RunItem, RunLog
from async_commander.results import AT_WORK, ItemState, RunStatus

from . import unstored_ends
from .lease import database_now, lease_name
from .ownership import Owner
from .runs import sweep

T = TypeVar("T")
Choice = Callable[..., Callable[[int, Any], bool] | None]
"""Of these runs (`locked`: which nobody opens again until the transaction ends) which rows go; None for none."""

FIRST_RANGE, LARGEST_RANGE = 200, 5_000
"""Rows of a range at first, and at most."""
RANGE_SECONDS = 0.05
"""A range grows while its transaction takes less than half of this, and shrinks when it takes twice as long."""
RUNS_AT_ONCE = 50
SETTLED = (ItemState.DONE.value, ItemState.SKIPPED.value)
NOT_ENDED = (*AT_WORK, RunStatus.QUEUED.value)
NEWER_LOOKED_AT = 20
"""The oldest runs that are too young, by whose rows the end of the old ones is found."""


@dataclass(frozen=True, slots=True)
class Before:
    """What is from before these moments goes; None: it is kept for ever."""

    items: datetime | None
    """Items that are done or skipped, by the end of their run."""
    logs: datetime | None
    runs: datetime | None
    """Runs with all that hangs on them, by their end; or by their last sign of life, where they came to none."""


class Pruning:
    """One prune. `progress` hears of each transaction; with `dry` rows are only counted.

    `commands` are the names of the commands that are meant; empty: all. `removed` has the rows by the name of their
    model, `kept` the runs that are old enough and stay, by the reason; `longest` is for how many seconds a transaction
    had its locks, at most.
    """

    def __init__(
        self,
        alias: str,
        before: Before,
        *,
        commands: Collection[str] = (),
        dry: bool = False,
        progress: Callable[[Pruning], None] = lambda _: None,
    ) -> None:
        self._alias = alias
        self._before = before
        self._commands = commands
        self._dry = dry
        self._progress = progress
        self._hurry = threading.Event()
        self._shared = must_share(alias)
        self.removed: Counter[str] = Counter()
        self.kept: Counter[str] = Counter()
        self.longest = 0.0
        self._locked_at = 0.0

    def carry_out(self) -> None:
        """Remove all that is too old. What was removed when it is ended, or fails, stays so; the next one goes on."""
        self._transact(lambda: sweep(self._alias))
        if self._before.items or self._before.runs:
            self._walk(RunItem, "state", self._old_items, self._last_old_item())
        if self._before.logs:
            self._walk(RunLog, "at", self._old_lines, None)
        if self._before.runs:
            for page in self._pages_of_runs(self._before.runs):
                self._remove_runs(page)
        if not self._commands:
            self._remove_leases()
            if self._before.runs:
                self.removed["files"] += unstored_ends.remove(self._before.runs, dry=self._dry)
        self.removed = +self.removed

    # -- a table, range by range -------------------------------------------------------------------------------

    def _walk(self, model: type[Model], column: str, chosen: Choice, end: int | None) -> None:
        """Remove what is chosen of the rows of each range, by their run and this column.

        Rows are read, and removed, by their numbers alone: a planner that knows more of what is meant may take an
        index for it, and read all rows of a run for each range.
        """
        rows = self._rows(model).order_by("pk").values_list("pk", "run_id", column)
        if end is not None:
            rows = rows.filter(pk__lte=end)
        last, size, passing = 0, FIRST_RANGE, False
        while some := list(rows.filter(pk__gt=last)[: LARGEST_RANGE if passing else size]):
            if chosen({run for _, run, _ in some}, locked=False) is None:
                last, passing = some[-1][0], True  # nothing is written here: the range may be large
            elif passing and len(some) > size:
                passing = False
            else:
                seconds = self._remove(model, partial(self._delete_chosen, model, some, chosen))
                last, size = some[-1][0], _next_size(size, seconds)

    def _delete_chosen(self, model: type[Model], some: Sequence[tuple[int, int, Any]], chosen: Choice) -> int:
        goes = chosen({run for _, run, _ in some}, locked=not self._dry)
        return 0 if goes is None else self._delete(model, [pk for pk, run, value in some if goes(run, value)])

    def _old_items(self, runs: set[int], *, locked: bool) -> Callable[[int, Any], bool] | None:
        """Of runs that are to go all, of others that ended long ago those that are settled, where none needs them.

        The source of a run that came to its end is not asked for new items again: so it is no loss that those which are
        done are not known. Of one that is resumed some day they are needed.
        """
        found, limit = self._ended(runs, locked=locked), self._before.items
        doomed = self._doomed(found)
        emptied = {run.pk for run in found if limit is not None and run.source_ended and _end_of(run) < limit}
        if locked:
            touched = Run.objects.using(self._alias).filter(pk__in=doomed | emptied, pruned=None)
            touched.update(pruned=database_now(self._alias))
        if not doomed and not emptied:
            return None
        return lambda run, state: run in doomed or (run in emptied and state in SETTLED)

    def _old_lines(self, runs: set[int], *, locked: bool) -> Callable[[int, Any], bool] | None:
        found, limit = {run.pk for run in self._ended(runs, locked=locked)}, self._before.logs
        return (lambda run, at: run in found and at < limit) if found else None

    def _last_old_item(self) -> int | None:
        """A number behind which no row of the ledger is old enough; None where that is not known.

        Rows of a run that began after a moment come after all those of runs that had ended by then.
        """
        limit = max(filter(None, (self._before.items, self._before.runs)))
        newer = Run.objects.using(self._alias).filter(started__gte=limit, taken__gt=0).order_by("started")
        rows = self._rows(RunItem)
        found = (
            rows.filter(run_id=run).order_by("key").values_list("pk", flat=True).first()
            for run in newer.values_list("pk", flat=True)[:NEWER_LOOKED_AT]
        )
        return min(filter(None, found), default=None)

    # -- runs --------------------------------------------------------------------------------------------------

    def _ended(self, runs: Iterable[int], *, locked: bool) -> list[Run]:
        """Those that nobody is at; `locked`: until the transaction ends nobody will be."""
        found = Run.objects.using(self._alias).filter(pk__in=runs).exclude(status__in=NOT_ENDED)
        if self._commands:
            found = found.filter(command__in=self._commands)
        found = found.only("status", "identity", "once_key", "source_ended", "started", "heartbeat", "finished")
        if not locked:
            return list(found.order_by("pk"))
        mine = list(found.select_for_update().order_by("pk"))
        self._locked_at = time.monotonic()
        return mine

    def _doomed(self, runs: Sequence[Run], *, count: bool = False) -> set[int]:
        """Those that are to go: not what is to happen once and has, nor what others look for as the last success."""
        limit = self._before.runs
        old = [run for run in runs if limit is not None and _end_of(run) < limit]
        if not old:
            return set()
        succeeded = Run.objects.using(self._alias).filter(identity__in={run.identity for run in old})
        succeeded = succeeded.filter(status=RunStatus.SUCCEEDED.value, dry_run=False, testing=False)
        whole = succeeded.exclude(options__has_key="max_items").order_by().values("identity")
        last = set(whole.annotate(newest=Max("pk")).values_list("newest", flat=True))
        if count:
            self.kept["run_once"] += sum(run.once_key is not None for run in old)
            newest = sum(run.once_key is None and run.pk in last for run in old)
            self.kept["the last success of their arguments"] += newest
        return {run.pk for run in old if run.once_key is None and run.pk not in last}

    def _pages_of_runs(self, limit: datetime) -> Iterator[set[int]]:
        last = 0
        old = Run.objects.using(self._alias).whole().filter(started__lt=limit).exclude(status__in=NOT_ENDED)
        old = old.annotate(ended=Coalesce("finished", "heartbeat", "started")).filter(ended__lt=limit).order_by("pk")
        while page := list(old.filter(pk__gt=last).values_list("pk", flat=True)[:RUNS_AT_ONCE]):
            last = page[-1]
            if doomed := self._doomed(self._ended(page, locked=False), count=True):
                yield doomed

    def _remove_runs(self, page: set[int]) -> None:
        """First what hangs on them, a range at a time, then they themselves."""
        if self._dry:
            self.removed["Run"] += len(page)
            for model in _HANGING_ON_RUNS:
                rows = self._rows(model).filter(run_id__in=page)
                if model is RunLog and self._before.logs:
                    rows = rows.filter(at__gte=self._before.logs)  # those before are counted
                if model is not RunItem:
                    self.removed[model.__name__] += rows.count()
            return
        for model in _HANGING_ON_RUNS:
            size = FIRST_RANGE
            while some := list(self._rows(model).filter(run_id__in=page).values_list("pk", "run_id")[:size]):
                seconds = self._remove(model, partial(self._delete_hanging, model, some))
                size = _next_size(size, seconds)
                if not (page := self._doomed(self._ended(page, locked=False))):
                    return
        for run in sorted(page):
            try:
                self._remove(Run, partial(self._delete_run, run))
            except (ProtectedError, RestrictedError):
                self.kept["protected by rows of the project"] += 1

    def _delete_hanging(self, model: type[Model], some: Sequence[tuple[int, int]]) -> int:
        doomed = self._doomed(self._ended({run for _, run in some}, locked=True))
        Run.objects.using(self._alias).filter(pk__in=doomed, pruned=None).update(pruned=database_now(self._alias))
        return self._delete(model, [pk for pk, run in some if run in doomed])

    def _delete_run(self, run: int) -> int:
        """The lease is locked first, as by who takes a run over."""
        runs = Run.objects.using(self._alias)
        lease = Lease.objects.using(self._alias).filter(name=lease_name(run))
        list(lease.select_for_update())
        if not self._doomed(self._ended([run], locked=True)):
            return 0
        runs.whole().filter(parent_id=run).update(parent=None)  # what it began has a life of its own
        runs.filter(pk=run).delete()
        lease.delete()
        return 1

    # -- leases and files --------------------------------------------------------------------------------------

    def _remove_leases(self) -> None:
        """Those of kept results whose makers are gone, and of runs that are."""
        leases, last = Lease.objects.using(self._alias).order_by("pk"), 0
        while page := list(leases.filter(pk__gt=last)[:LARGEST_RANGE]):
            last = page[-1].pk
            stale = [lease for lease in page if lease.name.startswith("cache:") and Owner.of(lease).is_gone()]
            named = [(lease, *lease.name.partition(":")) for lease in page]
            by_run = {int(number): lease for lease, kind, _, number in named if kind == "run" and number.isdecimal()}
            there = set(Run.objects.using(self._alias).filter(pk__in=by_run).values_list("pk", flat=True))
            stale += [lease for run, lease in by_run.items() if run not in there and Owner.of(lease).is_gone()]
            for start in range(0, len(stale), FIRST_RANGE):
                self._remove(Lease, partial(self._delete_leases, stale[start : start + FIRST_RANGE]))

    def _delete_leases(self, stale: Sequence[Lease]) -> int:
        seen = {lease.pk: lease.epoch for lease in stale}
        rows = Lease.objects.using(self._alias).filter(pk__in=seen).order_by("pk")
        now = rows if self._dry else rows.select_for_update()
        return self._delete(Lease, [lease.pk for lease in now if lease.epoch == seen[lease.pk]])

    # -- in the database ---------------------------------------------------------------------------------------

    def _rows(self, model: type[Model]) -> QuerySet[Any]:
        return model._default_manager.using(self._alias)

    def _delete(self, model: type[Model], numbers: Collection[int]) -> int:
        if not self._dry:
            self._rows(model).filter(pk__in=numbers).delete()
        return len(numbers)

    def _remove(self, model: type[Model], work: Callable[[], int]) -> float:
        """Remove rows in one transaction, and rest for as long. Returns the seconds for which it had its locks."""
        self._locked_at = time.monotonic()
        self.removed[model.__name__] += self._transact(work)
        seconds = time.monotonic() - self._locked_at
        self.longest = max(self.longest, seconds)
        self._progress(self)
        if not self._dry:
            time.sleep(seconds)
        return seconds

    def _transact(self, work: Callable[[], T]) -> T:
        def attempt() -> T:
            with LaneTransaction(self._alias, shared=self._shared):
                return work()

        return attempt() if self._shared else patiently(attempt, self._hurry)


def _next_size(size: int, seconds: float) -> int:
    if seconds > 2 * RANGE_SECONDS:
        return max(1, int(size * RANGE_SECONDS / seconds))
    return min(2 * size, LARGEST_RANGE) if seconds < RANGE_SECONDS / 2 else size


def _end_of(run: Run) -> datetime:
    """Its end; of a run that came to none its last sign of life."""
    return run.finished or run.heartbeat or run.started


_HANGING_ON_RUNS: list[type[Model]] = [
    relation.related_model
    for relation in Run._meta.related_objects
    if relation.field.name == "run" and relation.related_model._meta.app_label == Run._meta.app_label
]
"""The models of this package whose rows go with their run; those of the project are Django's to look after."""
