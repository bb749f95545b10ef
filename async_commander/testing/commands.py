"""Runs a command in a test, and shows what is stored of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from asgiref.sync import sync_to_async

from async_commander.exceptions import InvalidCommand, RunFailed, RunLocked
from async_commander.results import RunResult
from async_commander.runner.doors import arun, run

from .points import Tested
from .runs import CommandRun, crashed, stored

if TYPE_CHECKING:
    from async_commander.command.base import AsyncCommand
    from async_commander.history.recorder import Recorder


def run_command(
    command: AsyncCommand | type[AsyncCommand] | str,
    /,
    *,
    recorder: Recorder | None = None,
    interrupt_at: str | None = None,
    crash_at: str | None = None,
    **arguments: Any,
) -> CommandRun:
    """Run a command inside the test's own transaction, which rolls everything back at the test's end.

    `interrupt_at` stops the run in order, as Ctrl-C does, and `crash_at` leaves what a `kill -9` leaves, at a point
    like "item:3", "download:1" or "commit:2:after"; `resume=True` goes on with that run.

    Synchronous on purpose: a coroutine test with plain `django_db` works on another connection than its transaction,
    and leaks its rows into the next test; `arun_command` is for the others. Raises what `ac.run` raises, with a
    CommandRun as `RunFailed.result`, and AssertionError where the run did not come to its point.
    """
    tested = _asked_for(interrupt_at, crash_at, recorder, arguments)
    ended: RunResult | RunFailed | RunLocked
    with tested.cut_off(), tested.begun_next():
        try:
            ended = run(command, recorder=recorder, **arguments)
        except (RunFailed, RunLocked) as error:
            ended = error
    return _seen(ended, tested)


async def arun_command(
    command: AsyncCommand | type[AsyncCommand] | str,
    /,
    *,
    recorder: Recorder | None = None,
    interrupt_at: str | None = None,
    crash_at: str | None = None,
    **arguments: Any,
) -> CommandRun:
    """Run a command on the test's event loop, as `run_command` does in synchronous tests.

    What it commits is committed: for tests with `django_db(transaction=True)`, and for coroutine tests of Django's own
    TestCase, whose transaction it is part of.
    """
    tested = _asked_for(interrupt_at, crash_at, recorder, arguments)
    ended: RunResult | RunFailed | RunLocked
    cut_off = tested.cut_off()
    await sync_to_async(cut_off.__enter__)()
    try:
        with tested.begun_next():
            ended = await arun(command, recorder=recorder, **arguments)
    except (RunFailed, RunLocked) as error:
        ended = error
    finally:
        await sync_to_async(cut_off.__exit__)(None, None, None)
    return await sync_to_async(_seen)(ended, tested)


def _asked_for(
    interrupt_at: str | None, crash_at: str | None, recorder: Recorder | None, arguments: dict[str, Any]
) -> Tested:
    tested = Tested.asked_for(interrupt_at, crash_at)
    if crash_at is not None and recorder is not None:
        raise InvalidCommand(
            "crash_at shows what the database has after a crash, and this run is recorded elsewhere: leave recorder= "
            "out, or give interrupt_at."
        )
    if crash_at is not None and (arguments.get("dry_run") or arguments.get("dry-run")):
        raise InvalidCommand("crash_at in a dry run: nothing of one is kept, so that a crash could cost nothing.")
    return tested


def _seen(ended: RunResult | RunFailed | RunLocked, tested: Tested) -> CommandRun:
    """The run as the test sees it. Raises what it failed with, and AssertionError where it missed its point."""
    if tested.crashed:
        return crashed(tested)
    if isinstance(ended, RunLocked):
        raise ended
    if isinstance(ended, RunFailed):
        ended.result = stored(ended.result, tested)
        raise ended
    tested.check()
    return stored(ended, tested)
