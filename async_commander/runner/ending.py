"""How a run ended: its status, in which there is no room for doubt, its words and its exit code."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from django.core.management.base import CommandError

from async_commander.database.schema_errors import lacks_schema
from async_commander.exceptions import AsyncCommanderError, RestartsSpent
from async_commander.history.recorder import Ending
from async_commander.results import EXIT_RESTARTS_SPENT, RunStatus, items_in_words

from .signals import Stopped
from .verdicts import kind_of, text_of, traceback_of

if TYPE_CHECKING:
    from async_commander.results import Tally
    from async_commander.text.redactor import Redactor


def ending_of(
    failure: BaseException | None,
    *,
    complete: bool,
    timed_out: float | None,
    tally: Tally,
    redact: Redactor,
) -> Ending:
    """What is recorded and reported of a run that ends now, except for its value and output.

    `complete`: nothing was left undone. `timed_out`: the time-out in seconds, where it was passed.
    """
    if failure is not None:
        error, traceback = _words(failure, redact), traceback_of(failure, redact)
        return Ending(status=RunStatus.FAILED, error=error, traceback=traceback)
    if timed_out is not None:
        error = f"The run passed its time-out of {timed_out:g} s and was stopped in order."
        return Ending(status=RunStatus.FAILED, error=error)
    if not complete or tally.retry or tally.claimed:
        return Ending(status=RunStatus.INTERRUPTED)
    if not tally.dead:
        return Ending(status=RunStatus.SUCCEEDED, source_ended=True)
    if tally.done:
        return Ending(status=RunStatus.PARTIAL, source_ended=True)
    error = f"No item is done: {items_in_words(tally.dead)} dead."
    return Ending(status=RunStatus.FAILED, error=error, source_ended=True)


def ending_of_call(failure: BaseException | None, redact: Redactor) -> Ending:
    """How a plain command, or a function, has ended: with what it raised. `sys.exit(0)` is no failure.

    What ends a process, or a task, from outside has interrupted it: Ctrl-C, SIGTERM, a cancel.
    """
    if failure is None or (type(failure) is SystemExit and failure.code in (None, 0)):
        return Ending(status=RunStatus.SUCCEEDED)
    error = _words(failure, redact)
    if isinstance(failure, (KeyboardInterrupt, asyncio.CancelledError, Stopped)):
        return Ending(status=RunStatus.INTERRUPTED, error=error)
    return Ending(status=RunStatus.FAILED, error=error, traceback=traceback_of(failure, redact))


def _words(failure: BaseException, redact: Redactor) -> str:
    """Why the run failed, in one line."""
    text = text_of(failure, redact)
    if lacks_schema(failure):
        text = text.rstrip(".")
        text += ". The database lacks what the models have: run `manage.py migrate` first, then resume."
    return text if isinstance(failure, AsyncCommanderError) else f"{kind_of(failure)}: {text}"


def exit_code_in(failure: BaseException | None) -> int | None:
    """The exit code that an error names, from 1 to 255: `CommandError(returncode=7)`, `sys.exit(7)`."""
    code: object = None
    if isinstance(failure, RestartsSpent):
        code = EXIT_RESTARTS_SPENT
    elif isinstance(failure, CommandError):
        code = failure.returncode
    elif isinstance(failure, SystemExit):
        code = failure.code
    return code if type(code) is int and 1 <= code <= 255 else None
