"""How many items a command would take, asked beside the request: for some seconds, and up to a number."""

from __future__ import annotations

import asyncio
import inspect
import time
from collections.abc import Iterator, Sized
from contextlib import contextmanager
from threading import Timer
from typing import TYPE_CHECKING, Any

from asgiref.sync import async_to_sync
from django.db import DatabaseError, connections, router, transaction
from django.db.models import QuerySet
from django.utils.translation import gettext

from async_commander.command.declaration import declaration_of
from async_commander.database.connections import close_all
from async_commander.database.timeouts import Timeouts
from async_commander.engine.threads import DaemonThreads
from async_commander.exceptions import AsyncCommanderError
from async_commander.models import Run
from async_commander.templatetags.async_commander_pages import count, items_in_words, localized

if TYPE_CHECKING:
    from async_commander.command.base import AsyncCommand

SECONDS = 5.0
"""For so long somebody who counts is kept waiting."""
MOST = 10_000
"""Rows that a database counts."""
MORE = -1
"""There are more than that."""
_UNTOLD = (AsyncCommanderError, DatabaseError, AttributeError, TypeError, ValueError, RuntimeError)
_threads = DaemonThreads(2, name="count-items")
"""A hook that never returns keeps one of them, and no request."""


def count_in_words(made: AsyncCommand) -> str:
    """What `total()` says, else the length of what `iterate()` returns, in a sentence; no item is read for that.

    The hooks run on a thread of their own, with connections and an event loop of their own: neither the server's loop
    nor the request's transaction waits for them. After `SECONDS` coroutines are cancelled, as are the statements of
    PostgreSQL and SQLite; a plain function that goes on is left to itself.
    """
    future, began = _threads.submit(_count, made), time.monotonic()
    try:
        number = future.result(SECONDS + 0.5)
    except (TimeoutError, *_UNTOLD) as error:
        future.cancel()
        if isinstance(error, TimeoutError) or time.monotonic() - began >= SECONDS:
            return gettext("Its items cannot be counted within %(seconds)s seconds.") % {
                "seconds": localized(f"{SECONDS:g}")
            }
        told = gettext("It cannot be counted outside of a run: %(kind)s: %(error)s")
        return told % {"kind": type(error).__name__, "error": error}
    if number is None:
        return gettext("How many items there are is known only as they come.")
    told = gettext("more than %(number)s items") % {"number": count(MOST)}
    return told if number == MORE else items_in_words(number)


def _count(made: AsyncCommand) -> int | None:
    alias = router.db_for_read(Run)
    try:
        with transaction.atomic(using=alias), _interrupted(alias):
            for name in ("total", "iterate"):
                hook = declaration_of(type(made)).hooks.get(name)
                method = getattr(made, name, None)
                streams = inspect.isgeneratorfunction(method) or inspect.isasyncgenfunction(method)
                if hook is None or method is None or streams:
                    continue
                found: Any = async_to_sync(_in_time)(method) if inspect.iscoroutinefunction(method) else method()
                if isinstance(found, int):
                    return found
                if isinstance(found, QuerySet):
                    number = found[: MOST + 1].count()
                    return number if number <= MOST else MORE
                if isinstance(found, Sized):
                    return len(found)
            return None
    finally:
        close_all()


async def _in_time(method: Any) -> Any:
    async with asyncio.timeout(SECONDS):
        return await method()


@contextmanager
def _interrupted(alias: str) -> Iterator[None]:
    """End statements of this thread's connection that are at work when the time is up."""
    connection = connections[alias]
    if connection.vendor == "postgresql":
        Timeouts(statement=SECONDS).begin(connection)
    timer = Timer(SECONDS, connection.connection.interrupt) if connection.vendor == "sqlite" else None
    if timer is not None:
        timer.daemon = True
        timer.start()
    try:
        yield
    finally:
        if timer is not None:
            timer.cancel()
