"""The work of a run that is cut into shards: others carry them, and here they are begun, watched and added up.

    lifespan( cut ─▶ begin each shard ─▶ look, until all are done; whoever was killed is replaced ─▶ cleanup )

What each shard does is `Work`, in a process of its own.
"""

from __future__ import annotations

import time
from contextlib import nullcontext
from functools import partial
from typing import TYPE_CHECKING, Any

import anyio
from asgiref.sync import sync_to_async
from django.db.models import QuerySet

from async_commander.command.declaration import declaration_of
from async_commander.command.hooks import HookKind
from async_commander.command.options import PROCESSES
from async_commander.engine.accounting import too_many_failures
from async_commander.exceptions import AsyncCommanderError
from async_commander.history import shards
from async_commander.history.database_recorder import DatabaseRecorder
from async_commander.history.notes import earlier_errors
from async_commander.history.recorder import OF_THE_WHOLE
from async_commander.results import ErrorKind, RunStatus

from .hook_lanes import Kind, calls_of
from .queued_shards import QueuedShards
from .shard_processes import ShardProcesses
from .source_retry import SourceRetry
from .sources import counted, open_source, ranges_of

if TYPE_CHECKING:
    from collections.abc import Sequence
    from contextlib import AbstractContextManager

    from anyio.abc import TaskGroup

    from async_commander.history.recorder import Opened, Recorder
    from async_commander.history.shards import Look, Range
    from async_commander.models import Run

    from .session import RunSession

GLANCE, LOOK = 0.1, 0.5
"""Seconds between two glances at the processes, and two looks at the rows of the shards."""
STARTS_IN_VAIN = 3
"""So often a shard whose process ended without a word is begun again, without an item settled in between."""


class ShardFailed(AsyncCommanderError):
    """A shard came to an error that no item is to blame for, or its process was killed again and again."""


