"""What can be wrong with data, and with whom it stays: rows that are left out, each with its reason.

* AsyncCommanderError
  + CleaningError        a frame that cannot be cleaned
    + ColumnError        a column is missing, doubled or unexpected
    + ConverterError     a converter failed, or returned something else than it should
    + SourceError        a file that cannot be read
    + RowsRejected       raised by `Cleaned.raise_for_rejected()`: some rows do not fit
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from async_commander.exceptions import AsyncCommanderError, ItemError
from async_commander.results import REJECTED

SHOWN = 80
"""Characters of a value in a message."""


@dataclass(frozen=True, slots=True)
class BadCell:
    """One value that does not fit its column."""

    column: str
    value: str | None
    """As it came, as text; None where there is none."""
    problem: str
    remedy: str

    def __str__(self) -> str:
        value = "nothing" if self.value is None else f"{self.value!r:.{SHOWN}}"
        place = f"column {self.column!r}: {value}" if self.column else "it"
        return f"{place} {self.problem}. {self.remedy}"


@dataclass(frozen=True, slots=True)
class RejectedRow:
    """A row that is left out, as it came, with all that is wrong with it."""

    row: int
    """Its place in the source; of a file, the line at which it ends. The first one is 1."""
    cells: tuple[BadCell, ...]
    data: dict[str, Any]
    """What the source has, under its own column names."""

    @property
    def item_label(self) -> str:
        """What the history calls it."""
        return f"row {self.row}"

    @property
    def reason(self) -> str:
        """What is wrong, in words."""
        return "; ".join(map(str, self.cells))

    def __str__(self) -> str:
        return f"Row {self.row}, {self.reason}"


class CleaningError(AsyncCommanderError):
    """A frame cannot be cleaned."""


class ColumnError(CleaningError):
    """A column is missing, doubled or unexpected."""

    def __init__(self, message: str, columns: Sequence[str]) -> None:
        super().__init__(message)
        self.columns = tuple(columns)


class ConverterError(CleaningError):
    """A converter failed as a whole, or returned something else than it should."""

    def __init__(self, message: str, column: str) -> None:
        super().__init__(message)
        self.column = column


class SourceError(CleaningError):
    """A file cannot be read: the message names it, the line where there is one, and the remedy."""


class RowsRejected(CleaningError):
    """Some rows do not fit. `rejected` has them all."""

    def __init__(self, rejected: Sequence[RejectedRow]) -> None:
        some = "\n".join(map(str, rejected[:3]))
        super().__init__(f"{len(rejected)} row{'' if len(rejected) == 1 else 's'} rejected:\n{some}")
        self.rejected = tuple(rejected)


class RowRejected(ItemError):
    """In a run: the row is a dead letter."""

    reason: ClassVar[str] = REJECTED
