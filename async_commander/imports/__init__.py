"""Data imports (extra `polars`): `from async_commander.imports import Cleaner`."""

from .cleaner import Cleaned, Cleaner, each
from .rejected import BadCell, CleaningError, ColumnError, ConverterError, RejectedRow, RowsRejected

__all__ = [
    "BadCell", "Cleaned", "Cleaner", "CleaningError", "ColumnError", "ConverterError", "RejectedRow", "RowsRejected",
    "each",
]  # fmt: skip
