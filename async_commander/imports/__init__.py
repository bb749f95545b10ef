"""Data imports (extra `polars`): `from async_commander.imports import Cleaner`."""

from .cleaner import Cleaned, Cleaner, each
from .command import ImportCommand, export_rejected
from .loading import links, reference
from .rejected import BadCell, CleaningError, ColumnError, ConverterError, RejectedRow, RowsRejected, SourceError

__all__ = [
    "BadCell", "Cleaned", "Cleaner", "CleaningError", "ColumnError", "ConverterError", "ImportCommand", "RejectedRow",
    "RowsRejected", "SourceError", "each", "export_rejected", "links", "reference",
]  # fmt: skip
