"""The runner's small parts, one by one."""

from __future__ import annotations

import gc
import io
import signal
import subprocess
import sys
from typing import Any

import httpx
import pytest

import async_commander as ac
from async_commander.exceptions import ItemError, RunFenced
from async_commander.history.figures import HISTOGRAM_BINS, Figures
from async_commander.results import ErrorKind, Tally
from async_commander.runner import signals
from async_commander.runner.ending import ending_of
from async_commander.runner.entry import COLLECT_AFTER, collected_less_often
from async_commander.runner.output import OUTPUT_CAP, Kept, Output
from async_commander.runner.request import RunRequest, split_call
from async_commander.runner.signals import StopRequests
from async_commander.runner.verdicts import TEXT_CAP, judge, kind_of, text_of
from async_commander.text.redactor import Redactor, Tail
from async_commander.text.values import kept_value


class TooLarge(ItemError):
    reason = "too_large"


@pytest.mark.parametrize(
    ("error", "passes", "kind", "reason"),
    [
        (ac.SkipItem("not wanted"), True, "skip", ""),
        (ac.InvalidCommand("wrong"), True, "fatal", ""),
        (RunFenced("gone"), True, "fatal", ""),
        (TooLarge("much"), True, "dead", "too_large"),
        (ValueError("no"), True, "retry", ""),
        (ValueError("no"), False, "dead", "permanent"),
        (TimeoutError(), False, "dead", "timeout"),
    ],
)
def test_what_an_error_means(error: Exception, passes: bool, kind: str, reason: str) -> None:
    verdict = judge(error, lambda: passes)
    assert (verdict.kind, verdict.reason) == (kind, reason)


def test_kinds_of_status_errors_are_told_apart() -> None:
    response = httpx.Response(418, request=httpx.Request("GET", "https://example.org"))
    assert kind_of(httpx.HTTPStatusError("x", request=response.request, response=response)) == "HTTPStatusError 418"
    assert kind_of(KeyError("x")) == "KeyError"


def test_a_secret_at_the_end_of_what_is_kept_is_not_cut_before_it_is_found() -> None:
    text = text_of(ValueError("x" * (TEXT_CAP - 5) + "s3cr3t-of-many-letters"), Redactor(["s3cr3t-of-many-letters"]))
    assert len(text) <= TEXT_CAP
    assert "s3c" not in text


def test_an_error_without_words_is_told_by_its_name() -> None:
    assert text_of(ValueError(), Redactor()) == "ValueError()"


@pytest.mark.parametrize(
    ("facts", "counts", "status", "error"),
    [
        ({}, {"taken": 2, "done": 2}, "succeeded", ""),
        ({}, {"taken": 2, "done": 1, "dead": 1}, "partial", ""),
        ({}, {"taken": 2, "done": 1, "retry": 1}, "interrupted", ""),
        ({}, {"taken": 2, "done": 1}, "interrupted", ""),
        ({"complete": False}, {"taken": 2, "done": 2}, "interrupted", ""),
        (
            {"complete": False, "timed_out": 1.5},
            {"taken": 2, "done": 2},
            "failed",
            "The run passed its time-out of 1.5 s and was stopped in order.",
        ),
        ({"failure": ValueError("no good")}, {}, "failed", "ValueError: no good"),
        ({"failure": ac.InvalidCommand("wrong"), "timed_out": 1.0}, {}, "failed", "wrong"),
    ],
)
def test_how_a_run_ended(facts: dict[str, Any], counts: dict[str, int], status: str, error: str) -> None:
    ending = ending_of(
        **{"failure": None, "complete": True, "timed_out": None, **facts}, tally=Tally(**counts), redact=Redactor()
    )
    assert (ending.status, ending.error) == (status, error)
    assert bool(ending.traceback) is ("failure" in facts)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("pass word-1 here", "******** here"),
        ("in a URL: pass%20word-1", "in a URL: ********"),
        ("in a form: pass+word-1", "in a form: ********"),
        ("https://user:pw@example.org/", "https://********@example.org/"),
        ("https://example.org/?token=abc&page=2", "https://example.org/?token=********&page=2"),
        (
            "https://example.org/?X-Amz-Signature=abc&sig=d",
            "https://example.org/?X-Amz-Signature=********&sig=********",
        ),
        ("postgres://user:p@ss@db/name", "postgres://********@db/name"),
        ("Authorization: Bearer abc", "Authorization: ********"),
        ("X-Auth-Token: abc", "X-Auth-Token: ********"),
        ("{'x-api-key': 'abc'}", "{'x-api-key': '********'}"),
        ("x-ray: the key", "x-ray: the key"),
        ("nul \x00 and half a pair \ud83d", "nul \ufffd and half a pair \ufffd"),
    ],
)
def test_what_is_secret_is_hidden(text: str, shown: str) -> None:
    assert Redactor(["pass word-1"])(text) == shown


def test_a_short_secret_is_hidden_where_it_stands_alone() -> None:
    redact = Redactor(["abc", "", None])
    assert redact("pin=abc, the abc of it; abcd, xabc") == "pin=********, the ******** of it; abcd, xabc"


