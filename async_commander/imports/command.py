"""The shape of a data import: extract ──batches──▶ clean ──▶ transform ──▶ load."""

from __future__ import annotations

import csv
import hashlib
import logging
import os
from abc import ABC, abstractmethod
from collections.abc import AsyncIterable, AsyncIterator, Iterable, Mapping
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

from asgiref.sync import sync_to_async
from django.core.exceptions import ValidationError
from django.db import DataError, IntegrityError, models

from async_commander.command.arguments import Option
from async_commander.command.declaration import declaration_of
from async_commander.command.hooks import A_SOURCE, A_VALUE, ANY_KIND, HookKind, Returned, Stages, hook
from async_commander.command.identity import canonical_json
from async_commander.command.items import item_from_json, item_to_json
from async_commander.command.shapes import ItemCommand, SyncOrAsync
from async_commander.engine.limits import Limits
from async_commander.exceptions import InvalidCommand
from async_commander.results import RunResult, RunStatus

from .batches import Batch, Numbered, batches
from .cleaner import ROW, Cleaned, Cleaner
from .loading import (
    Fields,
    NoSuchRow,
    Rules,
    check_keys,
    checked,
    close_circles,
    found_again,
    open_circles,
    resolve,
)
from .polars_extra import pl
from .rejected import BadCell, ColumnError, RejectedRow, RowRejected
from .removal import Seen
from .sources import lazily, pieces_of_file

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .batches import Piece

Table = pl.DataFrame | pl.LazyFrame | Iterable[pl.DataFrame] | str | os.PathLike[str]
Extracted = Table | AsyncIterable[pl.DataFrame]

_A_TABLE = Returned(
    "a DataFrame, a LazyFrame, an iterable or async iterable of DataFrames, or the path of a file",
    lambda value: isinstance(value, pl.DataFrame | pl.LazyFrame | str | os.PathLike | Iterable | AsyncIterable),
)
_ABOUT_A_ROW = (IntegrityError, DataError, ValidationError, ValueError, OverflowError)
"""Errors of which one row may be guilty: the others are loaded without it."""


class _Batches(ItemCommand[Batch | RejectedRow], ABC):
    """The hooks that the runner knows, which an import answers itself."""

    @hook(kinds=ANY_KIND, returned=A_SOURCE)
    @abstractmethod
    def iterate(self) -> AsyncIterator[Batch]:
        """The batches of the source."""

    @hook
    @abstractmethod
    def parse_and_save(self, batch: Batch | RejectedRow, /) -> Any:
        """Clean, transform and load one batch."""


