"""The declarative cleaner: types, exact numbers, nulls, duplicates, and rows that are rejected with their reason."""

from __future__ import annotations

import subprocess
import sys
from datetime import UTC, date, datetime, time
from decimal import Decimal
from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from async_commander.command.items import item_from_json, item_to_json
from async_commander.exceptions import InvalidCommand
from async_commander.imports import Cleaner, ColumnError, ConverterError, RowsRejected, each


def cleaner(**attributes: Any) -> type[Cleaner]:
    return type("SomeCleaner", (Cleaner,), attributes)


def column(values: list[Any], to: Any, **attributes: Any) -> list[Any]:
    """The clean values of one column, in which nothing is rejected."""
    cleaned = cleaner(columns={"x": to}, **attributes).clean(pl.DataFrame({"x": values}, strict=False))
    return cleaned.raise_for_rejected().frame["x"].to_list()


def refused(value: Any, to: Any, **attributes: Any) -> str:
    """Why the only value of a column is rejected."""
    cleaned = cleaner(columns={"x": to}, **attributes).clean(pl.DataFrame({"x": [value]}))
    assert len(cleaned.frame) == 0
    (row,) = cleaned.rejected
    return str(row)


# --- names and columns


def test_columns_are_renamed_selected_and_put_in_order() -> None:
    books = cleaner(columns={"isbn": str, "title": str}, rename={"ISBN-13": "isbn"})
    cleaned = books.clean(pl.DataFrame({"note": ["n"], "title": [" t "], "ISBN-13": ["1"]}))
    assert cleaned.frame.to_dicts() == [{"isbn": "1", "title": "t"}]


def test_extra_columns_are_dropped_kept_or_refused() -> None:
    frame = pl.DataFrame({"x": ["1"], "new": ["n"]})
    assert cleaner(columns={"x": str}).clean(frame).frame.columns == ["x"]
    assert cleaner(columns={"x": str}, extra_columns="keep").clean(frame).frame.columns == ["x", "new"]
    with pytest.raises(ColumnError, match=r"Unexpected columns: 'new'") as caught:
        cleaner(columns={"x": str}, extra_columns="refuse").clean(frame)
    assert caught.value.columns == ("new",)


def test_a_missing_column_is_named_with_what_is_near_it() -> None:
    books = cleaner(columns={"isbn": str, "price": str}, rename={"Preis": "price"})
    with pytest.raises(ColumnError, match=r"'Preis' \(for 'price'\), did you mean 'Preise'\?.* has: 'Preise', 'isbn'"):
        books.clean(pl.DataFrame({"isbn": ["1"], "Preise": ["2"]}))


def test_two_columns_of_one_standard_name_are_refused() -> None:
    with pytest.raises(ColumnError, match="Two columns are to be 'price': 'Preis' and 'price'"):
        cleaner(columns={"price": str}, rename={"Preis": "price"}).clean(pl.DataFrame({"Preis": ["1"], "price": ["2"]}))


def test_a_byte_order_mark_and_blanks_do_not_belong_to_a_name() -> None:
    assert cleaner(columns={"x": str, "y": str}).clean(pl.DataFrame({"\ufeffx": ["1"], " y ": ["2"]})).frame.height == 1


def test_a_lazy_frame_is_collected() -> None:
    assert cleaner(columns={"x": int}).clean(pl.LazyFrame({"x": ["1"]})).frame["x"].to_list() == [1]


# --- types


@pytest.mark.parametrize(
    ("text", "to", "value"),
    [
        ("5", int, 5),
        ("+5.00", int, 5),
        ("-0", int, 0),
        ("1.5", float, 1.5),
        (".5", float, 0.5),
        ("1e3", float, 1000.0),
        ("Yes", bool, True),
        ("0", bool, False),
        ("2024-02-29", date, date(2024, 2, 29)),
        ("2024-02-29 10:30", datetime, datetime(2024, 2, 29, 10, 30)),
        ("2024-02-29T10:30:00+02:00", pl.Datetime("us", "UTC"), datetime(2024, 2, 29, 8, 30, tzinfo=UTC)),
        ("2024-02-29T10:30:00", pl.Datetime("us", "UTC"), datetime(2024, 2, 29, 10, 30, tzinfo=UTC)),
        ("10:30:00", time, time(10, 30)),
        ("12345678901234567890123.45", pl.Decimal(38, 2), Decimal("12345678901234567890123.45")),
        ("  text  ", str, "text"),
        ("", int, None),
        ("", str, None),
        ("NaN", float, None),
    ],
)
def test_texts_are_read_as_their_type(text: str, to: Any, value: Any) -> None:
    assert column([text, None], to) == [value, None]


