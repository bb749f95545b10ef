"""Keeps the leases of a shard's hosts: asks for what its pace lacks, soon, and for what it uses, once a beat."""

from __future__ import annotations

import logging
from functools import partial
from typing import TYPE_CHECKING

import anyio
from django.db import DatabaseError

from async_commander.engine.leased_pace import BEAT
from async_commander.exceptions import RunFenced
from async_commander.history.database_recorder import DatabaseRecorder
from async_commander.history.host_shares import LEASED_FOR, Bounds, exchange

if TYPE_CHECKING:
    from async_commander.engine.context import RunContext
    from async_commander.engine.leased_pace import LeasedPace
    from async_commander.history.recorder import Recorder, RunOwner

logger = logging.getLogger("async_commander.run")

SOON = 0.02
"""Seconds for which what is lacking is gathered."""


async def keep_leases(pace: LeasedPace, context: RunContext, recorder: Recorder, owner: RunOwner) -> None:
    """A task beside the run, until it is cancelled. Without the database the leases run out, and nothing is begun."""
    assert isinstance(recorder, DatabaseRecorder)  # noqa: S101 - no other one has shards
    lacking = anyio.Event()

    def wanted() -> None:
        lacking.set()

    pace.wanted = wanted
    while True:
        with anyio.move_on_after(BEAT):
            await lacking.wait()
        await anyio.sleep(SOON)
        lacking = anyio.Event()
        if not (demands := pace.demands()):
            continue
        asked_at, bounds = anyio.current_time(), Bounds(context.limits.per_host, context.limits.per_second)
        try:
            grants = await recorder.about_shards(partial(exchange, bounds=bounds, demands=demands))
        except RunFenced as error:
            owner.record_lost(error)
            return
        except DatabaseError:
            logger.warning("The turns at hosts could not be leased.", exc_info=True)
            continue
        pace.granted(grants, asked_at + LEASED_FOR)
