"""The end of a run, for people and for programs."""

from __future__ import annotations

import json
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import pytest

from async_commander.management.steps import Invocation
from async_commander.management.summary import Summary, json_document, refusal_document, summary_of
from async_commander.results import ErrorKind, RunResult, RunStatus
from async_commander.text.redactor import HIDDEN, Redactor


def result(status: RunStatus = RunStatus.PARTIAL, **more: Any) -> RunResult:
    counts = {"taken": 10_000, "done": 9_950, "skipped": 38, "dead": 12, "retry": 0, "claimed": 0}
    words: dict[str, Any] = {"run_id": 42, "command": "fetch", "status": status, "counts": counts, "duration": 11.0}
    return RunResult(**words | more)


def shown(summary: Summary, **how: Any) -> str:
    return "\n".join(line.plain for line in summary.lines(**how))


def test_it_tells_status_counts_duration_and_rate() -> None:
    told = shown(Summary(result(), retried=57))
    assert "! partial  fetch  run 42" in told
    assert "10,000 items in 11 s   909/s" in told
    assert "done 9,950   skipped 38   dead 12   retried 57" in told


def test_an_earlier_part_of_the_run_counts_neither_as_work_nor_as_speed() -> None:
    assert "1,000 items in 11 s   91/s   10,000 in all" in shown(Summary(result(), before=9_000))


def test_errors_stand_in_columns_with_one_example_each() -> None:
    errors = [
        ErrorKind("httpx.ReadTimeout", 1_200, "nothing came", "https://example.org/17"),
        ErrorKind("ValueError", 4, "no title"),
    ]
    lines = [line.plain for line in Summary(result(errors=errors)).lines()]
    assert lines[7:10] == [
        "    1,200  httpx.ReadTimeout  nothing came",
        "                              item https://example.org/17",
        "        4  ValueError         no title",
    ]


def test_a_run_of_somebody_else_is_locked_and_has_not_failed() -> None:
    told = shown(Summary(result(RunStatus.FAILED, locked=True, counts={}, error="Run 42 is being worked on")))
    assert "! locked  fetch" in told
    assert "failed" not in told


def test_many_kinds_of_errors_are_cut_and_the_rest_is_counted() -> None:
    errors = [ErrorKind(f"Error{number}", 1, "x") for number in range(11)]
    told = shown(Summary(result(errors=errors)))
    assert "Error7" in told
    assert "Error8" not in told
    assert "and 3 more kinds" in told


def test_nothing_from_outside_moves_the_terminal_or_is_read_as_markup() -> None:
    error = ErrorKind("Bad\x1b[2JKind", 1, "[bold]x[/bold]\n\x1b]0;title\x07y\u202e", "https://e.org/\x07\x9b31m")
    told = shown(Summary(result(errors=[error], error="boom\x1b[31m\nagain")))
    assert "BadKind  [bold]x[/bold] y" in told
    assert "item https://e.org/" in told
    assert "boom again" in told
    assert not set(told) & set(map(chr, [*range(10), *range(11, 32), *range(127, 160)]))


@pytest.mark.parametrize("width", [60, 80, 120])
def test_examples_are_cut_to_the_terminal_s_width(width: int) -> None:
    errors = [ErrorKind("ValueError", 1_234, "long " * 100, "https://example.org/" + "x" * 300)]
    assert all(line.cell_len <= width for line in Summary(result(errors=errors)).lines(width=width))


def test_where_no_terminal_cuts_lines_errors_are_told_in_full() -> None:
    remedy = "long " * 300 + "remedy"
    told = shown(Summary(result(errors=[ErrorKind("E" * 60, 4, remedy, "https://example.org/" + "x" * 170)])))
    for part in ("E" * 60, remedy, "x" * 170):
        assert part in told
    assert "…" not in told


def test_a_failed_run_says_why() -> None:
    told = shown(Summary(result(RunStatus.FAILED, error="12 items failed, 10 allowed")))
    assert "✗ failed  fetch  run 42\n  12 items failed, 10 allowed" in told


def test_what_is_left_is_told_after_an_interruption() -> None:
    counts = {"taken": 20, "done": 10, "skipped": 0, "dead": 0, "retry": 4, "claimed": 6}
    told = shown(Summary(result(RunStatus.INTERRUPTED, counts=counts)))
    assert "done 10   dead 0   to be tried again 4   left in hand 6" in told


def test_a_plain_command_takes_one_line() -> None:
    told = Summary(result(RunStatus.SUCCEEDED, counts={}, duration=0.2), counts_items=False).lines()
    assert [line.plain for line in told] == ["", "✓ succeeded  fetch  run 42  in 0.20 s", ""]


def test_the_value_of_a_plain_command_is_shown_short() -> None:
    told = shown(Summary(result(RunStatus.SUCCEEDED, counts={}, value={"words": 3, "list": ["x"] * 500})))
    line = next(line for line in told.splitlines() if "value" in line)
    assert line.startswith('  value {"words": 3')
    assert len(line) < 220


def test_a_terminal_without_unicode_gets_no_signs() -> None:
    assert shown(Summary(result()), unicode=False).isascii()


def test_next_steps_stand_in_columns() -> None:
    told = shown(Summary(result(), steps=[("details", "manage.py aruns show 42"), ("go", "x")]))
    assert "  details  manage.py aruns show 42\n  go       x" in told


