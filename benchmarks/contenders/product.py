"""async_commander: the command, with everything it keeps about a run and its items."""

from __future__ import annotations

import asyncio

import async_commander as ac
from async_commander.models import RunItem
from benchmarks.commands.fetch import Command
from benchmarks.job import Job
from benchmarks.loops import new_event_loop


def run(job: Job) -> None:
    """Awaits the command on a fresh loop. RuntimeError if an item has no row in the ledger."""
    command = Command(server=job.server, pages=job.pages, first=job.first)
    with asyncio.Runner(loop_factory=new_event_loop) as runner:
        result = runner.run(ac.arun(command, threads=job.threads))
    kept = RunItem.objects.filter(run__pk=result.run_id or 0, state="done").count()
    if kept != job.pages:
        raise RuntimeError(f"{kept} rows in the ledger, {job.pages} expected: {result}")
