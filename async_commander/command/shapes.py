"""The shapes of a job over many items: which hooks there are, in which order, and what travels between them.

    IterateDownloadCommand      iterate() ──items──▶ download(item) ──payload──▶ parse_and_save(item, payload)
    DownloadIterateCommand      download() ──payload──▶ iterate(payload) ──items──▶ parse_and_save(item)

A hook is `async def`, or a plain `def`: then `download` runs on a worker thread and the others on a database thread, so
that an old synchronous command gains its concurrency before it is rewritten. Values travel as they are: an item that is
a list is one argument.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import AsyncIterable, Awaitable, Iterable
from dataclasses import dataclass
from typing import Any, ClassVar, Generic, TypeAlias, TypeVar, final
from uuid import UUID, uuid4

from django.db import InterfaceError, OperationalError

from async_commander.database.outage import is_transient as database_may_recover
from async_commander.exceptions import ItemError

from .base import AsyncCommand
from .declaration import keeps_history
from .hooks import (
    A_BATCH,
    A_KEY,
    A_LINE,
    A_SOURCE,
    A_THROTTLE,
    A_TOTAL,
    A_WAIT,
    A_YES_OR_NO,
    ANY_KIND,
    PLAIN_ONLY,
    Stages,
    hook,
)
from .identity import host_of, item_key

Item = TypeVar("Item")
Payload = TypeVar("Payload")


@final
@dataclass(frozen=True, slots=True)
class At(Generic[Item]):
    """An item, and the cursor to go on with behind it: `yield ac.At(row, row["id"])`.

        async def iterate(self, after=None):
            async for row in self.rows(newer_than=after):
                yield ac.At(row, row["id"])

    A resume calls `iterate(after=cursor)` with the last cursor that is safe: all items that were yielded with it, and
    all before them, are settled. Many items may have one cursor, such as those of a page: it is safe once another one,
    or the end, has come. A new run begins with None.

    A cursor is data that JSON gives back unchanged (numbers, texts, dates, `UUID` …), up to 2,000 characters of it.
    None, and an item that is yielded as it is, move nothing.
    """

    item: Item
    cursor: Any


SyncOrAsync: TypeAlias = Payload | Awaitable[Payload]
Source: TypeAlias = Iterable[Item | At[Item]] | AsyncIterable[Item | At[Item]]


_DATABASE = (OperationalError, InterfaceError)
"""Deadlocks, serialisation failures, locks and lost connections arrive as these two on every backend."""


def is_passing(error: BaseException) -> bool:
    """True for time-outs, connection errors, the statuses 408, 425, 429 and 5xx, and database errors that pass.

    A group passes where all of its members do.
    """
    from async_commander.downloads.errors import is_transient  # a command without downloads needs no client

    if isinstance(error, BaseExceptionGroup):
        return all(map(is_passing, error.exceptions))
    if isinstance(error, ItemError):
        return False
    return isinstance(error, _DATABASE) or database_may_recover(error) or is_transient(error)


class ItemCommand(AsyncCommand, ABC, Generic[Item]):
    """What all shapes over items share: hooks about one item, each with a default that serves most commands.

    One worker carries an item through its hooks, `Limits(threads=…)` items at once. What fails is tried again as
    `retry` says, holding no worker meanwhile, and is kept as dead when it is given up; the run goes on. Raise
    `ac.SkipItem` to leave an item out.
    """

    _uncalled_hooks: ClassVar[tuple[str, ...]] = ("handle",)

    @hook(returned=A_TOTAL)
    def total(self) -> SyncOrAsync[int | None]:
        """How many items there will be, for the progress bar. None: querysets and sized iterables are counted."""
        return None

    @hook(kinds=PLAIN_ONLY, returned=A_KEY)
    def item_key(self, item: Item, /) -> str:
        """What makes an item this item, in every run: a resume knows the done ones by it.

        The default is a model instance's label and primary key, and canonical JSON of anything else; TypeError, with
        the remedy, where an item has neither. Of a command that keeps no history each item is another one. Called on
        the event loop, once per item: no I/O.
        """
        return item_key(item) if keeps_history(type(self)) else uuid4().hex

    @hook(kinds=PLAIN_ONLY, returned=A_THROTTLE)
    def throttle_key(self, item: Item, /) -> str | None:
        """What `per_host` and `per_second` count: items of one key are paced together; None is not paced.

        The default is the host of an item that is a URL, or of its `url`. Called on the event loop: no I/O.
        """
        return host_of(item)

    @hook(returned=A_LINE)
    def order_key(self, item: Item, /) -> SyncOrAsync[str | int | UUID | None]:  # noqa: ARG002 - for those who write it
        """What goes one after another: of items of one key the next begins when the one before it is settled.

        Settled is what is done and committed, skipped or dead; with its retries, then. Items of other keys go on
        meanwhile, and None needs no order. Called on the event loop for each item: no I/O without `await`.
        """
        return None

    @hook(returned=A_WAIT)
    def throttle_on(self) -> SyncOrAsync[float | None]:
        """How many seconds to wait before anything begins, for the sake of what all items share: a replica's lag, load.

        Asked at most once a second, and only when an item is about to begin. While it says so none begins, and those in
        hand go on. 0 or None: no wait; at most an hour, after which it is asked again. A plain `def` runs on a database
        thread.
        """
        return None

    @hook(kinds=PLAIN_ONLY, returned=A_YES_OR_NO)
    def should_retry(self, error: Exception, /) -> bool:
        """Whether another attempt may help. What it refuses is dead at once.

        The default: time-outs, connection errors, the statuses 408, 425, 429 and 5xx, and database errors that pass.
        """
        return is_passing(error)

    @hook(may_take=("value",))
    def committed(self, item: Item, /, *args: Any, **kwargs: Any) -> Any:
        """Called after the item's commit: acknowledge and reply here, never before.

        `committed(self, item, value)` also gets what `parse_and_save` returned.
        """

    def follow(self, *items: Item) -> None:
        """Add items to this run. They are stored with what the item in hand writes, and taken once, by their keys."""
        self._in_run("follow()").follow(*items)


class GatheringCommand(ItemCommand[Item], Generic[Item]):
    """What those shapes share that may save many items by one call, to a sink that has a bulk API."""

    @hook(returned=A_BATCH)
    def batch_key(self, item: Item, /) -> SyncOrAsync[str | int | UUID | None]:  # noqa: ARG002 - for those who write it
        """What one call of `parse_and_save_many()` has in common: a table, an index. None is a key like any other.

        Called on the event loop, once per attempt: no I/O without `await`.
        """
        return None

    @hook
    def parse_and_save_many(self, items: Any, /) -> Any:
        """Save many items at once, in the place of `parse_and_save()`: at most `Batches(size=…)` of one `batch_key`.

        Gets a list: of pairs `(item, payload)` where each item has a download, else of items. They share one unit of
        work and commit together. A call that fails is made again with each half, until the guilty item is alone: that
        one is tried again or dead, and no other has lost an attempt.
        """
        raise NotImplementedError


class IterateDownloadCommand(GatheringCommand[Item], Generic[Item, Payload]):
    """A job that knows its items first: for each of them download something, then parse it and save the result.

    class Command(ac.IterateDownloadCommand[Site, str]):
        '''Fetch the front page of every site.'''

        limits = ac.Limits(threads=50)

        async def iterate(self):
            return Site.objects.all()

        async def download(self, site: Site) -> str:
            response = await self.http.get(site.url)
            return response.raise_for_status().text

        async def parse_and_save(self, site: Site, html: str) -> None:
            title = await self.cpu(title_of, html)
            self.db.upsert(Page(site=site, title=title), unique=["site"], update=["title"])
    """

    _stages = Stages(once=(), per_item=("download", "parse_and_save"))

    @hook(kinds=ANY_KIND, returned=A_SOURCE, keywords=("after", "shard"))
    @abstractmethod
    def iterate(self) -> SyncOrAsync[Source[Item]]:
        """Yield the items one by one, or return a queryset or any other iterable of them.

        A queryset is read in pages by primary key. Items are taken as workers come free, never all at once. After a
        connection error, and on resume, it is called again, and what is done already is passed over. Written
        `iterate(self, after=None)` it gets the place to go on from: see `At`. Written `iterate(self, shard=None)` it
        gives the items of one shard itself, by `shard.index` and `shard.count`; else it is asked for all in each shard.
        """

    @hook
    @abstractmethod
    def download(self, item: Item, /) -> SyncOrAsync[Payload]:
        """Fetch what belongs to the item and return it. Holds no database connection."""

    @hook(required=True, instead="parse_and_save_many")
    def parse_and_save(self, item: Item, payload: Payload, /) -> Any:
        """Make rows of the payload and queue them with `self.db`. Send heavy parsing to `await self.cpu(function, …)`.

        Queued rows and ORM calls commit together with the item's outcome, or not at all. The first ORM call takes one
        of `Limits(db_lanes=…)` connections and keeps it until the item is finished: await first, write last.
        """
        raise NotImplementedError


class DownloadIterateCommand(GatheringCommand[Item], Generic[Payload, Item]):
    """A job whose items are inside one download: fetch a file or a feed once, then take it apart and save its items.

    class Command(ac.DownloadIterateCommand[str, dict[str, str]]):
        '''Load the list of airports.'''

        async def download(self) -> str:
            response = await self.http.get("https://example.org/airports.csv")
            return response.raise_for_status().text

        def iterate(self, text: str):
            yield from csv.DictReader(io.StringIO(text))

        async def parse_and_save(self, row: dict[str, str]) -> None:
            self.db.upsert(Airport(code=row["code"], name=row["name"]), unique=["code"], update=["name"])
    """

    _stages = Stages(once=("download",), per_item=("parse_and_save",))

    @hook
    @abstractmethod
    def download(self) -> SyncOrAsync[Payload]:
        """Fetch the one thing that holds all items, and return it. Called once per run, and again on resume."""

    @hook(kinds=ANY_KIND, returned=A_SOURCE, keywords=("after", "shard"))
    @abstractmethod
    def iterate(self, payload: Payload, /) -> SyncOrAsync[Source[Item]]:
        """Take the payload apart: yield its items one by one, or return a queryset or any other iterable of them.

        Written `iterate(self, payload, after=None)` it gets the place that a resume goes on from: see `At`. `shard`
        is what it is in `IterateDownloadCommand`.
        """

    @hook(required=True, instead="parse_and_save_many")
    def parse_and_save(self, item: Item, /) -> Any:
        """Make rows of the item and queue them with `self.db`, as in `IterateDownloadCommand`."""
        raise NotImplementedError
