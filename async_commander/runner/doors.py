"""The ways into a run from code. Nothing here needs settings or models before a run is asked for."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.apps import apps
from django.conf import settings
from django.core.exceptions import ImproperlyConfigured

from async_commander.events import Place
from async_commander.exceptions import AsyncCommanderError

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from async_commander.command.base import AsyncCommand
    from async_commander.events import RunEvent
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
    check_setup()
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
    check_setup()
    from .entry import call_sync

    return call_sync(command, arguments, reporter=reporter, recorder=recorder)


def astream(
    command: AsyncCommand | type[AsyncCommand] | str,
    /,
    *,
    recorder: Recorder | None = None,
    **arguments: Any,
) -> AsyncGenerator[RunEvent]:
    """Run a command as `arun` does, and give its events meanwhile: `async for event in ac.astream("scrapers_fetch"):`.

    The events are RunStarted, Progress (at most ten a second), ItemFailed, LogLine, LeftOut and, last, RunFinished with
    the result. That of a failed run comes in the same way: nothing is raised for it. Lines of the log, and failures
    among them, come when they are stored, each second. A slow reader holds up nothing: it gets the newest progress,
    and how many lines were left out.

    With `detach=True` a worker carries the run, which goes on without this reader; the events are those of `awatch`,
    but for RunStarted, which has the run's number and comes at once: the run is in its queue.

    Leaving the stream of any other run (`break`, `aclose()`, a cancel) stops it in order; `contextlib.aclosing` waits
    for its end. Raises RunLocked where another process owns the run, CommandNotFound, InvalidCommand and TypeError
    before anything is begun.
    """
    check_setup()
    from .streaming import stream

    return stream(command, arguments, recorder=recorder)


def awatch(run_id: int, *, after: str | None = None, using: str | None = None) -> AsyncGenerator[RunEvent]:
    """The events of a run, whichever process has it, from its rows: `async for event in ac.awatch(17):`.

    They are those of `astream`, as of once a second, and end with RunFinished. `after`: the `id` of the last event that
    the reader has; what is none of this run's, whoever sent it, means from the beginning. Of more than 500 lines of its
    log that are new the last ones are told. All readers in one event loop share one connection and, of one run, one
    look. Leaving does nothing to the run. Whether a reader may see it is for the caller to decide.

    Ends early where the server of this process is to stop. Raises InvalidCommand where there is no such run.
    """
    check_setup()
    from .watching import watch

    return watch(run_id, after=after, using=using)


def run_events(run_id: int, after: str | None = None, *, using: str | None = None) -> list[RunEvent]:
    """What `awatch` would tell now, from synchronous code: for a page that asks again and again.

    `after`: the `id` of the last event that the page has. The newest Progress is always told, and RunFinished of a run
    that is over. A run whose owner is gone is marked as crashed first. Raises InvalidCommand where there is none.
    """
    check_setup()
    from async_commander.history.events import events_of

    return events_of(run_id, Place.of(run_id, after), using=using)


def check_setup() -> None:
    """AsyncCommanderError where Django is not ready for a run, with the remedy."""
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
