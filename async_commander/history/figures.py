"""Counts, latencies and kinds of errors, rolled up as they happen, so that no page ever scans the ledger."""

from __future__ import annotations

import heapq
import math
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from itertools import count as counting
from typing import Any

from django.db.models import Q, QuerySet

from async_commander.models import Run, RunBucket
from async_commander.results import ErrorKind

from .recorder import Slice

SLICE_SECONDS = 10
_WIDTHS = ((3_600, 60), (86_400, 600), (30 * 86_400, 3_600), (math.inf, math.inf))
"""From which age of a sitting on, in seconds, its slices are how long: each age is a multiple of the length. However
long a run goes on, a page that reads all of its slices reads some thousands.
"""
SLOWEST_KEPT = 50
HISTOGRAM_BINS = 20
"""The last one takes everything from 2**18 ms, four and a half minutes, on."""
KINDS_KEPT = 200
"""Kinds of errors counted by name in one run; what comes later is counted under one name."""
OTHER_KINDS = "(other kinds)"
STAGES = ("download", "parse", "cpu", "item", "step", "held")
"""In the order of an item's way, whose end is the whole of it; the steps of a plain command; and the times for which
`throttle_on()` held all back."""


@dataclass(slots=True)
class _Sums:
    seconds: int = SLICE_SECONDS
    count: int = 0
    errors: int = 0
    total_ms: int = 0
    histogram: list[int] = field(default_factory=lambda: [0] * HISTOGRAM_BINS)


