"""`manage.py aruns prune`: what is to go, as it is asked for and as it is told."""

from __future__ import annotations

import time
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from django.conf import settings
from django.utils import timezone
from django.utils.dateparse import parse_date, parse_datetime

from async_commander.conf import MOST_DAYS, get_settings
from async_commander.history.lease import database_now
from async_commander.history.moments import moment
from async_commander.history.pruning import Before, Pruning
from async_commander.text.amounts import count, duration

from .formatting import columns

if TYPE_CHECKING:
    from django.core.management.base import OutputWrapper

REFRESH = 0.2
NAMES = {
    "RunItem": "items",
    "RunLog": "log lines",
    "Run": "runs",
    "RunBucket": "figures",
    "RunErrorKind": "kinds of errors",
    "RunSlowest": "slow items",
    "RunClaim": "claims",
    "ObjectLog": "entries about objects",
    "Lease": "leases",
    "files": "files",
}
"""What the rows of a table are called; those of another one have its model's name."""


def days(text: str) -> int:
    """A number of days, as an option takes it. ValueError for any other text."""
    number = int(text)
    if not 1 <= number <= MOST_DAYS:
        raise ValueError(text)
    return number


def since(text: str) -> datetime:
    """A date, or a date and time, in the project's time zone where it names none. ValueError for any other text."""
    day = parse_date(text)
    found = parse_datetime(text) if day is None else datetime.combine(day, datetime.min.time())
    if found is None:
        raise ValueError(text)
    if settings.USE_TZ:
        return found if timezone.is_aware(found) else timezone.make_aware(found)
    return found if timezone.is_naive(found) else timezone.make_naive(found)


def before_of(alias: str, options: Mapping[str, Any]) -> Before:
    """What is too old: as the command line says, else as the settings do."""
    keep, now = get_settings().keep_days, database_now(alias)

    def ago(number: int | None) -> datetime | None:
        return None if number is None else now - timedelta(days=number)

    given = options["before"] or ago(options["days"])
    return Before(
        items=given or ago(keep["items"]),
        logs=given or ago(keep["logs"]),
        runs=ago(options["keep_runs"] or keep["runs"]),
    )


def question(before: Before) -> str:
    """What is asked before anything is removed."""
    ages = {"done items of runs": before.items, "log lines": before.logs, "whole runs": before.runs}
    parts = [f"{what} from before {moment(at)}" for what, at in ages.items() if at is not None]
    return f"Remove {', '.join(parts)}?" if parts else ""


@dataclass
class Pruned:
    """Carries a prune out, and tells how it goes on a terminal, and what it came to."""

    alias: str
    before: Before
    commands: Collection[str]
    dry: bool
    terminal: OutputWrapper | None = None
    """Where a line is kept up to date; None where nobody looks."""
    _told_at: float = field(default=0.0, init=False)

    def __post_init__(self) -> None:
        self._pruning = Pruning(
            self.alias, self.before, commands=self.commands, dry=self.dry, progress=lambda _: self._tell()
        )

    def carry_out(self) -> None:
        """Remove, or count."""
        began = time.monotonic()
        try:
            self._pruning.carry_out()
        finally:
            self._seconds = time.monotonic() - began
            if self.terminal is not None:
                self.terminal.write("\r\x1b[K", ending="")

    def _tell(self) -> None:
        now = time.monotonic()
        if self.terminal is not None and now - self._told_at > REFRESH:
            self._told_at = now
            told = ", ".join(f"{count(number)} {_name(model)}" for model, number in self._found().items())
            self.terminal.write(f"\r\x1b[K{'counted' if self.dry else 'removed'}: {told}", ending="")
            self.terminal.flush()

    def _found(self) -> dict[str, int]:
        found = {name: number for name, number in self._pruning.removed.items() if number}
        order = list(NAMES)
        return dict(sorted(found.items(), key=lambda one: order.index(one[0]) if one[0] in NAMES else len(NAMES)))

    def lines(self) -> Iterator[str]:
        """The summary."""
        found = self._found()
        if not found:
            yield "Nothing is so old."
        else:
            yield "Would be removed:" if self.dry else f"Removed in {duration(self._seconds)}:"
            rows = [[count(number), _name(model)] for model, number in found.items()]
            yield from (f"  {line}" for line in columns(rows, right=frozenset({0})))
        if kept := +self._pruning.kept:
            reasons = (f"{count(number)} ({reason})" for reason, number in kept.items())
            yield f"Old runs that are kept: {', '.join(reasons)}."

    def as_json(self) -> dict[str, Any]:
        """The same for programs; rows by the name of their model."""
        return {
            "removed": self._found(),
            "dry_run": self.dry,
            "kept": dict(+self._pruning.kept),
            "before": {"items": self.before.items, "logs": self.before.logs, "runs": self.before.runs},
            "seconds": round(self._seconds, 3),
            "longest_transaction": round(self._pruning.longest, 3),
        }


def _name(model: str) -> str:
    return NAMES.get(model, model)
