"""Turns whatever `iterate` gives into one asynchronous stream of items."""

from __future__ import annotations

import asyncio
import itertools
import json
import math
import re
import time
from collections import deque
from collections.abc import (
    AsyncGenerator,
    AsyncIterable,
    AsyncIterator,
    Callable,
    Coroutine,
    Iterable,
    Iterator,
    Sequence,
    Sized,
)
from contextlib import asynccontextmanager, closing, suppress
from typing import TYPE_CHECKING, Any

import anyio
from asgiref.sync import sync_to_async
from django.core.exceptions import EmptyResultSet
from django.db.models import QuerySet
from django.db.models.query import ModelIterable

from async_commander.command.hooks import HookKind
from async_commander.command.items import ItemGone, item_from_json, item_to_json, row_reference
from async_commander.database.chunks import in_key_order
from async_commander.database.connections import open_blocks
from async_commander.engine.context import Shard
from async_commander.engine.leaving import CancelIgnored
from async_commander.engine.stepping import Stepped
from async_commander.exceptions import InvalidCommand
from async_commander.history.shards import Range

from .generators import Leftable

if TYPE_CHECKING:
    from .calling import HookCaller

PAGE_SIZE = 500
"""Rows that a queryset is read in at once."""
CHUNK_SIZE = 100
CHUNK_SECONDS = 0.05
"""A plain generator is asked for so many items at once, or for so long."""
_NO_MORE = object()
_WINDOW = re.compile(r"\bOVER\s*\(", re.IGNORECASE)
"""Looked for in the SQL, where it may come from `extra()` and `RawSQL` as well."""


def from_the_beginning() -> None:
    """There is no cursor after which a source is to begin."""


async def open_source(
    hooks: HookCaller, *arguments: Any, after: Callable[[], Any] = from_the_beginning, shard: Shard | None = None
) -> Any:
    """Call `iterate` and return what it gives, not read from yet: all that comes after the cursor of now.

    Of a queryset that is cut by ranges of keys it is what the shard has of it.
    """
    keywords: dict[str, Any] = {"after": after()} if hooks.takes("iterate", "after") else {}
    if hooks.takes("iterate", "shard"):
        keywords["shard"] = shard
    source = await _called(hooks, arguments, keywords)
    if shard is None or not shard.by_range:
        return source
    if not isinstance(source, QuerySet):
        raise InvalidCommand(
            f"iterate() returned a {type(source).__name__}, and a queryset when this run was cut: a shard has a range "
            "of its keys. Begin a new run."
        )
    bounds = {"pk__gte": shard.first, "pk__lt": shard.before}
    return source.filter(**{name: key for name, key in bounds.items() if key is not None})


async def _called(hooks: HookCaller, arguments: Sequence[Any], keywords: dict[str, Any]) -> Any:
    if hooks.kind("iterate") is HookKind.ASYNC_GENERATOR:
        return _watched_async(hooks, hooks.function("iterate")(*arguments, **keywords))
    if hooks.kind("iterate") is HookKind.GENERATOR:
        return _watched(hooks, hooks.function("iterate")(*arguments, **keywords))
    return await hooks.call("iterate", *arguments, keywords=keywords)


async def _watched_async(hooks: HookCaller, generator: AsyncGenerator[Any]) -> AsyncIterator[Any]:
    """The items of the author's generator, each step of which is one call of a hook, and so is its end.

    Once left where it was it is not closed: that would wait for the same.
    """
    items, is_left = Leftable(generator), False
    try:
        while True:
            try:
                with hooks.watched("iterate"):
                    item = await hooks.leavable(anext(items), "iterate")
            except StopAsyncIteration:
                return
            yield item
    except CancelIgnored:
        is_left = True
        raise
    finally:
        if not is_left:
            await hooks.leavable(items.aclose(), "iterate")


def _watched(hooks: HookCaller, items: Iterator[Any]) -> Iterator[Any]:
    """The same for a plain generator."""
    with closing(items):  # type: ignore[type-var]  # a generator, which has close()
        while True:
            with hooks.watched("iterate"):
                item = next(items, _NO_MORE)
            if item is _NO_MORE:
                return
            yield item


