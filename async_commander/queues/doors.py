"""The ways to a worker from code. Nothing here needs settings or models before a run is asked for."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeAlias

from async_commander.database.connections import beside_loop
from async_commander.runner.doors import check_setup

from .engine import Engine, engine_of

if TYPE_CHECKING:
    from async_commander.runner.entry import Runnable

    from .handle import RunHandle

Chosen: TypeAlias = str | Engine | type[Engine] | None


def dispatch(command: Runnable, /, *, engine: Chosen = None, **arguments: Any) -> RunHandle:
    """Have a worker run a command, and return at once what the run is followed by.

    `command` and `arguments` are those of `ac.run()`, and are checked as there. `engine` says which queue: a short
    name, a dotted path, an Engine; by default ASYNC_COMMANDER['ENGINE'].

    The run's row is written on the caller's connection, as *queued*, and is part of the caller's transaction. A worker
    hears of it after COMMIT, or within the transaction where the queue is in the same database. Where the queue cannot
    be reached then, the run stays queued, an error is logged, and the next worker that looks sends it again.

    With `retry_failed=ID` the worker tries the dead items of that run again, which waits in the queue for that. Raises
    NothingToRetry where none is dead, RunLocked where somebody is at work on it.

    Raises CommandNotFound, InvalidCommand and TypeError before anything is written: also for a secret that is given and
    that no environment variable brings to the worker, for no row keeps it.
    """
    check_setup()
    from async_commander.runner.caller import as_served
    from async_commander.runner.entry import prepared
    from async_commander.runner.plan import make_plan

    from .retrying import leave

    made, request = prepared(command, arguments)
    return leave(make_plan(made, as_served(request), shared=False), engine_of(engine))


async def adispatch(command: Runnable, /, *, engine: Chosen = None, **arguments: Any) -> RunHandle:
    """The same on a running event loop, with the connection that the ORM's own async methods use."""
    return await beside_loop(dispatch, command, engine=engine, **arguments)
