"""How a run is begun: its arguments sorted, and driven on the running loop, from synchronous code or from a shell."""

from __future__ import annotations

import asyncio
import gc
import logging
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from contextvars import copy_context
from functools import partial
from importlib.util import find_spec
from typing import Any

import anyio
from asgiref.sync import async_to_sync, sync_to_async
from django.utils.module_loading import import_string

from async_commander.command.arguments import check_names
from async_commander.command.base import AsyncCommand, check_made
from async_commander.command.declaration import check_acting, declaration_of, filled_in
from async_commander.command.options import BRINGS_ARGUMENTS, REQUESTS
from async_commander.command.registry import get_command
from async_commander.database.lanes import must_share
from async_commander.database.preparing import Tenants
from async_commander.engine.limits import BOUNDS
from async_commander.engine.stepping import InContext
from async_commander.engine.threads import check_loop, loop_is_running
from async_commander.engine.undisturbed import ended
from async_commander.exceptions import AsyncCommanderError, InvalidCommand, RunFailed, RunLocked
from async_commander.history.recorder import Recorder
from async_commander.results import RunResult, RunStatus
from async_commander.text.values import text_of_value

from .caller import as_served, is_served
from .plan import Plan, database_of, lacking_in_words, make_plan, plan_of_shard, stored_arguments
from .reporting import Reporter, Silent
from .request import RunRequest, by_their_names, split_call
from .run import execute
from .signals import StopRequests, install, open_run, served_runs

logger = logging.getLogger(__name__)

Runnable = AsyncCommand | type[AsyncCommand] | str

COLLECT_AFTER = 10_000
"""Containers more than there were at the last collection, in a process that is there for one run."""


async def call_async(
    command: Runnable, arguments: dict[str, Any], *, reporter: Reporter | None, recorder: Recorder | None
) -> RunResult:
    """Run a command on the running event loop. See `doors.arun`."""
    plan = await planned(command, arguments, reporter=reporter, recorder=recorder)
    if plan.request.detach:
        result: RunResult = await detached("afollow")(plan, reporter)
        return result
    return told(await _on_this_loop(plan, reporter or Silent(), None))


async def drive_on_loop(
    command: AsyncCommand, request: RunRequest, reporter: Reporter, *, stops: StopRequests | None = None
) -> RunResult:
    """Run a command on the running event loop, in a process that is there for runs.

    A cancel of the caller stops the run in order; so does whoever asks `stops`, in the place of a server's SIGTERM.
    """
    return await _on_this_loop(await _plan_on_loop(command, request), reporter, stops)


async def _on_this_loop(plan: Plan, reporter: Reporter, stops: StopRequests | None) -> RunResult:
    by_server, stops = stops is None, stops or StopRequests()
    with heard(stops) if by_server else nullcontext():
        run = begun(plan, reporter, stops)
        await ended(run, partial(stops.ask, on_loop=True))
        return run.result()


async def planned(
    command: Runnable,
    arguments: dict[str, Any],
    *,
    reporter: Reporter | None = None,
    recorder: Recorder | None = None,
) -> Plan:
    """What a call on the running event loop asks for, with all that can be wrong with it found out."""
    check_loop()
    _check_ports(reporter, recorder)
    cls, arguments = _class_of(command), by_their_names(arguments)
    if (run_id := _brought_by(command, arguments, recorder)) is not None:
        arguments = await sync_to_async(_with_stored)(cls, run_id, arguments)
    made, request = _prepared(command, cls, arguments)
    if is_served(request):
        request = await sync_to_async(as_served)(request)
    return await _plan_on_loop(made, request, recorder=recorder, processes=1)


async def _plan_on_loop(
    command: AsyncCommand, request: RunRequest, *, recorder: Recorder | None = None, processes: int | None = None
) -> Plan:
    shared = await sync_to_async(must_share)(database_of(request))
    tenants = await sync_to_async(Tenants)()
    return make_plan(command, request, shared=shared, tenants=tenants, recorder=recorder, processes=processes)


def heard(stops: StopRequests) -> AbstractContextManager[None]:
    """For the block a server that is to stop asks this run to, too; an inner one is asked by the run around it."""
    return served_runs.heard_by(stops) if open_run.get() is None else nullcontext()


