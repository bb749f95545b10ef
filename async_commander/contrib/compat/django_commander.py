"""The names of django_commander: change the import line, and an old command file runs.

    from async_commander.contrib.compat.django_commander import DownloadIterateCommand, cache_results, log_command

As documented there: parameters and options, `test`, dependencies, `self.log`, values by position, return values, what
`iterate()` yields as arguments of the next hook, `cleanup(results)` with the values that `parse_and_save` returned.

Otherwise than there, for its users' sake: every run is kept, with or without `@log_command`, from its beginning on, and
raises what it fails with (exit code 1); of the kinds with items one that fails is a dead letter, and the others go on;
downloads run in threads, 20 at once, and `parse_and_save` on 4 connections (`limits = ac.Limits(threads=1, db_lanes=1)`
for one after the other); `cleanup` also runs after a failure; dependencies are compared exactly; what is cached is
never pickled.

`docs/migrating.md` leads from here to the commands of `async_commander`.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future
from importlib import import_module
from importlib.util import find_spec
from typing import Any, TypeVar

from async_commander.command.base import AsyncCommand
from async_commander.command.cached import cached
from async_commander.command.registry import get_command, get_runnable
from async_commander.exceptions import AsyncCommanderError, CommandNotFound, MissingDependency
from async_commander.management.trials import FAILED, Trial, Trials
from async_commander.runner import doors

from .commander_kinds import (
    BasicCommand,
    DownloadIterateCommand,
    IterateDownloadCommand,
    MultiprocessedDownloadIterateCommand,
    MultiprocessedIterateDownloadCommand,
)
from .commander_models import LoggedExtendedManager, LoggedExtendedModel
from .commander_rows import Command, CommandLog
from .old_paths import lead_here

__all__ = [
    "BasicCommand", "Command", "CommandLog", "DownloadIterateCommand", "IterateDownloadCommand",
    "LoggedExtendedManager", "LoggedExtendedModel", "MissingDependencyException",
    "MultiprocessedDownloadIterateCommand", "MultiprocessedIterateDownloadCommand", "cache_results", "commands",
    "log_command", "run_command_async", "test_commands",
]  # fmt: skip

lead_here(__name__, "commands", "managers", "models", "utils")

Function = TypeVar("Function", bound=Callable[..., Any])

MissingDependencyException = MissingDependency


def log_command(function: Function) -> Function:
    """The function as it is: every run is kept, and `self.log` is its row."""
    return function


def cache_results(function: Function) -> Function:
    """Keep what `download()` returns; see `ac.cached`, which this is."""
    return cached(function)


class _Commands(Mapping[str, type[AsyncCommand]]):
    """Every command's class by name; its file is imported when it is asked for."""

    def __getitem__(self, name: str) -> type[AsyncCommand]:
        try:
            return get_command(name)
        except CommandNotFound as error:
            raise KeyError(str(error)) from error

    def __iter__(self) -> Iterator[str]:
        return iter(get_runnable())

    def __len__(self) -> int:
        return len(get_runnable())


commands = _Commands()


def run_command_async(command_name: str, **params: Any) -> Future[Any]:
    """Run a command on a thread of its own. The future has what it returned, or what it failed with."""
    told: Future[Any] = Future()

    def work() -> None:
        try:
            told.set_result(doors.run(command_name, **params).value)
        except BaseException as error:  # noqa: BLE001 - it is the future's
            told.set_exception(error)

    threading.Thread(target=work, name=f"run of {command_name}").start()
    return told


def test_commands() -> list[Trial]:
    """Try every command that has test values, in the order of dependencies: `manage.py arun --test-all`.

    Raises AsyncCommanderError, which names them, where some failed, after all were tried.
    """
    done = list(Trials(stops=None, output=None, database=None))
    if failed := [trial for trial in done if trial.outcome == FAILED]:
        raise AsyncCommanderError("; ".join(f"{trial.name} failed: {trial.why}" for trial in failed))
    return done


test_commands.__test__ = False  # type: ignore[attr-defined]  # pytest shall not take it for one

_GONE = {
    "clear_unfinished_command_logs": (
        "it deletes the record of every failure, and of what is running: `aruns` finds runs whose process is gone by "
        "itself"
    ),
    "command_multiprocess_wrapper": "the pool makes a command once in each process: --num_cores",
    "compile_parser_from_function": (
        "annotated attributes of a command are its arguments: `domain: str`, `quick: bool = False`"
    ),
}
"""Names that are not carried, and why."""


def __getattr__(name: str) -> Any:
    if name == "run_command_task":
        return _task()
    if name in _GONE:
        raise ImportError(f"django_commander's {name} has no counterpart: {_GONE[name]}.")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def _task() -> Any:
    """`run_command_task(name, params)` for Celery, by its old name: it fails where the command does.

    The run's row is made once for each message, however often that comes, as by `contrib.celery`, whose task it is.
    """
    if find_spec("celery") is None:
        raise ImportError("run_command_task is a task of Celery, which is not installed: pip install celery")
    ours = import_module("async_commander.contrib.celery")

    def run_command_task(self: Any, command_name: str, params: Mapping[str, Any] | None = None) -> str:
        ours.carry_message(self, command_name, dict(params or {}))
        return f"Success: {command_name}"

    shared_task: Callable[..., Any] = import_module("celery").shared_task
    task = shared_task(name="django_commander.utils.run_command_task", **ours.LIKE_A_RUN)(run_command_task)
    globals()["run_command_task"] = task
    return task