class ShardedWork:
    """As `Work`, for the run as a whole. `stop`, `cancel` and `abort` may be called at any time."""

    def __init__(self, session: RunSession, opened: Opened, recorder: Recorder) -> None:
        assert isinstance(recorder, DatabaseRecorder)  # noqa: S101 - no other one has shards
        assert opened.shards is not None  # noqa: S101 - this run is cut
        self._session = session
        self._context = session.context
        self._count = opened.shards
        self._total = opened.total
        self._recorder = recorder
        engine = opened.options.get("distribute") or session.request.distribute or PROCESSES
        self._carriers: ShardProcesses | QueuedShards = (
            ShardProcesses(session) if engine == PROCESSES else QueuedShards(session, recorder, engine)
        )
        self._asked = 0
        self._lost: BaseException | None = None
        self._failure: BaseException | None = None
        self._starts: dict[int, int] = {}
        """By shard, how often it was begun since one of its items was settled."""
        self._settled: dict[int, int] = {}
        self._earlier: dict[str, int] = {}
        self.value: Any = None
        """As that of any run with items."""
        self.complete = False
        """All shards were carried to their ends."""

    async def carry_out(self) -> None:
        """Begin the shards, and wait for their ends. Raises what the run fails with."""
        about = self._recorder.about_shards
        self._earlier = await about(earlier_errors)
        if not (await about(shards.look)).rows and not self._context.stopping:
            await about(partial(shards.cut, ranges=await self._ranges(), count=self._count, asked=self._for_workers()))
        self._context.tally.total = self._total
        async with self._carriers:
            await self._watch()
        self.complete = self._failure is None and all(is_done(row) for row in (await self._look()).rows)
        if self._lost or self._failure:
            raise self._lost or self._failure  # type: ignore[misc]  # one of them is none
        if not self.complete and not self._context.stopping:
            raise ShardFailed("A shard was ended by somebody else, in order, before it was done.")

    def acknowledged_beside(self, tasks: TaskGroup) -> AbstractContextManager[None]:
        """See Work: `committed()` is called where the items are."""
        del tasks
        return nullcontext()

    async def settle(self) -> None:
        """See Work: nothing is under way here."""

    def stop(self) -> None:
        """Have each shard stop in order."""
        self._ask(1)

    def pause(self) -> None:
        """See Work: each shard finds that in its run's row, with its next look there; so does one that begins later."""

    def go_on(self) -> None:
        """See `pause()`."""

    def change_limits(self) -> None:
        """See `pause()`. Those that bound the run as a whole are looked at in the context."""

    def cancel(self) -> None:
        """Have each shard end what it has in hand."""
        self._ask(2)

    def abort(self, error: BaseException) -> None:
        """The record is lost: the shards end, and the run with this error."""
        self._lost = error
        self._ask(2)

    def _ask(self, count: int) -> None:
        self._asked = max(self._asked, count)
        self._carriers.ask(self._asked)

    def _for_workers(self) -> dict[str, Any]:
        """What a worker that finds a shard in a queue has to know beside the options that each row keeps."""
        request, limits = self._session.request, self._context.limits.replace(**dict.fromkeys(OF_THE_WHOLE))
        asked = {name: getattr(request, name) for name in ("grace", "verbosity", "lease_seconds", "refresh_cache")}
        return {**asked, "limits": limits.given}

    # -- the cut -----------------------------------------------------------------------------------------------

    async def _ranges(self) -> Sequence[Range] | None:
        """Those of a queryset's keys; None where the hashes of the items' keys are what is cut. Counts the items."""
        hooks = self._session.hooks
        total, source, ranges = None, None, None
        with calls_of(Kind.SOURCE):
            if self._is_a_look_away():
                source = await SourceRetry(self._session).insist(partial(open_source, hooks))
            if isinstance(source, QuerySet) and not hooks.has("order_key"):  # one line stays in one shard
                ranges = await sync_to_async(ranges_of)(source, self._count)
            total = await hooks.call("total") if hooks.has("total") else None
            self._total = await counted(source) if total is None else total
        return ranges

    def _is_a_look_away(self) -> bool:
        """Whether `iterate` can be asked what it gives without reading, or downloading, anything."""
        hooks, stages = self._session.hooks, declaration_of(type(self._session.command)).stages
        generators = (HookKind.GENERATOR, HookKind.ASYNC_GENERATOR)
        once = stages is not None and stages.once
        return not once and hooks.kind("iterate") not in generators and not hooks.takes("iterate", "shard")

    # -- the watch ---------------------------------------------------------------------------------------------

    async def _watch(self) -> None:
        """Until each shard has ended, or nobody carries one any more and none is to be begun."""
        looked = -LOOK
        while True:
            ended = self._carriers.some_ended()
            if not ended and time.monotonic() - looked < LOOK:
                await anyio.sleep(GLANCE)
                continue
            if self._lost is not None and self._carriers.outlive_the_run:
                return
            looked = time.monotonic()
            rows = (await self._look()).rows
            await self._carriers.attend(rows)
            for row in rows:
                await self._judge(row)
            if self._failure is not None and not self._asked:
                self._ask(1)
            if not self._carriers.at_work and (self._asked or all(is_done(row) for row in rows)):
                return

    async def _judge(self, row: Run) -> None:
        """Begin a shard that nobody carries and that is not done, unless the run is to end."""
        assert row.shard is not None  # noqa: S101 - a shard's row
        if row.settled > self._settled.get(row.pk, -1):
            self._settled[row.pk] = row.settled
            self._starts[row.pk] = min(self._starts.get(row.pk, 0), 1)
        if is_done(row) or self._asked or self._failure is not None or self._carriers.carries(row):
            return
        ended = self._carriers.end_of(row)
        started = self._starts.get(row.pk, 0)
        if started and row.status == RunStatus.FAILED.value:
            self._failure = ShardFailed(f"Shard {row.shard} failed: {row.error}")
        elif started > STARTS_IN_VAIN:
            self._failure = ShardFailed(
                f"Shard {row.shard} was begun {started} times, and its process ended each time before another item was "
                f"settled{ended}."
            )
        else:
            if started:
                text = f"Shard {row.shard} ended before its time{ended}: it is begun again."
                self._session.reporter.message(text)
            self._starts[row.pk] = started + 1
            await self._carriers.begin(row)

    async def _look(self) -> Look:
        """Read how the shards stand, into the tally and the figures."""
        look, tally = await self._recorder.about_shards(shards.look), self._context.tally
        for name in ("taken", "done", "skipped", "dead", "retry"):
            setattr(tally, name, look.sums[name])
        if tally.total is None and all(row.total is not None for row in look.rows):
            tally.total = sum(row.total or 0 for row in look.rows) or None
        self._carriers.tell(tally)
        for kind in look.errors:
            count = kind.count - self._earlier.get(kind.kind, 0)
            self._session.figures.counted(ErrorKind(kind.kind, count, kind.example, kind.item))
        if self._failure is None:
            self._failure = too_many_failures(tally, self._context.limits)
        return look


def is_done(row: Run) -> bool:
    """Whether nothing of a shard is left to do."""
    ended = row.status in (RunStatus.SUCCEEDED.value, RunStatus.PARTIAL.value, RunStatus.FAILED.value)
    return ended and row.source_ended
