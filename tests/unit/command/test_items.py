"""Items as JSON: the same item comes back, of the same type."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from enum import Enum, StrEnum
from pathlib import Path
from typing import Any, NamedTuple
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from async_commander.command.items import (
    ItemGone,
    RowReference,
    item_from_json,
    item_to_json,
    row_reference,
    text_to_keep,
    value_kept,
)
from tests.testapp.models import Author


class Colour(Enum):
    RED = (1, 2)


class Kind(StrEnum):
    A = "a"


class Pair(NamedTuple):
    left: int
    right: date


@dataclass(frozen=True)
class Task:
    url: str
    when: date | None = None
    parts: tuple[int, ...] = ()
    size: int = field(init=False, default=0)


def there_and_back(item: Any) -> Any:
    return item_from_json(json.loads(json.dumps(item_to_json(item))))


@pytest.mark.parametrize(
    "item",
    [
        "https://example.org/",
        ["a", 1, None, True, 2.5],
        ("a", ("b", 1)),
        {"a": [1, {"b": (2,)}]},
        {1: "a", (2, 3): "b"},
        {"model": "x", "pk": 1},
        {"$type": "tuple", "value": (1,)},
        {"$type": "row", "value": ["testapp.Author", 5, "default"]},
        {"model": "testapp.Author", "pk": 5},
        {1, 2},
        frozenset({"a"}),
        date(2026, 1, 31),
        datetime(2026, 1, 31, 12, 30),
        time(12, 30),
        timedelta(days=-1, microseconds=5),
        Decimal("1.50"),
        UUID(int=5),
        Path("a/b"),
        b"\x00\xff",
        Colour.RED,
        Kind.A,
        Pair(1, date(2026, 1, 31)),
        Task("x", date(2026, 1, 31), (1, 2)),
        {"task": Task("x")},
    ],
)
def test_an_item_comes_back_as_it_was(item: Any) -> None:
    back = there_and_back(item)

    assert back == item
    assert type(back) is type(item)


items = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text() | st.dates() | st.uuids() | st.binary(),
    lambda inner: (
        st.lists(inner)
        | st.lists(inner).map(tuple)
        | st.dictionaries(st.text() | st.sampled_from(["$type", "value", "model", "pk"]), inner)
    ),
)


@given(items)
def test_any_plain_item_comes_back_as_it_was(item: Any) -> None:
    assert repr(there_and_back(item)) == repr(item)


def test_a_saved_row_is_its_label_and_primary_key() -> None:
    author = Author(pk=5)
    author._state.adding = False

    assert item_to_json(author) == {"model": "testapp.Author", "pk": 5}


@pytest.mark.parametrize(
    ("using", "routers", "stored"),
    [
        ("default", [], {"model": "testapp.Author", "pk": 5}),
        ("default", [object()], {"$type": "row", "value": ["testapp.Author", 5, "default"]}),
        ("other", [], {"$type": "row", "value": ["testapp.Author", 5, "other"]}),
        (None, [object()], {"model": "testapp.Author", "pk": 5}),
    ],
)
def test_a_row_has_its_database_where_that_is_not_the_only_one(
    settings: Any, using: str | None, routers: list[object], stored: Any
) -> None:
    settings.DATABASE_ROUTERS = routers
    author = Author(pk=5)
    author._state.adding, author._state.db = False, using

    assert item_to_json(author) == stored


def test_what_is_stored_of_a_row_tells_which_it_is() -> None:
    assert row_reference({"model": "testapp.Author", "pk": 5}) == RowReference("testapp.Author", 5, None)
    key = {"$type": "tuple", "value": [1, {"$type": "UUID", "value": str(UUID(int=5))}]}
    stored = {"$type": "row", "value": ["testapp.Author", key, "other"]}
    assert row_reference(stored) == RowReference("testapp.Author", (1, UUID(int=5)), "other")
    for other in (5, "text", [stored], {"row": stored}, {"$type": "tuple", "value": [1, 2, 3]}):
        assert row_reference(other) is None


def test_a_row_of_a_model_that_is_no_more_is_gone() -> None:
    reference = RowReference("testapp.Nothing", 5)

    assert not reference.is_a(Author)
    with pytest.raises(ItemGone, match=r"no model testapp\.Nothing any more"):
        reference.read()


def test_an_unsaved_row_is_refused() -> None:
    with pytest.raises(ValueError, match="save it first"):
        item_to_json(Author(name="x"))


def test_what_json_cannot_hold_is_refused_with_the_remedy() -> None:
    @dataclass
    class Local:
        x: int

    for item in (object(), Local(1), [object()]):
        with pytest.raises(
            TypeError, match="cannot be kept as JSON; yield plain data, saved model instances, or a dataclass"
        ):
            item_to_json(item)


@pytest.mark.parametrize("name", ["nowhere.at_all:Task", f"{__name__}:Gone", "tuple_of_nothing"])
def test_a_class_that_is_gone_is_named(name: str) -> None:
    with pytest.raises(TypeError, match="does not exist any more"):
        item_from_json({"$type": name, "value": {}})


def test_what_is_stored_makes_nothing_but_values() -> None:
    with pytest.raises(TypeError, match="no dataclass, named tuple or Enum"):
        item_from_json({"$type": "subprocess:Popen", "value": {"args": ["true"]}})


def test_a_value_that_is_kept_as_a_text_comes_back_as_it_was() -> None:
    value = {"b": 1e300, "a": [Pair(1, 2), date(2026, 2, 28)], "$type": Kind.A}
    kept = value_kept(text_to_keep(value))
    assert repr(kept) == repr(value)


@pytest.mark.parametrize("inside", [lambda row: row, lambda row: {"found": [1, (row,)]}])
def test_a_row_is_no_value_to_keep(inside: Any) -> None:
    row = Author(pk=7, name="x")
    row._state.adding = False
    with pytest.raises(
        TypeError, match=r"a testapp\.Author is a row, which may have changed by then; give its primary"
    ):
        text_to_keep(inside(row))
