"""Tracebacks: nothing in a message forges a line, and nothing of a secret is left where they are cut."""

from __future__ import annotations

from typing import Any

import pytest

from async_commander.pool.payload import MAX_TRACEBACK, dump_error, load_error
from async_commander.runner.verdicts import traceback_of
from async_commander.text.clean import last_lines
from async_commander.text.redactor import HIDDEN, Redactor, no_credentials
from async_commander.text.tracebacks import TRACEBACK_CAP, traceback_text

SECRET = "0123456789abcdefghijklmnopqrstuv"
FORGED = "first\n2026-01-31 ERROR forged\r\x1b[31msecond\u2028third"


def raised(error: BaseException) -> Any:
    try:
        raise error
    except BaseException as caught:
        return caught


def lines_of(error: BaseException) -> list[str]:
    return traceback_text(error).splitlines()


def test_further_lines_of_a_message_are_indented() -> None:
    cause, error = raised(KeyError("plain")), ValueError(FORGED)
    error.add_note(f"a note\n{FORGED}")
    error.__cause__ = cause
    group = raised(ExceptionGroup("several", [error, OSError(FORGED)]))
    for one in (error, group, ValueError(FORGED)):
        text = traceback_text(one)
        assert not [line for line in text.splitlines() if line.startswith(("2026", "second", "third"))]
        assert " 2026-01-31 ERROR forged" in text
        assert text.isprintable() or set(filter(lambda each: not each.isprintable(), text)) == {"\n"}


def test_a_traceback_without_such_messages_stays_as_python_writes_it() -> None:
    lines = lines_of(raised(ValueError("plain")))
    assert lines[0] == "Traceback (most recent call last):"
    assert lines[-1] == "ValueError: plain"
    assert traceback_text(ValueError()) == "ValueError"


def test_an_error_that_cannot_be_shown_is_named() -> None:
    class Unspeakable(Exception):
        def __str__(self) -> str:
            raise LookupError

    assert "Unspeakable" in traceback_text(raised(Unspeakable()))


@pytest.mark.parametrize("gap", [0, 7, 16, 31, 32, 500, 5_000])
@pytest.mark.parametrize("end", ["\n", " "])
def test_a_traceback_of_a_pool_process_is_cut_where_no_part_of_a_secret_is_left(gap: int, end: str) -> None:
    tail = "y" * gap + end + ("z" * 90 + end) * ((MAX_TRACEBACK - gap) // 91)
    for shift in range(-40, 60, 9):
        error = raised(ValueError("x" * 30_000 + SECRET + tail[: len(tail) - shift if shift > 0 else None]))
        shown = traceback_of(load_error(dump_error(error), "parse"), Redactor([SECRET]))
        assert not [start for start in range(len(SECRET) - 5) if SECRET[start : start + 6] in shown]


def test_a_short_traceback_of_a_pool_process_is_whole() -> None:
    shown = traceback_of(load_error(dump_error(raised(ValueError(f"no {SECRET}"))), "parse"), Redactor([SECRET]))
    assert f"ValueError: no {HIDDEN}" in shown
    assert 'RemoteTraceback: \n"""\nTraceback (most recent call last):\n' in shown


@pytest.mark.parametrize("text", ["", "short", "a\nb\n" * 50, "x" * 150, "x" * 40 + "\n" + "y" * 120])
def test_the_last_lines_begin_with_a_whole_one_where_there_is_one(text: str) -> None:
    kept = last_lines(text, 100, margin=20)
    assert text.endswith(kept)
    assert len(kept) <= 100
    whole = kept == text or text[: len(text) - len(kept)].endswith("\n")
    assert whole or len(kept) == 80


def test_a_traceback_is_bounded() -> None:
    assert len(traceback_of(raised(ValueError("x" * 10**6)), no_credentials)) == TRACEBACK_CAP