def in_pieces(
    source: Any, hooks: HookCaller | None = None, *, patience: float | None = None
) -> AsyncIterator[Sequence[Any]]:
    """The items of a queryset, an iterable or an asynchronous iterable; those of the last one by one.

    Synchronous sources are read, and closed, on the current lane, a chunk at a time: they may use the ORM. One that
    does not return is left when it is to be closed: after `patience` seconds, or when `hooks` are.
    """
    if isinstance(source, QuerySet):
        return _pages(source)
    return _one_by_one(source) if isinstance(source, AsyncIterable) else _chunks(source, hooks, patience)


async def _one_by_one(source: AsyncIterable[Any]) -> AsyncIterator[Sequence[Any]]:
    async with closed_at_the_end(source) as items:
        async for item in items:
            yield (item,)


@asynccontextmanager
async def closed_at_the_end(source: AsyncIterable[Any]) -> AsyncIterator[AsyncIterator[Any]]:
    """Iterate in this block: a generator that is left early cleans up before it ends, and not some time later."""
    items = aiter(source)
    try:
        yield items
    finally:
        if callable(aclose := getattr(items, "aclose", None)):
            await aclose()


def ranges_of(queryset: QuerySet[Any], count: int) -> list[Range] | None:
    """So many ranges of primary keys, or fewer, with as many rows in each: to be called on a lane.

    None where the rows cannot be found by their keys. Each range is looked for from the one before it on, so that the
    keys are read once in all. The first has no lower end and the last no upper one: what comes later is in one, too.
    """
    if not may_be_filtered_by_key(queryset):
        return None
    step = max(1, math.ceil(queryset.count() / count))
    ordered, bounds = in_key_order(queryset), [None]
    while len(bounds) < count:
        rest = ordered if bounds[-1] is None else ordered.filter(pk__gte=bounds[-1])
        after = next(iter(rest.values_list("pk", flat=True)[step : step + 1]), None)
        if after is None or after == bounds[-1]:
            break
        bounds.append(after)
    return list(zip(bounds, [*bounds[1:], None], strict=True))


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
    if not await sync_to_async(may_be_filtered_by_key)(queryset):
        yield await sync_to_async(lambda: list(queryset))()
        return
    rest = ordered = in_key_order(queryset)
    while page := await sync_to_async(_fetch_page)(rest):
        # The worker that has a row may delete it, and take its key from it, before the next page is asked for.
        last = page[-1].pk
        yield page
        rest = ordered.filter(pk__gt=last)


def _fetch_page(queryset: QuerySet[Any]) -> list[Any]:
    """The next rows; all of one key, of which a join may give several, are in one page."""
    page = list(queryset[:PAGE_SIZE])
    if len(page) < PAGE_SIZE:
        return page
    last = page[-1].pk
    before = [row for row in page if row.pk != last]
    return before or list(queryset.filter(pk=last))


def may_be_filtered_by_key(queryset: QuerySet[Any]) -> bool:
    """Whether a filter by primary key leaves out rows, and changes nothing about the others.

    Not so for slices, unions, `values()`, `distinct("name")` and window functions: these are read in one go.
    """
    return _gives_instances(queryset) and not queryset.query.is_sliced and not _sees_other_rows(queryset)


def _gives_instances(queryset: QuerySet[Any]) -> bool:
    return issubclass(queryset._iterable_class, ModelIterable)  # noqa: SLF001 - no public way to ask


def _sees_other_rows(queryset: QuerySet[Any]) -> bool:
    """Whether what a row is, or whether it is there at all, hangs on which other rows are."""
    query = queryset.query
    if query.combinator or query.distinct_fields:
        return True
    try:
        sql, _ = query.clone().get_compiler(using=queryset.db).as_sql()
    except EmptyResultSet:
        return False
    return _WINDOW.search(sql) is not None


