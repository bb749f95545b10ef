"""What is proposed after a run."""

from __future__ import annotations

from dataclasses import replace

import pytest

from async_commander.engine.results import RunResult, RunStatus
from async_commander.exceptions import TooManyFailures
from async_commander.management.steps import Invocation, next_steps


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
    assert next_steps(ended(status), INVOCATION, resumable=True) == steps


def test_nothing_is_proposed_for_a_run_that_was_never_recorded() -> None:
    assert next_steps(ended(RunStatus.FAILED, run_id=None), INVOCATION, resumable=True) == []


def test_a_command_without_items_or_another_owner_s_run_is_not_resumed() -> None:
    assert next_steps(ended(RunStatus.FAILED), INVOCATION, resumable=False) == [DETAILS]
    assert next_steps(ended(RunStatus.FAILED, locked=True), INVOCATION, resumable=True) == [DETAILS]


@pytest.mark.parametrize("asked", [["--resume"], ["--resume-run", "7"], ["--resume-run=7"]])
def test_resume_is_not_said_twice(asked: list[str]) -> None:
    line = Invocation("manage.py arun", ["fetch", *asked, "-v", "2"]).line("--resume")
    assert line == "manage.py arun fetch -v 2 --resume"


def test_secrets_are_not_shown_again() -> None:
    tokens = ["fetch", "--token", "s3cret", "--password=s3cret", "x"]
    line = Invocation("manage.py arun", tokens, secrets=["s3cret", ""]).line()
    assert line == "manage.py arun fetch --token … --password=… x"


def test_a_run_that_failed_too_often_is_resumed_with_another_bound() -> None:
    failed = replace(ended(RunStatus.FAILED), failure=TooManyFailures("12 items failed, 10 allowed"))
    assert next_steps(failed, INVOCATION, resumable=True)[1] == (RESUME[0], f"{RESUME[1]} --max-failures 100%")
