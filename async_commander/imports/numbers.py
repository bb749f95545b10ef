"""Numbers as people write them, and exact rounding."""

from __future__ import annotations

import re
from contextlib import suppress
from decimal import ROUND_HALF_EVEN, ROUND_HALF_UP, Context, Decimal, InvalidOperation
from typing import Final, Literal, TypeAlias

from .polars_extra import pl

Rounding: TypeAlias = Literal["half_even", "half_up"]

NUMBER_FORMATS: Final = ("1234.56", "1234,56", "1,234.56", "1.234,56", "1 234,56", "1 234.56", "1'234.56")
"""How numbers may be written: a sample says which sign stands before the decimals, and which one between thousands."""

ROUNDINGS: Final = {
    "half_even": (ROUND_HALF_EVEN, "half_to_even"),
    "half_up": (ROUND_HALF_UP, "half_away_from_zero"),
}
_BLANKS: Final = " \u00a0\u202f"
_DIGITS: Final = 38
"""Of a decimal number in Polars."""


def plain_numbers(texts: pl.Series, written: str) -> pl.Series:
    """Numbers in this format as "1234.56"; null where a text is none."""
    fitting = texts.str.contains(_pattern(written)).fill_null(value=False)
    plain = texts.str.replace_all(f"[{_class(_group(written))}]", "") if _group(written) else texts
    if written[-3] == ",":
        plain = plain.str.replace(",", ".", literal=True)
    return plain.zip_with(fitting, pl.Series([None], dtype=pl.String).new_from_index(0, len(texts)))


def formats_of(text: str) -> list[str]:
    """The formats in which this text is a number."""
    return [written for written in NUMBER_FORMATS if re.search(_pattern(written), text)]


def _group(written: str) -> str:
    return "" if written[1].isdigit() else written[1]


def _class(group: str) -> str:
    return _BLANKS if group == " " else group


def _pattern(written: str) -> str:
    mark, group = re.escape(written[-3]), _group(written)
    thousands = f"|[0-9]{{1,3}}(?:[{_class(group)}][0-9]{{3}})+" if group else ""
    return f"^[+-]?(?:(?:[0-9]+{thousands})(?:{mark}[0-9]+)?|{mark}[0-9]+)(?:[eE][+-]?[0-9]{{1,3}})?$"


def to_whole(numbers: pl.Series, to: pl.DataType) -> pl.Series:
    """Texts of whole numbers as such; null where there is a fraction, or the type has no room."""
    whole = numbers.str.extract(r"^([+-]?[0-9]+)(?:\.0*)?$")
    return whole.cast(to, strict=False)


def to_decimal(numbers: pl.Series, precision: int | None, scale: int, rounding: Rounding) -> pl.Series:
    """Texts as decimal numbers, rounded once and exactly; null where there is no room for them."""
    to = pl.Decimal(precision or _DIGITS, scale)
    fraction: int = numbers.str.extract(r"\.([0-9]+)$").str.len_chars().max() or 0  # type: ignore[assignment]
    whole: int = numbers.str.extract(r"^[+-]?0*([0-9]*)").str.len_chars().max() or 0  # type: ignore[assignment]
    has_exponents = numbers.str.contains("[eE]").any()
    if has_exponents or fraction + whole >= _DIGITS:  # more than Polars reads: one by one
        context = Context(prec=2000, rounding=ROUNDINGS[rounding][0])
        unit, largest = Decimal(1).scaleb(-scale), Decimal(1).scaleb((precision or _DIGITS) - scale)
        values: list[Decimal | None] = []
        for text in numbers:
            value = None
            with suppress(InvalidOperation):  # more digits than the context has
                value = None if text is None else Decimal(text).quantize(unit, context=context)
            values.append(value if value is not None and abs(value) < largest else None)
        return pl.Series(values, dtype=to)
    if fraction <= scale and whole + scale < _DIGITS:
        return numbers.cast(to, strict=False)
    exact = numbers.cast(pl.Decimal(_DIGITS, max(fraction, scale)), strict=False)
    return exact.round(scale, mode=ROUNDINGS[rounding][1]).cast(to, strict=False)  # type: ignore[arg-type]


def to_rounded_float(numbers: pl.Series, to: pl.DataType, places: int, rounding: Rounding) -> pl.Series:
    """Texts as floating-point numbers, of which the decimal number that is written is rounded: 2.675 becomes 2.68."""
    context = Context(prec=400, rounding=ROUNDINGS[rounding][0])
    unit = Decimal(1).scaleb(-places)
    values = (None if text is None else float(Decimal(text).quantize(unit, context=context)) for text in numbers)
    return pl.Series(numbers.name, list(values), dtype=pl.Float64).cast(to)
