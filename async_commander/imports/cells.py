"""The values of one column as its type: what fits, and what does not, with the problem and the remedy."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, date, datetime
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from .numbers import Rounding, formats_of, plain_numbers, to_decimal, to_rounded_float, to_whole
from .polars_extra import pl

if TYPE_CHECKING:
    from collections.abc import Callable

_YES: Final = ("true", "t", "yes", "y", "1", "on")
_NO: Final = ("false", "f", "no", "n", "0", "off")
_NOT_A_NUMBER: Final = ("nan", "+nan", "-nan")


@dataclass(frozen=True, slots=True, kw_only=True)
class Form:
    """How the texts of one column are read."""

    to: pl.DataType
    strip: bool
    null_values: tuple[str, ...]
    numbers: str
    format: str | None
    """Of dates and times; ISO 8601 where it is None."""
    places: int | None
    """That floating-point numbers are rounded to."""
    rounding: Rounding


def parsed(values: pl.Series, form: Form) -> tuple[pl.Series, pl.Series]:
    """The values in the type of the column, and where there was one that does not fit: null stands in its place."""
    if values.dtype.is_float():
        values = values.fill_nan(None)
    if values.dtype == pl.String:
        values = _texts(values, form)
        if form.to.is_float():
            values = _null_where(values, values.str.to_lowercase().is_in(_NOT_A_NUMBER))
        read = _read_texts(values, form)
    elif (form.to.is_decimal() or form.places is not None) and values.dtype.is_numeric():
        values = values.cast(pl.String)  # the shortest text that is this number: 0.1, and not what stands for it
        read = _read_texts(values, form)
    elif form.to.is_integer() and values.dtype.is_float():
        read = _null_where(values, values != values.floor()).cast(form.to, strict=False)
    else:
        read = values.cast(form.to, strict=False)
    if form.to.is_temporal() and form.to in (pl.Date, pl.Datetime):
        read = _null_where(read, ~read.dt.year().is_between(1, 9999))  # Python and databases have no others
    if form.to.is_float():
        read = _null_where(read, read.is_infinite())
    return read.alias(values.name), values.is_not_null() & read.is_null()


def problem_of(text: str | None, form: Form) -> tuple[str, str]:
    """What is wrong with a value that did not fit, and what helps."""
    to = form.to
    if to.is_numeric():
        known = formats_of(text or "")
        if form.numbers in known:
            return (
                f"is out of the range of {to}" if "." not in (text or "") or not to.is_integer() else "is not whole",
                "Correct it, or declare a wider type.",
            )
        if known:
            return "is not a number in the declared format", f"Set numbers = {known[0]!r}, or that of this column."
        return "is not a number", "Correct it, or name it in null_values."
    if to in (pl.Date, pl.Datetime, pl.Time):
        wanted = f"the format {form.format!r}" if form.format else "ISO 8601"
        return (
            f"is not a {_NAMES.get(type(to), 'time')} of the years 1 to 9999 in {wanted}",
            "Correct it, set the column's format in dates, or name it in null_values.",
        )
    if to == pl.Boolean:
        return "is neither true nor false", f"Write one of {', '.join((*_YES, *_NO))}."
    return f"cannot be read as {to}", "Correct it, or use a converter."


_NAMES: Final[dict[type, str]] = {pl.Date: "date", pl.Datetime: "date and time", pl.Time: "time"}


def _null_where(values: pl.Series, condition: pl.Series) -> pl.Series:
    condition = condition.fill_null(value=False)
    if not condition.any():
        return values
    return pl.select(pl.when(~condition).then(values)).to_series().alias(values.name)


def _texts(values: pl.Series, form: Form) -> pl.Series:
    if form.strip:
        values = values.str.strip_chars()
    return _null_where(values, values.is_in(form.null_values))


def _read_texts(texts: pl.Series, form: Form) -> pl.Series:
    to = form.to
    numbers = plain_numbers(texts, form.numbers) if to.is_numeric() else texts
    if isinstance(to, pl.Decimal):
        read = to_decimal(numbers, to.precision, to.scale, form.rounding)
    elif to.is_integer():
        read = to_whole(numbers, to)
    elif to.is_float() and form.places is not None:
        read = to_rounded_float(numbers, to, form.places, form.rounding)
    elif to == pl.Boolean:
        lower = texts.str.to_lowercase()
        read = _null_where(lower.is_in(_YES), ~lower.is_in((*_YES, *_NO)))
    elif isinstance(to, pl.Datetime):
        read = _read_datetimes(texts, to, form.format)
    elif to == pl.Date and form.format is None:
        read = _each(texts, date.fromisoformat, to)
    elif to == pl.Date:
        read = texts.str.to_date(form.format, strict=False)
    elif to == pl.Time:
        read = texts.str.to_time(form.format or "%H:%M:%S%.f", strict=False)
    else:
        read = numbers.cast(to, strict=False)
    return read


def _read_datetimes(texts: pl.Series, to: pl.Datetime, written: str | None) -> pl.Series:
    if written is not None and to.time_zone is None:
        return texts.str.to_datetime(written, strict=False, time_unit=to.time_unit)
    if written is not None:
        read = texts.str.to_datetime(written, strict=False, time_unit=to.time_unit)
        zoned = read if read.dtype.time_zone else read.dt.replace_time_zone(to.time_zone, non_existent="null")  # type: ignore[attr-defined]
        return zoned.dt.convert_time_zone(str(to.time_zone))
    if to.time_zone is None:
        return _each(texts, partial(_moment, aware=False), pl.Datetime("us")).cast(to)
    aware = _each(texts, partial(_moment, aware=True), pl.Datetime("us")).dt.replace_time_zone("UTC")
    local = _each(texts, partial(_moment, aware=False), pl.Datetime("us")).dt.replace_time_zone(
        str(to.time_zone), ambiguous="earliest", non_existent="null"
    )
    return aware.dt.convert_time_zone(str(to.time_zone)).zip_with(aware.is_not_null(), local).cast(to)


def _each(texts: pl.Series, read: Callable[[str], Any], to: pl.DataType) -> pl.Series:
    """As Python reads them: it takes all of ISO 8601, and refuses a year 0."""

    def one(text: str | None) -> Any:
        try:
            return None if text is None else read(text)
        except (ValueError, OverflowError):
            return None

    return pl.Series(texts.name, [one(text) for text in texts], dtype=to)


def _moment(text: str, *, aware: bool) -> datetime | None:
    """A time with an offset, in UTC, or one without; None where it is the other one."""
    found = datetime.fromisoformat(text)
    if (found.tzinfo is not None) is not aware:
        return None
    return found.astimezone(UTC).replace(tzinfo=None) if aware else found