class ImportCommand(_Batches, ABC):
    """A job that loads a table: from a file, a frame or a stream of frames, a batch of rows at a time.

        class Command(ImportCommand):
            '''Load the price list.'''

            path: str

            cleaner = BookCleaner
            unique = {Book: ["isbn"], Author: ["name"]}

            def extract(self):
                return self.path

            def transform(self, frame):
                authors = {name: Author(name=name) for name in frame["author"].unique()}
                books = [
                    Book(isbn=row["isbn"], title=row["title"], author=authors[row["author"]])
                    for row in frame.iter_rows(named=True)
                ]
                return {Author: authors.values(), Book: books}

    An item is a batch of rows. All models of a batch are written together, parents first, or not at all. A row that
    does not fit, or that the database refuses, is left out of its batch and kept as a dead letter with its reason; the
    others are loaded. A file is read as a stream: memory does not grow with it.
    """

    cleaner: ClassVar[type[Cleaner] | None] = None
    """What `clean()` uses. None: rows are taken as they come."""
    unique: ClassVar[Mapping[type[models.Model], Iterable[str]]] = {}
    """The fields of a unique constraint by which rows of a model are found and overwritten; else they are inserted."""
    update: ClassVar[Mapping[type[models.Model], Fields]] = {}
    """The fields that are overwritten where the row exists; else all."""
    removes: ClassVar[Iterable[type[models.Model]]] = ()
    """The models of which `--delete` removes the rows that left the source; `owned()` says which rows are meant."""
    encoding: ClassVar[str] = "utf-8"
    """Of CSV files and JSON lines."""
    delimiter: ClassVar[str] = ","
    """Of CSV files."""
    deletes = True
    """`--delete` removes what left the source, of the models in `removes`."""
    limits = Limits(threads=1, max_failures=None)
    """One batch after the other, so that of two rows with one key the later one wins; rejected rows end no run."""

    rows_per_batch: Annotated[int, Option(help="load so many rows at once", identity=False)] = 1000
    rejected_to: Annotated[str, Option(help="write rejected rows to this CSV file", identity=False)] = ""

    _own_arguments = frozenset({"rows_per_batch", "rejected_to"})
    _stages: ClassVar[Stages | None] = Stages(once=(), per_item=("parse_and_save",), chunk=4, divisible=False)

    @hook(kinds=ANY_KIND, returned=_A_TABLE)
    @abstractmethod
    def extract(self) -> SyncOrAsync[Extracted]:
        """Return a DataFrame, a LazyFrame, an iterable of DataFrames or the path of a file, or yield DataFrames.

        Files are known by their suffix: CSV, TSV, Parquet, JSON lines, Excel. Called again on resume, where batches
        that are done are passed over.
        """

    @hook(returned=A_VALUE)
    def clean(self, frame: pl.DataFrame, /) -> SyncOrAsync[Cleaned | pl.DataFrame]:
        """Return the clean rows of a batch; the default uses `cleaner`."""
        return frame.drop(ROW) if self.cleaner is None else self.cleaner.clean(frame)

    @hook
    @abstractmethod
    def transform(self, frame: pl.DataFrame, /) -> SyncOrAsync[Mapping[type[models.Model], Iterable[models.Model]]]:
        """Make `{Model: objects}` of the clean rows of a batch, in any order; `{}` loads nothing.

        Objects refer to each other as usual, to saved ones, or to a `reference()`. It may be called again with some of
        the rows, to find those that the database refuses: have no effects in here.
        """

    def owned(self, model: type[models.Model], /) -> models.QuerySet[Any]:
        """The rows of a model in `removes` that come from this source: `--delete` looks at no others.

        Override it where other rows are in the table, too: those of another supplier, say. Called on a lane.
        """
        return model._default_manager.all()

    # -- for the runner ------------------------------------------------------------------------------------------------

    @cached_property
    def _seen(self) -> Seen:
        return Seen(self.removes if self.delete else ())

    async def iterate(self) -> AsyncIterator[Batch]:
        """The batches of what `extract()` gives."""
        if self.rows_per_batch < 1:
            raise InvalidCommand(f"--rows-per-batch {self.rows_per_batch}: at least 1 row")
        keyless = [model.__name__ for model in self.removes if model not in self.unique]
        if keyless:
            raise InvalidCommand(
                f"removes names {', '.join(keyless)}, which unique gives no key: name its fields there"
            )
        if self.delete and not self.removes:
            raise InvalidCommand("--delete: say in removes = [Model] which models' rows are to be removed")
        self._seen = Seen(self.removes if self.delete else ())
        extracted = await self._extracted()
        unchecked = self.cleaner
        async for batch in self._batches_of(extracted):
            if unchecked is not None and len(batch.frame):
                # Before anything is loaded: a column that is missing is missing in every batch.
                try:
                    unchecked.check_columns(batch.frame)
                except ColumnError as error:
                    (only, *more) = [name for name in batch.frame.columns if name != ROW] or [""]
                    signs = [sign for sign in (";", "\t", "|") if not more and sign in only]
                    if not signs:
                        raise
                    hint = f"{error} Or is it another delimiter? Set delimiter = {signs[0]!r}."
                    raise ColumnError(hint, error.columns) from None
                unchecked = None
            if self.delete:
                self._seen.yielded.append(batch.key)
            yield batch
        self._seen.whole = True

    async def parse_and_save(self, batch: Batch | RejectedRow, /) -> None:
        """Load a batch; what of it does not fit follows as dead letters."""
        if isinstance(batch, RejectedRow):
            raise RowRejected(str(batch))
        rejected = list(batch.rejected)
        if len(batch.frame):
            cleaned = await self._cleaned(batch.frame)
            rejected += cleaned.rejected
            for place, error in await self._load(cleaned.frame):
                rejected += _refused(batch.frame, cleaned, place, error)
        self.follow(*rejected)
        self._seen.loaded.add(batch.key)

    def item_key(self, item: Batch | RejectedRow, /) -> str:
        """Of a batch or a rejected row: its place and its content."""
        if isinstance(item, Batch):
            return item.key
        content = canonical_json(item_to_json(item.data)).encode("utf-8", "surrogatepass")
        return f"row {item.row} {hashlib.sha256(content).hexdigest()}"

    async def cleanup(self, result: RunResult) -> None:
        """Remove what left the source, write the rejected rows. One of your own awaits `super().cleanup(result)`."""
        if self.delete and result.status is RunStatus.SUCCEEDED and "max_items" not in self.options:
            seen = self._seen
            if not seen.whole or set(seen.yielded) - seen.loaded:  # before: those rows are found again, not written
                async for batch in self._batches_of(await self._extracted()):
                    if batch.key not in seen.loaded and len(batch.frame):
                        cleaned = await self._cleaned(batch.frame)
                        objects = checked(await self._called("transform", cleaned.frame))
                        self._seen.add(await sync_to_async(found_again)(objects, self.unique, self.db.alias))
            for model in self.removes:
                owned = await sync_to_async(self.owned)(model)
                count = await sync_to_async(self._seen.remove_others)(owned)
                level = logging.WARNING if count else logging.INFO  # shown at -v 1
                self.log.log(level, "%d rows of %s left the source and were removed", count, model._meta.label)
        elif self.delete:
            self.log.warning("Nothing is removed: the source was not loaded completely, so what left it is not known.")
        if self.rejected_to:
            await sync_to_async(export_rejected)(self.record.pk, self.rejected_to)

    # -- the steps -----------------------------------------------------------------------------------------------------

    async def _extracted(self) -> Extracted:
        written = declaration_of(type(self)).hooks["extract"]
        found: Any = await sync_to_async(self.extract)() if written.kind is HookKind.PLAIN else self.extract()
        extracted: Extracted = await found if written.kind is HookKind.ASYNC else found
        written.spec.check_returned(self, extracted)
        return extracted

    async def _batches_of(self, extracted: Extracted) -> AsyncIterator[Batch]:
        numbered = Numbered()
        if isinstance(extracted, AsyncIterable):
            async for frame in extracted:
                for batch in batches([numbered(_frame(frame))], self.rows_per_batch):
                    yield batch
            return
        found = batches(self._pieces(extracted, numbered), self.rows_per_batch)
        try:
            while (batch := await sync_to_async(partial(next, found, None))()) is not None:
                yield batch
        finally:
            await sync_to_async(found.close)()

    def _pieces(self, extracted: Table, numbered: Numbered) -> Iterator[Piece]:
        if isinstance(extracted, str | os.PathLike):
            yield from pieces_of_file(extracted, self.rows_per_batch, encoding=self.encoding, delimiter=self.delimiter)
        elif isinstance(extracted, pl.DataFrame):
            yield numbered(extracted)
        elif isinstance(extracted, pl.LazyFrame):
            yield from map(numbered, lazily(extracted, self.rows_per_batch))
        else:
            yield from (numbered(_frame(frame)) for frame in extracted)

    async def _cleaned(self, raw: pl.DataFrame) -> Cleaned:
        """What `clean()` makes of these rows, each with its place; null where it is not known."""
        found: Any = await self._called("clean", raw)
        if isinstance(found, Cleaned):
            return found
        if not isinstance(found, pl.DataFrame):
            raise InvalidCommand(f"clean() returned {type(found).__name__}; a DataFrame or Cleaned is needed")
        if ROW in found.columns:
            return Cleaned(found.drop(ROW), found[ROW])
        # Of a frame that clean() has made shorter nobody knows which row is which.
        unknown = pl.Series(ROW, [None], dtype=pl.Int64).new_from_index(0, len(found))
        return Cleaned(found, raw[ROW] if len(found) == len(raw) else unknown)

    async def _load(self, clean: pl.DataFrame) -> list[tuple[int, Exception]]:
        """Load all rows that the database takes. Returns the positions of the others, each with its error."""
        parts, refused, passed = [list(range(len(clean)))], dict[int, Exception](), False
        while parts:
            part = parts.pop()
            try:
                async with self.db.atomic():
                    await self._write(clean[part] if len(part) < len(clean) else clean)
            except _ABOUT_A_ROW as error:
                if len(part) > 1:  # by halves, until the guilty rows are alone
                    middle = len(part) // 2
                    parts += [part[middle:], part[:middle]]
                elif part:
                    refused[part[0]] = error
            else:
                passed = passed or bool(refused)
                for place in part:
                    refused.pop(place, None)
            if not parts and passed:
                # A row that refers to another one of its batch was refused where that one was loaded later.
                again = [place for place, error in refused.items() if isinstance(error, NoSuchRow | IntegrityError)]
                parts, passed = ([again] if again else []), False
        return sorted(refused.items())

    async def _write(self, cleaned: pl.DataFrame) -> None:
        objects = checked(await self._called("transform", cleaned)) if len(cleaned) else {}
        if not any(objects.values()):
            return
        await self.db(resolve, objects, self.db.alias)
        later = open_circles(objects)
        Rules(self.unique, self.update).queue(self.db, objects)
        await self.db.flush()
        if later:
            close_circles(self.db, later)
            await self.db.flush()
        await self.db(check_keys, objects, self.db.alias)
        self._seen.add(objects)

    async def _called(self, name: str, frame: pl.DataFrame) -> Any:
        """A hook of the author's, or the default: on the loop where it is `async def`, else on the item's lane."""
        written = declaration_of(type(self)).hooks.get(name)
        if written is not None and written.kind is HookKind.ASYNC:
            return await getattr(self, name)(frame)
        return await sync_to_async(getattr(self, name))(frame)


