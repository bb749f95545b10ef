"""`ac.arun(…, detach=True)`: a worker carries the run, and the caller waits for it, without holding it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from asgiref.sync import sync_to_async

from async_commander.exceptions import InvalidCommand

from .engine import engine_of
from .retrying import leave

if TYPE_CHECKING:
    from async_commander.results import RunResult
    from async_commander.runner.plan import Plan
    from async_commander.runner.reporting import Reporter

    from .handle import RunHandle


async def afollow(plan: Plan, reporter: Reporter | None) -> RunResult:
    """The result of a run that a worker carries. A cancel of the caller ends the waiting, and not the run."""
    handle = await sync_to_async(sent)(plan, reporter)
    return await handle.result()


def follow(plan: Plan, reporter: Reporter | None) -> RunResult:
    """The same from synchronous code."""
    return sent(plan, reporter).result_sync()


def sent(plan: Plan, reporter: Reporter | None) -> RunHandle:
    """Have a worker carry a run that was planned."""
    if reporter is not None or plan.recorder is not None:
        raise InvalidCommand("A run that is detached is shown, and recorded, by its row: leave reporter and recorder.")
    return leave(plan, engine_of())
