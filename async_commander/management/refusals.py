"""Why there is no run: for people, for programs and as the exit code."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from django.core.exceptions import ImproperlyConfigured
from django.core.management.base import CommandError
from django.db import InterfaceError, OperationalError

from async_commander.exceptions import AsyncCommanderError, InvalidCommand, RunLocked
from async_commander.results import EXIT_FAILED, EXIT_LOCKED, EXIT_USAGE

from .parsers import Refusal
from .terminal_command import EXIT_INTERRUPTED

if TYPE_CHECKING:
    from collections.abc import Iterator


@contextmanager
def told_where_unreachable() -> Iterator[None]:
    """CommandError in place of a traceback, where a check finds no database, or one that cannot be configured so."""
    try:
        yield
    except (OperationalError, InterfaceError) as error:
        raise CommandError(
            f"A database cannot be reached ({str(error).strip()}): Django's checks ask each one in DATABASES. "
            "No run was begun. See that they are up and that DATABASES names the right addresses and users, "
            "or pass --skip-checks."
        ) from error
    except ImproperlyConfigured as error:
        raise CommandError(f"The settings cannot be used: {error} No run was begun.") from error


def code_of(error: BaseException) -> int:
    """The exit code of a process that an exception ends."""
    if isinstance(error, KeyboardInterrupt):
        return EXIT_INTERRUPTED
    code = error.code if isinstance(error, SystemExit) else EXIT_FAILED
    return code if isinstance(code, int) else EXIT_FAILED if code else 0


def reason_of(error: BaseException) -> str:
    """Why a process ends. Django prints an error for people and then exits with its code: the error is the context."""
    if isinstance(error, Refusal):
        return error.text
    cause = error.__context__ if isinstance(error, SystemExit) else error
    if isinstance(cause, AsyncCommanderError | CommandError):
        return str(cause)
    return f"{type(cause).__name__}: {cause}".rstrip(": ") if cause is not None else str(error)


def refusal_code(error: AsyncCommanderError) -> int:
    """The exit code where no run was begun: 2 for what was asked, 1 where something else (a table) is the cause."""
    if isinstance(error, RunLocked):
        return EXIT_LOCKED
    is_about_values = isinstance(error.__cause__, ValueError | TypeError | AsyncCommanderError | None)
    return EXIT_USAGE if isinstance(error, InvalidCommand) and is_about_values else EXIT_FAILED