class Figures:
    """The running figures of one run in this process. Not thread-safe: used on the event loop only."""

    def __init__(self, began: datetime, zero: float) -> None:
        self._began = began
        self._zero = zero
        """The same moment on the monotonic clock, as all other times are."""
        self._slices: dict[tuple[int, str], _Sums] = {}
        """By the second of the sitting that they begin with."""
        self._widths = iter(_WIDTHS)
        self._width, self._since = SLICE_SECONDS, 0
        self._until: float
        self._next_width: float
        self._until, self._next_width = next(self._widths)
        self._slowest: list[tuple[int, int, dict[str, Any]]] = []
        self._numbers = counting()
        self._slowest_changed = False
        self._kinds: dict[str, ErrorKind] = {}
        self._changed_kinds: set[str] = set()

    def took(self, stage: str, began: float, ended: float, *, failed: bool = False) -> None:
        """One passage through a stage."""
        place = self._slice_at(ended), stage
        sums = self._slices.get(place)
        if sums is None:
            sums = self._slices[place] = _Sums(self._width)
        milliseconds = int((ended - began) * 1000)
        sums.count += 1
        sums.errors += failed
        sums.total_ms += milliseconds
        sums.histogram[min(milliseconds.bit_length(), HISTOGRAM_BINS - 1)] += 1

    def _slice_at(self, moment: float) -> int:
        """With which second of the sitting the slice begins that this moment is in."""
        age = moment - self._zero
        while age >= self._until:
            self._width, self._since = int(self._next_width), int(self._until)
            self._until, self._next_width = next(self._widths)
        return max(int(age // self._width) * self._width, self._since)

    def is_slow(self, milliseconds: int) -> bool:
        """Whether an item that took so long is one of the slowest until now."""
        return len(self._slowest) < SLOWEST_KEPT or milliseconds > self._slowest[0][0]

    def remember(self, milliseconds: int, item: dict[str, Any]) -> None:
        """An item that is slow has come to its end, so long after its last attempt began; `item` is JSON."""
        entry = milliseconds, next(self._numbers), item
        push = heapq.heappush if len(self._slowest) < SLOWEST_KEPT else heapq.heapreplace
        push(self._slowest, entry)
        self._slowest_changed = True

    def changed_slowest(self) -> list[dict[str, Any]]:
        """The slowest items of this process, where they are others than at the last call."""
        changed, self._slowest_changed = self._slowest_changed, False
        return slowest_of(item | {"ms": ms} for ms, _, item in self._slowest) if changed else []

    def failed(self, kind: str, text: str, label: str) -> None:
        """One error, retried later or not."""
        if kind not in self._kinds and len(self._kinds) >= KINDS_KEPT:
            kind = OTHER_KINDS
        entry = self._kinds.setdefault(kind, ErrorKind(kind, example=text, item=label))
        entry.count += 1
        self._changed_kinds.add(kind)

    def counted(self, kind: ErrorKind) -> None:
        """So many errors of a kind until now, by who counts them elsewhere."""
        known = self._kinds.get(kind.kind)
        if kind.count > 0 and (known is None or known.count != kind.count):
            self._kinds[kind.kind] = kind
            self._changed_kinds.add(kind.kind)

    def kinds(self) -> list[ErrorKind]:
        """All kinds of errors of this process, most frequent first."""
        return sorted(self._kinds.values(), key=lambda kind: (-kind.count, kind.kind))

    def changed_kinds(self) -> list[ErrorKind]:
        """The kinds that grew since the last call, with their counts until now."""
        changed, self._changed_kinds = self._changed_kinds, set()
        return [self._kinds[name] for name in sorted(changed)]

    def slices(self, now: float) -> list[Slice]:
        """The slices that grew since the last call, with their sums until now; ended ones are forgotten."""
        slices = [
            Slice(
                self._began + timedelta(seconds=start),
                sums.seconds,
                stage,
                sums.count,
                sums.errors,
                sums.total_ms,
                list(sums.histogram),
            )
            for (start, stage), sums in self._slices.items()
        ]
        current = self._slice_at(now)
        self._slices = {place: sums for place, sums in self._slices.items() if place[0] >= current}
        return slices


@dataclass(frozen=True, slots=True)
class Latencies:
    """How long the passages through one stage of a run took, in milliseconds, as far as the roll-ups can tell.

    A roll-up keeps counts below powers of two: `median` and `p95` are read from these, `maximum` is a bound that
    nothing took longer than.
    """

    stage: str
    count: int
    errors: int
    median: float
    p95: float
    p99: float
    maximum: int


def buckets_of(run: Run) -> QuerySet[RunBucket]:
    """The roll-ups of a run: its own, or those of its shards."""
    mine = Run.objects.using(run._state.db).filter(Q(pk=run.pk) | Q(parent=run.pk, shard__isnull=False))
    return RunBucket.objects.using(run._state.db).filter(run__in=mine.order_by().values("pk"))


def speed_of(run: Run, most: int = 40) -> list[float]:
    """Items, or steps, per second of a run from its start to its end, in at most so many stretches of equal length.

    Empty where it was too short to tell more than one stretch. A query.
    """
    rows = list(buckets_of(run).filter(stage__in=("item", "step")).order_by("at").values_list("at", "seconds", "count"))
    if len(rows) < 2:
        return []
    first, last = rows[0][0], rows[-1][0] + timedelta(seconds=rows[-1][1])
    whole = (last - first).total_seconds()
    number = min(most, max(2, int(whole // SLICE_SECONDS)))
    counts = [0.0] * number
    for at, seconds, count in rows:
        middle = (at - first).total_seconds() + seconds / 2
        counts[min(int(middle * number / whole), number - 1)] += count
    return [count * number / whole for count in counts]


def latencies_of(run: Run) -> list[Latencies]:
    """One for each stage of a run, in the order of an item's way; a query, whatever the number of items."""
    sums: dict[str, _Sums] = {}
    longest: dict[str, int] = {}
    rows = buckets_of(run).values_list("stage", "count", "errors", "total_ms", "histogram")
    for stage, count, errors, total_ms, histogram in rows.iterator():
        known = sums.setdefault(stage, _Sums())
        known.count += count
        known.errors += errors
        for place, number in enumerate(histogram[:HISTOGRAM_BINS]):
            known.histogram[place] += number
        longest[stage] = max(longest.get(stage, 0), _longest(total_ms, histogram))
    order = {stage: place for place, stage in enumerate(STAGES)}
    return [
        Latencies(
            stage,
            known.count,
            known.errors,
            _quantile(known.histogram, 0.5, longest[stage]),
            _quantile(known.histogram, 0.95, longest[stage]),
            _quantile(known.histogram, 0.99, longest[stage]),
            longest[stage],
        )
        for stage, known in sorted(sums.items(), key=lambda one: (order.get(one[0], len(STAGES)), one[0]))
    ]


def slowest_of(*items: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """The slowest of these, slowest first; of an item that came to an end twice the later end."""
    by_key = {item["key"]: item for some in items for item in some}
    return heapq.nlargest(SLOWEST_KEPT, by_key.values(), key=lambda item: item["ms"])


def _bounds(place: int) -> tuple[int, int]:
    """From and below how many milliseconds one bin of a histogram counts."""
    return (1 << place) >> 1, 1 << place


def _quantile(histogram: list[int], share: float, longest: int) -> float:
    """The latency that this share of the passages stayed below, as if those of one bin were spread evenly over it, up
    to the longest.
    """
    wanted = share * sum(histogram)
    for place, number in enumerate(histogram):
        if number and wanted <= number:
            low, high = _bounds(place)
            return low + max(min(high, longest) - low, 0) * wanted / number
        wanted -= number
    return 0.0


def _longest(total_ms: int, histogram: list[int]) -> int:
    """What the longest passage of one slice took at most: below its bin's end, and no more than the sum has left."""
    places = [place for place, number in enumerate(histogram) if number]
    if not places:
        return 0
    others = sum(_bounds(place)[0] * number for place, number in enumerate(histogram)) - _bounds(places[-1])[0]
    left = max(total_ms - others, 0)
    return left if places[-1] >= HISTOGRAM_BINS - 1 else min(left, _bounds(places[-1])[1] - 1)
