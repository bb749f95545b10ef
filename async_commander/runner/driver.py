"""Drives a run from a shell: signal handlers first, then an event loop of our own."""

from __future__ import annotations

import sys
from functools import partial
from importlib.util import find_spec

import anyio

from async_commander.command.base import AsyncCommand
from async_commander.database.lanes import must_share
from async_commander.database.preparing import Tenants
from async_commander.engine.results import RunResult

from .calls import drive_from_call
from .plan import database_of, make_plan
from .reporting import Reporter
from .request import RunRequest
from .run import execute
from .signals import StopRequests, install

__all__ = ["drive_from_call", "drive_from_shell"]


def drive_from_shell(
    command: AsyncCommand, request: RunRequest, reporter: Reporter, *, stops: StopRequests | None = None
) -> RunResult:
    """Run a command on a new event loop, uvloop where it is installed, until it ends or a signal ends it.

    `stops` are the signal handlers where they were installed earlier, which is better. Raises InvalidCommand and the
    database's errors where there was no run; a failed run is told by the result.
    """
    stops = stops or install()
    plan = make_plan(command, request, shared=must_share(database_of(request)), tenants=Tenants())
    work = partial(execute, plan, reporter, stops)
    return anyio.run(work, backend="asyncio", backend_options={"use_uvloop": has_uvloop()})


def has_uvloop() -> bool:
    """Whether uvloop is installed and runs here."""
    return sys.platform != "win32" and find_spec("uvloop") is not None
