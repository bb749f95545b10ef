"""A run's value is kept as JSON, and what is lost of it is told."""

from __future__ import annotations

from datetime import date
from decimal import Decimal
from enum import Enum
from typing import Any

import pytest

from async_commander.text.redactor import HIDDEN, Redactor
from async_commander.text.values import VALUE_CAP, kept_value, redacted_value


class Colour(Enum):
    RED = "red"


class Thing:
    pass


class Mute:
    def __repr__(self) -> str:
        raise LookupError


@pytest.mark.parametrize(
    ("value", "kept"),
    [
        ({"a": 1}, {"a": 1}),
        (None, None),
        ("\x00", "\ufffd"),
        (date(2026, 1, 2), "2026-01-02"),
        (("a", 1.5), ["a", 1.5]),
        ({"d": None, "c": Colour.RED}, {"d": None, "c": "RED"}),
    ],
)
def test_what_json_can_say_is_kept_without_a_word(value: Any, kept: Any) -> None:
    assert kept_value(value, Redactor()) == (kept, "")


@pytest.mark.parametrize(
    ("value", "kept", "kind"),
    [
        (float("nan"), "nan", "float"),
        ({"rate": float("inf")}, "{'rate': inf}", "dict"),
        ({1, 2}, "{1, 2}", "set"),
        (Thing(), "<tests.unit.history.test_values.Thing object>", "Thing"),
        ([Thing()], "[<tests.unit.history.test_values.Thing object>]", "list"),
        (Mute(), "<Mute, whose text cannot be shown>", "Mute"),
    ],
)
def test_what_it_cannot_say_is_kept_as_text_and_told(value: Any, kept: str, kind: str) -> None:
    found, loss = kept_value(value, Redactor())
    assert str(found).replace(Thing.__module__, "tests.unit.history.test_values") == kept
    assert f"of type {kind}, cannot be kept as JSON (" in loss
    assert "0x" not in loss


def test_a_value_without_end_is_kept_as_text() -> None:
    endless: list[Any] = []
    endless.append(endless)
    assert kept_value(endless, Redactor())[0] == "[[...]]"


def test_a_long_value_is_cut_and_told() -> None:
    kept, loss = kept_value("x" * VALUE_CAP, Redactor())
    assert kept.endswith(f"x… ({VALUE_CAP + 2} characters)")
    assert f"{VALUE_CAP + 2} characters of JSON; the first {VALUE_CAP}" in loss


def test_values_under_secret_names_are_hidden_at_any_depth() -> None:
    values = {"domain": "x", "api_key": "k", "inner": {"password": "p", "list": [{"token": "t", "n": 1}]}}

    assert redacted_value(values, Redactor()) == {
        "domain": "x",
        "api_key": HIDDEN,
        "inner": {"password": HIDDEN, "list": [{"token": HIDDEN, "n": 1}]},
    }
    assert values["api_key"] == "k"


def test_names_that_are_known_to_be_no_secrets_are_shown_at_the_outermost_only() -> None:
    values = {"sort_key": "a", "inner": {"sort_key": "b"}}
    kept = redacted_value(values, Redactor(), shown={"sort_key"})
    assert kept == {"sort_key": "a", "inner": {"sort_key": HIDDEN}}


def test_secrets_are_hidden() -> None:
    assert kept_value({"a": "my pass word"}, Redactor(["pass word"]))[0] == {"a": f"my {HIDDEN}"}


@pytest.mark.parametrize(
    ("value", "kept"),
    [
        ("half a pair \ud83d", "half a pair \ufffd"),
        ({"\ud83d": ["\x00 and \ud83d"]}, {"\ufffd": ["\ufffd and \ufffd"]}),
        ({"quoted": '\\ " \n \u2028'}, {"quoted": '\\ " \n \u2028'}),
        (2**70, 2**70),
        (Decimal("1.10"), "1.10"),
        (Decimal("NaN"), "NaN"),
        ({1: "a", None: "b"}, {"1": "a", "null": "b"}),
    ],
)
def test_text_that_no_database_keeps_is_replaced_and_all_else_is_as_it_was(value: Any, kept: Any) -> None:
    assert kept_value(value, Redactor()) == (kept, "")


