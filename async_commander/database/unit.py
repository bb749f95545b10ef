"""The unit of work: all that one item writes, committed together or not at all."""

from __future__ import annotations

import inspect
import threading
from collections import Counter
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, ParamSpec, Protocol, TypeVar, overload

from asgiref.sync import sync_to_async
from django.db import transaction

from . import bulk, rows
from .lent_lane import settle, settle_unless_left
from .other_databases import write_other_databases
from .rows import NOT_GIVEN, Names, Request, Verb
from .snapshots import Undo

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
    from types import TracebackType

    from django.db.models import Model

    from async_commander.engine.ports import Ticket
    from async_commander.results import ItemOutcome, ObjectAction

    from .lanes import LanePool
    from .lent_lane import Lender, LentLane

P = ParamSpec("P")
T = TypeVar("T")

FINISHED = (
    "This item is finished: its rows are on their way to the database, and nothing can be queued with them any more. "
    "Await every task that an item starts before its hook returns."
)

ATOMIC_IS_FOR_ITEMS = (
    "self.db.atomic() needs an item's transaction, which there is in parse_and_save(), and in a step. Elsewhere put "
    "`with transaction.atomic():` into a synchronous function, and `await self.db(function)`."
)

current_unit: ContextVar[Unit | None] = ContextVar("async_commander_unit", default=None)
"""The unit of the item that this code is part of."""


unit_on_lane: ContextVar[Unit | None] = ContextVar("async_commander_unit_on_lane", default=None)
"""The unit whose lane has the database calls of this code: set where a transaction of the item's own may begin."""

_undeleted: ContextVar[Counter[str] | None] = ContextVar("async_commander_undeleted", default=None)
"""Where rows that are to be deleted are counted only."""


@contextmanager
def deletions_withheld(undeleted: Counter[str] | None) -> Iterator[None]:
    """For the block, in this context, `delete()` only counts its rows in here, by model; with None, it deletes."""
    token = _undeleted.set(undeleted)
    try:
        yield
    finally:
        _undeleted.reset(token)


_lending = threading.Lock()
"""For all units: a lane that is lent to one at the moment of its end, from another thread, would never come back."""


class UnitCommitter(Protocol):
    """Who writes a unit at once, in a transaction of its own."""

    async def commit(self, unit: Unit) -> None:
        """Raises what it fails with."""


class Mark(NamedTuple):
    """For a savepoint: what is queued, how much was flushed before, and what was to be deleted and is not."""

    requests: list[Request]
    flushed: int
    undeleted: tuple[tuple[str, Any], ...]


