"""A batch of rows: what an import has for an item, and how frames of any size are cut into them."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Final

from .cleaner import ROW
from .polars_extra import pl
from .rejected import RejectedRow

if TYPE_CHECKING:
    from collections.abc import Generator, Iterable, Sequence

Piece = tuple[pl.DataFrame, list[RejectedRow]]
"""Rows as they came, with their places in the column ROW, and those that could not even be read."""


class Batch:
    """Consecutive rows of the source. In every run the same rows, at the same place, make the same key."""

    __slots__ = ("first", "frame", "key", "last", "rejected")

    def __init__(self, frame: pl.DataFrame, rejected: Sequence[RejectedRow]) -> None:
        places = [*frame[ROW].to_list(), *(row.row for row in rejected)]
        self.first, self.last = min(places), max(places)
        self.frame = frame
        self.rejected = tuple(rejected)
        try:
            content = frame.write_csv()
        except pl.exceptions.ComputeError:  # a column of lists or the like
            content = frame.write_ndjson()
        digest = hashlib.sha256(content.encode("utf-8", "surrogatepass"))
        for row in rejected:
            digest.update(repr((row.row, row.data)).encode("utf-8", "surrogatepass"))
        self.key = f"rows {self.first}-{self.last} {digest.hexdigest()}"

    @property
    def item_label(self) -> str:
        """What the history calls it."""
        return f"rows {self.first} to {self.last}"

    def __repr__(self) -> str:
        return self.item_label


def batches(pieces: Iterable[Piece], size: int) -> Generator[Batch]:
    """Batches of `size` rows, the last one of a frame that is larger may be smaller; small frames stay as they are."""
    for frame, rejected in pieces:
        whole = list(frame.iter_slices(size)) if len(frame) else []
        if not whole and rejected:
            whole = [frame]
        for number, some in enumerate(whole):
            yield Batch(some, rejected if number == 0 else [])


class Numbered:
    """Gives the rows of frames without places of their own their places in the source, from 1."""

    FIRST: Final = 1

    def __init__(self) -> None:
        self._next = self.FIRST

    def __call__(self, frame: pl.DataFrame) -> Piece:
        if ROW in frame.columns:
            return frame, []
        start, self._next = self._next, self._next + len(frame)
        return frame.with_row_index(ROW, offset=start).with_columns(pl.col(ROW).cast(pl.Int64)), []
