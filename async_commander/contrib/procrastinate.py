"""Procrastinate: a queue in PostgreSQL, whose worker runs on one event loop."""

from __future__ import annotations

from typing import Any, ClassVar

from django.db import router
from procrastinate.contrib.django import app
from procrastinate.contrib.django.django_connector import DjangoConnector
from procrastinate.contrib.django.settings import settings as procrastinate_settings
from procrastinate.types import TimeDeltaParams

from async_commander.models import Run
from async_commander.queues.engine import Engine

NAME = "async_commander.run_command_task"


@app.task(name=NAME)
async def run_command_task(run_id: int, database: str | None = None) -> dict[str, Any]:
    """Carry a queued run. The job succeeds whatever becomes of the run, whose row has the rest."""
    from async_commander.queues.carrying import acarry

    result = await acarry(run_id, database=database)
    return {"run": run_id, "status": None if result is None else str(result.status)}


class ProcrastinateEngine(Engine):
    """Sends to a queue of Procrastinate. Where its tables are in the database of the runs, a message belongs to the
    transaction.
    """

    queue: ClassVar[str] = "default"
    priority: ClassVar[int] = 0

    def send(self, run_id: int, *, database: str, delay: float = 0) -> None:
        """See Engine."""
        # Django's own connection, so that the job is part of the transaction: a worker has replaced that of its app.
        connector = DjangoConnector(alias=procrastinate_settings.DATABASE_ALIAS)
        later = TimeDeltaParams(seconds=int(delay)) if delay else None
        where = {} if database == router.db_for_write(Run) else {"database": database}
        here = app.with_connector(connector)
        message = here.configure_task(NAME, queue=self.queue, priority=self.priority, schedule_in=later)
        message.defer(run_id=run_id, **where)

    def sends_within(self, database: str) -> bool:
        """See Engine."""
        return bool(database == procrastinate_settings.DATABASE_ALIAS)

    def can_delay(self) -> bool:
        """See Engine."""
        return True
