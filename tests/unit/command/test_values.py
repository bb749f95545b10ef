"""Each type of argument: what it takes from text, Python and JSON, and what it refuses."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from enum import Enum, Flag, IntEnum, StrEnum
from pathlib import Path
from typing import Annotated, Any, Literal, NewType, Optional
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from async_commander.command.values import kind_of


class Colour(Enum):
    RED = "red"
    BLUE = "blue"


class Level(IntEnum):
    LOW = 1
    HIGH = 2


class Sides(Flag):
    LEFT = 1
    RIGHT = 2


class Crossed(StrEnum):
    """A value that is another member's name: names win."""

    ONE = "TWO"
    TWO = "x"


SiteId = NewType("SiteId", int)
AN_ID = UUID("12345678-1234-5678-1234-567812345678")


@pytest.mark.parametrize(
    ("annotation", "given", "kept"),
    [
        (str, "x", "x"),
        (str, "", ""),
        (int, "5", 5),
        (int, 5, 5),
        (float, "1.5", 1.5),
        (float, 2, 2.0),
        (bool, "yes", True),
        (bool, "OFF", False),
        (bool, True, True),
        (date, "2026-01-31", date(2026, 1, 31)),
        (date, date(2026, 1, 31), date(2026, 1, 31)),
        (datetime, "2026-01-31T12:30:00+00:00", datetime(2026, 1, 31, 12, 30, tzinfo=UTC)),
        (datetime, "2026-01-31", datetime(2026, 1, 31)),
        (timedelta, timedelta(days=1), timedelta(days=1)),
        (timedelta, "1d 2h", timedelta(days=1, hours=2)),
        (timedelta, "90s", timedelta(seconds=90)),
        (timedelta, "90", timedelta(seconds=90)),
        (timedelta, "1:30:00", timedelta(hours=1, minutes=30)),
        (timedelta, "P1DT2H", timedelta(days=1, hours=2)),
        (timedelta, "3 days 04:05:06", timedelta(days=3, hours=4, minutes=5, seconds=6)),
        (Path, "a/b", Path("a/b")),
        (Decimal, "12.50", Decimal("12.50")),
        (Decimal, 3, Decimal(3)),
        (UUID, str(AN_ID), AN_ID),
        (Colour, "RED", Colour.RED),
        (Colour, "red", Colour.RED),
        (Colour, Colour.BLUE, Colour.BLUE),
        (Level, "2", Level.HIGH),
        (Level, 2, Level.HIGH),
        (Level, "low", Level.LOW),
        (Crossed, "TWO", Crossed.TWO),
        (Literal["a", 1, Colour.RED], "1", 1),
        (Literal["a", 1, Colour.RED], "RED", Colour.RED),
        (Literal["a", 1], "a", "a"),
        (int | None, None, None),
        (Optional[int], "5", 5),  # noqa: UP045  # the old spelling too
        (list[int], ["1", 2], [1, 2]),
        (list[Colour], ("red",), [Colour.RED]),
        (list[str] | None, None, None),
        (Literal["a", None], None, None),  # noqa: PYI061  # as authors write it
        (Sides, "left", Sides.LEFT),
        (SiteId, "5", 5),
    ],
)
def test_accepted(annotation: Any, given: Any, kept: Any) -> None:
    accepted = kind_of(annotation).accept(given)

    assert accepted == kept
    assert type(accepted) is type(kept)


