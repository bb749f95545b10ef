"""An async-native command runtime for Django: `import async_commander as ac`.

This is the front door: it lists names and imports none of them before they are used, so that it is safe to import
anywhere, models and settings included.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from async_commander.command.arguments import Option as Option
    from async_commander.command.base import AsyncCommand as AsyncCommand
    from async_commander.command.cached import cached as cached
    from async_commander.command.dependencies import DependsOn as DependsOn
    from async_commander.command.registry import get_command as get_command
    from async_commander.command.registry import get_commands as get_commands
    from async_commander.command.shapes import At as At
    from async_commander.command.shapes import DownloadIterateCommand as DownloadIterateCommand
    from async_commander.command.shapes import IterateDownloadCommand as IterateDownloadCommand
    from async_commander.engine.context import RunContext as RunContext
    from async_commander.engine.context import current_run as current_run
    from async_commander.engine.every import every as every
    from async_commander.engine.limits import Batches as Batches
    from async_commander.engine.limits import Limits as Limits
    from async_commander.engine.limits import Retry as Retry
    from async_commander.events import ItemFailed as ItemFailed
    from async_commander.events import LeftOut as LeftOut
    from async_commander.events import LogLine as LogLine
    from async_commander.events import Progress as Progress
    from async_commander.events import RunEvent as RunEvent
    from async_commander.events import RunFinished as RunFinished
    from async_commander.events import RunStarted as RunStarted
    from async_commander.exceptions import AsyncCommanderError as AsyncCommanderError
    from async_commander.exceptions import CommandNotFound as CommandNotFound
    from async_commander.exceptions import InvalidCommand as InvalidCommand
    from async_commander.exceptions import MissingDependency as MissingDependency
    from async_commander.exceptions import RunFailed as RunFailed
    from async_commander.exceptions import RunLocked as RunLocked
    from async_commander.exceptions import SkipItem as SkipItem
    from async_commander.history.orders import aanswer_run as aanswer_run
    from async_commander.history.orders import acancel_run as acancel_run
    from async_commander.history.orders import achange_limits as achange_limits
    from async_commander.history.orders import acontinue_run as acontinue_run
    from async_commander.history.orders import answer_run as answer_run
    from async_commander.history.orders import apause_run as apause_run
    from async_commander.history.orders import cancel_run as cancel_run
    from async_commander.history.orders import change_limits as change_limits
    from async_commander.history.orders import continue_run as continue_run
    from async_commander.history.orders import pause_run as pause_run
    from async_commander.history.tracking import history as history
    from async_commander.history.tracking import record_run as record_run
    from async_commander.history.tracking import should_run as should_run
    from async_commander.imports.command import ImportCommand as ImportCommand
    from async_commander.management.dispatch import as_management_command as as_management_command
    from async_commander.management.managed import ManagedCommand as ManagedCommand
    from async_commander.management.managed import tracked as tracked
    from async_commander.queues.doors import adispatch as adispatch
    from async_commander.queues.doors import dispatch as dispatch
    from async_commander.queues.engine import Engine as Engine
    from async_commander.queues.handle import RunHandle as RunHandle
    from async_commander.results import RunResult as RunResult
    from async_commander.results import RunStatus as RunStatus
    from async_commander.runner.doors import arun as arun
    from async_commander.runner.doors import astream as astream
    from async_commander.runner.doors import awatch as awatch
    from async_commander.runner.doors import run as run
    from async_commander.runner.doors import run_events as run_events
    from async_commander.runner.sse import EventStreamResponse as EventStreamResponse
    from async_commander.runner.sse import as_sse as as_sse
    from async_commander.signals import item_failed as item_failed
    from async_commander.signals import run_finished as run_finished
    from async_commander.signals import run_started as run_started
    from async_commander.supervisor.schedules import cron as cron

__version__ = "0.1.0"

_HOMES = {
    "command.arguments": ("Option",),
    "command.base": ("AsyncCommand",),
    "command.cached": ("cached",),
    "command.dependencies": ("DependsOn",),
    "command.registry": ("get_command", "get_commands"),
    "command.shapes": ("At", "DownloadIterateCommand", "IterateDownloadCommand"),
    "queues.engine": ("Engine",),
    "queues.handle": ("RunHandle",),
    "queues.doors": ("adispatch", "dispatch"),
    "engine.context": ("RunContext", "current_run"),
    "engine.every": ("every",),
    "engine.limits": ("Batches", "Limits", "Retry"),
    "events": ("ItemFailed", "LeftOut", "LogLine", "Progress", "RunEvent", "RunFinished", "RunStarted"),
    "results": ("RunResult", "RunStatus"),
    "exceptions": (
        "AsyncCommanderError",
        "CommandNotFound",
        "InvalidCommand",
        "MissingDependency",
        "RunFailed",
        "RunLocked",
        "SkipItem",
    ),
    "history.orders": (
        "aanswer_run",
        "acancel_run",
        "achange_limits",
        "acontinue_run",
        "answer_run",
        "apause_run",
        "cancel_run",
        "change_limits",
        "continue_run",
        "pause_run",
    ),
    "history.tracking": ("record_run", "should_run"),
    "imports.command": ("ImportCommand",),
    "management.dispatch": ("as_management_command",),
    "management.managed": ("ManagedCommand", "tracked"),
    "runner.doors": ("arun", "astream", "awatch", "run", "run_events"),
    "runner.sse": ("EventStreamResponse", "as_sse"),
    "signals": ("item_failed", "run_finished", "run_started"),
    "supervisor.schedules": ("cron",),
}
_CALLABLE_ROOM = "history"
"""`ac.history(name)` calls the room: a function of that name could not stand beside it."""
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names}

__all__ = sorted([*_HOME_OF, _CALLABLE_ROOM])  # noqa: PLE0605 - a list, made from the table above


def __getattr__(name: str) -> Any:
    if name == _CALLABLE_ROOM:
        return import_module(f"{__name__}.{name}")
    home = _HOME_OF.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f"{__name__}.{home}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return [*globals(), *__all__]
