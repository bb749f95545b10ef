"""`manage.py arun`, as it is typed."""

from __future__ import annotations

import json
import re

import pytest


def test_the_list_groups_by_app_and_imports_nothing(manage) -> None:
    ended = manage("arun")
    assert (ended.code, ended.err) == (0, "")
    assert ended.out.splitlines() == [
        "[blog]",
        "  report          Report what there is",
        "  tidy",
        "",
        "[shop]",
        "  greet           Greet somebody",
        "  hookless        Has not all of its hooks",
        "  missing         Needs what is not there",
        "  scrapers_block  Block for ever",
        "  scrapers_fetch  Fetch some numbers",
        "  syntax          broken file: invalid syntax, line 1",
        "",
        "manage.py arun NAME --help shows what a command takes.",
    ]


@pytest.mark.parametrize(
    "line",
    [
        "arun greet Ann --times 2 --threads 7 --loud_voice -v 2 --traceback --skip-checks",
        "arun -v 2 --settings settings --pythonpath . --threads 7 shop.greet --loud-voice --times=2 Ann",
    ],
)
def test_options_work_in_any_place_and_spelling(manage, line: str) -> None:
    ended = manage(line)
    assert ended.code == 0, ended.err
    assert ended.out == "Hello Ann!\nHello Ann!\n"
    assert "✓ succeeded  greet  run 1  in " in ended.err
    assert "'threads': 7" in ended.err or '"threads": 7' in ended.err


def test_json_leaves_stdout_to_one_document(manage) -> None:
    ended = manage("arun greet Ann --json")
    document = json.loads(ended.out)
    assert ended.code == 0
    assert "Hello Ann" in ended.err
    assert (document["status"], document["exit_code"], document["run"]) == ("succeeded", 0, 1)
    assert document["value"] == {"greeted": "Ann", "threads": 20}


@pytest.mark.parametrize(
    ("line", "code", "said"),
    [
        ("arun scrapers_fetch --max-failures lots", 2, "max_failures='lots': a number of items, a share"),
        ("arun scrapers_fetch --resume-run 99", 2, "There is no run 99"),
        ("arun greet Ann --database nope", 2, "There is no database 'nope'"),
    ],
)
def test_a_mistake_is_named_without_a_traceback(manage, line: str, code: int, said: str) -> None:
    ended = manage(line)
    assert ended.code == code, ended.err
    assert said in ended.err
    assert "Traceback" not in ended.err
    assert ended.out == ""


def test_missing_tables_are_named_with_the_remedy(unmigrated) -> None:
    for line in ("arun greet Ann", "aruns"):
        ended = unmigrated(line)
        assert ended.code == 1
        assert "manage.py migrate async_commander" in ended.err
        assert "Traceback" not in ended.err


def test_a_database_that_cannot_be_reached_is_told_at_once(unmigrated, tmp_path) -> None:
    unmigrated.database = tmp_path / "no such folder" / "project.sqlite3"
    for line, name in (("arun greet Ann", "DATABASES"), ("arun greet Ann --skip-checks", "DATABASES['default']")):
        ended = unmigrated(line)
        assert ended.code == 1
        assert "cannot be reached (unable to open database file)" in ended.err
        assert "No run was begun" in ended.err
        assert name in ended.err
        assert "Traceback" not in ended.err


def test_a_wrong_setting_is_named(manage) -> None:
    ended = manage("arun greet Ann", PROJECT_SETTINGS='{"LIMITS": {"threads": 0}}')
    assert ended.code == 1
    assert "threads=0" in ended.err
    assert "Traceback" not in ended.err


def test_a_failed_run_ends_with_1_and_tells_why(manage) -> None:
    ended = manage("arun greet nobody")
    assert ended.code == 1
    assert re.search(r"✗ failed  greet  run 1  in [\d.]+ s\n  LookupError: there is nobody here\n", ended.err)
    assert "details  manage.py aruns show 1" in ended.err
    assert "Traceback" not in ended.err


def test_a_failed_run_shows_its_traceback_where_it_is_asked_for(manage) -> None:
    ended = manage("arun greet nobody --traceback")
    assert ended.code == 1
    assert 'raise LookupError("there is nobody' in ended.err


def test_a_failed_run_is_told_in_one_line_where_silence_was_asked_for(manage) -> None:
    ended = manage("arun greet nobody -v 0")
    assert ended.code == 1
    assert ended.err.splitlines() == ["greet: failed. LookupError: there is nobody here"]


def test_silence_is_silent(manage) -> None:
    ended = manage("arun scrapers_fetch -v 0")
    assert (ended.code, ended.out, ended.err) == (0, "", "")


