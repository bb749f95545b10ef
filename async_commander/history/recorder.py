"""The port through which a run is recorded, and the values that pass it."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any, NamedTuple, Protocol
from uuid import UUID

from async_commander.command.needs import Need
from async_commander.command.run_identity import RunIdentity
from async_commander.database.lanes import LanePool
from async_commander.database.surroundings import Surroundings
from async_commander.database.unit import Unit
from async_commander.engine.context import Shard
from async_commander.models import Run
from async_commander.results import Asked, ErrorKind, ItemOutcome, ItemState, RunStatus

STEP = "step"
"""The reason in the row of a step of `handle()`: it tells that from an item's."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Opening:
    """What is known of a run before it begins. All values are JSON-able and free of secrets."""

    command: str
    identity: str
    parameters: dict[str, Any] = field(default_factory=dict)
    options: dict[str, Any] = field(default_factory=dict)
    limits: dict[str, Any] = field(default_factory=dict)
    trigger: str = "call"
    user: str = ""
    resume: bool = False
    resume_run: int | None = None
    retry_failed: int | None = None
    """The run that is opened again for its dead items."""
    queued: int | None = None
    """The run that waits in a queue and is begun now, or is gone on with where a worker had begun it."""
    only_kinds: Sequence[str] = ()
    """Kinds of errors, or reasons, of those that are meant; empty: all."""
    anew: bool = True
    """Where there is no such run to resume but others of the command are unfinished, begin a new one all the same."""
    known_by: RunIdentity | None = field(default=None, repr=False)
    """Tells the same run also where the command's class has changed; None: by `identity` alone."""
    testing: bool = False
    needs: Sequence[Need] = ()
    """Runs that must have succeeded before a new one begins."""
    dry_run: bool = False
    once: bool = False
    """To happen once: not while, and not after, another run of this identity does."""
    single: bool = False
    """One at a time: not while another run of this command does, whatever its arguments."""
    wait: bool = False
    """Wait for the end of such a run, rather than be refused."""
    force: bool = False
    """Happen also where it has happened."""
    longest_wait: float = 3600.0
    """Seconds for which an item may wait for its next attempt."""
    pausable: bool = False
    """It has items, so that it can be paused."""
    given: Collection[str] = ()
    """The bounds that this sitting was given itself: those that were changed before it do not apply."""
    parent: int | None = None
    """The row of the run that began this one, in the same database."""
    shards: int | None = None
    """Into how many it is to be cut."""
    carries: int | None = None
    """The row of a shard that is to be carried: begun, or taken over."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Opened:
    """A run that is ours now. `counts` are those of the ledger: all zero unless it was resumed."""

    run_id: int | str | None
    epoch: int = 1
    resumed: bool = False
    counts: dict[str, int] = field(default_factory=dict)
    recovered: int = 0
    """Items that an earlier sitting took and that wait for the source to yield them again."""
    total: int | None = None
    options: dict[str, Any] = field(default_factory=dict)
    """Of a resumed run: what was asked of it the first time."""
    parameters: dict[str, Any] = field(default_factory=dict)
    """Of a resumed run: the arguments that were its identity then."""
    identity: str = ""
    """What the run is known by, where an earlier one of the same arguments had another digest."""
    testing: bool = False
    """Of a resumed run: whether it was begun as a trial."""
    source_ended: bool = False
    """Of a resumed run: its source was read to its end before, and gives no new items. It is read again only for those
    that were `recovered`, and then for nothing else."""
    retried: int = 0
    """Items that were dead, and are tried again."""
    cursor: SafeCursor | None = None
    """Of a resumed run: where its source is gone on with."""
    shard: Shard | None = None
    """Which part of a run this is."""
    shards: int | None = None
    """Into how many this run is cut: they take the items, and it adds them up."""


class SafeCursor(NamedTuple):
    """Where a source may be gone on with: all that it yielded with this cursor, and before, is settled."""

    place: int
    """In the source, of the last item that it was yielded with."""
    text: str
    """Of JSON."""


class Candidate(NamedTuple):
    """One item that the source yielded, before the ledger was asked about it."""

    key: UUID
    label: str


@dataclass(frozen=True, slots=True)
class Known:
    """An item that the ledger had already, and that is to be run (again)."""

    key: UUID
    attempts: int = 0
    crashes: int = 0
    label: str = ""
    item: Any = None
    error_kind: str = ""
    error: str = ""
    """What it failed with last."""
    line: UUID | None = None
    """The line in which it goes one after another with others."""
    called: bool = False
    """It was put by, and called."""


@dataclass(slots=True)
class Admission:
    """The ledger's answer to a chunk of candidates, by key. What is in none of these is known: leave it out."""

    fresh: set[UUID] = field(default_factory=set)
    again: dict[UUID, Known] = field(default_factory=dict)
    crashed: dict[UUID, Known] = field(default_factory=dict)
    duplicates: int = 0
    from_retry: int = 0
    """How many of `again` waited in state `retry`, without the item itself: the source had to yield it."""
    left_out: set[UUID] = field(default_factory=set)
    """New ones that are more than the run may take now."""