def restored(stored: Sequence[Any], source: Any) -> list[Sequence[Any] | ItemGone]:
    """For each stored item what it may be: rows as the source gives them, where it is a queryset that has them.

    A join may give several of one primary key. Any other item comes back as it was stored; ItemGone stands for a row
    that is not there any more. To be called on a lane.
    """
    keys: dict[str, list[Any]] = {}  # of rows, by their database
    if isinstance(source, QuerySet) and _gives_instances(source):
        for reference in filter(None, map(row_reference, stored)):
            if reference.is_a(source.model):
                keys.setdefault(reference.alias, []).append(reference.pk)
    again: dict[str, list[Any]] = {}
    for alias, pks in keys.items():
        whole = source.using(alias)
        if _sees_other_rows(whole):  # read whole: a filter would make other rows of them
            rows = [row for row in whole if row.pk in pks]
        else:
            whole.query.clear_limits()
            rows = whole.filter(pk__in=pks)
        for row in rows:
            again.setdefault(_text(item_to_json(row)), []).append(row)
    return [again.get(_text(one)) or _restored(one) for one in stored]


def _restored(stored: Any) -> Sequence[Any] | ItemGone:
    try:
        return [item_from_json(stored)]
    except ItemGone as error:
        return error


def _text(stored: Any) -> str:
    """One text for one stored item: a database may keep the members of JSON in an order of its own."""
    return json.dumps(stored, sort_keys=True)


async def _chunks(source: Iterable[Any], hooks: HookCaller | None, patience: float | None) -> AsyncIterator[list[Any]]:
    iterator = await sync_to_async(_begin)(source)
    taker = _Taker(iterator)
    try:
        while not taker.at_the_end:
            async with _under_way(sync_to_async(taker.take)()) as taking:
                ended = False
                while not ended:
                    await asyncio.wait([taking], timeout=CHUNK_SECONDS)
                    ended = taking.done()  # asked before what it took last is: what comes now is seen the next time
                    if chunk := taker.taken():
                        yield chunk
    finally:
        if callable(close := getattr(iterator, "close", None)):
            with anyio.CancelScope(shield=True):
                closed = sync_to_async(close)()
                if hooks is not None:
                    closed = hooks.leavable(closed, "iterate", on_thread=True, patience=patience)
                await closed


def _begin(source: Iterable[Any]) -> Iterator[Any]:
    return iter(source)


@asynccontextmanager
async def _under_way(call: Coroutine[Any, Any, None]) -> AsyncIterator[asyncio.Future[Any]]:
    """A call of `sync_to_async` that is begun here, and awaited at the end of the block; its first wait.

    Who leaves the block early cancels it: an awaiting task would.
    """
    waits_for: asyncio.Future[Any] = call.send(None)
    try:
        yield waits_for
    except BaseException:
        waits_for.cancel()
        with suppress(asyncio.CancelledError):
            await Stepped(call, waits_for)
        raise
    await Stepped(call, waits_for)


class _Taker:
    """Takes, on a thread, what comes in a moment. What it has is given meanwhile: the next step may take long.

    What came before an error is given first, too.
    """

    def __init__(self, iterator: Iterator[Any]) -> None:
        self._iterator = iterator
        self._chunk: deque[Any] = deque()
        self.at_the_end = False
        """There is nothing more to take."""

    def take(self) -> None:
        """On the thread: see a chunk taken, or what comes in so long."""
        until, blocks, count = time.monotonic() + CHUNK_SECONDS, open_blocks(), 0
        for count, item in enumerate(itertools.islice(self._iterator, CHUNK_SIZE), 1):
            if count == 1:
                self._check_blocks(blocks)
            self._chunk.append(item)
            if time.monotonic() > until:
                break
        self._check_blocks(blocks)
        self.at_the_end = not count

    def taken(self) -> list[Any]:
        """What was taken since this was asked last."""
        return [self._chunk.popleft() for _ in range(len(self._chunk))]

    def _check_blocks(self, before: int) -> None:
        """Leave the block, by closing the generator, and refuse it."""
        if open_blocks() <= before:
            return
        if callable(close := getattr(self._iterator, "close", None)):
            close()
        raise InvalidCommand(
            "iterate() yields inside transaction.atomic(): the transaction would stay open, with its locks and its "
            "connection, for as long as all the items take. Leave the block before the first item is yielded: collect "
            "what is needed in it, and yield it afterwards; or return a queryset, which is read in pages."
        )