def test_a_partial_run_ends_with_3_and_groups_its_errors(manage) -> None:
    ended = manage("arun scrapers_fetch --broken 8")
    assert ended.code == 3
    last = ended.err.splitlines()[0]
    assert re.match(r"0:00:\d\d scrapers_fetch: 20 of 20 items \(100%\), ", last)
    assert last.endswith("done 12, failed 8, retried 4, in flight 0")
    assert "! partial  scrapers_fetch  run 1" in ended.err
    assert "20 items in " in ended.err
    assert "done 12   failed 8   retried 4" in ended.err
    assert re.search(r"^ +8  TimeoutError  nothing came\n +item \d$", ended.err, re.MULTILINE)
    assert re.search(r"^ +4  ValueError    no title \[bold\]in \d\n +item \d$", ended.err, re.MULTILINE)
    assert "\x1b" not in ended.err


def test_failing_items_come_as_they_fail_at_verbosity_2(manage) -> None:
    ended = manage("arun scrapers_fetch --broken 2 -v 2 --threads 1")
    assert "again   0  TimeoutError  nothing came\n" in ended.err
    assert "failed  0  TimeoutError  nothing came\n" in ended.err
    assert "failed  1  ValueError  no title [bold]in 1\n" in ended.err


def test_ctrl_c_ends_in_order_and_resume_finishes(manage) -> None:
    stopped = manage.interrupted("arun scrapers_fetch --threads 1 --grace 0.1", when="stuck", STUCK="1")
    assert stopped.code == 130, stopped.err
    assert "! interrupted  scrapers_fetch  run 1" in stopped.err
    assert "resume   manage.py arun scrapers_fetch --threads 1 --grace 0.1 --resume" in stopped.err
    resumed = manage("arun scrapers_fetch --resume")
    assert resumed.code == 0, resumed.err
    assert "✓ succeeded  scrapers_fetch  run 1" in resumed.err
    assert "20 in all" in resumed.err


def test_a_second_ctrl_c_ends_a_process_whose_plain_download_blocks(manage) -> None:
    stopped = manage.interrupted("arun scrapers_block --grace 1000", when="stuck", and_again="stopping")
    assert stopped.code == 130, stopped.err
    assert "! interrupted  scrapers_block  run 1" in stopped.err


def test_a_secret_is_not_repeated(manage) -> None:
    ended = manage("arun greet nobody --api-token s3cr3t --json")
    assert ended.code == 1
    assert "s3cr3t" not in ended.out + ended.err


@pytest.mark.parametrize("how", ["", " --json"])
def test_a_value_that_tells_a_secret_is_shown_without_it(manage, how: str) -> None:
    ended = manage(f"arun greet Ann --api-token s3cr3t --parser-key k3y-of-parser --tell{how}")
    assert ended.code == 0, ended.err
    assert "********" in ended.out + ended.err
    assert "s3cr3t" not in ended.out + ended.err
    assert "k3y-of-parser" not in ended.out + ended.err


def test_a_secret_of_an_option_from_add_arguments_is_not_in_the_line_to_resume(manage) -> None:
    stopped = manage.interrupted(
        "arun scrapers_fetch --threads 1 --grace 0.1 --parser-key k3y-of-parser --passwords t0k3n-1 t0k3n-2",
        when="stuck",
        STUCK="1",
    )
    assert "resume   manage.py arun scrapers_fetch --threads 1" in stopped.err
    assert "--parser-key … --passwords … … --resume" in stopped.err


def test_a_terminal_gets_a_bar_and_keeps_nothing_of_it(manage, tmp_path) -> None:
    gate = str(tmp_path / "gate")
    ended = manage.at_a_terminal("arun scrapers_fetch --until 40 --threads 1", until="in flight", GATE=gate)
    assert ended.code == 0
    assert "━" in ended.err
    assert "in flight" in ended.err
    assert "\x1b[?25h" in ended.err
    assert "━" not in ended.err.rpartition("\x1b[2K")[2]


def test_no_color_is_honoured(manage) -> None:
    ended = manage.at_a_terminal("arun scrapers_fetch --broken 2", NO_COLOR="1")
    assert ended.code == 3
    assert not re.search(r"\x1b\[[\d;]*3\d", ended.err)


def test_a_command_can_be_given_to_plain_manage_py(manage) -> None:
    ended = manage("hello Ann --times 2")
    assert (ended.code, ended.out) == (0, "Hello Ann\nHello Ann\n")


def test_aruns_shows_what_arun_did(manage) -> None:
    manage("arun scrapers_fetch --broken 3 --threads 2 -v 0")
    page = manage("aruns show").out
    for part in ("Run 1  scrapers_fetch  partial", "20 items: 17 done, 3 failed", "until=20  broken=3", "threads=2"):
        assert part in page
    assert "exhausted  TimeoutError nothing came (2 attempts)" in page


def test_a_reader_who_leaves_is_no_error(manage) -> None:
    ended = manage.left_alone("aruns --json")
    assert (ended.code, ended.err) == (0, "")


def test_all_commands_are_imported_and_checked_on_request(manage) -> None:
    for line in ("arun --check", "check --tag async_commander"):
        ended = manage(line)
        assert ended.code == 1
        for broken in ("hookless", "missing", "syntax", "tidy"):
            assert f"{broken}: (async_commander.E003)" in ended.err
        assert "greet" not in ended.err
    assert manage("check").code == 0
