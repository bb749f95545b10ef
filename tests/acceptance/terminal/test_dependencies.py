"""What a command depends on, at the terminal."""

from __future__ import annotations

import json

import pytest

HERE = {"PROJECT_SETTINGS": json.dumps({"COMMAND_PACKAGES": ["tests.acceptance.terminal.called"]})}
MISSING = "doubled depends on a run that succeeded, and there is none: count with until=3"


def test_nobody_can_be_asked(manage) -> None:
    ended = manage("arun doubled 3", **HERE)
    assert ended.code == 1
    assert f"{MISSING} (there was no run with these parameters). Run first: manage.py arun count 3. " in ended.err
    assert "Traceback" not in ended.err
    document = json.loads(manage("arun doubled 3 --json", **HERE).out)
    assert (document["run"], document["exit_code"]) == (None, 1)
    assert document["error"].startswith(MISSING)

    assert manage("arun count 3", **HERE).code == 0
    assert manage("arun doubled 3", **HERE).code == 0
    assert manage("arun doubled 4", **HERE).code == 1


@pytest.mark.parametrize(("typed", "code"), [("y\n", 0), ("n\n", 1)])
def test_a_person_is_asked_and_answers_with_a_letter(manage, typed: str, code: int) -> None:
    ended = manage.at_a_terminal("arun doubled 3", until="all the same? [y/N]", typed=typed, **HERE)
    assert ended.code == code
    assert "count with until=3" in ended.err
    assert ("value 6" in ended.err) is (code == 0)
    assert ("No run of doubled was begun." in ended.err) is (code == 1)


def test_what_is_missing_is_run_first(manage) -> None:
    ended = manage("arun doubled 3 --run-dependencies", **HERE)
    assert ended.code == 0
    assert "doubled depends on count with until=3: running that first." in ended.err
    assert "count (run 1) succeeded." in ended.err
    assert "✓ succeeded  doubled  run 2" in ended.err
    assert ended.out == "0 1 2\n"


@pytest.mark.parametrize("option", ["--ignore-dependencies", "--yes"])
def test_it_begins_all_the_same(manage, option: str) -> None:
    ended = manage(f"arun doubled 3 {option}", **HERE)
    assert ended.code == 0
    assert (MISSING in ended.err) is (option == "--yes")


def test_a_run_is_begun_again_by_its_number(manage) -> None:
    assert manage("arun count 3 --stride 2", **HERE).out == "0 2 4\n"
    assert manage("arun count --again 1", **HERE).out == "0 2 4\n"
    assert manage("arun count --again 1 --stride 3", **HERE).out == "0 3 6\n"
    ended = manage("arun count --again 9", **HERE)
    assert (ended.code, "There is no run 9." in ended.err) == (2, True)
