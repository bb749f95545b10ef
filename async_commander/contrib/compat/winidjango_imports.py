"""What of winidjango needs Polars: `CleaningDF` on a `Cleaner`, and the command that imports a frame."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from django.db import models

from async_commander.exceptions import InvalidCommand
from async_commander.imports import Cleaner, RowsRejected
from async_commander.imports.polars_extra import pl

from .winidjango_commands import ABCBaseCommand
from .winidjango_rows import STEP, bulk_create_bulks_in_steps


class DataRejected(RowsRejected, ValueError):
    """Some rows do not fit; `rejected` has them all, each with its reason."""


class CleaningDF:
    """A table that is cleaned when it is made: `CleaningDF(frame).df`. Write `get_col_dtype_map()` and what differs.

    ValueError (`DataRejected`) where a value does not fit its type, or is missing in `get_no_null_cols()`: it names the
    rows. Nulls may stay where `get_fill_null_map()` says nothing, and numbers are rounded exactly, each by itself.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        raw = args[0] if len(args) == 1 and isinstance(args[0], pl.DataFrame) else pl.DataFrame(*args, **kwargs)
        cleaned = self.cleaner().clean(raw)
        if cleaned.rejected:
            raise DataRejected(cleaned.rejected)
        self.df = cleaned.frame

    _cleaner: type[Cleaner] | None = None

    @classmethod
    def cleaner(cls) -> type[Cleaner]:
        """The same as a `Cleaner`, for an `ac.ImportCommand`."""
        found: type[Cleaner] | None = vars(cls).get("_cleaner")
        if found is not None:
            return found
        columns = dict(cls.get_col_dtype_map())
        fill, convert = cls.get_fill_null_map(), cls.get_col_converter_map()
        cls._cleaner = type(
            cls.__name__,
            (Cleaner,),
            {
                "columns": columns,
                "rename": _raw_to_standard(cls, columns),
                "fill": {name: value for name, value in fill.items() if value is not None},
                "convert": {name: each for name, each in convert.items() if each != cls.skip_col_converter},
                "precision": dict(cls.get_col_precision_map()),
                "drop_if_all_null": [list(names) for names in cls.get_drop_null_subsets() or [tuple(columns)]],
                "required": list(cls.get_no_null_cols()),
                "unique": [list(names) for names in cls.get_unique_subsets()],
                "sum_duplicates": list(cls.get_add_on_duplicate_cols()),
                "sort": list(cls.get_sort_cols()),
                "__module__": cls.__module__,
            },
        )
        return cls._cleaner

    @classmethod
    def get_col_dtype_map(cls) -> Mapping[str, Any]:
        """The columns with their types."""
        raise InvalidCommand(f"{cls.__qualname__} has no get_col_dtype_map(): return {{'name': pl.Utf8}}")

    @classmethod
    def get_rename_map(cls) -> Mapping[str, str]:
        """`{raw: standard}`, or `{standard: raw}`; names that stay need no entry."""
        return {}

    @classmethod
    def get_fill_null_map(cls) -> Mapping[str, Any]:
        """What stands where there is nothing; None leaves it so."""
        return {}

    @classmethod
    def get_col_precision_map(cls) -> Mapping[str, int]:
        """Decimal places of numbers."""
        return {}

    @classmethod
    def get_col_converter_map(cls) -> Mapping[str, Callable[[pl.Series], pl.Series]]:
        """A function for each column that has one."""
        return {}

    @classmethod
    def get_drop_null_subsets(cls) -> tuple[tuple[str, ...], ...]:
        """A row that has nothing in all columns of one of these is dropped; without any: in all columns."""
        return ()

    @classmethod
    def get_unique_subsets(cls) -> tuple[tuple[str, ...], ...]:
        """Of rows with the same values in all columns of one of these the first is kept."""
        return ()

    @classmethod
    def get_add_on_duplicate_cols(cls) -> tuple[str, ...]:
        """Columns that are added up where rows are the same."""
        return ()

    @classmethod
    def get_sort_cols(cls) -> tuple[tuple[str, bool], ...]:
        """Columns to sort by, each with whether it descends."""
        return ()

    @classmethod
    def get_no_null_cols(cls) -> tuple[str, ...]:
        """Columns in which every row has a value."""
        return ()

    @classmethod
    def get_col_names(cls) -> tuple[str, ...]:
        """The columns."""
        return tuple(cls.get_col_dtype_map())

    @classmethod
    def skip_col_converter(cls, _series: pl.Series) -> pl.Series:
        """In `get_col_converter_map()`: this column has none."""
        return _series


def _raw_to_standard(cls: type[CleaningDF], columns: Mapping[str, Any]) -> dict[str, str]:
    """Either way round that the documentation shows."""
    given = dict(cls.get_rename_map())
    if all(standard in columns for standard in given.values()):
        return given
    if all(standard in columns for standard in given):
        return {raw: standard for standard, raw in given.items()}
    raise InvalidCommand(
        f"{cls.__qualname__}.get_rename_map() is {given!r:.200}; allowed: {{raw: standard}}, each standard name a "
        f"column of get_col_dtype_map(): {', '.join(columns)}"
    )


class ImportDataBaseCommand(ABCBaseCommand):
    """A command that loads a frame: `handle_import()`, `get_cleaning_df_cls()`, `get_bulks_by_model(df)`.

    All rows of all models are written, parents first, or none. `--batch_size N` writes N at a time, `--dry_run` writes
    them and takes them back.
    """

    cleaning_df: CleaningDF

    @abstractmethod
    def handle_import(self) -> pl.DataFrame:
        """Return the raw data."""

    @abstractmethod
    def get_cleaning_df_cls(self) -> type[CleaningDF]:
        """Return the class that cleans it."""

    @abstractmethod
    def get_bulks_by_model(self, df: pl.DataFrame) -> Mapping[type[models.Model], Iterable[models.Model]]:
        """Return the objects to insert, by model, in any order; `{}` inserts nothing."""

    def handle_command(self) -> None:
        """Read, clean, and load."""
        self.cleaning_df = self.get_cleaning_df_cls()(self.handle_import())
        self.import_to_db()

    def import_to_db(self) -> None:
        """Insert what `get_bulks_by_model()` makes of the clean data."""
        step = getattr(self, "options", {}).get(self.Options.BATCH_SIZE) or STEP
        bulk_create_bulks_in_steps(self.get_bulks_by_model(df=self.cleaning_df.df), step=step)
