"""A run's value is kept as JSON, and what is lost of it is told."""

from __future__ import annotations

from datetime import date
from typing import Any

import pytest

from async_commander.command.redaction import HIDDEN
from async_commander.history.redaction import redactor
from async_commander.history.values import VALUE_CAP, kept_value


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
    ],
)
def test_what_json_can_say_is_kept_without_a_word(value: Any, kept: Any) -> None:
    assert kept_value(value, redactor()) == (kept, "")


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
    found, loss = kept_value(value, redactor())
    assert str(found).replace(Thing.__module__, "tests.unit.history.test_values") == kept
    assert f"of type {kind}, cannot be kept as JSON (" in loss
    assert "0x" not in loss


def test_a_value_without_end_is_kept_as_text() -> None:
    endless: list[Any] = []
    endless.append(endless)
    assert kept_value(endless, redactor())[0] == "[[...]]"


def test_a_long_value_is_cut_and_told() -> None:
    kept, loss = kept_value("x" * VALUE_CAP, redactor())
    assert kept.endswith(f"x… ({VALUE_CAP + 2} characters)")
    assert f"{VALUE_CAP + 2} characters of JSON; the first {VALUE_CAP}" in loss


def test_secrets_are_hidden() -> None:
    assert kept_value({"a": "my pass word"}, redactor(["pass word"]))[0] == {"a": f"my {HIDDEN}"}
