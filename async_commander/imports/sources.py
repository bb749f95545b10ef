"""Files as frames, by their suffix, a few thousand rows at a time: CSV, Parquet, JSON lines, Excel."""

from __future__ import annotations

import csv
import io
import json
import logging
import os
from collections import Counter
from contextlib import contextmanager, suppress
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, Final

from .batches import Numbered, Piece
from .cleaner import ROW
from .polars_extra import pl
from .rejected import BadCell, ColumnError, RejectedRow, SourceError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

logger = logging.getLogger("async_commander.imports")

SUFFIXES: Final = {
    ".csv": "csv", ".tsv": "csv", ".txt": "csv", ".parquet": "parquet", ".pq": "parquet", ".jsonl": "json",
    ".ndjson": "json", ".xlsx": "excel", ".xlsm": "excel", ".xls": "excel", ".xlsb": "excel", ".ods": "excel",
}  # fmt: skip
LONGEST_FIELD: Final = 2**24
"""Characters of one field of a CSV file: a longer one is a quote that is not closed."""

_MARKS: Final = {b"\xff\xfe": "utf-16", b"\xfe\xff": "utf-16"}


def pieces_of_file(path: str | os.PathLike[str], rows: int, *, encoding: str, delimiter: str) -> Iterator[Piece]:
    """The rows of a file, `rows` at a time. SourceError for a file that cannot be read, with the remedy."""
    place = Path(path)
    kind = SUFFIXES.get(place.suffix.lower())
    if kind is None:
        raise SourceError(
            f"{place}: the suffix {place.suffix!r} is none of {', '.join(SUFFIXES)}. Return a frame of it."
        )
    try:
        if kind == "csv":
            yield from _csv(place, rows, encoding, "\t" if place.suffix.lower() == ".tsv" else delimiter)
        elif kind == "json":
            yield from _json_lines(place, rows, encoding)
        elif kind == "parquet":
            yield from map(Numbered(), lazily(pl.scan_parquet(place), rows))
        else:
            yield Numbered()(pl.read_excel(place, infer_schema_length=None))
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            f"{place}: Excel files need fastexcel: pip install 'async-commander[excel]'", name=error.name
        ) from error
    except OSError as error:
        raise SourceError(f"{place}: {error.strerror or error}") from error
    except pl.exceptions.PolarsError as error:
        raise SourceError(f"{place} cannot be read as {kind}: {error}") from error


def lazily(frame: pl.LazyFrame, rows: int) -> Iterator[pl.DataFrame]:
    """The rows of a lazy frame, in their order, without holding all of them where Polars can do that."""
    if hasattr(frame, "collect_batches"):
        yield from frame.collect_batches(chunk_size=rows, maintain_order=True)
    else:
        yield frame.collect()


class _AsItWas(io.RawIOBase):
    """A file up to the size that it had when it was opened; what is written behind that meanwhile is not read."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self.size = os.fstat(file.fileno()).st_size
        self._left = self.size

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        found = self._file.read(min(len(buffer), self._left))
        buffer[: len(found)] = found
        self._left -= len(found)
        return len(found)

    def has_grown(self, path: Path) -> bool:
        """To be asked at the end. SourceError where it is shorter than it was: what was read is not to be trusted."""
        now = os.fstat(self._file.fileno()).st_size
        if now < self.size:
            raise SourceError(f"{path} was cut from {self.size} to {now} bytes while it was read: begin again.")
        return now > self.size

    def ends_a_line(self) -> bool:
        """Whether the last byte that was there is a line's end."""
        if not self.size:
            return True
        self._file.seek(self.size - 1)
        return self._file.read(1) in (b"\n", b"\r", b"\x00")


@contextmanager
def _opened(path: Path, encoding: str) -> Iterator[tuple[io.TextIOBase, _AsItWas]]:
    """The text of a file. What is not in this encoding is kept as it is; its row is rejected."""
    with path.open("rb") as file:
        head = file.read(2)
        file.seek(0)
        if head in _MARKS and "16" not in encoding:
            raise SourceError(f"{path} is in {_MARKS[head]}, by its byte-order mark: set encoding = {_MARKS[head]!r}")
        bounded = _AsItWas(file)
        read_as = "utf-8-sig" if encoding.lower().replace("_", "-") in ("utf-8", "utf8") else encoding
        try:
            text = io.TextIOWrapper(
                io.BufferedReader(bounded, 2**18), encoding=read_as, errors="surrogateescape", newline=""
            )
        except LookupError as error:
            raise SourceError(f"encoding = {encoding!r} is not known to Python") from error
        yield text, bounded