@pytest.mark.parametrize(
    ("value", "kept"),
    [
        ({"deep": [{"er": float("-inf")}]}, "{'deep': [{'er': -inf}]}"),
        ({(1, 2): 3}, "{(1, 2): 3}"),
        (b"\x00\xff", r"b'\x00\xff'"),
        (["\ud83d", {1}], r"['\ud83d', {1}]"),
        (10**5000, "<int, whose text cannot be shown>"),
    ],
    ids=["nan deep inside", "keys", "bytes", "a surrogate beside", "digits"],
)
def test_one_part_that_json_cannot_say_makes_a_text_of_the_whole(value: Any, kept: str) -> None:
    found, loss = kept_value(value, Redactor())
    assert found == kept
    assert loss.startswith(f"The run's value, of type {type(value).__name__}, cannot be kept as JSON (")
    assert loss.endswith("Return what JSON can say: finite numbers, text, lists, dicts.")


def test_a_value_too_deep_for_json_is_told() -> None:
    deep: list[Any] = []
    for _ in range(100_000):
        deep = [deep]
    found, loss = kept_value(deep, Redactor())
    assert found == "<list, whose text cannot be shown>"
    assert "maximum recursion depth" in loss


def test_a_long_value_that_is_no_json_is_told_with_both() -> None:
    kept, loss = kept_value({"x" * VALUE_CAP}, Redactor())
    assert len(kept) < VALUE_CAP + 50
    assert "of type set, cannot be kept as JSON" in loss
    assert f"the first {VALUE_CAP} of them are kept" in loss


@pytest.mark.parametrize(
    ("value", "secret", "kept"),
    [
        (["s3cret"], "s3cret", [HIDDEN]),
        ({"s3cret": 1}, "s3cret", {HIDDEN: 1}),
        ('a "quoted" one', '"quoted"', f"a {HIDDEN} one"),
        ("two\nlines", "two\nlines", HIDDEN),
        ("naïve word", "naïve word", HIDDEN),
        (ValueError("my s3cret"), "s3cret", f"ValueError('my {HIDDEN}')"),
        ("https://user:word@example.org/?token=abc&page=2", "none of it", None),
    ],
)
def test_secrets_are_hidden_however_they_are_written(value: Any, secret: str, kept: Any) -> None:
    shown = f"https://{HIDDEN}@example.org/?token={HIDDEN}&page=2" if kept is None else kept
    assert kept_value(value, Redactor([secret]))[0] == shown


def test_a_secret_at_the_cut_is_hidden_before_it_is_cut() -> None:
    value = "x" * (VALUE_CAP - 5) + "s3cret-of-many-letters" + "x" * 100
    assert "s3c" not in kept_value(value, Redactor(["s3cret-of-many-letters"]))[0]


@pytest.mark.parametrize(
    ("value", "secrets", "kept"),
    [
        (
            {"url": "https://example.org/?token=abc", "n": 3},
            [],
            {"url": f"https://example.org/?token={HIDDEN}", "n": 3},
        ),
        ({"head": "Cookie: abc", "n": 3}, [], {"head": f"Cookie: {HIDDEN}", "n": 3}),
        ({"id": 123456, "n": 3}, [1234], None),
        ("C:\\u0000dir", [], "C:\\u0000dir"),
    ],
)
def test_what_is_hidden_leaves_the_rest_of_the_value_as_it_was(value: Any, secrets: list[Any], kept: Any) -> None:
    found, loss = kept_value(value, Redactor(secrets))
    assert loss == ""
    assert isinstance(found, type(value))
    assert kept is None or found == kept


@pytest.mark.parametrize(
    "value", [{"api_key": "abc"}, [{"password": "hunter2"}], {"headers": {"Authorization": "Bearer x"}}]
)
def test_values_under_secret_names_are_hidden(value: Any) -> None:
    assert str(kept_value(value, Redactor())[0]).count(HIDDEN) == 1


def test_a_value_that_fails_while_it_is_read_is_told() -> None:
    class Lazy(list[int]):
        def __iter__(self) -> Any:
            raise LookupError("gone")

    assert "cannot be kept as JSON (gone)" in kept_value(Lazy([1]), Redactor())[1]