def call_sync(
    command: Runnable, arguments: dict[str, Any], *, reporter: Reporter | None, recorder: Recorder | None
) -> RunResult:
    """Run a command from synchronous code. See `doors.run`."""
    _check_no_loop()
    _check_ports(reporter, recorder)
    made, request = prepared(command, arguments, recorder=recorder)
    if request.detach:
        plan = make_plan(made, as_served(request), shared=False, recorder=recorder)
        result: RunResult = detached("follow")(plan, reporter)
        return result
    return told(drive_from_call(made, request, reporter or Silent(), recorder=recorder))


def prepared(
    command: Runnable, arguments: dict[str, Any], *, recorder: Recorder | None = None
) -> tuple[AsyncCommand, RunRequest]:
    """The command of a call, made, and what is asked of its run. The run that brings its arguments is read, if any."""
    cls, arguments = _class_of(command), by_their_names(arguments)
    if (run_id := _brought_by(command, arguments, recorder)) is not None:
        arguments = _with_stored(cls, run_id, arguments)
    return _prepared(command, cls, arguments)


def detached(name: str) -> Callable[..., Any]:
    """What has a run carried by a worker and waits for its end. That is a room above, found when it is asked for."""
    found: Callable[..., Any] = import_string(f"async_commander.queues.following.{name}")
    return found


def drive_from_call(
    command: AsyncCommand,
    request: RunRequest,
    reporter: Reporter,
    *,
    recorder: Recorder | None = None,
    stops: StopRequests | None = None,
) -> RunResult:
    """Run a command by `async_to_sync`, on the caller's connection where that is inside a transaction.

    Raises AsyncCommanderError inside a running event loop.
    """
    _check_no_loop()
    request = as_served(request)
    shared = must_share(database_of(request))
    plan = make_plan(command, request, shared=shared, tenants=Tenants(), recorder=recorder)

    async def in_a_context_of_its_own() -> RunResult:
        # What a run sets, a language in its `lifespan()`, would be carried back to the caller by `async_to_sync`.
        return await InContext(copy_context(), execute(plan, reporter, stops or StopRequests()))

    result: RunResult = async_to_sync(in_a_context_of_its_own)()
    return result


def told(result: RunResult) -> RunResult:
    """The result of a run that did not fail; raises for one that did."""
    if result.locked:
        raise RunLocked(result.error)
    if result.status is RunStatus.FAILED:
        example = ""
        if result.failure is None and result.errors:
            first = result.errors[0]
            example = f" {first.count} × {first.kind}: {first.example}"
        raise RunFailed(f"{result.command} failed: {result.error}{example}", result) from result.failure
    return result


def _check_no_loop() -> None:
    if loop_is_running():
        raise AsyncCommanderError("ac.run() cannot be used inside a running event loop: `await ac.arun(...)` there.")


def _check_ports(reporter: object, recorder: object) -> None:
    """InvalidCommand for what cannot report a run, or keep one: each call of it would fail, in the middle."""
    for name, port, given in (("reporter", Reporter, reporter), ("recorder", Recorder, recorder)):
        methods = [method for method, value in vars(port).items() if method[0] != "_" and callable(value)]
        lacking = [f"{method}()" for method in methods if not callable(getattr(given, method, None))]
        if given is not None and (lacking or isinstance(given, type)):
            some = ", ".join(lacking[:3]) + (", …" if lacking[3:] else "")
            why = f"it has no {some}" if lacking else "that is a class: make an instance of it"
            raise InvalidCommand(f"{name}={text_of_value(given):.80}: a {port.__name__} is needed, and {why}.")


def _class_of(command: Runnable) -> type[AsyncCommand]:
    cls = get_command(command) if isinstance(command, str) else command if isinstance(command, type) else type(command)
    if not issubclass(cls, AsyncCommand):
        raise TypeError(f"a command to run is a name, a class or an instance of AsyncCommand, not {command!r:.80}")
    return cls


def _brought_by(command: Runnable, arguments: dict[str, Any], recorder: Recorder | None) -> Any:
    """The number of the run that brings the arguments, as it was given; None where none does."""
    again = arguments.get("again")
    if isinstance(command, AsyncCommand):
        if again is not None:
            raise InvalidCommand(f"again={again!r:.80} brings the arguments: give the command's class or its name.")
        return None
    if recorder is not None:
        return again  # it has no other one's runs
    return next((arguments[name] for name in BRINGS_ARGUMENTS if arguments.get(name) is not None), None)


