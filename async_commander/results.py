"""What a run comes to: its status, its counts, its result."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any
from uuid import UUID


class RunStatus(StrEnum):
    """The states of a run. All but the first three are ends; `crashed` is set by whoever notices."""

    QUEUED = "queued"
    RUNNING = "running"
    WAITING = "waiting"
    """At work, and waiting for the answer to a question that it has asked."""
    SUCCEEDED = "succeeded"
    PARTIAL = "partial"
    FAILED = "failed"
    INTERRUPTED = "interrupted"
    CRASHED = "crashed"
    SKIPPED = "skipped"


AT_WORK = (RunStatus.RUNNING.value, RunStatus.WAITING.value)
"""The states of a run that a process is at work on."""
NOT_OVER = (RunStatus.QUEUED.value, *AT_WORK)
"""These, and that of a run that waits for a worker."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """One thing that was asked of a run from outside."""

    to: Any
    """What it is to be: True for a pause, False for its end, yes or no for a question, the value of a bound."""
    by: str
    """Who asked; empty where nobody knows."""
    at: datetime

    @classmethod
    def of(cls, stored: Any) -> Asked | None:
        """As the run's row has it; None where it was not asked."""
        if not isinstance(stored, Mapping):
            return None
        return cls(to=stored["to"], by=stored["by"], at=datetime.fromisoformat(stored["at"]))

    def stored(self) -> dict[str, Any]:
        """The same for the run's row."""
        return {"to": self.to, "by": self.by, "at": self.at.isoformat()}

    @property
    def who(self) -> str:
        """` by ada`, or nothing."""
        return f" by {self.by}" if self.by else ""


class ItemState(StrEnum):
    """The states of an item. `claimed` is in hand; `retry` waits for its time; the others are ends."""

    CLAIMED = "claimed"
    DONE = "done"
    SKIPPED = "skipped"
    RETRY = "retry"
    DEAD = "dead"


@dataclass(frozen=True, slots=True)
class Followed:
    """An item that another item's work brought up."""

    key: UUID
    label: str
    item: Any
    line: UUID | None = None


@dataclass(kw_only=True)
class ItemOutcome:
    """What became of one item: the ledger row that commits with its effects."""

    key: UUID
    label: str = ""
    state: ItemState = ItemState.DONE
    known: bool = False
    """True where the ledger has a row of this item already."""
    attempts: int = 1
    crashes: int = 0
    reason: str = ""
    error_kind: str = ""
    error: str = ""
    started: datetime | None = None
    wait_ms: int | None = None
    download_ms: int | None = None
    parse_ms: int | None = None
    handed_over: float = field(default_factory=time.monotonic)
    """On the monotonic clock: `save_ms` is the time from here until the row is written."""
    worker: int | None = None
    delay: float | None = None
    """Of an item in state `retry`: seconds from the commit to the next attempt."""
    next_at: datetime | None = None
    item: Any = None
    line: UUID | None = None
    """Of an item in state `retry` or `dead`: the line in which it goes one after another with others. In state `retry`
    without a `delay` it waits until the line is called."""
    place: int | None = None
    """Of an item that waits until its line is called: a number greater than that of those before it."""
    by_follow: bool = False
    """Another item brought it up, and the source has not yielded it until now."""
    followed: Sequence[Followed] = ()
    followed_new: int = field(default=0, init=False)
    """How many of `followed` the run did not know yet; set when the outcome is written."""
    left_out: int = field(default=0, init=False)
    """How many of these were more than the run may take, and are not kept; set when the outcome is written."""


class ObjectAction(StrEnum):
    """What a run did to an object. `linked`: a many-to-many link of it was made or cut, or it was linked by hand."""

    CREATED = "created"
    UPDATED = "updated"
    DELETED = "deleted"
    LINKED = "linked"


CREATED, UPSERTED, UPDATED, DELETED = "created", "upserted", "updated", "deleted"
"""What a dry run would have done with rows."""
UNDELETED = "undeleted"
"""What `self.db.delete()` was given, and was not deleted for want of `--delete`."""

EXIT_OK = 0
EXIT_FAILED = 1
EXIT_USAGE = 2
EXIT_PARTIAL = 3
EXIT_RESTARTS_SPENT = 70
EXIT_LOCKED = 75
EXIT_SIGNAL_BASE = 128


def items_in_words(number: int) -> str:
    """A count of items: "1 item", "12,345 items"."""
    return f"{number:,} item" if number == 1 else f"{number:,} items"


def per_second(items: int, seconds: float | None) -> float | None:
    """The rate of a run: its items with an outcome by the time that it took, or has taken; None where none passed."""
    return items / seconds if seconds and seconds > 0 else None


