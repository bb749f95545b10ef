"""What is proposed after a run."""

from __future__ import annotations

import subprocess
from dataclasses import replace
from typing import Any

import pytest

from async_commander.exceptions import TooManyFailures
from async_commander.management.steps import Invocation, next_steps
from async_commander.results import ErrorKind, RunResult, RunStatus
from async_commander.text.redactor import Redactor


def ended(status: RunStatus, run_id: int | None = 42, **more: bool) -> RunResult:
    return RunResult(run_id=run_id, command="fetch", status=status, **more)  # type: ignore[arg-type]


INVOCATION = Invocation("manage.py arun", ["fetch", "a b", "--threads", "50"])
DETAILS = ("details", "manage.py aruns show 42")
RESUME = ("resume", "manage.py arun fetch 'a b' --threads 50 --resume")


@pytest.mark.parametrize(
    ("status", "steps"),
    [
        (RunStatus.SUCCEEDED, []),
        (RunStatus.SKIPPED, []),
        (RunStatus.PARTIAL, [DETAILS]),
        (RunStatus.FAILED, [DETAILS, RESUME]),
        (RunStatus.INTERRUPTED, [DETAILS, RESUME]),
    ],
)
def test_a_run_that_ended_early_can_be_resumed(status: RunStatus, steps: list[tuple[str, str]]) -> None:
    assert next_steps(ended(status), INVOCATION) == steps


def test_nothing_is_proposed_for_a_run_that_was_never_recorded() -> None:
    assert next_steps(ended(RunStatus.FAILED, run_id=None), INVOCATION) == []


def test_a_command_without_items_or_another_owner_s_run_is_not_resumed() -> None:
    assert next_steps(ended(RunStatus.FAILED), replace(INVOCATION, can_resume=False)) == [DETAILS]
    assert next_steps(ended(RunStatus.FAILED, locked=True), INVOCATION) == [DETAILS]


@pytest.mark.parametrize(
    "asked",
    [
        ["--resume"],
        ["--resume-run", "7"],
        ["--resume-run=7"],
        ["--resume_run", "7"],
        ["--max-items", "5"],
        ["--max_items=5", "--resume"],
        ["--max-failures", "5", "--json", "--max_failures=6"],
    ],
)
def test_a_line_to_resume_says_nothing_twice_and_bounds_no_items(asked: list[str]) -> None:
    kept = [token for token in asked if token == "--json"]
    invocation = Invocation("manage.py arun", ["fetch", *asked, "-v", "2"])
    line = invocation.line_to_resume("--max-failures", "100%")
    assert line == " ".join(["manage.py arun fetch", *kept, "-v 2 --resume --max-failures 100%"])


@pytest.mark.parametrize("asked", [["--again", "7"], ["--again=7"], ["--resume_run", "7"]])
def test_a_line_that_has_its_arguments_from_a_run_resumes_by_the_number(asked: list[str]) -> None:
    steps = next_steps(ended(RunStatus.INTERRUPTED), Invocation("manage.py arun", ["fetch", *asked]))
    assert steps == [DETAILS, ("resume", "manage.py arun fetch --resume-run 42")]


def test_what_follows_two_dashes_stays_behind_the_options() -> None:
    line = Invocation("manage.py arun", ["fetch", "--size=3", "--", "--resume", "-w"]).line_to_resume()
    assert line == "manage.py arun fetch --size=3 --resume -- --resume -w"


def test_a_failure_of_the_project_s_code_has_its_traceback() -> None:
    failed = replace(ended(RunStatus.FAILED), failure=LookupError("nobody"))
    assert next_steps(failed, replace(INVOCATION, can_resume=False)) == [DETAILS, ("traceback", f"{DETAILS[1]} -v 2")]


@pytest.mark.parametrize(
    "asked", [[], ["--resume"], ["--retry-failed", "42", "--only-kind", "ValueError"], ["--again=7", "--max-items=3"]]
)
def test_dead_items_are_tried_again_by_the_number_of_the_run(asked: list[str]) -> None:
    invocation = Invocation("manage.py arun", ["fetch", *asked, "--threads", "5"])
    partial = replace(ended(RunStatus.PARTIAL), counts={"dead": 2})
    line = "manage.py arun fetch --threads 5 --retry-failed 42"
    assert next_steps(partial, invocation) == [DETAILS, ("retry dead", line)]


