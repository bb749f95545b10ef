"""Turns whatever `iterate` gives into one asynchronous stream of items."""

from __future__ import annotations

import itertools
import time
from collections.abc import AsyncIterable, AsyncIterator, Iterable, Iterator, Sized
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import anyio
from asgiref.sync import sync_to_async
from django.db.models import QuerySet
from django.db.models.query import ModelIterable

from async_commander.command.hooks import HookKind

if TYPE_CHECKING:
    from .calling import HookCaller

PAGE_SIZE = 500
"""Rows that a queryset is read in at once."""
CHUNK_SIZE = 100
CHUNK_SECONDS = 0.05
"""A plain generator is asked for so many items at once, or for so long."""


async def open_source(hooks: HookCaller, *arguments: Any) -> Any:
    """Call `iterate` and return what it gives: not read from yet."""
    if hooks.kind("iterate") in (HookKind.ASYNC_GENERATOR, HookKind.GENERATOR):
        return hooks.function("iterate")(*arguments)
    return await hooks.call("iterate", *arguments)


async def stream(source: Any) -> AsyncIterator[Any]:
    """The items of a queryset, an iterable or an asynchronous iterable, one by one.

    Synchronous sources are read, and closed, on the current lane, a chunk at a time: they may use the ORM.
    """
    if isinstance(source, AsyncIterable) and not isinstance(source, QuerySet):
        async with closed_at_the_end(source) as items:
            async for item in items:
                yield item
        return
    async with closed_at_the_end(_pages(source) if isinstance(source, QuerySet) else _chunks(source)) as chunks:
        async for chunk in chunks:
            for item in chunk:
                yield item


@asynccontextmanager
async def closed_at_the_end(source: AsyncIterable[Any]) -> AsyncIterator[AsyncIterator[Any]]:
    """Iterate in this block: a generator that is left early cleans up before it ends, and not some time later."""
    items = aiter(source)
    try:
        yield items
    finally:
        if callable(aclose := getattr(items, "aclose", None)):
            await aclose()


async def counted(source: Any) -> int | None:
    """How many items a source has, where it can tell without being read."""
    if isinstance(source, QuerySet):
        return await sync_to_async(source.count)()
    if isinstance(source, list | tuple | set | frozenset | dict | range):
        return len(source)
    # Others may ask a database for their length, as a raw query does.
    return await sync_to_async(len)(source) if isinstance(source, Sized) else None


async def _pages(queryset: QuerySet[Any]) -> AsyncIterator[list[Any]]:
    """Pages by primary key: no cursor stays open, and rows that come or go meanwhile shift nothing."""
    if not _pages_by_key(queryset):
        yield await sync_to_async(_fetch)(queryset)
        return
    ordered = queryset.order_by("pk")
    page = await sync_to_async(_fetch)(ordered[:PAGE_SIZE])
    while page:
        yield page
        page = await sync_to_async(_fetch)(ordered.filter(pk__gt=page[-1].pk)[:PAGE_SIZE])


def _fetch(queryset: QuerySet[Any]) -> list[Any]:
    return list(queryset)


def _pages_by_key(queryset: QuerySet[Any]) -> bool:
    """Slices, unions, `values()` and `distinct("name")` have no key to page by: they are read in one go."""
    query = queryset.query
    whole = not (query.is_sliced or query.combinator or query.distinct_fields)
    return whole and issubclass(queryset._iterable_class, ModelIterable)  # noqa: SLF001 - no public way to ask


async def _chunks(source: Iterable[Any]) -> AsyncIterator[list[Any]]:
    iterator = await sync_to_async(_begin)(source)
    try:
        while chunk := await sync_to_async(_take)(iterator):
            yield chunk
    finally:
        if callable(close := getattr(iterator, "close", None)):
            with anyio.CancelScope(shield=True):
                await sync_to_async(close)()


def _begin(source: Iterable[Any]) -> Iterator[Any]:
    return iter(source)


def _take(iterator: Iterator[Any]) -> list[Any]:
    """What comes in a moment: a slow source must not keep its first item back until a chunk is full."""
    until = time.monotonic() + CHUNK_SECONDS
    chunk = []
    for item in itertools.islice(iterator, CHUNK_SIZE):
        chunk.append(item)
        if time.monotonic() > until:
            break
    return chunk
