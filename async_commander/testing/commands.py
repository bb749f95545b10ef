"""Runs a command in a synchronous test."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from async_commander.runner.doors import run

if TYPE_CHECKING:
    from async_commander.command.base import AsyncCommand
    from async_commander.history.recorder import Recorder
    from async_commander.results import RunResult


def run_command(
    command: AsyncCommand | type[AsyncCommand] | str, /, *, recorder: Recorder | None = None, **arguments: Any
) -> RunResult:
    """Run a command inside the test's own transaction, which rolls everything back at the test's end.

    Synchronous on purpose: a coroutine test with plain `django_db` works on another connection than its transaction,
    and leaks its rows into the next test. Raises what `ac.run` raises.
    """
    return run(command, recorder=recorder, **arguments)