@pytest.mark.parametrize(
    ("annotation", "given", "message"),
    [
        (str, 5, r"found 5 \(int\), allowed: a text"),
        (str, None, "found None"),
        (str, Crossed.ONE, "allowed: a text"),
        (int, "five", "found 'five', allowed: a whole number"),
        (int, True, r"found True \(bool\)"),
        (int, 1.0, r"found 1.0 \(float\)"),
        (float, "nan", "allowed: a finite number"),
        (float, float("inf"), "allowed: a finite number"),
        (bool, "perhaps", "allowed: true or false"),
        (bool, 1, r"found 1 \(int\)"),
        (date, datetime(2026, 1, 31), "allowed: a date"),
        (date, "31.1.2026", "allowed: a date like 2026-01-31"),
        (datetime, date(2026, 1, 31), "allowed: a time"),
        (timedelta, 90, r"found 90 \(int\), allowed: a stretch of time like 1d 2h, 90s, 1:30:00 or P1DT2H"),
        (timedelta, "soon", "found 'soon', allowed: a stretch of time"),
        (timedelta, "9999999999 days", "allowed: a stretch of time"),
        (Path, "", "allowed: a path"),
        (Decimal, 0.1, "allowed: an exact number"),
        (Decimal, "NaN", "allowed: an exact number"),
        (Decimal, "x", "allowed: an exact number"),
        (UUID, "x", "allowed: a UUID"),
        (Colour, "green", "found 'green', allowed: RED, BLUE"),
        (Colour, 5, "allowed: RED, BLUE"),
        (Level, True, "allowed: LOW, HIGH"),
        (Literal["a", 1], "b", "allowed: a, 1"),
        (Literal["a", 1], True, "allowed: a, 1"),
        (list[int], ["x"], r"found \['x'\] \(list\), allowed: a list, each member a whole number"),
        (list[str], "ab", "allowed: a list"),
        (int | None, "x", "allowed: a whole number or None"),
        (Literal["a", None], "None", "found 'None', allowed: a or None"),  # noqa: PYI061
        (Sides, Sides.LEFT | Sides.RIGHT, "allowed: LEFT, RIGHT"),
        pytest.param(
            int, 10**5000, r"found <int, whose text cannot be shown> \(int\), allowed: a whole number", id="endless"
        ),
    ],
)
def test_refused(annotation: Any, given: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        kind_of(annotation).accept(given)


@pytest.mark.parametrize(
    "annotation", [dict, dict[str, int], int | str, int | str | None, None, Any, list[list[int]], object]
)
def test_unsupported_types_are_named(annotation: Any) -> None:
    with pytest.raises(TypeError, match=r"found .*, allowed: str, int"):
        kind_of(annotation)


@pytest.mark.parametrize("annotation", [list, tuple[int, int], set[str], Sequence[int], frozenset])
def test_of_several_values_a_list_is_offered(annotation: Any) -> None:
    with pytest.raises(TypeError, match=r"found .*; several values are a list\[…\]$"):
        kind_of(annotation)


@pytest.mark.parametrize("annotation", [Literal[()], Literal[None], [], 3])  # noqa: PYI061
def test_what_is_no_type_of_an_argument_is_named(annotation: Any) -> None:
    with pytest.raises(TypeError, match=r"found .*, allowed: str, int"):
        kind_of(annotation)


def test_annotated_goes_around_the_whole_type() -> None:
    with pytest.raises(TypeError, match="it goes around all"):
        kind_of(Annotated[int, "x"] | None)


@pytest.mark.parametrize(
    ("annotation", "values"),
    [
        (str, st.text(st.characters(codec="utf-8", exclude_characters="\0"))),
        (int, st.integers()),
        (float, st.floats(allow_nan=False, allow_infinity=False)),
        (bool, st.booleans()),
        (date, st.dates()),
        (datetime, st.datetimes(timezones=st.none() | st.just(UTC))),
        (timedelta, st.timedeltas()),
        (Decimal, st.decimals(allow_nan=False, allow_infinity=False)),
        (UUID, st.uuids()),
        (Crossed, st.sampled_from(Crossed)),
        (list[date], st.lists(st.dates())),
        (int | None, st.none() | st.integers()),
        (Literal[1, "1", Colour.RED], st.sampled_from([1, "1", Colour.RED])),
    ],
)
def test_every_value_comes_back_from_json(annotation: Any, values: st.SearchStrategy[Any]) -> None:
    kind = kind_of(annotation)

    @given(values)
    def comes_back(value: Any) -> None:
        back = kind.accept(json.loads(json.dumps(kind.to_json(value))))
        assert back == value
        assert type(back) is type(value)

    comes_back()