def _csv(path: Path, rows: int, encoding: str, delimiter: str) -> Iterator[Piece]:
    with _opened(path, encoding) as (text, bounded):
        if csv.field_size_limit() < LONGEST_FIELD:
            csv.field_size_limit(LONGEST_FIELD)
        reader = csv.reader(text, delimiter=delimiter)
        try:
            header = [name.strip() for name in next(reader, [])]
            if not header:
                raise SourceError(f"{path} is empty: a first line with the names of the columns is needed")
            if alien := [name for name in header if _undecoded(name)]:
                raise SourceError(
                    f"{path}: the name of a column is not in {encoding}: {alien[0]!r}. Set encoding, as in 'cp1252'"
                )
            if doubled := [name for name, count in Counter(header).items() if count > 1]:
                names = ", ".join(map(repr, doubled))
                raise ColumnError(f"{path} has columns twice: {names}. Rename one of them.", doubled)
            records = ((reader.line_num, record) for record in reader if record)  # without empty lines
            whole = _without_a_half_line(path, bounded, records)
            while some := list(islice(whole, rows)):
                yield _table(header, some, encoding)
        except csv.Error as error:
            raise SourceError(f"{path}, line {reader.line_num}: {error}. Is a quote not closed?") from error


def _without_a_half_line(
    path: Path, bounded: _AsItWas, records: Iterator[tuple[int, Any]]
) -> Iterator[tuple[int, Any]]:
    """All rows but a last one that somebody was still writing."""
    held = next(records, None)
    for record in records:
        yield held  # type: ignore[misc]  # there is one before each
        held = record
    grown = bounded.has_grown(path)
    if grown:
        logger.warning("%s grew while it was read: the rows behind its first %d bytes are left out", path, bounded.size)
    if held is not None and (not grown or bounded.ends_a_line()):
        yield held


def _table(header: Sequence[str], records: Sequence[tuple[int, list[str]]], encoding: str) -> Piece:
    good: list[tuple[int, list[str]]] = []
    rejected = []
    for line, record in records:
        cells = []
        if len(record) != len(header):
            fields = f"{len(record)} field{'' if len(record) == 1 else 's'}"
            problem = f"has {fields}, the header has {len(header)}"
            cells.append(BadCell("", ", ".join(record), problem, "Quote fields that have the delimiter in them."))
        cells += [
            BadCell(name, value, f"is not in {encoding}", "Set encoding, as in 'cp1252', or correct it.")
            for name, value in zip(header, record, strict=False)
            if _undecoded(value)
        ]
        if cells:
            names = [*header, *(f"field {number}" for number in range(len(header) + 1, len(record) + 1))]
            rejected.append(RejectedRow(line, tuple(cells), dict(zip(names, record, strict=False))))
        else:
            good.append((line, record))
    columns = zip(*(record for _, record in good), strict=True) if good else [[]] * len(header)
    frame = pl.DataFrame(
        [
            pl.Series(ROW, [line for line, _ in good], dtype=pl.Int64),
            *(pl.Series(name, values, dtype=pl.String) for name, values in zip(header, columns, strict=True)),
        ]
    )
    return frame, rejected


def _undecoded(text: str) -> bool:
    return not text.isascii() and any("\ud800" <= sign <= "\udfff" for sign in text)


def _json_lines(path: Path, rows: int, encoding: str) -> Iterator[Piece]:
    names: dict[str, None] = {}
    with _opened(path, encoding) as (text, bounded):
        lines = _without_a_half_line(
            path, bounded, ((number, line) for number, line in enumerate(text, 1) if line.strip())
        )
        while some := list(islice(lines, rows)):
            good: list[tuple[int, dict[str, Any]]] = []
            rejected = []
            for number, line in some:
                try:
                    if _undecoded(line):
                        raise ValueError(f"not in {encoding}")
                    found = json.loads(line)
                    if not isinstance(found, dict):
                        raise TypeError("not an object")
                except (ValueError, TypeError, RecursionError) as error:
                    cell = BadCell("", line.strip(), f"is no line of JSON: {error}", "Write one object on each line.")
                    rejected.append(RejectedRow(number, (cell,), {"line": line.strip()}))
                else:
                    good.append((number, found))
                    names.update(dict.fromkeys(found))
            places = pl.Series(ROW, [number for number, _ in good], dtype=pl.Int64)
            yield (
                pl.DataFrame([places, *(_series(name, [one.get(name) for _, one in good]) for name in names)]),
                rejected,
            )


def _series(name: str, values: list[Any]) -> pl.Series:
    """Values of one type as they are; those of several as texts, which a cleaner reads as it reads CSV."""
    kinds = {type(value) for value in values if value is not None}
    if kinds <= {int, float} or (len(kinds) <= 1 and not kinds & {dict, list}):
        with suppress(OverflowError, TypeError, pl.exceptions.PolarsError):  # numbers that Polars has no room for
            return pl.Series(name, values, strict=len(kinds) <= 1)
    texts = [
        value if value is None or isinstance(value, str) else json.dumps(value, ensure_ascii=False) for value in values
    ]
    return pl.Series(name, texts, dtype=pl.String)