@pytest.mark.parametrize(
    ("value", "to", "problem"),
    [
        ("abc", int, "'abc' is not a number. Correct it"),
        ("1.7", int, "'1.7' is not whole"),
        (1.7, int, "'1.7' is not whole"),
        ("300", pl.Int8, "'300' is out of the range of Int8"),
        ("-1", pl.UInt8, "is out of the range"),
        ("1.234,56", Decimal, "is not a number in the declared format. Set numbers = '1.234,56'"),
        ("1,234.56", float, "is not a number in the declared format. Set numbers = '1,234.56'"),
        ("1_000", int, "is not a number"),
        ("١٢", int, "is not a number"),
        ("1e400", float, "is out of the range"),
        ("inf", float, "is not a number"),
        (float("inf"), float, "is out of the range|is not a number"),
        ("99999999999.00", pl.Decimal(10, 2), "is out of the range"),
        ("0000-01-01", date, "is not a date of the years 1 to 9999 in ISO 8601"),
        ("0000-00-00", date, "is not a date of the years 1 to 9999"),
        ("2023-02-29", date, "is not a date"),
        ("01.02.2024", date, "set the column's format in dates"),
        ("0000-01-01 00:00", datetime, "is not a date and time"),
        ("2024-01-01T00:00:00+01:00", datetime, "is not a date and time"),
        ("25:00:00", time, "is not a time"),
        ("maybe", bool, "is neither true nor false"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_rejected_with_problem_and_remedy(value: Any, to: Any, problem: str) -> None:
    told = refused(value, to, **({"precision": {"x": 2}} if to is Decimal else {}))
    assert told.startswith("Row 1, column 'x': ")
    import re

    assert re.search(problem, told), told


def test_dates_have_a_format_and_a_year_zero_is_none() -> None:
    assert column(["29.02.2024"], date, dates="%d.%m.%Y") == [date(2024, 2, 29)]
    assert column(["29.02.2024 1:30"], datetime, dates={"x": "%d.%m.%Y %H:%M"}) == [datetime(2024, 2, 29, 1, 30)]
    zoned = column(["29.02.2024 1:30"], pl.Datetime("us", "Europe/Berlin"), dates="%d.%m.%Y %H:%M")
    assert zoned[0].astimezone(UTC) == datetime(2024, 2, 29, 0, 30, tzinfo=UTC)
    assert "in the format '%d.%m.%Y'" in refused("01.01.0000", date, dates="%d.%m.%Y")


@pytest.mark.parametrize(
    ("written", "text"),
    [
        ("1234.56", "1234.56"), ("1234,56", "1234,56"), ("1,234.56", "1,234.56"), ("1.234,56", "1.234,56"),
        ("1.234,56", "1234,56"), ("1 234,56", "1\u202f234,56"), ("1 234.56", "1 234.56"), ("1'234.56", "1'234.56"),
    ],
)  # fmt: skip
def test_numbers_are_read_as_their_sample_says(written: str, text: str) -> None:
    assert column([text], Decimal, numbers=written, precision={"x": 2}) == [Decimal("1234.56")]
    assert column([text], float, numbers={"x": written}) == [1234.56]


@pytest.mark.parametrize("text", ["1.23,45", "1.2345,6", "1,234.56", "12.34", ",", "1.234.56"])
def test_signs_in_the_wrong_place_are_no_number(text: str) -> None:
    assert "is not a number" in refused(text, float, numbers="1.234,56")


def test_frames_that_have_types_are_read_as_well() -> None:
    assert column([1, None], float) == [1.0, None]
    assert column([5.0, float("nan")], int) == [5, None]
    assert column([5, 6], str) == ["5", "6"]
    assert column([date(2024, 1, 1)], datetime) == [datetime(2024, 1, 1)]
    assert column([Decimal("1.10")], Decimal, precision={"x": 1}) == [Decimal("1.1")]
    with pytest.raises(ColumnError, match=r"Column 'x' is List\(Int64\), which cannot be read as Date"):
        column([[1], [2]], date)


# --- exact rounding


@pytest.mark.parametrize(
    ("rounding", "expected"),
    [("half_even", ["0.12", "0.14", "-0.12", "2.68"]), ("half_up", ["0.13", "0.14", "-0.13", "2.68"])],
)
def test_numbers_are_rounded_exactly_in_the_named_way(rounding: str, expected: list[str]) -> None:
    texts = ["0.125", "0.135", "-0.125", "2.675"]
    options: dict[str, Any] = {"precision": {"x": 2}, "rounding": rounding}
    assert column(texts, Decimal, **options) == [Decimal(one) for one in expected]
    assert column(texts, float, **options) == [float(one) for one in expected]
    assert column([float(text) for text in texts], Decimal, **options) == [Decimal(one) for one in expected]


def test_each_value_is_rounded_by_itself() -> None:
    assert column(["0.4"] * 6, float, precision={"x": 0}) == [0.0] * 6


def test_a_number_is_rounded_once() -> None:
    long = "0.1249999999999999999999999999999999999999999999999"
    assert column([long], Decimal, precision={"x": 2}, rounding="half_up") == [Decimal("0.12")]
    assert column([long, "1e-3"], Decimal, precision={"x": 2}, rounding="half_up") == [Decimal("0.12"), Decimal("0.00")]


@settings(max_examples=60)
@given(
    st.lists(st.decimals(-(10**12), 10**12, allow_nan=False, places=None), min_size=1, max_size=5),
    st.sampled_from(["half_even", "half_up"]),
    st.integers(0, 6),
)
def test_rounding_is_what_decimal_says(numbers: list[Decimal], rounding: str, places: int) -> None:
    unit, mode = Decimal(1).scaleb(-places), {"half_even": "ROUND_HALF_EVEN", "half_up": "ROUND_HALF_UP"}[rounding]
    expected = [number.quantize(unit, rounding=mode) for number in numbers]
    assert column(list(map(str, numbers)), Decimal, precision={"x": places}, rounding=rounding) == expected


# --- nulls


def test_columns_are_nullable_unless_they_are_required() -> None:
    books = cleaner(columns={"isbn": str, "title": str}, required=["isbn"])
    cleaned = books.clean(pl.DataFrame({"isbn": ["1", None, " "], "title": [None, "t", "u"]}))
    assert cleaned.frame.to_dicts() == [{"isbn": "1", "title": None}]
    assert [(row.row, row.cells[0].column, row.cells[0].value) for row in cleaned.rejected] == [
        (2, "isbn", None), (3, "isbn", None),
    ]  # fmt: skip
    assert "column 'isbn': nothing is there, and a value is required" in cleaned.rejected[0].reason


def test_some_texts_stand_for_nothing_and_nothing_may_be_filled() -> None:
    assert column(["n/a", "-", "x"], str, null_values=["n/a", "-"]) == [None, None, "x"]
    assert column(["", None, "5"], int, fill={"x": 0}, required=["x"]) == [0, 0, 5]
    assert column([float("nan"), 1.0], float) == [None, 1.0]
    assert column(["None", "NaN", "null"], str) == ["None", "NaN", "null"]


def test_rows_are_dropped_where_all_or_any_of_a_set_is_null() -> None:
    frame = pl.DataFrame({"a": [1, 1, None, None], "b": [1, None, 1, None]})
    both = {"columns": {"a": int, "b": int}}
    all_null = cleaner(**both, drop_if_all_null=[["a", "b"]]).clean(frame)
    assert (len(all_null.frame), all_null.dropped, all_null.rejected) == (3, 1, [])
    any_null = cleaner(**both, drop_if_any_null=[["a", "b"]]).clean(frame)
    assert (len(any_null.frame), any_null.dropped) == (1, 3)
    assert cleaner(**both, drop_if_any_null=[["a"]], drop_if_all_null=[["b"]]).clean(frame).frame.height == 1


# --- converters


def test_a_converter_gets_a_series_or_one_value_at_a_time() -> None:
    frame = pl.DataFrame({"a": ["x", None], "b": ["1", "2"]})
    both = cleaner(
        columns={"a": str, "b": int},
        convert={"a": each(str.upper), "b": lambda series: series * 2},
    )
    assert both.clean(frame).frame.to_dicts() == [{"a": "X", "b": 2}, {"a": None, "b": 4}]


def test_a_value_that_its_converter_refuses_rejects_its_row_only() -> None:
    def checked(isbn: str) -> str:
        if len(isbn) < 3:
            raise ValueError("too short")
        return isbn

    cleaned = cleaner(columns={"x": str}, convert={"x": each(checked)}).clean(pl.DataFrame({"x": ["123", "1", "2"]}))
    assert cleaned.frame["x"].to_list() == ["123"]
    assert [str(row) for row in cleaned.rejected] == [
        f"Row {row}, column 'x': '{row - 1}' was refused by the converter: ValueError: too short. "
        "Correct it, or the converter." for row in (2, 3)
    ]  # fmt: skip


def test_nulls_that_a_converter_makes_count() -> None:
    cleaned = cleaner(columns={"x": float}, convert={"x": lambda series: series / 0}, required=["x"])
    assert len(cleaned.clean(pl.DataFrame({"x": [0.0]})).rejected) == 1


@pytest.mark.parametrize(
    ("converter", "message"),
    [
        (lambda series: series.no_such_thing(), "The converter of column 'x' failed: AttributeError"),
        (lambda series: [1], "returned list; a Series of 2 is needed"),
        (lambda series: series.head(1), "returned 1 values"),
        (lambda series: series.cast(pl.String), r"returned String, declared is Int64. Cast it"),
        (each(lambda value: "text"), "returned what is no Int64"),
    ],
)
def test_a_converter_that_fails_as_a_whole_is_named(converter: Any, message: str) -> None:
    with pytest.raises(ConverterError, match=message) as caught:
        column(["1", "2"], int, convert={"x": converter})
    assert caught.value.column == "x"


# --- duplicates and order


def test_duplicates_are_merged_into_the_first_and_columns_added_up() -> None:
    stock = cleaner(columns={"sku": str, "n": int, "name": str}, unique=[["sku"]], sum_duplicates=["n"])
    frame = pl.DataFrame({"sku": ["b", "a", "b", "b"], "n": [1, 2, None, 3], "name": ["1", "2", "3", "4"]})
    cleaned = stock.clean(frame)
    assert cleaned.frame.rows() == [("b", 4, "1"), ("a", 2, "2")]
    assert (cleaned.merged, cleaned.duplicates) == (2, {1: (3, 4)})


def test_the_order_of_the_sets_does_not_matter_and_null_equals_nothing() -> None:
    frame = pl.DataFrame({"a": [1, 1, 2, None, None], "b": [1, 2, 2, None, None], "n": [1, 10, 100, 5, 5]})
    for unique in ([["a"], ["b"]], [["b"], ["a"]]):
        both = cleaner(columns={"a": int, "b": int, "n": int}, unique=unique, sum_duplicates=["n"])
        assert both.clean(frame).frame["n"].to_list() == [111, 5, 5]
    empty = cleaner(columns={"a": int}, unique=[["a"]], sum_duplicates=["a"]).clean(pl.DataFrame({"a": []}))
    assert empty.frame.is_empty()


def test_a_sum_of_nothing_is_nothing_and_decimals_stay_exact() -> None:
    money = {"columns": {"k": str, "n": Decimal}, "precision": {"n": 2}, "unique": [["k"]], "sum_duplicates": ["n"]}
    assert cleaner(**money).clean(pl.DataFrame({"k": ["a", "a"], "n": ["", ""]})).frame.rows() == [("a", None)]
    tenths = pl.DataFrame({"k": ["a"] * 3, "n": ["0.10", "0.20", "0.30"]})
    assert cleaner(**money).clean(tenths).frame.rows() == [("a", Decimal("0.60"))]


def test_rows_are_sorted_with_nulls_last() -> None:
    frame = pl.DataFrame({"a": [1, None, 2, 2], "b": [1, 2, 3, 4]})
    order = cleaner(columns={"a": int, "b": int}, sort=["-a", ("b", True)]).clean(frame).frame
    assert order.rows() == [(2, 4), (2, 3), (1, 1), (None, 2)]


# --- what is rejected


def test_a_rejected_row_keeps_what_came_and_all_that_is_wrong() -> None:
    books = cleaner(columns={"price": Decimal, "n": int}, rename={"Preis": "price"}, precision={"price": 2})
    cleaned = books.clean(pl.DataFrame({"Preis": ["1.00", "x"], "n": ["1", "y"], "note": ["a", "b"]}))
    (row,) = cleaned.rejected
    assert (row.row, [cell.column for cell in row.cells]) == (2, ["price", "n"])
    assert row.data == {"Preis": "x", "n": "y", "note": "b"}
    assert item_from_json(item_to_json(row)) == row
    with pytest.raises(RowsRejected, match="1 row rejected:\nRow 2, column 'price': 'x' is not a number") as caught:
        cleaned.raise_for_rejected()
    assert caught.value.rejected == (row,)


def test_an_empty_frame_is_clean() -> None:
    cleaned = cleaner(columns={"x": date, "y": Decimal}, precision={"y": 2}, fill={"y": 0}, required=["x"]).clean(
        pl.DataFrame({"x": [], "y": []})
    )
    assert (cleaned.frame.height, cleaned.rejected) == (0, [])


# --- the declaration


@pytest.mark.parametrize(
    ("attributes", "message"),
    [
        ({"required": ["y"]}, "required names 'y', which is not in columns: x"),
        ({"rename": {"x": "raw"}}, r"rename names 'raw'.* rename is \{raw: standard\}"),
        ({"required": "x"}, r"required is a text; a list is needed: \['x'\]"),
        ({"unique": ["x"]}, r"unique has 'x'; each is a list of columns: \[\['x'\]\]"),
        ({"rounding": "up"}, "rounding is 'up'; allowed: 'half_even', 'half_up'"),
        ({"numbers": "1-2"}, "numbers is '1-2'; allowed"),
        ({"extra_columns": "ignore"}, "extra_columns is 'ignore'"),
        ({"fill": {"x": None}}, "columns are nullable anyway"),
        ({"precision": {"x": 2}}, "precision names 'x', which is String"),
        ({"columns": {"x": Decimal}}, "Decimal without its places"),
        ({"columns": {"x": object}}, "as <class 'object'>; allowed: str, int"),
    ],
)
def test_a_declaration_that_cannot_be_meant_is_refused_when_it_is_written(
    attributes: dict[str, Any], message: str
) -> None:
    with pytest.raises(InvalidCommand, match=message):
        cleaner(**{"columns": {"x": str}, **attributes})


def test_a_base_without_columns_is_for_others() -> None:
    class Base(Cleaner):
        numbers = "1.234,56"
        required = ["price"]

    class Prices(Base):
        columns = {"price": float}

    assert Prices.clean(pl.DataFrame({"price": ["1.000,5"]})).frame["price"].to_list() == [1000.5]
    with pytest.raises(InvalidCommand, match="Base has no columns"):
        Base.clean(pl.DataFrame())


# --- the extra


def test_without_polars_the_error_names_the_extra_and_nothing_else_needs_it() -> None:
    code = """
import sys
sys.modules["polars"] = None
import async_commander, async_commander.exceptions
try:
    import async_commander.imports
except ModuleNotFoundError as error:
    print(error)
"""
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert told.stdout == "Data imports need Polars, which is not installed: pip install 'async-commander[polars]'\n"


def test_the_front_door_does_not_import_polars() -> None:
    code = "import sys, async_commander; print('polars' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "False\n"
