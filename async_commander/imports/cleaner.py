"""A declarative cleaner: what columns are called, which types they have, and what happens to what does not fit."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from difflib import get_close_matches
from typing import Any, ClassVar, Final, Literal, TypeAlias

from async_commander.exceptions import InvalidCommand

from .cells import Form, parsed, problem_of
from .duplicates import merged
from .numbers import NUMBER_FORMATS, ROUNDINGS, Rounding
from .polars_extra import pl
from .rejected import BadCell, ColumnError, ConverterError, RejectedRow, RowsRejected

ROW: Final = "__row__"
"""The column with the place of each row in its source, where there is one."""

_TYPES: Final[dict[type, Any]] = {
    str: pl.String,
    int: pl.Int64,
    float: pl.Float64,
    bool: pl.Boolean,
    date: pl.Date,
    datetime: pl.Datetime("us"),
    time: pl.Time,
    timedelta: pl.Duration("us"),
}

Converter: TypeAlias = Callable[[pl.Series], pl.Series]


class each:  # noqa: N801  it is used as a function
    """A converter of single values: a value for which it raises rejects its row, and no other.

    convert = {"isbn": each(normalised_isbn)}

    None is not handed to it. A plain function in `convert` takes a whole `pl.Series`.
    """

    def __init__(self, function: Callable[[Any], Any], /) -> None:
        self.function = function


@dataclass(frozen=True, slots=True)
class Cleaned:
    """A clean frame, and what did not get into it."""

    frame: pl.DataFrame
    rows: pl.Series
    """The place in the source of each row of `frame`."""
    rejected: list[RejectedRow] = field(default_factory=list)
    dropped: int = 0
    """Rows that `drop_if_all_null` and `drop_if_any_null` left out."""
    merged: int = 0
    """Rows that were duplicates of an earlier one."""
    duplicates: Mapping[int, tuple[int, ...]] = field(default_factory=dict)
    """The places of the rows that were merged, by the place of the one into which they were."""

    def raise_for_rejected(self) -> Cleaned:
        """Raise RowsRejected where a row was; else return this."""
        if self.rejected:
            raise RowsRejected(self.rejected)
        return self


@dataclass(slots=True)
class _Work:
    """A frame on its way: the rows that are still in it, and what was wrong with the others."""

    raw: pl.DataFrame
    frame: pl.DataFrame
    bad: dict[int, list[BadCell]] = field(default_factory=dict)

    def reject(
        self, column: str, where: pl.Series, described: Callable[[Any], tuple[str, str]], values: pl.Series
    ) -> None:
        if where.any():
            for row, value in zip(self.frame[ROW].filter(where), values.filter(where), strict=True):
                text = None if value is None else str(value)
                self.bad.setdefault(row, []).append(BadCell(column, text, *described(text)))

    def leave_out_rejected(self) -> None:
        if self.bad:
            self.frame = self.frame.filter(~pl.col(ROW).is_in(list(self.bad)))

    def rejected(self) -> list[RejectedRow]:
        if not self.bad:
            return []
        data = self.raw.filter(pl.col(ROW).is_in(list(self.bad))).iter_rows(named=True)
        by_row = {one.pop(ROW): one for one in data}
        return [RejectedRow(row, tuple(self.bad[row]), by_row[row]) for row in sorted(self.bad)]


class Cleaner:
    """Rules for a table, written as class attributes.

        class BookCleaner(Cleaner):
            columns = {"isbn": str, "title": str, "price": Decimal, "published": date, "stock": int}
            rename = {"ISBN-13": "isbn", "Preis": "price"}      # {raw: standard}
            precision = {"price": 2}
            numbers = "1.234,56"
            required = ["isbn", "title"]
            unique = [["isbn"]]

        cleaned = BookCleaner.clean(frame)

    The order: rename, select, strip and null values, types and rounding, NaN to null, fill, convert, drop, required,
    unique, sort, types again. A value that does not fit rejects its row, which is kept in `cleaned.rejected` with all
    that is wrong with it. A column may be null unless it is `required`.
    """

    columns: ClassVar[Mapping[str, Any]] = {}
    """Each column with its type: str, int, float, bool, Decimal, date, datetime, time, or any of Polars."""
    rename: ClassVar[Mapping[str, str]] = {}
    """`{raw: standard}`; columns that keep their name need no entry."""
    extra_columns: ClassVar[Literal["drop", "keep", "refuse"]] = "drop"
    """What becomes of columns that are not declared."""
    strip: ClassVar[bool] = True
    """Whether blanks around texts are cut off."""
    null_values: ClassVar[Sequence[str]] = ("",)
    """Texts that stand for nothing, in any column."""
    numbers: ClassVar[str | Mapping[str, str]] = "1234.56"
    """How numbers are written, by a sample: `"1.234,56"`; or one for each column."""
    dates: ClassVar[str | Mapping[str, str]] = {}
    """How dates and times are written: `"%d.%m.%Y"`; or a format for each column. Without one: ISO 8601."""
    precision: ClassVar[Mapping[str, int]] = {}
    """Decimal places that a column of numbers is rounded to, exactly."""
    rounding: ClassVar[Rounding] = "half_even"
    """`"half_even"` or `"half_up"`: where a number is in the middle between two."""
    fill: ClassVar[Mapping[str, Any]] = {}
    """What stands in a column where there is nothing."""
    convert: ClassVar[Mapping[str, Converter | each]] = {}
    """A function from a `pl.Series` to one, or `each(function)` for one value at a time."""
    drop_if_all_null: ClassVar[Sequence[Sequence[str]]] = ()
    """Sets of columns: a row that has nothing in all columns of one of them is left out, silently."""
    drop_if_any_null: ClassVar[Sequence[Sequence[str]]] = ()
    """Sets of columns: a row that has nothing in any column of one of them is left out, silently."""
    required: ClassVar[Sequence[str]] = ()
    """Columns that may not be null: such a row is rejected."""
    unique: ClassVar[Sequence[Sequence[str]]] = ()
    """Sets of columns: of rows with the same values in one of them the first is kept. Null equals nothing.

    Of the rows that are cleaned together: an ImportCommand cleans a batch at a time. What lies in two batches meets in
    the database, by the `unique` of the command: the later row overwrites the earlier one.
    """
    sum_duplicates: ClassVar[Sequence[str]] = ()
    """Columns whose values are added up where rows are merged by `unique`: in an ImportCommand those of one batch.

    To add up a whole file, let `extract()` return a frame that is grouped already, or make `rows_per_batch` larger than
    it.
    """
    sort: ClassVar[Sequence[str | tuple[str, bool]]] = ()
    """Columns, `"-name"` or `("name", True)` for descending; nulls come last."""

    _forms: ClassVar[dict[str, Form]] = {}

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        cls._forms = {}
        if not cls.columns:  # a base for others
            return
        where = cls.__qualname__
        for attribute in (*_LISTS, *_SETS, "sort"):  # a text where a list belongs would be taken for its letters
            given = getattr(cls, attribute)
            if isinstance(given, str):
                raise InvalidCommand(f"{where}.{attribute} is a text; a list is needed: [{given!r}]")
            wrong = [one for one in given if isinstance(one, str) or not one] if attribute in _SETS else []
            if wrong:
                raise InvalidCommand(
                    f"{where}.{attribute} has {wrong[0]!r}; each is a list of columns: [[{wrong[0]!r}]]"
                )
        _check_names(cls)
        for attribute, values, allowed in (
            ("rounding", [cls.rounding], tuple(ROUNDINGS)),
            ("numbers", [cls.numbers] if isinstance(cls.numbers, str) else cls.numbers.values(), NUMBER_FORMATS),
            ("extra_columns", [cls.extra_columns], ("drop", "keep", "refuse")),
        ):
            for value in values:
                if value not in allowed:
                    raise InvalidCommand(f"{where}.{attribute} is {value!r}; allowed: {', '.join(map(repr, allowed))}")
        for name, value in cls.fill.items():
            if value is None:
                raise InvalidCommand(f"{where}.fill gives {name!r} None: leave it out, columns are nullable anyway")
        cls._forms = {name: _form(cls, name) for name in cls.columns}

    @classmethod
    def clean(cls, frame: pl.DataFrame | pl.LazyFrame) -> Cleaned:
        """Clean a frame. Raises ColumnError for its columns, and ConverterError; rows that do not fit are rejected."""
        if not cls.columns:
            raise InvalidCommand(f"{cls.__qualname__} has no columns: write `columns = {{'name': str}}`")
        raw = frame.collect() if isinstance(frame, pl.LazyFrame) else frame
        if ROW not in raw.columns:
            raw = raw.with_row_index(ROW, offset=1)
        work = _Work(raw, cls._selected(raw))
        cls._read(work)
        if cls.fill:
            work.frame = work.frame.with_columns(pl.col(name).fill_null(value) for name, value in cls.fill.items())
        for name, converter in cls.convert.items():
            given, to = work.frame[name], cls._forms[name].to
            values, problems = _converted(given, converter, to)
            refused = pl.Series([one is not None for one in problems], dtype=pl.Boolean)
            told = iter([(f"was refused by the converter: {one}", _CORRECT) for one in problems if one is not None])
            work.reject(name, refused, lambda _, told=told: next(told), given)  # type: ignore[misc]
            values = values.fill_nan(None) if to.is_float() else values
            work.frame = work.frame.with_columns(values.alias(name))
        work.leave_out_rejected()
        before = len(work.frame)
        for rules, some in ((cls.drop_if_all_null, pl.all_horizontal), (cls.drop_if_any_null, pl.any_horizontal)):
            for names in rules:
                work.frame = work.frame.filter(~some(pl.col(name).is_null() for name in names))
        dropped = before - len(work.frame)
        for name in cls.required:
            values = work.frame[name]
            work.reject(name, values.is_null(), lambda _: _MISSING, values)
        work.leave_out_rejected()
        kept, duplicates = work.frame, dict[int, tuple[int, ...]]()
        if cls.unique:
            kept, into = merged(work.frame, cls.unique, cls.sum_duplicates)
            places = work.frame[ROW]
            duplicates = {places[one]: tuple(places[other] for other in others) for one, others in into.items()}
        if cls.sort:
            names, descending = zip(*map(_direction, cls.sort), strict=True)
            kept = kept.sort(list(names), descending=list(descending), nulls_last=True, maintain_order=True)
        count = len(work.frame) - len(kept)
        return Cleaned(kept.drop(ROW), kept[ROW], work.rejected(), dropped, count, duplicates)

    @classmethod
    def check_columns(cls, frame: pl.DataFrame) -> None:
        """Raise ColumnError where `clean()` would."""
        cls._selected(frame.head(0) if ROW in frame.columns else frame.head(0).with_row_index(ROW))

    @classmethod
    def _selected(cls, raw: pl.DataFrame) -> pl.DataFrame:
        """The declared columns, under their standard names."""
        found = {name.strip().removeprefix("\ufeff"): name for name in raw.columns if name != ROW}
        sources: dict[str, str] = {}
        for name, actual in found.items():
            standard = cls.rename.get(name, name)
            if standard in sources:
                raise ColumnError(
                    f"Two columns are to be {standard!r}: {sources[standard]!r} and {actual!r}. Rename one of them to "
                    "something else, or remove it.", [standard],
                )  # fmt: skip
            sources[standard] = actual
        missing = [name for name in cls.columns if name not in sources]
        if missing:
            raw_names, parts = {standard: name for name, standard in cls.rename.items()}, list[str]()
            for name in missing:
                place = f"{raw_names[name]!r} (for {name!r})" if name in raw_names else repr(name)
                close = get_close_matches(raw_names.get(name, name), sorted(found), n=1)
                parts.append(f"{place}, did you mean {close[0]!r}?" if close else place)
            has = ", ".join(map(repr, sorted(found))) or "none"
            raise ColumnError(
                f"Missing columns: {', '.join(parts)}. The source has: {has}. Name it in rename, as {{raw: standard}}.",
                missing,
            )
        extra = [name for name in sources if name not in cls.columns]
        if extra and cls.extra_columns == "refuse":
            raise ColumnError(
                f"Unexpected columns: {', '.join(map(repr, extra))}. Declare them in columns, rename them, or set "
                f"extra_columns = 'drop'.", extra,
            )  # fmt: skip
        wanted = [*cls.columns, *(extra if cls.extra_columns == "keep" else [])]
        return raw.select(ROW, *(pl.col(sources[name]).alias(name) for name in wanted))

    @classmethod
    def _read(cls, work: _Work) -> None:
        columns = []
        for name, form in cls._forms.items():
            given = work.frame[name]
            try:
                values, bad = parsed(given, form)
            except pl.exceptions.PolarsError as error:
                raise ColumnError(
                    f"Column {name!r} is {given.dtype}, which cannot be read as {form.to}: {error}. Declare another "
                    "type for it.", [name],
                ) from error  # fmt: skip
            work.reject(name, bad, lambda text, form=form: problem_of(text, form), given)  # type: ignore[misc]
            columns.append(values)
        work.frame = work.frame.with_columns(columns)
        work.leave_out_rejected()


_MISSING: Final = ("is there, and a value is required", "Add it to the source, or give the column a value in fill.")


_CORRECT: Final = "Correct it, or the converter."


def _converted(given: pl.Series, converter: Converter | each, to: pl.DataType) -> tuple[pl.Series, list[str | None]]:
    """The values that a converter makes, and for each of its rows the problem where `each()` met one."""
    name = given.name
    problems: list[str | None] = [None] * len(given)
    if isinstance(converter, each):
        found: list[Any] = [None] * len(given)
        for place, value in enumerate(given):
            try:
                found[place] = None if value is None else converter.function(value)
            except Exception as error:  # noqa: BLE001  whatever it raises is about this value
                problems[place] = f"{type(error).__name__}: {error}"
        try:
            return pl.Series(name, found, dtype=to), problems
        except (TypeError, pl.exceptions.PolarsError) as error:
            raise ConverterError(f"The converter of {name!r} returned what is no {to}: {error}", name) from error
    try:
        values = converter(given)
    except Exception as error:
        raise ConverterError(
            f"The converter of column {name!r} failed: {type(error).__name__}: {error}. Use each(function) to reject "
            "single rows.", name,
        ) from error  # fmt: skip
    if not isinstance(values, pl.Series) or len(values) != len(given):
        shape = f"{len(values)} values" if isinstance(values, pl.Series) else type(values).__name__
        raise ConverterError(
            f"The converter of column {name!r} returned {shape}; a Series of {len(given)} is needed", name
        )
    if values.dtype != to:
        raise ConverterError(
            f"The converter of column {name!r} returned {values.dtype}, declared is {to}. Cast it: .cast(…)", name
        )
    return values, problems


def _direction(by: str | tuple[str, bool]) -> tuple[str, bool]:
    if isinstance(by, tuple):
        return by
    return by.removeprefix("-"), by.startswith("-")


# --- the declaration, checked when the class is made


_LISTS: Final = ("required", "sum_duplicates")
_SETS: Final = ("drop_if_all_null", "drop_if_any_null", "unique")


def _check_names(cls: type[Cleaner]) -> None:
    """Every column that is named is declared."""
    named = {
        "rename": [] if cls.extra_columns == "keep" else list(cls.rename.values()),
        **{name: list(getattr(cls, name)) for name in (*_LISTS, "fill", "convert", "precision")},
        **{name: [column for columns in getattr(cls, name) for column in columns] for name in _SETS},
        **{name: list(getattr(cls, name)) for name in ("numbers", "dates") if isinstance(getattr(cls, name), Mapping)},
        "sort": [_direction(by)[0] for by in cls.sort],
    }
    for attribute, names in named.items():
        for name in names:
            if name not in cls.columns:
                turned = attribute == "rename" and set(cls.rename) & set(cls.columns)
                raise InvalidCommand(
                    f"{cls.__qualname__}.{attribute} names {name!r}, which is not in columns: {', '.join(cls.columns)}."
                    f"{' rename is {raw: standard}.' if turned else ''}"
                )


def _form(cls: type[Cleaner], name: str) -> Form:
    declared, places, where = cls.columns[name], cls.precision.get(name), cls.__qualname__
    to: Any = _TYPES.get(declared, declared) if isinstance(declared, type) else declared
    if declared is Decimal or declared is pl.Decimal:
        if places is None:
            raise InvalidCommand(
                f"{where}.columns has {name!r} as Decimal without its places: write "
                f"precision = {{{name!r}: 2}}, or pl.Decimal(10, 2)"
            )
        to = pl.Decimal(38, places)
    elif isinstance(to, type) and issubclass(to, pl.DataType):
        to = to()
    if not isinstance(to, pl.DataType):
        allowed = ", ".join(one.__name__ for one in (*_TYPES, Decimal))
        raise InvalidCommand(f"{where}.columns has {name!r} as {declared!r}; allowed: {allowed}, or a type of Polars")
    if isinstance(to, pl.Decimal) and places is not None:
        to = pl.Decimal(to.precision, places)
    if places is not None and not (to.is_float() or to.is_decimal()):
        raise InvalidCommand(f"{where}.precision names {name!r}, which is {to} and has no decimal places")
    return Form(
        to=to,
        strip=cls.strip,
        null_values=tuple(cls.null_values),
        numbers=cls.numbers if isinstance(cls.numbers, str) else cls.numbers.get(name, "1234.56"),
        format=cls.dates if isinstance(cls.dates, str) else cls.dates.get(name),
        places=places,
        rounding=cls.rounding,
    )