@dataclass(frozen=True, slots=True)
class Stored:
    """Items that were kept in the ledger and whose time has come."""

    items: Sequence[Known] = ()
    from_retry: int = 0
    """How many of the items were waiting in state `retry`; the others are left over from a crash."""
    next_in: float | None = None
    """Seconds until the next one; None where none waits."""
    gone: int = 0
    """Items of a crashed owner that the source did not yield again."""
    dead: int = 0


def outcomes_of(units: Sequence[Unit]) -> list[ItemOutcome]:
    """Of all items that these units belong to. Units of hooks of the run as a whole have none."""
    outcomes = [unit.outcome for unit in units if unit.outcome is not None]
    for unit in units:
        if unit.others:
            outcomes += outcomes_of(unit.others)
    return outcomes


@dataclass(frozen=True, slots=True)
class LogLine:
    """One log record of a run, already rendered, redacted and capped."""

    at: datetime
    level: int
    logger: str
    message: str
    item_key: UUID | None = None
    failure: dict[str, Any] | None = None
    """Of a line about an item that failed: `label`, `kind`, `error`, `attempt`, `final`."""
    number: int | None = None
    """Its place in the run's log, once it is written."""


@dataclass(frozen=True, slots=True)
class Slice:
    """One stage in one slice of time; `histogram[n]` counts latencies below 2**n milliseconds."""

    at: datetime
    seconds: int
    stage: str
    count: int
    errors: int
    total_ms: int
    histogram: list[int]


@dataclass(slots=True)
class Notes:
    """What is written beside the ledger from time to time."""

    logs: Sequence[LogLine] = ()
    slices: Sequence[Slice] = ()
    errors: Sequence[ErrorKind] = ()
    slowest: Sequence[dict[str, Any]] = ()
    """The slowest items of this process, where they have changed."""
    total: int | None = None
    done: int | None = None
    """How far a plain command says it is; items count themselves."""
    pausable: bool = False
    """It has turned out that the run can be paused."""

    def __bool__(self) -> bool:
        written = self.logs or self.slices or self.errors or self.slowest or self.pausable
        return bool(written) or self.total is not None or self.done is not None


@dataclass(frozen=True, slots=True, kw_only=True)
class Ending:
    """How a run ended, ready to be stored."""

    status: RunStatus
    value: Any = None
    would: dict[str, dict[str, int]] = field(default_factory=dict)
    output: str = ""
    error: str = ""
    traceback: str = ""
    source_ended: bool = False
    """The source was read to its end, and each item that it gave has had an outcome."""


@dataclass(frozen=True, slots=True)
class Rows:
    """The row of this run, and that of the last succeeded run of the same identity."""

    record: Run | None = None
    previous: Run | None = None


OF_THE_WHOLE = ("timeout", "max_failures")
"""Bounds of a run that is cut into shards which it keeps itself: no shard has them."""


@dataclass(frozen=True, slots=True)
class Orders:
    """What is asked of a run from outside, as its row says it now."""

    cancel: Asked | None = None
    pause: Asked | None = None
    limits: Mapping[str, Asked] = field(default_factory=dict)
    answer: Asked | None = None

    @classmethod
    def of(cls, orders: Mapping[str, Any], cancel_requested_at: datetime | None) -> Orders:
        """As the row's two columns have it."""
        cancel = Asked.of(orders.get("cancel"))
        if cancel is None and cancel_requested_at is not None:
            cancel = Asked(to=True, by="", at=cancel_requested_at)
        limits = {name: asked for name, one in orders.get("limits", {}).items() if (asked := Asked.of(one))}
        return cls(cancel, Asked.of(orders.get("pause")), limits, Asked.of(orders.get("answer")))

    def beside(self, whole: Orders) -> Orders:
        """Those of a shard: it is paused with its run, and has its limits, but for those that bound the whole of it."""
        limits = {name: one for name, one in whole.limits.items() if name not in OF_THE_WHOLE}
        return replace(self, pause=whole.pause, limits=limits)


class RunOwner(Protocol):
    """Who works for a run and hears of its record, on the run's event loop."""

    def record_lost(self, error: BaseException, /) -> None:
        """Nothing more can be recorded."""

    def record_alive(self) -> None:
        """There was a sign of life."""

    def ordered(self, orders: Orders, /) -> None:
        """Something else is asked of this run than before."""