@pytest.mark.parametrize(
    ("value", "kept"),
    [
        ({"a": 1}, {"a": 1}),
        (float("inf"), "inf"),
        (None, None),
        ("\x00", "\ufffd"),
        ({1, 2}, "{1, 2}"),
    ],
)
def test_values_are_kept_as_json(value: Any, kept: Any) -> None:
    assert kept_value(value, Redactor())[0] == kept


def test_a_value_without_end_is_kept_as_text() -> None:
    endless: list[Any] = []
    endless.append(endless)
    assert kept_value(endless, Redactor())[0] == "[[...]]"


def test_a_call_is_told_apart_from_the_commands_own_arguments() -> None:
    request, own = split_call({"threads": 5, "resume": True, "domain": "x", "max_failures": "5%"})
    assert (request.limits.given, request.resume, own) == ({"threads": 5, "max_failures": "5%"}, True, {"domain": "x"})


def test_output_is_passed_on_and_its_end_is_remembered() -> None:
    target, memory = io.StringIO(), Tail(OUTPUT_CAP, Redactor())
    kept = Kept(target, memory)
    for number in range(100):
        kept.write(f"{number:04}" * 1_000)
    assert len(target.getvalue()) == 400_000
    assert len(memory.text()) == OUTPUT_CAP
    assert memory.text().endswith("0099")
    target.close()
    kept.close()


def test_under_json_all_output_goes_to_stderr() -> None:
    stdout, stderr = io.StringIO(), io.StringIO()
    output = Output(RunRequest(json=True, stdout=stdout, stderr=stderr, no_color=True), Redactor())
    output.stdout.write("for people")
    output.stderr.write("for people too")
    assert (stdout.getvalue(), stderr.getvalue()) == ("", "for people\nfor people too\n")


def test_requests_to_stop_are_counted_and_kept() -> None:
    stops, heard = StopRequests(), list[int]()
    stops.ask()
    stops.listen(heard.append)
    stops.ask()
    stops.listen(None)
    stops.ask()
    assert heard == [1, 2]
    assert stops.count == 3


def test_ctrl_c_is_heard_where_a_shell_ignored_it_and_a_hangup_is_not_where_nohup_did() -> None:
    code = """
import signal
for number in (signal.SIGINT, signal.SIGHUP):
    signal.signal(number, signal.SIG_IGN)
from async_commander.runner.signals import install
stops = install()
signal.raise_signal(signal.SIGHUP)
print(stops.count)
signal.raise_signal(signal.SIGINT)
print(stops.count, stops.signal == signal.SIGINT)
"""
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert told.stdout.split() == ["0", "1", "True"]


def test_only_the_third_signal_ends_the_process_whatever_else_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    left: list[int] = []
    monkeypatch.setattr(signals.os, "_exit", left.append)
    stops = StopRequests()
    stops.ask()
    stops.ask()
    stops._receive(signal.SIGINT, None)
    stops._receive(signal.SIGINT, None)
    assert (stops.count, stops.signal, left) == (4, signal.SIGINT, [])
    stops._receive(signal.SIGTERM, None)
    assert left == [128 + signal.SIGTERM]


def figures() -> Figures:
    from datetime import UTC, datetime

    return Figures(datetime(2026, 1, 1, tzinfo=UTC), zero=100.0)


def test_latencies_are_put_into_bins_by_powers_of_two() -> None:
    made = figures()
    for seconds in (0.0, 0.0011, 0.0021, 0.0045, 10_000.0):
        made.took("download", 100.0 - seconds, 100.0)
    [slice_] = made.slices(100.0)
    assert slice_.histogram[:4] == [1, 1, 1, 1]
    assert slice_.histogram[HISTOGRAM_BINS - 1] == 1
    assert (slice_.count, slice_.errors, sum(slice_.histogram)) == (5, 0, 5)


def test_slices_of_time_that_have_ended_are_told_once() -> None:
    made = figures()
    made.took("parse", 100.0, 100.1)
    made.took("parse", 110.9, 111.0, failed=True)
    assert [(one.at.second, one.count, one.errors) for one in made.slices(111.0)] == [(0, 1, 0), (10, 1, 1)]
    made.took("parse", 110.9, 111.0)
    assert [(one.at.second, one.count) for one in made.slices(111.0)] == [(10, 2)]


def test_kinds_of_errors_are_counted_with_the_first_example() -> None:
    made = figures()
    made.failed("A", "first", "item 1")
    made.failed("A", "second", "item 2")
    made.failed("B", "third", "item 3")
    assert made.kinds() == [ErrorKind("A", 2, "first", "item 1"), ErrorKind("B", 1, "third", "item 3")]
    assert [kind.kind for kind in made.changed_kinds()] == ["A", "B"]
    assert made.changed_kinds() == []


@pytest.mark.parametrize(("threshold", "meanwhile"), [(700, COLLECT_AFTER), (1_000_000, 1_000_000), (0, 0)])
def test_a_process_for_one_run_collects_garbage_less_often_unless_the_project_says_when(threshold, meanwhile) -> None:
    before = gc.get_threshold()
    gc.set_threshold(threshold, *before[1:])
    try:
        with collected_less_often():
            assert gc.get_threshold()[0] == meanwhile
            assert gc.get_freeze_count() > 0
        assert (gc.get_threshold()[0], gc.get_freeze_count()) == (threshold, 0)
    finally:
        gc.set_threshold(*before)
