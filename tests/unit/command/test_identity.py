"""Canonical texts, keys and labels: exact, stable, readable, and refused with a remedy where there is none."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
import uuid
from dataclasses import dataclass
from datetime import UTC, date, datetime
from decimal import Decimal
from enum import Enum
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from async_commander.command.identity import (
    LABEL_LENGTH,
    canonical_json,
    host_of,
    identity,
    item_key,
    item_label,
    key_uuid,
)
from async_commander.downloads.pacing import pace_key
from async_commander.models import Run
from async_commander.text.redactor import HIDDEN
from tests.testapp.models import Author


class Colour(Enum):
    RED = "red"


@dataclass(frozen=True)
class Point:
    x: int
    y: float


def saved(**values: Any) -> Author:
    author = Author(**values)
    author._state.adding = False
    return author


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("é", '"é"'),
        (1, "1"),
        (1.0, "1.0"),
        (True, "true"),
        (None, "null"),
        ((1, [2]), "[1,[2]]"),
        ({"b": 1, "a": 2}, '{"a":2,"b":1}'),
        ({2: "x"}, '{"2":"x"}'),
        ({3, 1, 2}, "[1,2,3]"),
        (date(2026, 1, 31), '"2026-01-31"'),
        (datetime(2026, 1, 31, tzinfo=UTC), '"2026-01-31T00:00:00+00:00"'),
        (Decimal("1.50"), '"1.50"'),
        (UUID(int=1), '"00000000-0000-0000-0000-000000000001"'),
        (Path("a/b"), '"a/b"'),
        (Colour.RED, '"red"'),
        (Point(1, 2.5), '{"x":1,"y":2.5}'),
        (b"\x00\xff", '"00ff"'),
    ],
)
def test_canonical_texts(value: Any, text: str) -> None:
    assert canonical_json(value) == text


@pytest.mark.parametrize("value", [object(), float("nan"), [float("inf")], len, Point])
def test_values_without_canonical_text_are_refused(value: Any) -> None:
    with pytest.raises((TypeError, ValueError), match="has no canonical text"):
        canonical_json(value)


def test_keys_that_fall_together_are_refused() -> None:
    with pytest.raises(ValueError, match="two keys of the dict"):
        canonical_json({1: "a", "1": "b"})


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)


@given(json_values)
def test_a_value_keeps_its_text_through_json(value: Any) -> None:
    assert canonical_json(json.loads(canonical_json(value))) == canonical_json(value)


@given(st.dictionaries(st.text(), st.integers()))
def test_the_order_of_a_dict_does_not_matter(value: dict[str, int]) -> None:
    assert canonical_json(dict(reversed(value.items()))) == canonical_json(value)


def test_sets_have_one_text_in_every_process() -> None:
    code = "from async_commander.command.identity import canonical_json as c; print(c({'a', 'b', 'c', 'd', 'e'}))"
    texts = {
        subprocess.run(
            [sys.executable, "-c", code],
            cwd=Path(__file__).parents[3],
            env={"PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("1", "2")
    }
    assert texts == {'["a","b","c","d","e"]\n'}


def test_an_identity_is_of_the_name_and_the_parameters() -> None:
    one = identity("fetch", {"domain": "x", "since": date(2026, 1, 31)})

    assert one == identity("fetch", {"since": "2026-01-31", "domain": "x"})
    assert len(one) == 64
    assert one != identity("fetch", {"domain": "y", "since": date(2026, 1, 31)})
    assert one != identity("other", {"domain": "x", "since": date(2026, 1, 31)})


def test_the_key_of_a_model_instance_is_label_and_primary_key() -> None:
    assert item_key(saved(pk=5)) == "testapp.Author:5"


def test_rows_inside_of_an_item_stand_for_their_primary_keys() -> None:
    assert item_key([saved(pk=5), "x"]) == item_key([saved(pk=5, name="renamed"), "x"])
    assert item_key([saved(pk=5), "x"]) != item_key([saved(pk=6), "x"])
    with pytest.raises(ValueError, match="not saved"):
        item_key([Author(name="x"), "x"])


def test_the_key_of_a_proxy_is_that_of_its_row() -> None:
    proxy = type("Proxy", (Author,), {"__module__": Author.__module__, "Meta": type("Meta", (), {"proxy": True})})
    row = proxy(pk=5)
    row._state.adding = False

    assert item_key(row) == item_key(saved(pk=5))


@pytest.mark.parametrize("item", [Author(name="x"), Author(pk=5, name="x")])
def test_an_unsaved_instance_is_refused_with_the_remedy(item: Author) -> None:
    with pytest.raises(ValueError, match=r"not saved.*save it first.*Define item_key\(self, item\)"):
        item_key(item)


def test_an_item_without_key_is_refused_with_the_remedy() -> None:
    with pytest.raises(TypeError, match=r"the item 'object' has no stable key: .*Define item_key\(self, item\)"):
        item_key(object())


def test_the_ledgers_key_is_a_name_based_uuid_of_the_digest() -> None:
    key = key_uuid("https://example.org/")
    digest = hashlib.sha256(b"https://example.org/").digest()
    assert key.bytes[:6] == digest[:6]
    assert key.bytes[9:] == digest[9:16]
    assert (key.version, key.variant) == (5, uuid.RFC_4122)


@pytest.mark.parametrize(
    ("item", "label"),
    [
        ("https://example.org/", "https://example.org/"),
        ("https://me:pw@example.org/?token=abc&x=1", "https://********@example.org/?token=********&x=1"),
        ("a\x1b[31mb\nc\u202ed", "ab cd"),
        ({"a": 1}, '{"a":1}'),
        (5, "5"),
    ],
)
def test_labels_are_readable_and_harmless(item: Any, label: str) -> None:
    assert item_label(item) == label


@dataclass
class Login:
    user: str
    password: str


@pytest.mark.parametrize(
    "item",
    [
        {"user": "bob", "password": "hunter22"},
        [{"n": {"client_secret": "hunter22"}}],
        Login("bob", "hunter22"),
        {"url": "https://bob:hunter22@example.org/"},
    ],
)
def test_labels_tell_no_secrets(item: Any) -> None:
    assert "hunter22" not in item_label(item)
    assert HIDDEN in item_label(item)


@pytest.mark.parametrize(
    ("url", "host"),
    [
        ("https://Example.org:81/a", "example.org"),
        ("https://bücher.example/", "xn--bcher-kva.example"),
        ("https://[::1]/", "::1"),
        ("no url", None),
    ],
)
def test_the_host_of_an_item_is_what_requests_to_it_are_paced_by(url: str, host: str | None) -> None:
    assert host_of(url) == host
    if host:
        assert pace_key(url) == host


def test_labels_of_rows_need_no_query() -> None:
    assert item_label(saved(pk=5, name="x")) == "testapp.Author 5"
    assert item_label(Run(pk=3)) == "async_commander.Run 3"


def test_labels_of_anything_else_name_the_type() -> None:
    assert item_label(object()) == "object"


@given(st.text())
def test_labels_are_at_most_200_characters(text: str) -> None:
    assert len(item_label(text * 50)) <= LABEL_LENGTH
