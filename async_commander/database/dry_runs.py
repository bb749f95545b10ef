"""Dry runs begin here; their code is known on every thread: Django, and what starts threads, are asked meanwhile.

Nobody else has the moment before a connection is used, nor the one in which code of a dry run has another thread do
something. What is put in the place of these functions calls them, and changes nothing for any other code; it is taken
away with the last rehearsal.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from functools import partial, wraps
from typing import Any

import anyio.to_thread
from django.core.files.base import File
from django.db import NotSupportedError, connections
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.backends.utils import CursorWrapper
from django.db.models.fields.files import FieldFile

from .rehearsal import Counts, Rehearsal, rehearsal_here, stretch_here


@contextmanager
def open_rehearsal() -> Iterator[Rehearsal]:
    """For the block a dry run is open: see `Rehearsal`."""
    watch = ExitStack()
    watch.enter_context(watched())
    rehearsal = Rehearsal()
    try:
        with rehearsal:
            yield rehearsal
    finally:
        rehearsal.at_the_end(watch.close)


@contextmanager
def rehearsed(alias: str) -> Iterator[Rehearsal]:
    """For the block, all that this thread does with databases, and that threads do which it starts, is rolled back.

    `on_commit` hooks do not run. The transaction in the database `alias` begins at once, so that a run within this one
    is part of it; in any other one with the first use. What a database commits by itself is refused.
    """
    with open_rehearsal() as rehearsal, rehearsal.entered(), rehearsal.on_this_thread():
        connections[alias].ensure_connection()
        yield rehearsal


class RehearsedCall:
    """A function to be called in another process, as part of a dry run here: returns its result, and what it wrote."""

    def __init__(self, function: Callable[..., Any]) -> None:
        self._function = function
        self.__qualname__ = getattr(function, "__qualname__", type(function).__qualname__)
        self.__module__ = getattr(function, "__module__", type(function).__module__)

    def __call__(self, *args: Any) -> tuple[Any, Counts]:
        """On the main thread of a process of the pool."""
        with open_rehearsal() as rehearsal, rehearsal.entered():
            with rehearsal.on_this_thread():
                result = self._function(*args)
            return result, rehearsal.counts()


class _Thread(threading.local):
    hands_over = False
    """A call is on its way to a thread, which may be started for it, and will do others."""
    connects = False
    """A connection is being opened and set up: no part of any transaction."""


_thread = _Thread()


def _ensure_connection(plain: Callable[..., Any], connection: BaseDatabaseWrapper) -> None:
    """Before each use of a connection."""
    stretch = None if _thread.connects else stretch_here()
    if stretch is None:
        plain(connection)
        return
    if connection.closed_in_transaction:
        stretch.begin_anew(connection)
    _thread.connects = True
    try:
        plain(connection)
    finally:
        _thread.connects = False
    stretch.see_to(connection)


def _start(plain: Callable[..., Any], thread: threading.Thread) -> None:
    """A thread of its own: what it does until its end is one stretch."""
    rehearsal = rehearsal_here()
    if rehearsal is not None and not _thread.hands_over:
        run = thread.run

        def rehearsed_run() -> None:
            with watched(), rehearsal.of_this_thread():  # it may outlive the run
                run()

        thread.run = rehearsed_run  # type: ignore[method-assign]
    plain(thread)


def _submit(
    plain: Callable[..., Future[Any]],
    pool: ThreadPoolExecutor,
    function: Callable[..., Any],
    /,
    *args: Any,
    **words: Any,
) -> Future[Any]:
    """A call for a pool of threads, which may be everybody's: it is one stretch."""
    rehearsal = rehearsal_here()
    if rehearsal is None:
        return plain(pool, function, *args, **words)
    before, _thread.hands_over = _thread.hands_over, True
    try:
        return plain(pool, _on_thread, rehearsal, partial(function, *args, **words))
    finally:
        _thread.hands_over = before


def _on_thread(rehearsal: Rehearsal, call: Callable[[], Any]) -> Any:
    with watched(), rehearsal.on_this_thread():
        return call()


async def _run_sync(plain: Callable[..., Any], function: Callable[..., Any], *args: Any, **words: Any) -> Any:
    """The same for anyio, which has threads of its own."""
    rehearsal = rehearsal_here()
    if rehearsal is None:
        return await plain(function, *args, **words)
    return await plain(partial(_on_thread, rehearsal, partial(function, *args)), **words)


def _cursor_attribute(plain: Callable[..., Any], cursor: CursorWrapper, name: str) -> Any:
    """What a cursor has of its driver's, past Django."""
    if name == "executescript" and rehearsal_here() is not None:
        raise NotSupportedError(
            "cursor.executescript(): SQLite's driver commits before such a script, and a dry run may commit nothing. "
            "Use cursor.execute() for each statement, or leave it out where self.dry_run is true."
        )
    return plain(cursor, name)


def _save(plain: Callable[..., None], file: Any, name: str, content: Any, save: bool = True) -> None:  # noqa: FBT001 - Django's own signature
    """A file of a model's field: it gets its name and is at hand, and no storage has it."""
    if rehearsal_here() is None:
        plain(file, name, content, save)
        return
    name = file.field.generate_filename(file.instance, name)
    file.name = file.storage.get_available_name(name, max_length=file.field.max_length)
    file.file, file._committed = content if isinstance(content, File) else File(content), True  # noqa: SLF001 - as its own save() does
    setattr(file.instance, file.field.attname, file)
    if save:
        file.instance.save()


def _delete(plain: Callable[..., None], file: Any, save: bool = True) -> None:  # noqa: FBT001 - Django's own signature
    """The storage keeps it."""
    if rehearsal_here() is None:
        plain(file, save)
        return
    file.name = None
    setattr(file.instance, file.field.attname, None)
    file._committed = False  # noqa: SLF001 - as its own delete() does
    if save:
        file.instance.save()


_WATCHED: tuple[tuple[Any, str, Callable[..., Any]], ...] = (
    (BaseDatabaseWrapper, "ensure_connection", _ensure_connection),
    (threading.Thread, "start", _start),
    (ThreadPoolExecutor, "submit", _submit),
    (anyio.to_thread, "run_sync", _run_sync),
    (CursorWrapper, "__getattr__", _cursor_attribute),
    (FieldFile, "save", _save),
    (FieldFile, "delete", _delete),
)
_mutex = threading.Lock()
_watching = 0
_put: dict[tuple[Any, str], tuple[Any, Any]] = {}
"""What was put in the place of each function, and what was there."""


@contextmanager
def watched() -> Iterator[None]:
    """For the block, and any other one that is open at the same time, they are asked."""
    global _watching  # noqa: PLW0603 - as many as there are blocks
    with _mutex:
        _watching += 1
        for owner, name, instead in _WATCHED:
            there = vars(owner)[name]
            if (owner, name) not in _put or there is not _put[owner, name][0]:  # others, as pytest-django, put theirs
                _put[owner, name] = _asking(instead, there), there
                setattr(owner, name, _put[owner, name][0])
    try:
        yield
    finally:
        with _mutex:
            _watching -= 1
            for (owner, name), (put, before) in [] if _watching else list(_put.items()):
                if vars(owner)[name] is put:
                    setattr(owner, name, before)
                del _put[owner, name]


def is_watching() -> bool:
    """Whether a dry run is open in this process, or something of one still at work."""
    return _watching > 0


def _asking(instead: Callable[..., Any], plain: Any) -> Any:
    @wraps(plain)
    def put(*args: Any, **words: Any) -> Any:
        return instead(plain, *args, **words)

    return put