_EXIT_CODES = {
    RunStatus.SUCCEEDED: EXIT_OK,
    RunStatus.SKIPPED: EXIT_OK,
    RunStatus.PARTIAL: EXIT_PARTIAL,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class RunStatistics:
    """What many runs came to. Durations are seconds, of those runs that have one; None where there is none."""

    count: int
    """Runs that have ended, dry runs and tests apart."""
    succeeded: int
    average_seconds: float | None
    p95_seconds: float | None
    """No more than one run in twenty took longer."""

    @property
    def success_rate(self) -> float | None:
        """From 0 to 1; None where no run has ended."""
        return self.succeeded / self.count if self.count else None


REJECTED = "rejected"
"""The reason of a row that does not fit, in an import: nothing helps it but another row."""


@dataclass(slots=True)
class Tally:
    """The live counts of a run, in items. `taken = done + skipped + dead + retry + claimed`, always."""

    total: int | None = None
    taken: int = 0
    done: int = 0
    skipped: int = 0
    dead: int = 0
    retry: int = 0
    retried: int = 0
    """Attempts after the first, of any item."""
    in_flight: int = 0
    """Items in a worker's hands now."""
    waiting: int = 0
    """Items in the timed heap now: throttled, or waiting for their next attempt."""
    paused_hosts: int = 0
    """Hosts that asked for time and have not answered since: nothing, or one item at a time, is sent to them."""
    held_until: float = 0.0
    """On the event loop's clock: until then nothing begins, for the database's sake; 0 where nothing is held back."""
    dead_before: int = 0
    settled_before: int = 0
    """Items that were dead, and that had an outcome, when a run was opened again for its dead ones: `max_failures` does
    not count them."""
    unconfirmed: int = 0
    """Items whose writes were handed over and are not committed yet."""

    @property
    def claimed(self) -> int:
        """Items taken that have no outcome yet."""
        return self.taken - self.done - self.skipped - self.dead - self.retry

    def as_counts(self) -> dict[str, int]:
        """The six counts of the accounting invariant."""
        return {
            "taken": self.taken,
            "done": self.done,
            "skipped": self.skipped,
            "dead": self.dead,
            "retry": self.retry,
            "claimed": self.claimed,
        }


@dataclass(slots=True)
class ErrorKind:
    """Errors of one kind, counted, with one example."""

    kind: str
    count: int = 0
    example: str = ""
    item: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunResult:
    """How a run ended.

    `value` is what `handle()` returned; `values` are the hooks' return values where `keep_values` is set;
    `counts` are items; `errors` are kinds, most frequent first; `duration` is in seconds, from the start of this
    sitting until its end is written.
    """

    run_id: int | str | None
    command: str
    status: RunStatus
    value: Any = None
    values: list[Any] = field(default_factory=list)
    counts: dict[str, int] = field(default_factory=dict)
    errors: list[ErrorKind] = field(default_factory=list)
    duration: float = 0.0
    error: str = ""
    reason: str = ""
    """Why the run was skipped, where it was."""
    signal: int | None = None
    """The signal that interrupted the run, if one did."""
    locked: bool = False
    """True where the run was locked or fenced by another owner."""
    complete: bool = False
    """Nothing was left undone: each item of the source has an outcome, or `handle()` came to its end."""
    failure: BaseException | None = field(default=None, repr=False, compare=False)
    """What ended the run, where something did."""
    dry_run: bool = False
    """True where nothing of what it wrote was kept."""
    would: dict[str, dict[str, int]] = field(default_factory=dict)
    """What it would have written, in rows by the model's label (its table, where it has none) and by `created`,
    `upserted`, `updated` and `deleted`.
    """
    code_asked_for: int | None = None
    """The exit code that the failure names: that of `CommandError(returncode=7)`, of `sys.exit(7)`."""

    @property
    def exit_code(self) -> int:
        """0 succeeded or skipped, 1 failed, 3 partial, 70 restarts spent, 75 locked or fenced, 128+n ended by signal n.

        A failed run has the code that its failure asks for, where it names one.
        A run that was interrupted by no signal and no error did what it was asked to (`max_items` of a resume): 0, or 3
        where items of it are dead.
        """
        if self.locked:
            return EXIT_LOCKED
        if self.status is RunStatus.INTERRUPTED and self.signal is not None:
            return EXIT_SIGNAL_BASE + self.signal
        if self.status is RunStatus.INTERRUPTED and not self.error:
            return EXIT_PARTIAL if self.counts.get("dead") else EXIT_OK
        return _EXIT_CODES.get(self.status, self.code_asked_for or EXIT_FAILED)