class Unit:
    """`self.db`: queues rows, which are written in bulk, and runs ORM functions in the same transaction.

    Rows are bulk: `save()` and its signals are not called. They are read when they are written, at the item's end or
    at `flush()`: inserts and upserts with parents first, then updates, then deletes with children first.

    Rows that a router sends to another database than the ledger's are committed there before, on their own: at least
    once. Once the item is finished, nothing can be queued any more: RuntimeError.
    """

    # Most units have none of these but once: on the class they cost an item nothing.
    in_doubt = False
    """Whether a COMMIT with this unit ended in an error, so that only the database knows."""
    settled = False
    """Whether the owner has heard of its end."""
    written: Sequence[Request] = ()
    """What is committed, here or elsewhere."""
    undo: Sequence[Undo] = ()
    """How to take back what is written and not committed, the latest last."""
    undeleted: tuple[tuple[str, Any], ...] = ()
    """Rows of its item by model that were to be deleted, and stay."""
    in_one = True
    """Whether its transaction is one, or stands for many in a dry run."""
    others: Sequence[Unit] = ()
    """Without rows: those of the other items that its call was for. They are settled with it."""
    left_behind = False
    """Whether it was a hook's that has ended: who still has it, a task that the hook has begun, goes on without it."""
    _flushed: Sequence[Unit] = ()
    """What was written into the open transaction already, a part for each flush."""
    _committed: Mapping[tuple[str, str], int] = MappingProxyType({})
    _closed = False

    def __init__(
        self,
        alias: str,
        *,
        lanes: LanePool | None = None,
        lane: LentLane | None = None,
        committer: UnitCommitter | None = None,
        outcome: ItemOutcome | None = None,
        ticket: Ticket | None = None,
    ) -> None:
        self.alias = alias
        self._lanes = lanes
        self.lane = lane
        """Its item's, from the first database call on."""
        self.outcome = outcome
        """For the owner's `finish`: the ledger row."""
        self.ticket = ticket
        """The item that it belongs to."""
        self._committer = committer
        self.requests: list[Request] = []
        """What is queued, in order."""

    def add(self, *objects: Model) -> None:
        """Insert new rows. A parent that is not saved yet is queued, too, before or after its children."""
        self._check_open()
        self.requests.extend(rows.add(self.alias, objects))

    @overload
    def upsert(self, *objects: Model, unique: Iterable[str], update: Literal["__all__"]) -> None: ...

    @overload
    def upsert(self, *objects: Model, unique: Iterable[str], update: Iterable[str]) -> None: ...

    def upsert(self, *objects: Model, unique: Names = NOT_GIVEN, update: Names = NOT_GIVEN) -> None:
        """Insert rows, or overwrite those that have the same values in the fields of the unique constraint `unique`.

        `update`: the fields to overwrite where the row exists. An empty list leaves such a row as it is, and the object
        learns its key. `"__all__"` means all but `unique`, the primary key and those with `auto_now_add`; then fields
        that were not given a value are overwritten with their defaults.

        Another row that conflicts by another constraint is not overwritten: IntegrityError.
        """
        self._check_open()
        self.requests.extend(rows.upsert(self.alias, objects, unique, update))

    def update(self, *objects: Model, fields: Names = NOT_GIVEN) -> None:
        """Write these fields of rows that exist. Their `pre_save()` is called: files are stored, `auto_now` is set."""
        self._check_open()
        self.requests.extend(rows.update(self.alias, objects, fields))

    def delete(self, *objects: Model) -> None:
        """Delete rows, and what cascades from them, as `QuerySet.delete()` does.

        A command with `deletes = True` deletes none without `--delete`: they are counted.
        """
        self._check_open()
        requests = rows.delete(self.alias, objects)
        if (undeleted := _undeleted.get()) is None:
            self.requests.extend(requests)
            return
        withheld = [(obj._meta.label, obj.pk) for request in requests for obj in request.objects]
        if self.ticket is None:
            undeleted.update(label for label, _ in withheld)
        else:  # they count if its item comes to be done
            self.undeleted = tuple(dict.fromkeys([*self.undeleted, *withheld]))

    def link(self, obj: Model, action: ObjectAction) -> None:
        """Record that the run has to do with this object, as soon as the item is committed: `command_logs.add()`."""
        self._check_open()
        self.requests.append(Request(Verb.LINK, self.alias, [obj], fields=(action.value,)))

    async def __call__(self, function: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
        """Run a synchronous function on the item's lane, in its transaction."""
        given: Any = function
        if inspect.isawaitable(given):
            if inspect.iscoroutine(given):
                given.close()
            raise TypeError(f"self.db({function!r}): this is to be awaited: await it directly.")
        if not callable(function):
            raise TypeError(
                f"self.db({function!r}): {type(function).__name__} cannot be called. Give a synchronous function and "
                "its arguments: await self.db(function, *args)."
            )
        if inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(type(function).__call__):
            name = getattr(function, "__name__", repr(function))
            raise TypeError(f"self.db({name}): this one is asynchronous: await it directly.")
        return await sync_to_async(function)(*args, **kwargs)

    def atomic(self) -> Savepoint:
        """`async with self.db.atomic():` a savepoint, to be put around a call whose database error is caught."""
        self._check_open()
        if self.lane is None and self._lanes is None:
            raise RuntimeError(ATOMIC_IS_FOR_ITEMS)
        return Savepoint(self, self.lend())

    def lend(self) -> LentLane:
        """The item's lane, in any thread. RuntimeError once the item is finished."""
        with _lending:
            if self.lane is None:
                if self._closed:
                    raise RuntimeError(FINISHED)
                assert self._lanes is not None  # noqa: S101 - only an item's unit is asked, and that has them
                self.lane = self._lanes.lend(in_one=self.in_one)
            return self.lane

    async def flush(self) -> None:
        """Write the queued rows now: in an item into its transaction, elsewhere (with a committer) for good.

        If this raises, the rows that were queued are dropped.
        """
        self._check_open()
        if not self.requests:
            return
        if self._committer is None:
            await self(self._flush, self._take())
        else:
            part = Unit(self.alias, outcome=self.outcome)
            part.requests = self._take()
            await self._committer.commit(part)
            self._committed = Counter(self._committed) + part.counts

    @property
    def has_rows(self) -> bool:
        """Whether anything is queued."""
        return bool(self.requests)

    @property
    def counts(self) -> Counter[tuple[str, str]]:
        """How many rows, by verb and model label; those flushed before are included."""
        requests = (*self.written, *self.requests)
        counts = Counter(self._committed) + Counter(
            (str(request.verb), obj._meta.label)
            for request in requests
            if request.verb is not Verb.LINK
            for obj in request.objects
        )
        return sum((part.counts for part in self._flushed), counts)

    def close(self) -> None:
        """The item is finished: what is queued from now on would be lost, and is refused."""
        with _lending:
            self._closed = True

    def write(self, lanes: Lender | None = None) -> None:
        """On the lane: write the queued rows into the open transaction; `restore()` if it does not commit.

        Those for other databases are committed there before. `lanes`: where the unit has no lane of its own.
        """
        write_other_databases([self], self.lane.pool if lanes is None and self.lane is not None else lanes)
        write_units([self])

    def committed_elsewhere(self, alias: str) -> None:
        """What was queued for this other database is committed there, whatever becomes of the item."""
        self.written = [*self.written, *(request for request in self.requests if request.alias == alias)]
        self.requests = [request for request in self.requests if request.alias != alias]

    def restore(self) -> None:
        """The transaction was rolled back: put all objects back into the state they were in before it."""
        undo, self.undo = self.undo, ()
        for one in reversed(undo):
            one.restore()

    def forget(self) -> None:
        """The transaction is committed: nothing will be restored or written again."""
        if self.requests:
            self.written = [*self.written, *self._take()]
        self.undo = ()
        for part in self._flushed:
            part.forget()

    async def discard(self) -> None:
        """Roll back what the item did, give its lane back, and restore its objects. The unit is closed."""
        self.close()
        lane = self.lane
        ended = None if lane is None else lane.end(commit=False)
        if lane is None or ended is None or await settle_unless_left(ended, lane.pool.hurry):
            self.restore()

    def _take(self) -> list[Request]:
        requests, self.requests = self.requests, []
        return requests

    def _flush(self, requests: list[Request]) -> None:
        part = Unit(self.alias, lane=self.lane)
        part.requests = requests
        self._flushed = [*self._flushed, part]
        try:
            part.write()
        except BaseException:
            part.requests = []
            part.restore()
            raise
        self.undo = [*self.undo, *part.undo]

    def mark(self) -> Mark:
        """For a savepoint: where its unit is."""
        return Mark(list(self.requests), len(self._flushed), self.undeleted)

    def roll_back_to(self, mark: Mark) -> None:
        """A savepoint is rolled back: what was queued before it is queued again, if it was flushed since."""
        queued, flushed, self.undeleted = mark
        self._flushed, undone = self._flushed[:flushed], self._flushed[flushed:]
        for part in reversed(undone):
            part.restore()
            self.written = [*self.written, *part.written]  # elsewhere, where there was no savepoint
        gone = [request for part in undone for request in part.written]
        self.requests[:] = [request for request in queued if not any(request is one for one in gone)]

    def _check_open(self) -> None:
        if self._closed:
            raise RuntimeError(FINISHED)


def write_units(units: Sequence[Unit]) -> None:
    """On the lane: write the queued rows of all units, all for its database, into the open transaction, as one."""
    requests = [request for unit in units for request in unit.requests]
    if requests:
        undo = Undo()
        for unit in units:
            unit.undo = [*unit.undo, undo]
        bulk.write(units[0].alias, requests, undo)


class RehearsedUnit(Unit):
    """That of one call of a hook in a dry run: its rows, and its calls, share a transaction that is rolled back."""

    in_one = False

    def atomic(self) -> Savepoint:
        """See Unit: as in any other run, only items have this."""
        self._check_open()
        raise RuntimeError(ATOMIC_IS_FOR_ITEMS)

    def _flush(self, requests: list[Request]) -> None:
        with transaction.atomic(using=self.alias):
            super()._flush(requests)

    async def end(self) -> None:
        """Write what is queued, and roll back. Raises what a COMMIT would have raised; the unit is closed."""
        lane = self.lend() if self.has_rows else self.lane
        self.close()
        self.left_behind = True
        ended = None if lane is None else lane.end(commit=True, before=self.write, take=self.has_rows)
        try:
            if ended is not None:
                await settle(ended)
        except BaseException:
            self.restore()
            raise
        self.forget()


class Savepoint:
    """A savepoint in an item's transaction. Rows queued in a block that fails are dropped with it, and no others."""

    def __init__(self, unit: Unit, lane: LentLane) -> None:
        self._unit = unit
        self._lane = lane
        self._atomic = transaction.atomic(using=unit.alias)
        self._open = False
        self._mark = unit.mark()

    async def __aenter__(self) -> None:
        self._mark = self._unit.mark()
        try:
            await self._unit(self._enter)
        except BaseException as error:
            # A cancelled call may be running still; what is submitted now comes after it.
            with suppress(RuntimeError):  # the item is finished, and its savepoint with it
                self._lane.submit(self._leave, type(error), error, None)
            raise

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is not None:
            self._unit.roll_back_to(self._mark)
        await settle(self._lane.submit(self._leave, kind, error, trace))

    def _enter(self) -> None:
        self._atomic.__enter__()
        self._open = True

    def _leave(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._open:
            self._open = False
            self._atomic.__exit__(kind, error, trace)
