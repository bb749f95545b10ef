"""A managed command, as it is typed; its runs among all others."""

from __future__ import annotations

import json


def test_a_managed_command_is_typed_as_any_and_its_runs_are_listed(manage) -> None:
    assert manage("aruns --command blog.seed").out == "No runs.\n"
    failed = manage("seed --fail")
    assert failed.code == 1
    assert "ValueError: too dry" in failed.err
    ended = manage("seed --password s3cret-pass")
    assert (ended.code, ended.err, ended.out) == (0, "", "planting with ********\nplanted\n")
    again = manage("seed")
    assert (again.code, again.err) == (0, "")
    assert again.out.startswith("Skipping: blog.seed is to run once, and run 2 succeeded on ")
    assert manage("seed --force -v 0").code == 0
    listed = json.loads(manage("aruns --json --command seed").out)
    assert [(run["run"], run["command"], run["status"]) for run in listed] == [
        (3, "blog.seed", "succeeded"),
        (2, "blog.seed", "succeeded"),
        (1, "blog.seed", "failed"),
    ]
    page = manage("aruns 2 -v 2").out
    assert "password=********" in page
    assert "planting with ********" in page
    page = manage("aruns 1").out
    assert "ValueError: too dry" in page
    assert "--resume" not in page


def test_its_options_are_in_the_help(manage) -> None:
    told = manage("seed --help").out
    assert all(option in told for option in ("--dry-run", "--force", "--wait", "--password"))


def test_a_dry_run_says_so(manage) -> None:
    ended = manage("seed --dry-run")
    assert ended.out.endswith("DRY RUN: all that was written to databases was rolled back.\n")
    assert "(dry)" in manage("aruns").out
    assert manage("seed").out == "planting with \nplanted\n"


def test_without_tables_it_says_what_to_do(manage, tmp_path) -> None:
    ended = manage("seed", PROJECT_DATABASE=str(tmp_path / "empty.sqlite3"))
    assert ended.code == 1
    assert "manage.py migrate async_commander" in ended.err
    assert "Traceback" not in ended.err


def test_an_async_command_that_runs_once_is_skipped_with_the_reason(manage) -> None:
    first, again = manage("arun water"), manage("arun water")
    assert (first.code, again.code) == (0, 0)
    assert "skipped  water" in again.err
    assert "water is to run once, and run 1 succeeded on" in again.err
    document = json.loads(manage("arun water --json").out)
    assert (document["status"], document["run"], document["exit_code"], document["error"]) == ("skipped", None, 0, "")
    assert document["reason"].startswith("water is to run once")
