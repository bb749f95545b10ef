"""A run that is cut into shards: each has a row with its own owner, claims and counts, and all of them one ledger.

The rows of the items are the run's, and unique in it by their keys, whichever shard has them. A shard is owned, fenced,
taken over and closed as a run is; the run's own row has the sums.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from django.db.models import Sum

from async_commander.engine.context import Shard
from async_commander.exceptions import InvalidCommand, RunLocked
from async_commander.models import Run, RunErrorKind, RunItem
from async_commander.results import AT_WORK, ErrorKind, ItemState, RunStatus

from .host_shares import forget
from .lease import Ownership, database_now
from .ledger import Ledger

COUNTS = ("taken", "done", "skipped", "dead", "retry", "claimed")
_ENDED = (RunStatus.SUCCEEDED.value, RunStatus.PARTIAL.value, RunStatus.FAILED.value)

Range = tuple[Any, Any]
"""The first key of a shard, and the first one behind it; None: it has no such end."""


class WholeLedger(Ledger):
    """Of a run whose shards have the items: nothing is claimed here, and the counts are theirs, added up."""

    def take_over(self, *, crashed: bool, longest_wait: float) -> int:
        """Have those shards begin again that had ended and have items that are to be tried once more."""
        del crashed, longest_wait
        alias, parent = self.ownership.alias, self.ownership.run_id
        waiting = RunItem.objects.using(alias).filter(run_id=parent, state=ItemState.RETRY.value)
        shards = waiting.values_list("shard", flat=True).distinct()
        for row in shards_of(alias, parent):
            if row.status in _ENDED and row.shard in shards:
                Ledger(Ownership(alias, row.pk, epoch=0).of(row)).recount()
                Run.objects.using(alias).filter(pk=row.pk).update(status=RunStatus.INTERRUPTED.value)
        add_up(self.ownership)
        return 0

    def let_go(self) -> None:
        """The last sums."""
        add_up(self.ownership)
        forget(self.ownership)


def ledger_of(ownership: Ownership, run: Run) -> Ledger:
    """Of a run, a shard, or a run that is cut into shards."""
    return WholeLedger(ownership) if "shards" in run.options else Ledger(ownership)


def shards_of(alias: str, parent: int) -> list[Run]:
    """The rows of a run's shards, in their order."""
    rows = Run.objects.using(alias).filter(parent_id=parent, shard__isnull=False)
    return list(rows.defer("output", "traceback").order_by("shard"))


def cut(
    ownership: Ownership, ranges: Sequence[Range] | None, count: int, asked: Mapping[str, Any] | None = None
) -> None:
    """Make the rows of the shards, once; with `ranges` of keys, else by the hash of each item's key.

    A shard for which there is no range has nothing to do, and has ended. `asked` is for workers of a queue.
    """
    if shards_of(ownership.alias, ownership.run_id):
        return
    runs = Run.objects.using(ownership.alias)
    run, now = runs.get(pk=ownership.run_id), database_now(ownership.alias)
    shards = []
    for index in range(count):
        idle = ranges is not None and index >= len(ranges)
        place: dict[str, Any] = {"count": count}
        if ranges is not None and not idle:
            place["range"] = list(ranges[index])
        options = {name: value for name, value in run.options.items() if name not in ("distribute", "shards")}
        shards.append(
            Run(
                command=run.command,
                parameters=run.parameters,
                options=options,
                asked={**(asked or {}), "shard": place},
                limits=run.limits,
                trigger=run.trigger,
                user=run.user,
                testing=run.testing,
                parent=run,
                shard=index,
                started=now,
                status=RunStatus.SUCCEEDED.value if idle else RunStatus.QUEUED.value,
                finished=now if idle else None,
                source_ended=idle,
            )
        )
    runs.bulk_create(shards)


def place_of(row: Run) -> Shard:
    """What a shard takes of its run's items."""
    assert row.shard is not None  # noqa: S101 - the caller has a shard's row
    place = row.asked["shard"]
    first, before = place.get("range", (None, None))
    return Shard(index=row.shard, count=place["count"], by_range="range" in place, first=first, before=before)


def to_carry(alias: str, number: int) -> Run | None:
    """The row of a shard that is to be carried; None where that is done. RunLocked where its run is over."""
    row = Run.objects.using(alias).select_related("parent").filter(pk=number).first()
    if row is None or row.shard is None or row.parent is None:
        raise InvalidCommand(f"Run {number} is no shard of another one.")
    if row.status in _ENDED and row.source_ended:
        return None
    if row.parent.status not in AT_WORK:
        raise RunLocked(f"Run {row.parent_id}, whose shard {row.shard} was to be carried, is {row.parent.status}.")
    return row


def add_up(ownership: Ownership) -> dict[str, int]:
    """Write the sums of the shards' counts into the run's row. In one statement they are read as of one moment."""
    runs = Run.objects.using(ownership.alias)
    shards = runs.filter(parent_id=ownership.run_id, shard__isnull=False).order_by()
    sums = {name: number or 0 for name, number in shards.aggregate(**{name: Sum(name) for name in COUNTS}).items()}
    runs.filter(pk=ownership.run_id).update(**sums)
    return sums


def queue(ownership: Ownership, row: int, engine: str) -> None:
    """Have a shard wait for a worker of this engine, unless somebody is at it."""
    waiting = Run.objects.using(ownership.alias).filter(pk=row).exclude(status__in=AT_WORK)
    waiting.update(status=RunStatus.QUEUED.value, engine=engine, sent=None, finished=None, cancel_requested_at=None)


def ask_to_end(alias: str, parent: int) -> None:
    """Ask for the end of all shards of a run: in order, as of the run itself, of those that are at work."""
    now = database_now(alias)
    mine = Run.objects.using(alias).filter(parent_id=parent, shard__isnull=False)
    mine.filter(status__in=AT_WORK, cancel_requested_at=None).update(cancel_requested_at=now)
    queued = mine.filter(status=RunStatus.QUEUED.value)
    queued.exclude(engine="").update(status=RunStatus.INTERRUPTED.value, finished=now)


@dataclass(frozen=True, slots=True)
class Look:
    """How the shards of a run stand."""

    rows: Sequence[Run]
    sums: dict[str, int]
    errors: Sequence[ErrorKind]


def look(ownership: Ownership) -> Look:
    """Read how they stand, and write their sums into the run's row."""
    kinds: dict[str, ErrorKind] = {}
    shards = RunErrorKind.objects.using(ownership.alias).filter(
        run__parent_id=ownership.run_id, run__shard__isnull=False
    )
    for name, count, example, item in shards.values_list("kind", "count", "example", "item"):
        kinds.setdefault(name, ErrorKind(name, example=example, item=item)).count += count
    rows = shards_of(ownership.alias, ownership.run_id)
    return Look(rows, add_up(ownership), list(kinds.values()))
