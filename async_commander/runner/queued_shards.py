"""The shards of a run in the queue of an engine, where its workers find them: sent, and looked after.

A worker carries a shard as it carries any queued run. One that dies leaves it to the queue, for the next worker.
"""

from __future__ import annotations

import time
from functools import partial
from typing import TYPE_CHECKING, Any, Self

from asgiref.sync import sync_to_async
from django.utils.module_loading import import_string

from async_commander.history import runs, shards
from async_commander.results import AT_WORK, NOT_OVER, RunStatus

from .plan import ENGINE_OF

if TYPE_CHECKING:
    from collections.abc import Sequence

    from async_commander.history.database_recorder import DatabaseRecorder
    from async_commander.history.lease import Ownership
    from async_commander.models import Run
    from async_commander.results import Tally

    from .session import RunSession

SEND = "async_commander.queues.sending.send_again"
"""In the room above this one."""
SENT_AGAIN = 5.0
"""Seconds after which a message that could not be sent is sent again."""
LOOKED_AFTER = 2.0
"""Seconds between two looks for workers that are gone."""


class QueuedShards:
    """See ShardProcesses. Its shards outlive the run's own process: whoever resumes the run finds them at work."""

    outlive_the_run = True

    def __init__(self, session: RunSession, recorder: DatabaseRecorder, engine: str) -> None:
        self._session = session
        self._recorder = recorder
        self._engine: Any = import_string(ENGINE_OF)(engine)
        self._begun: dict[int, float] = {}
        """When each row was sent last."""
        self._rows: Sequence[Run] = ()
        self._asked = False
        self._looked = time.monotonic()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        """Nothing is held."""

    @property
    def at_work(self) -> bool:
        """Whether a worker has a shard, or will have it."""
        return any(row.status in NOT_OVER for row in self._rows)

    def some_ended(self) -> bool:
        """The rows say it."""
        return False

    def carries(self, row: Run) -> bool:
        """Whether a worker has this shard, or it was sent to one."""
        if row.status != RunStatus.QUEUED.value or row.pk not in self._begun:
            return row.status in AT_WORK
        told = row.sent is not None or not self._engine.has_messages
        return told or time.monotonic() - self._begun[row.pk] < SENT_AGAIN

    def end_of(self, row: Run) -> str:
        """The log of the run has it."""
        del row
        return ""

    async def begin(self, row: Run) -> None:
        """Put a shard into the queue."""
        self._begun[row.pk] = time.monotonic()
        await self._recorder.about_shards(partial(shards.queue, row=row.pk, engine=self._engine.name))
        if self._engine.has_messages:
            await sync_to_async(import_string(SEND))(row.pk, self._engine, self._session.lanes.alias)

    def ask(self, count: int) -> None:
        """The shards' rows say it from the next look on: a worker hears of it within seconds, and ends in order."""
        self._asked = count > 0

    async def attend(self, rows: Sequence[Run]) -> None:
        """Pass on that the run is to end, and give shards whose worker is gone back to the queue."""
        self._rows = rows
        alias = self._session.lanes.alias
        if self._asked and self.at_work:
            await self._recorder.about_shards(lambda mine: shards.ask_to_end(alias, mine.run_id))
        if time.monotonic() - self._looked > LOOKED_AFTER:
            self._looked = time.monotonic()
            await self._recorder.about_shards(partial(_leave_to_others, rows=rows))

    def tell(self, tally: Tally) -> None:
        """What is claimed is in hand, as far as the rows say."""
        tally.in_flight = tally.claimed


def _leave_to_others(ownership: Ownership, rows: Sequence[Run]) -> None:
    for row in rows:
        if row.status in AT_WORK and runs.is_orphan(ownership.alias, row):
            runs.mark_crashed(ownership.alias, row)