def _frame(found: object) -> pl.DataFrame:
    if not isinstance(found, pl.DataFrame):
        raise InvalidCommand(f"extract() gave a {type(found).__name__} among its frames; DataFrames are needed")
    return found


def _refused(raw: pl.DataFrame, cleaned: Cleaned, position: int, error: Exception) -> list[RejectedRow]:
    """The row that the database refuses, and those that were merged into it: none of them is loaded."""
    row: int | None = cleaned.rows[position]
    told = "; ".join(error.messages) if isinstance(error, ValidationError) else " ".join(str(error).split())
    problem = f"fits, and was refused: {type(error).__name__}: {told}"
    remedy = "Correct the row, or what it refers to."
    found = raw.filter(pl.col(ROW) == row).drop(ROW).to_dicts() if row is not None else []
    if row is None or len(found) != 1:  # what clean() has left of it is all that is known
        places = raw[ROW].to_list()
        first, last = min(places), max(places)
        cell = BadCell("", None, f"is one of the rows {first} to {last}, {problem}", remedy)
        return [RejectedRow(first, (cell,), cleaned.frame.row(position, named=True))]
    rejected = [RejectedRow(row, (BadCell("", None, problem, remedy),), found[0])]
    for other in cleaned.duplicates.get(row, ()):
        cell = BadCell("", None, f"was merged into row {row}, which {problem}", remedy)
        rejected.append(RejectedRow(other, (cell,), raw.filter(pl.col(ROW) == other).drop(ROW).row(0, named=True)))
    return rejected


def export_rejected(run: int, path: str | os.PathLike[str]) -> int:
    """Write the rejected rows of a run to a CSV file, with the columns of their source. Returns how many there are.

    Behind these columns come `rejected_row` and `rejected_because`. Corrected, the file can be imported again.
    """
    from async_commander.models import RunItem

    stored = RunItem.objects.filter(run_id=run, state="dead", reason=RowRejected.reason).order_by("pk")
    names: dict[str, None] = {}
    for item in stored.values_list("item", flat=True).iterator():
        names.update(dict.fromkeys(item_from_json(item).data))
    count = 0
    with Path(path).open("w", newline="", encoding="utf-8", errors="surrogateescape") as file:
        writer = csv.writer(file)
        writer.writerow([*names, "rejected_row", "rejected_because"])
        for item in stored.values_list("item", flat=True).iterator():
            row: RejectedRow = item_from_json(item)
            writer.writerow([*(row.data.get(name) for name in names), row.row, row.reason])
            count += 1
    return count