@pytest.mark.parametrize(
    ("more", "trial"),
    [
        ({"counts": {"dead": 0}}, False),
        ({"counts": {"dead": 2}}, True),
        ({"counts": {"dead": 2}, "locked": True}, False),
        ({"counts": {"dead": 2}, "errors": [ErrorKind("RowRejected", 2)]}, False),
    ],
)
def test_a_retry_is_offered_only_where_it_can_help(more: dict[str, Any], trial: bool) -> None:
    partial = replace(ended(RunStatus.PARTIAL), **more)
    assert next_steps(partial, INVOCATION, is_trial=trial) == [DETAILS]


def test_details_are_where_the_run_is_recorded() -> None:
    tokens = [
        "--settings",
        "shop.settings",
        "fetch",
        "--pythonpath=src",
        "--database",
        "other",
        "--",
        "--settings",
        "x",
    ]
    steps = next_steps(ended(RunStatus.PARTIAL), Invocation("manage.py arun", tokens, database="other"))
    assert steps == [
        ("details", "manage.py aruns show 42 --settings shop.settings --pythonpath=src --database other"),
    ]


OUT_OF_FAILURES = TooManyFailures("12 items failed, 10 allowed")


@pytest.mark.parametrize(
    ("more", "total", "offered"),
    [
        ({"complete": True, "counts": {"taken": 5, "dead": 5}}, 5, False),
        ({"complete": True, "counts": {"taken": 5, "dead": 5}}, None, False),
        ({"failure": OUT_OF_FAILURES, "counts": {"taken": 5, "dead": 5}}, 5, False),
        ({"failure": OUT_OF_FAILURES, "counts": {"taken": 5, "dead": 4, "retry": 1}}, 5, True),
        ({"failure": OUT_OF_FAILURES, "counts": {"taken": 5, "dead": 5}}, 9, True),
        ({"failure": OUT_OF_FAILURES, "counts": {"taken": 5, "dead": 5}}, None, True),
        ({"failure": LookupError("the source broke"), "counts": {"taken": 5, "dead": 5}}, 5, True),
    ],
)
def test_a_resume_is_offered_only_where_it_would_take_items(
    more: dict[str, Any], total: int | None, offered: bool
) -> None:
    steps = next_steps(replace(ended(RunStatus.FAILED), **more), INVOCATION, total=total)
    assert ("resume" in dict(steps)) is offered


def test_secrets_are_not_shown_again() -> None:
    tokens = ["fetch", "--token", "s3cret", "--password=s3cret", "x"]
    line = Invocation("manage.py arun", tokens, redact=Redactor(["s3cret", ""])).line()
    assert line == "manage.py arun fetch --token … --password=… x"


@pytest.mark.parametrize(
    ("token", "shown"),
    [
        ("\x1b[31mred", r"$'\x1b[31mred'"),
        ("it's\none\\", r"$'it\'s\x0aone\\'"),
        ("\x9b1m\u202e", r"$'\U0000009b1m\U0000202e'"),
        ("byte \udcff", r"$'byte \xff'"),
        ("https://bob:pw@example.org/?a=1", "'https://…@example.org/?a=1'"),
        ("--url=https://bob:pw@example.org/", "--url=https://…@example.org/"),
        ("--note=x s3cret y", "'--note=x … y'"),
        ("--note=s3cr%65t", "--note=…"),
        ("--sort-key=name", "--sort-key=name"),
        ("ümlaut", "'ümlaut'"),
    ],
)
def test_a_line_moves_no_terminal_and_can_be_typed_again(token: str, shown: str) -> None:
    line = Invocation("manage.py arun", ["fetch", token], redact=Redactor(["s3cret"])).line()
    assert line == f"manage.py arun fetch {shown}"
    assert line.isprintable()


@pytest.mark.parametrize("token", ["\x1b[31mred", "it's\none\\", "\x9b1m\u202e€😀", "byte \udcff", "a b", "$HOME"])
def test_what_is_shown_is_what_a_shell_reads(token: str) -> None:
    line = Invocation("printf %s", [token]).line()
    done = subprocess.run(["bash", "-c", line], capture_output=True, env={"LC_ALL": "C.UTF-8"}, check=True)
    assert done.stdout == token.encode("utf-8", "surrogateescape")


def test_a_run_that_failed_too_often_is_resumed_with_another_bound() -> None:
    failed = replace(ended(RunStatus.FAILED), failure=TooManyFailures("12 items failed, 10 allowed"))
    assert next_steps(failed, INVOCATION)[1] == (RESUME[0], f"{RESUME[1]} --max-failures 100%")