def test_the_document_has_the_facts() -> None:
    document = json.loads(json_document(result(errors=[ErrorKind("ValueError", 4, "no title", "17")], value=7)))
    assert document == {
        "run": 42,
        "command": "fetch",
        "status": "partial",
        "exit_code": 3,
        "counts": {"taken": 10_000, "done": 9_950, "skipped": 38, "dead": 12, "retry": 0, "claimed": 0},
        "errors": [{"kind": "ValueError", "count": 4, "example": "no title", "item": "17"}],
        "duration": 11.0,
        "error": "",
        "value": 7,
    }


def test_secrets_in_the_value_are_hidden_and_nothing_else() -> None:
    url = "https://bob:pw@example.org/?token=abc"
    value = {"s3cr3t": ["s3cr3t", Path("/a/s3cr3t"), 4711, 12], "url": url, "x": None}
    redact = Redactor(["s3cr3t", 4711])
    expected = {
        HIDDEN: [HIDDEN, f"/a/{HIDDEN}", HIDDEN, 12],
        "url": f"https://{HIDDEN}@example.org/?token={HIDDEN}",
        "x": None,
    }
    document = json.loads(json_document(result(value=value, values=[value], duration=4711.0), redact))
    assert document["value"] == expected
    assert document["values"] == [expected]
    assert document["duration"] == 4711.0
    told = shown(summary_of(result(value=value), None, Invocation("manage.py arun", [], redact), counts_items=True))
    assert HIDDEN in told
    assert "s3cr3t" not in told


def test_the_document_is_strict_json_whatever_the_value_is() -> None:
    value = {
        "nan": float("nan"),
        "inf": [float("inf"), (1, -float("inf"))],
        3: date(2026, 1, 2),
        "at": datetime(2026, 1, 2, tzinfo=UTC),
        "path": Path("a/b"),
        "object": RunStatus.FAILED,
        "escape": "\x1b[31m\u202e",
    }
    text = json_document(result(value=value, values=[1, {2}]))
    assert text.isascii()
    assert "\x1b" not in text
    document = json.loads(text, parse_constant=pytest.fail)
    assert document["value"]["nan"] is None
    assert document["value"]["inf"] == [None, [1, None]]
    assert document["value"]["3"] == "2026-01-02"
    assert document["value"]["path"] == "a/b"
    assert document["values"] == [1, "{2}"]


def test_a_run_without_items_says_so() -> None:
    none = dict.fromkeys(("taken", "done", "skipped", "dead", "retry", "claimed"), 0)
    told = shown(Summary(result(RunStatus.SUCCEEDED, counts=none, duration=0.2)))
    assert "succeeded  fetch  run 42\n\n  0 items in 0.20 s\n" in told
    assert "done" not in told
    assert "items" not in shown(Summary(result(RunStatus.SUCCEEDED, counts=none), counts_items=False))


def test_a_run_that_max_items_ended_says_so() -> None:
    assert "ended by --max-items: the source was not asked for more" in shown(Summary(result(), cut=True))
    assert "--max-items" not in shown(Summary(result()))


def test_a_resumed_run_says_what_becomes_of_the_items_that_were_dead() -> None:
    told = "200 items dead before: --resume does not try such items again, --retry-failed does"
    assert told in shown(Summary(result(), before=200, dead_before=200))
    assert "dead before" not in shown(Summary(result(), before=200))


@pytest.mark.parametrize(
    ("status", "more", "code"),
    [
        (RunStatus.INTERRUPTED, {"signal": 2}, 130),
        (RunStatus.INTERRUPTED, {}, 0),
        (RunStatus.INTERRUPTED, {"counts": {"dead": 1}}, 3),
        (RunStatus.INTERRUPTED, {"error": "the end could not be recorded"}, 1),
        (RunStatus.SUCCEEDED, {"signal": 2}, 0),
        (RunStatus.FAILED, {}, 1),
    ],
)
def test_a_run_that_did_what_max_items_asked_for_is_no_failure(
    status: RunStatus, more: dict[str, Any], code: int
) -> None:
    assert result(status, **{"counts": {}} | more).exit_code == code


def test_a_program_is_told_of_a_refusal_in_the_shape_of_a_result() -> None:
    document = json.loads(refusal_document("fetch", 2, "no such option"))
    assert document.keys() == json.loads(json_document(result())).keys()
    assert (document["run"], document["status"], document["exit_code"]) == (None, "failed", 2)
    assert (document["error"], document["counts"], document["errors"]) == ("no such option", {}, [])
    assert (document["duration"], document["value"]) == (0, None)


@pytest.mark.parametrize(
    ("counts", "kinds", "title"),
    [
        ({"done": 9, "dead": 0}, {"TimeoutError": 3}, "Errors of attempts that succeeded later"),
        ({"done": 9, "dead": 2}, {"TimeoutError": 2}, "Errors"),
        ({"done": 9, "dead": 2}, {"TimeoutError": 6}, "Errors, those of earlier attempts included"),
        ({"done": 9, "dead": 0, "retry": 1}, {"TimeoutError": 3}, "Errors, those of earlier attempts included"),
        ({"done": 9, "dead": 0}, {"ValueError in committed()": 3}, "Errors that failed no item"),
    ],
)
def test_errors_are_headed_as_what_they_came_to(counts: dict[str, int], kinds: dict[str, int], title: str) -> None:
    errors = [ErrorKind(kind, number, "oh") for kind, number in kinds.items()]
    result = RunResult(
        run_id=1, command="fetch", status=RunStatus.SUCCEEDED, counts={"taken": 9, **counts}, errors=errors
    )
    assert f"  {title}" in [line.plain for line in Summary(result).lines()]