class CommitObserver(Protocol):
    """Who looks on at each transaction with rows of the command, or outcomes of its items."""

    def committing(self, units: Sequence[Unit]) -> None:
        """On the lane, before the end of the transaction of these. What this raises is what that fails with."""

    def committed(self, units: Sequence[Unit]) -> bool:
        """On the event loop, after it. True where nobody else is to hear of it: the run is to look as if killed."""


class ItemsOwner(Protocol):
    """Who hands over the units of items."""

    def settled(self, units: Sequence[Unit], error: BaseException | None, /) -> None:
        """On the event loop, once for every unit: they are committed, or what one of them, alone, could not be for."""


class Recorder(Protocol):
    """Where a run is recorded. All coroutines are called on the run's event loop."""

    tick_seconds: float
    keeps_items: bool
    """Whether it has a ledger: items may be put off until later, and a resume finds what is done."""
    calls_back: bool
    """Whether items may be put by in it until their line is called."""

    def attach(self, lanes: LanePool) -> None:
        """These are the run's lanes. Called once, before anything else, on the run's event loop."""

    async def open(self, opening: Opening, say: Callable[[str], None]) -> Opened:
        """Begin a run, or take one over.

        Raises RunLocked where somebody else has it, OnceMet where it has happened and was to happen once,
        NothingToRetry where no item is dead that was to be tried again, Unmet where runs are missing that a new one
        depends on.
        """

    async def rows(self) -> Rows:
        """This run's row and the one before."""

    @property
    def can_be_answered(self) -> bool:
        """Whether somebody outside can see the run, and answer what it asks."""

    def answer_to(self, owner: RunOwner) -> None:
        """The run is open, and this is who works for it. It hears at once of what is asked of the run already."""

    async def asks(self, question: str) -> None:
        """Store that the run waits to be answered this; with an empty text, that it waits no more."""

    def objects_recorded(self, *, everything: bool) -> AbstractContextManager[object]:
        """For the block, and what is called in its context, objects that are written are recorded for this run.

        Those of models that say so, or of all models.
        """

    def within(self, surroundings: Surroundings) -> None:
        """From now on rows are written in these: those of the run's hooks as `lifespan()` left them."""

    def begin_items(self, owner: ItemsOwner, *, taken_at_most: int | None) -> None:
        """From now on items come. `owner` hears how their units end; the run takes no more than so many in all.

        Those that items in hand bring up are among them.
        """

    def begin_steps(self, owner: ItemsOwner) -> None:
        """From now on steps of `handle()` come, in the place of items: none is claimed, and the counts do not move."""

    async def kept(self, key: UUID) -> Known | None:
        """What the ledger says of a step; None where it is not done."""

    async def admit(self, candidates: Sequence[Candidate], *, room: int | None = None) -> Admission:
        """Claim a chunk of items, before any of them begins; of those that are new at most `room`, and no others."""

    def source_settled(self, cursor: SafeCursor) -> None:
        """The source need not be read again before this. It is kept with what is committed next."""

    def source_restarted(self) -> None:
        """The source begins anew: what it yields again is no duplicate."""

    async def claim(self, keys: Sequence[UUID]) -> None:
        """Claim items that the ledger has and that were held back to run alone."""

    async def stored(self, room: int, *, source_ended: bool, called: Sequence[UUID] = ()) -> Stored:
        """Claim and return at most `room` items whose time has come; first the next ones of the lines `called`."""

    async def adopt(self, key: UUID) -> None:
        """An item in hand turned out to wait in the ledger as well: the two are one, and it is in hand."""

    async def state_of(self, key: UUID) -> ItemState | None:
        """What the ledger says of an item in hand; one that it says is done needs no settling any more."""

    async def release(self, fresh: Sequence[UUID], known: Sequence[ItemOutcome]) -> None:
        """Give items back that were claimed and not done: `fresh` as if never taken, `known` to be run later."""

    def put(self, unit: Unit) -> None:
        """Hand over a unit with its `outcome`: it commits in a batch with others, or alone where it has a lane."""

    async def commit(self, unit: Unit) -> None:
        """Write the rows of a unit that belongs to no item, and wait for their commit. Raises its error."""

    async def drain(self) -> None:
        """Wait until all units that were put are settled, or never will be."""

    async def note(self, notes: Notes) -> Sequence[LogLine]:
        """Write log lines and figures. Returns the lines as they are written, numbered."""
        ...

    def hurry(self) -> None:
        """Wait for no outage any more: the run is to end."""

    def tick(self) -> None:
        """The event loop turns; to be called every `tick_seconds`."""

    async def close(self, ending: Ending) -> dict[str, int]:
        """Write the truth about the end and let go of the run. Raises RunFenced where it is not ours.

        Returns the counts that are stored: of what was handed over and never settled, only the record knows.
        """

    async def aclose(self) -> None:
        """Give back threads and connections, whatever happened."""