def _with_stored(cls: type[AsyncCommand], run_id: Any, arguments: dict[str, Any]) -> dict[str, Any]:
    """The same with the arguments that this run was begun with and, for a new one like it, its shared options."""
    check_acting(cls, arguments)
    declared = declaration_of(cls).names
    request, own = split_call(filled_in(cls, arguments, own=False), declared)
    stored = stored_arguments(cls, run_id, database_of(request), own)
    if stored.lacking:
        raise InvalidCommand(lacking_in_words(run_id, stored.lacking))
    return {**(stored.shared if request.again is not None else {}), **stored.values, **arguments}


def _prepared(command: Runnable, cls: type[AsyncCommand], given: dict[str, Any]) -> tuple[AsyncCommand, RunRequest]:
    """The command, and what is asked of its run: what the class itself asks where nothing was said."""
    declared = declaration_of(cls).names
    its_own = not isinstance(command, AsyncCommand) and all(given.get(name) is None for name in BRINGS_ARGUMENTS)
    arguments = filled_in(cls, given, own=its_own)
    request, own = split_call({name: value for name, value in arguments.items() if name != "progress"}, declared)
    check_names(cls, own, [*declared, *BOUNDS, *sorted(REQUESTS)])
    check_acting(cls, arguments)
    if not isinstance(command, AsyncCommand):
        command, own = cls(**own), {}
    check_made(command)
    if own:
        raise TypeError(f"{command!r} has its arguments already; {', '.join(own)} cannot be given again")
    return command, request


def begun(plan: Plan, reporter: Reporter, stops: StopRequests) -> asyncio.Task[RunResult]:
    """The run in a task of its own: a cancel of the caller would tear through every shield."""
    # A task that no task group gives birth to: a group would pass the cancel on to it.
    return asyncio.get_running_loop().create_task(execute(plan, reporter, stops), name=f"run of {plan.name}")


def drive_from_shell(
    command: AsyncCommand, request: RunRequest, reporter: Reporter, *, stops: StopRequests | None = None
) -> RunResult:
    """Run a command on a new event loop, uvloop where it is installed, until it ends or a signal ends it.

    `stops` are the signal handlers where they were installed earlier, which is better. Raises InvalidCommand and the
    database's errors where there was no run; the result says that a run failed.
    """
    stops = stops or install()
    plan = make_plan(command, request, shared=must_share(database_of(request)), tenants=Tenants())
    work = partial(execute, plan, reporter, stops)
    ended: list[RunResult] = []

    async def run_to_its_end() -> None:
        ended.append(await work())

    try:
        with collected_less_often():
            anyio.run(run_to_its_end, backend="asyncio", backend_options={"use_uvloop": has_uvloop()})
    except Exception:
        if not ended:
            raise
        # A loop needs file descriptors to close itself (uvloop), and has met a limit: the run has ended all the same.
        logger.debug("The event loop could not be closed.", exc_info=True)
    return ended[0]


def drive_shard(command: AsyncCommand, request: RunRequest, row: int, reporter: Reporter, stops: StopRequests) -> None:
    """Carry one shard of a run, on a new event loop. How it ended says its row."""
    plan = plan_of_shard(command, request, row)
    backend = {"use_uvloop": has_uvloop()}
    with collected_less_often():
        anyio.run(execute, plan, reporter, stops, backend="asyncio", backend_options=backend)


@contextmanager
def collected_less_often() -> Iterator[None]:
    """For a process that is there for one run: the garbage collector costs a small item a tenth of its time.

    What was imported until now it need not look at again and again; and it looks when more has come, unless the project
    has its own mind about that.
    """
    before = gc.get_threshold()
    if 0 < before[0] < COLLECT_AFTER:
        gc.set_threshold(COLLECT_AFTER, *before[1:])
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()
        gc.set_threshold(*before)


def has_uvloop() -> bool:
    """Whether uvloop is installed and runs here."""
    return sys.platform != "win32" and find_spec("uvloop") is not None
