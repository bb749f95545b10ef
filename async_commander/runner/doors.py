"""The ways into a run from code. Nothing here needs settings or models before a run is asked for."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.apps import apps
from django.conf import settings
from django.core.exceptions import ImproperlyConfigured

from async_commander.exceptions import AsyncCommanderError

if TYPE_CHECKING:
    from async_commander.command.base import AsyncCommand
    from async_commander.history.recorder import Recorder
    from async_commander.results import RunResult

    from .reporting import Reporter


async def arun(
    command: AsyncCommand | type[AsyncCommand] | str,
    /,
    *,
    reporter: Reporter | None = None,
    recorder: Recorder | None = None,
    **arguments: Any,
) -> RunResult:
    """Run a command on the running event loop and return how it ended.

    `command` is an instance, or a class or a name with the command's arguments beside it; shared options go by their
    names: `await ac.arun("scrapers_fetch", domain="example.org", threads=50, resume=True)`.

    Returns for runs that succeeded, partly succeeded, were interrupted or skipped. Raises RunFailed (with `.result`)
    for a failed one, RunLocked where another process owns the run, CommandNotFound, InvalidCommand and TypeError before
    anything is begun. Cancelling the caller stops the run in order, then raises CancelledError.
    """
    _check_setup()
    from .entry import call_async

    return await call_async(command, arguments, reporter=reporter, recorder=recorder)


def run(
    command: AsyncCommand | type[AsyncCommand] | str,
    /,
    *,
    reporter: Reporter | None = None,
    recorder: Recorder | None = None,
    **arguments: Any,
) -> RunResult:
    """Run a command from synchronous code, as `arun` does. Inside a test's transaction the run is part of it."""
    _check_setup()
    from .entry import call_sync

    return call_sync(command, arguments, reporter=reporter, recorder=recorder)


def _check_setup() -> None:
    if not settings.configured:
        try:
            settings.INSTALLED_APPS  # noqa: B018 - the first touch reads DJANGO_SETTINGS_MODULE
        except ImproperlyConfigured as error:
            raise AsyncCommanderError(
                "Django's settings are not configured. Set DJANGO_SETTINGS_MODULE and call django.setup() first, "
                "or run the command by `manage.py arun`."
            ) from error
    if not apps.ready:
        raise AsyncCommanderError(
            "Django is not set up yet. Call django.setup() before ac.run() and ac.arun(); in a module that is imported "
            "while apps are loaded, do it in a function that is called later."
        )
