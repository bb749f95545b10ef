"""`manage.py arun`, as it is typed."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import pytest

from .conftest import Manage

ROOT = Path(__file__).parents[3]


def test_the_list_groups_by_app_and_imports_nothing(manage) -> None:
    ended = manage("arun")
    assert (ended.code, ended.err) == (0, "")
    assert ended.out.splitlines() == [
        "[blog]",
        "  jot             Jot things down",
        "  report          Report what there is",
        "  tidy            broken: there is no class named Command in it",
        "  water           Water it, once",
        "",
        "[shop]",
        "  greet           Greet somebody",
        "  hookless        Has not all of its hooks",
        "  missing         broken: there is no module nothing_of_that_name, line 3",
        "  scrapers_block  Block for ever",
        "  scrapers_fetch  Fetch some numbers",
        "  syntax          broken: invalid syntax, line 1",
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


def test_a_trial_fills_in_what_the_line_leaves_out(manage) -> None:
    ended = manage("arun greet --test --json")
    document = json.loads(ended.out)
    assert ended.code == 0, ended.err
    assert "Hello Tess!" in ended.err
    assert document["value"] == {"greeted": "Tess", "threads": 3}
    assert "Hello Ann!\nHello Ann!\n" in manage("arun greet Ann --test --times 2 --threads 5").out
    assert "Hello Ann\n" in manage("arun greet Ann").out
    assert [one["test"] for one in json.loads(manage("aruns --json").out)] == [False, True, True]
    assert "succeeded (test)" in manage("aruns").out
    assert "succeeded (test)" in manage("aruns show 1").out
    ended = manage("arun scrapers_fetch --test --nothing")
    assert (ended.code, "unknown option --nothing" in ended.err) == (2, True)


def test_all_commands_are_tried(manage) -> None:
    ended = manage("arun --test-all")
    assert ended.code == 1
    lines = {line.split()[1]: line.split()[0] for line in ended.out.splitlines() if line and not line[0].isdigit()}
    assert (lines["greet"], lines["scrapers_fetch"]) == ("ok", "skipped")
    assert (lines["hookless"], lines["missing"], lines["syntax"]) == ("failed", "failed", "failed")
    assert ended.out.splitlines()[-1].startswith("1 ok, ")
    assert "Hello Tess" not in ended.out
    document = json.loads(manage("arun --test-all --json").out)
    assert {one["name"]: one["run"] for one in document["trials"] if one["outcome"] == "ok"} == {"greet": 2}


def test_ctrl_c_ends_the_trials_with_a_report(manage) -> None:
    here = {"PROJECT_SETTINGS": json.dumps({"COMMAND_PACKAGES": ["tests.acceptance.terminal.tried"]})}
    ended = manage.interrupted("arun --test-all", when="a_fast", **here)
    assert ended.code == 130
    lines = {line.split()[1]: line for line in ended.out.splitlines() if line and not line[0].isdigit()}
    assert lines["a_fast"].startswith("ok ")
    for name in ("c_after", "greet"):
        assert lines[name].split() == ["skipped", name, "it", "was", "stopped", "before"]
    assert "Traceback" not in ended.err


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
        ("arun scrapers_fetch --max-failures lots", 2, "--max-failures: 'lots': a number of items, or a share"),
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


def test_the_history_cannot_be_read_where_the_database_cannot_be_reached(unmigrated, tmp_path) -> None:
    unmigrated.database = tmp_path / "no such folder" / "project.sqlite3"
    ended = unmigrated("aruns")
    assert ended.code == 1
    assert "The database 'default' cannot be reached (unable to open database file)." in ended.err
    assert "DATABASES['default'] names the right address" in ended.err
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
    assert "details    manage.py aruns show 1\n" in ended.err
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
    assert last.endswith("done 12, dead 8, retried 4, in flight 0")
    assert "! partial  scrapers_fetch  run 1" in ended.err
    assert "20 items in " in ended.err
    assert "done 12   dead 8   retried 4" in ended.err
    assert re.search(r"^ +8  TimeoutError  nothing came\n +item \d$", ended.err, re.MULTILINE)
    assert re.search(r"^ +4  ValueError    no title \[bold\]in \d\n +item \d$", ended.err, re.MULTILINE)
    assert "\x1b" not in ended.err


def test_failing_items_come_as_they_fail_at_verbosity_2(manage) -> None:
    ended = manage("arun scrapers_fetch --broken 2 -v 2 --threads 1")
    assert "again  0  TimeoutError  nothing came\n" in ended.err
    assert "dead   0  TimeoutError  nothing came\n" in ended.err
    assert "dead   1  ValueError  no title [bold]in 1\n" in ended.err


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
    for part in ("Run 1  scrapers_fetch  partial", "20 items: 17 done, 3 dead", "until=20  broken=3", "threads=2"):
        assert part in page
    assert "exhausted  TimeoutError nothing came (2 attempts)" in page


def test_a_reader_who_leaves_is_no_error(manage) -> None:
    ended = manage.left_alone("aruns --json")
    assert (ended.code, ended.err) == (0, "")


@pytest.mark.parametrize("how", ["", " --json"])
def test_a_run_whose_reader_leaves_has_done_its_work(manage, how: str) -> None:
    ended = manage.left_alone(f"arun greet Ann{how}")
    assert ended.code == 0, ended.err
    if how:
        assert "greet: succeeded, but its output could not be written: [Errno 32] Broken pipe." in ended.err
        assert ended.err.endswith(" `aruns show 1 -v 2` has it.\n")
    assert "Traceback" not in ended.err
    assert "Exception ignored" not in ended.err
    assert "1 " in manage("aruns --status succeeded").out


@pytest.mark.parametrize(("line", "code"), [("arun greet Ann", 0), ("arun scrapers_fetch --broken 8 --json", 3)])
def test_a_full_disk_is_told_and_changes_no_exit_code_of_a_run(manage, line: str, code: int) -> None:
    ended = manage.redirected(line, ">/dev/full")
    assert ended.code == code, ended.err
    assert "its output could not be written: [Errno 28] No space left on device" in ended.err
    assert "Traceback" not in ended.err
    assert "Exception ignored" not in ended.err


def test_a_list_that_a_full_disk_does_not_take_is_a_failure(manage) -> None:
    for line in ("aruns", "arun"):
        ended = manage.redirected(line, ">/dev/full")
        assert (ended.code, ended.err) == (
            1,
            "The output could not be written: [Errno 28] No space left on device\n",
        )


@pytest.mark.parametrize("where", ["2>/dev/full", "2>&-", ">&- 2>&-"])
def test_without_a_place_for_errors_the_exit_code_is_still_the_run_s(manage, where: str) -> None:
    for line, code in (("arun greet Ann", 0), ("arun scrapers_fetch --broken 8", 3), ("arun greet nobody", 1)):
        assert manage.redirected(line, where).code == code
    assert manage.redirected("arun greet Ann --resume-run 1", where).code == 2
    assert [one["status"] for one in json.loads(manage("aruns --json").out)] == ["failed", "partial", "succeeded"]


def test_a_run_of_somebody_else_is_locked_and_has_not_failed(manage) -> None:
    with manage.held("arun scrapers_fetch --threads 1", when="stuck", STUCK="1"):
        for how in ("", " -v 0"):
            ended = manage(f"arun scrapers_fetch --resume{how}")
            assert ended.code == 75, ended.err
            assert (
                "scrapers_fetch: locked. Run 1 is being worked on by" in ended.err
                or "locked  scrapers_fetch" in ended.err
            )
            assert "failed" not in ended.err


def test_what_a_hook_prints_does_not_break_the_document(manage) -> None:
    ended = manage("arun greet Ann --json", PRINTED="printed")
    assert json.loads(ended.out)["status"] == "succeeded"
    for said in ("printed", "past Python", "Hello Ann"):
        assert said in ended.err


def test_characters_that_the_terminal_lacks_are_escaped(manage) -> None:
    manage("arun greet Zoë")
    ended = manage("aruns show -v 2", LC_ALL="C", PYTHONUTF8="0", PYTHONCOERCECLOCALE="0")
    assert (ended.code, ended.err) == (0, "")
    assert "Hello Zo\\xeb" in ended.out


@pytest.mark.parametrize(("verbosity", "shown"), [(0, ""), (1, "W"), (2, "IW"), (3, "DIW")])
def test_what_a_command_logs_is_shown_by_its_level(manage, verbosity: int, shown: str) -> None:
    told = manage(f"arun greet logger -v {verbosity} --api-token s3cr3t").err
    assert [level for level in "DIW" if f"{level} of a child, ********\n" in told] == list(shown)
    assert "s3cr3t" not in told


def test_the_traceback_that_is_asked_for_moves_no_terminal(manage) -> None:
    ended = manage("arun greet nobody --traceback")
    assert "LookupError: there is nobody here" in ended.err.split("Traceback", 1)[1]
    assert "\x1b" not in ended.err


def test_debug_lines_of_a_command_are_shown_at_verbosity_3(manage) -> None:
    said = "about to greet, token "
    assert said not in manage("arun greet Ann -v 2").err
    told = manage("arun greet Ann -v 3 --api-token s3cr3t").err
    assert f"{said}********\n" in told
    assert "s3cr3t" not in told


@pytest.mark.parametrize("line", ["arun greet Ann", "arun", "aruns"])
def test_colours_cannot_be_both_wanted_and_not(manage, line: str) -> None:
    ended = manage(f"{line} --no-color --force-color")
    assert (ended.code, ended.out) == (2, "")
    assert "--no-color and --force-color contradict each other" in ended.err


def test_resume_and_resume_run_contradict_each_other(manage) -> None:
    ended = manage("arun scrapers_fetch --resume --resume-run 1")
    assert ended.code == 2
    assert "--resume and --resume-run contradict each other" in ended.err


@pytest.mark.parametrize("line", ["arun scrapers_fetch --broken 2", "arun nothing_like_it", "arun greet nobody -v 0"])
@pytest.mark.parametrize("variable", [{"NO_COLOR": "1"}, {"DJANGO_COLORS": "nocolor"}])
def test_the_environment_can_refuse_colours(manage, line: str, variable: dict[str, str]) -> None:
    ended = manage.at_a_terminal(line, **variable)
    assert ended.code in {1, 2, 3}
    assert ended.err
    assert not re.search(r"\x1b\[[\d;]*3\d", ended.err)


def test_all_commands_are_imported_and_checked_on_request(manage) -> None:
    for line in ("arun --check", "check --tag async_commander"):
        ended = manage(line)
        assert ended.code == 1
        for broken in ("hookless", "missing", "syntax", "tidy"):
            assert f"{broken}: (async_commander.E003)" in ended.err
        assert "greet" not in ended.err
    assert manage("check").code == 0


@pytest.fixture(scope="module")
def keys_of_a_run(project: Path, migrated: Path, tmp_path_factory: pytest.TempPathFactory) -> set[str]:
    """What the document of a run has."""
    database = shutil.copy(migrated, tmp_path_factory.mktemp("documents") / "project.sqlite3")
    return set(json.loads(Manage(project, Path(database))("arun greet Ann --json").out))


@pytest.mark.parametrize(
    ("line", "command", "code", "error"),
    [
        ("greet", "greet", 2, "the following arguments are required: name"),
        ("greet Ann --times x", "greet", 2, "argument --times: found 'x', allowed: a whole number"),
        ("greet Ann --tims 3", "greet", 2, "unknown option --tims. Did you mean --times?"),
        ("graet Ann", "graet", 2, "there is no command 'graet'. Did you mean greet"),
        ("missing", "missing", 1, "cannot be imported: ModuleNotFoundError"),
        ("greet Ann --database nope", "greet", 2, "There is no database 'nope'"),
        ("greet Ann --no-color --force-color", "greet", 2, "contradict each other"),
        ("scrapers_fetch --resume-run 99", "scrapers_fetch", 2, "There is no run 99."),
        ("scrapers_fetch --max-failures lots", "scrapers_fetch", 2, "argument --max-failures: 'lots'"),
        ("--max-items 3", "", 2, "--max-items is for a run"),
    ],
)
def test_a_program_gets_its_document_where_no_run_came_to_be(
    manage, keys_of_a_run: set[str], line: str, command: str, code: int, error: str
) -> None:
    ended = manage(f"arun {line} --json")
    document = json.loads(ended.out)
    assert (ended.code, document["exit_code"]) == (code, code)
    assert error in document["error"]
    assert error in ended.err
    assert (document["run"], document["status"], document["command"]) == (None, "failed", command)
    assert document.keys() == keys_of_a_run


def test_a_program_is_told_of_missing_tables_and_of_wrong_settings(unmigrated) -> None:
    assert "manage.py migrate async_commander" in json.loads(unmigrated("arun greet Ann --json").out)["error"]
    wrong = unmigrated("arun greet Ann --json", PROJECT_SETTINGS='{"LIMITS": {"threads": 0}}')
    assert "threads=0" in json.loads(wrong.out)["error"]
    plain = unmigrated("hello Ann --json")
    assert (json.loads(plain.out)["command"], json.loads(plain.out)["exit_code"]) == ("greet", plain.code)
    wrong = unmigrated("hello Ann --json", PROJECT_SETTINGS='{"LIMITZ": {}}')
    assert "LIMITZ" in json.loads(wrong.out)["error"]
    for line, error in (("--resume-run 1", "lacks the tables"), ("--resume-run 1 --database nope", "no database")):
        refused = unmigrated(f"arun scrapers_fetch --json {line}")
        assert error in json.loads(refused.out)["error"]
        assert "Traceback" not in refused.err


def test_help_and_a_json_that_is_no_option_give_no_document(manage) -> None:
    assert manage("arun greet --help --json").out.startswith("usage:")
    assert manage("arun greet --bogus -- --json").out == ""


def test_one_name_in_two_apps_breaks_that_name_only(manage, tmp_path: Path) -> None:
    (tmp_path / "twin").mkdir()
    (tmp_path / "twin" / "__init__.py").touch()
    shutil.copy(manage.project / "blog" / "commands" / "report.py", tmp_path / "twin" / "greet.py")
    twin = {"PROJECT_SETTINGS": '{"COMMAND_PACKAGES": ["twin"]}', "PYTHONPATH": f"{ROOT}:{tmp_path}"}

    bare = manage("arun greet Ann", **twin)
    assert bare.code == 2
    assert "shop.greet" in bare.err
    assert "twin.greet" in bare.err
    for line in ("arun shop.greet Ann", "arun twin.greet", "arun report"):
        ended = manage(line, **twin)
        assert ended.code == 0, ended.err
        assert "E004" not in ended.err
    checked = manage("check", **twin)
    assert checked.code == 1
    assert "async_commander.E004" in checked.err
    assert "async_commander.E004" in manage("arun --check", **twin).err


def test_a_run_that_is_named_brings_its_arguments(manage) -> None:
    assert manage("arun scrapers_fetch --until 5 --broken 5 --max-failures 0").code == 1
    resumed = manage("arun scrapers_fetch --resume-run 1 --max-failures 9 --json")
    assert json.loads(resumed.out)["run"] == 1
    assert "There is no run 7" in manage("arun scrapers_fetch --resume-run 7").err


def test_a_run_that_is_named_with_other_arguments_is_refused_with_the_difference(manage) -> None:
    assert manage("arun scrapers_fetch --until 5 --broken 5 --max-failures 0").code == 1
    refused = manage("arun scrapers_fetch --resume-run 1 --until 6")
    assert refused.code == 2
    assert "Run 1 was begun with other arguments: until=5 there, 6 here. Leave these out" in refused.err


WITH_ALL_KINDS = """
from typing import Annotated

import async_commander as ac

class Command(ac.IterateDownloadCommand[int, int]):
    words: list[str]
    size: Annotated[int, ac.Option(named=True)]
    token: Annotated[str, ac.Option(named=True)]
    loud: bool = False
    tags: list[str] = ["a"]
    note: str = "x"

    async def iterate(self):
        return [1]

    async def download(self, item):
        raise ValueError("no")

    async def parse_and_save(self, item, payload): ...
"""


def test_a_run_that_is_named_brings_all_but_its_secrets(manage, tmp_path: Path) -> None:
    (tmp_path / "kinds").mkdir()
    (tmp_path / "kinds" / "__init__.py").touch()
    (tmp_path / "kinds" / "kinds.py").write_text(WITH_ALL_KINDS)
    here = {"PROJECT_SETTINGS": '{"COMMAND_PACKAGES": ["kinds"]}', "PYTHONPATH": f"{ROOT}:{tmp_path}"}

    failed = manage("arun kinds --size 3 --token s3cr3t --loud --tags b --tags c --max-failures 0 -- -w it's", **here)
    assert failed.code == 1, failed.err
    for how in ("--resume-run 1", "--resume_run=1 --database default"):
        refused = manage(f"arun kinds {how}", **here)
        assert refused.code == 2
        assert "Run 1 does not keep the value of token: give it again" in refused.err
    resumed = manage("arun kinds --token=s3cr3t --resume-run 1 --max-failures 9 --json", **here)
    assert json.loads(resumed.out)["run"] == 1, resumed.err
    assert "the following arguments are required" in manage("arun kinds", **here).err


def test_a_resume_without_a_run_of_these_arguments_says_so_first(manage) -> None:
    assert manage("arun scrapers_fetch --until 5 --broken 5 --max-failures 0").code == 1
    anew = manage("arun scrapers_fetch --until 6 --resume")
    assert anew.code == 0
    first = anew.err.splitlines()[0]
    assert "there is run 1 (failed, " in first
    assert "until=5 there, 6 here" in first
    assert "--resume-run ID" in first


def test_a_person_is_asked_before_a_resume_begins_anew_beside_an_unfinished_run(manage) -> None:
    assert manage("arun scrapers_fetch --until 5 --broken 5 --max-failures 0").code == 1
    line = "arun scrapers_fetch --until 6 --resume"
    refused = manage.at_a_terminal(line, until="[y/N]", typed="n\n")
    assert refused.code == 2
    assert "until=5 there, 6 here" in refused.err.replace("\r\n", "")
    assert "No run was begun." in refused.err
    assert manage("aruns --json").out.count('"run":') == 1
    assert manage.at_a_terminal(line, until="[y/N]", typed="y\n").code == 0
    agreed = manage.at_a_terminal("arun scrapers_fetch --until 7 --resume --yes", until="[y/N]", typed="\n")
    assert agreed.code == 0
    assert "[y/N]" not in agreed.err


def test_a_secret_of_a_run_that_is_named_is_asked_for_unseen(manage, tmp_path: Path) -> None:
    (tmp_path / "kinds").mkdir()
    (tmp_path / "kinds" / "__init__.py").touch()
    (tmp_path / "kinds" / "kinds.py").write_text(WITH_ALL_KINDS)
    here = {"PROJECT_SETTINGS": '{"COMMAND_PACKAGES": ["kinds"]}', "PYTHONPATH": f"{ROOT}:{tmp_path}"}
    assert manage("arun kinds --size 3 --token s3cr3t --max-failures 0 w", **here).code == 1
    resumed = manage.at_a_terminal(
        "arun kinds --resume-run 1 --max-failures 9", until="not keep", typed="s3cr3t\n", **here
    )
    assert "token, which run 1 does not keep:" in resumed.err
    assert "s3cr3t" not in resumed.err
    assert "run 1" in resumed.err


def test_the_summary_tells_of_no_items_and_of_max_items(manage) -> None:
    assert "  0 items in " in manage("arun scrapers_fetch --until 0").err
    cut = manage("arun scrapers_fetch --until 9 --max-items 3").err
    assert "  3 items in " in cut
    assert "ended by --max-items: the source was not asked for more" in cut
    assert "--max-items" not in manage("arun scrapers_fetch --until 3 --max-items 9").err


def test_a_resume_takes_as_many_items_as_it_was_asked_for_and_is_no_failure(manage) -> None:
    stopped = manage.interrupted("arun scrapers_fetch --threads 1 --grace 0.1 --max-items 15", when="stuck", STUCK="1")
    assert "resume   manage.py arun scrapers_fetch --threads 1 --grace 0.1 --resume\n" in stopped.err
    part = manage("arun scrapers_fetch --resume --max-items 2 --json")
    assert (part.code, json.loads(part.out)["status"], json.loads(part.out)["exit_code"]) == (0, "interrupted", 0)
    assert "resume   manage.py arun scrapers_fetch --json --resume\n" in part.err
    whole = manage("arun scrapers_fetch --resume")
    assert (whole.code, "15 in all" in whole.err) == (0, True), whole.err


def test_a_resume_tells_of_items_that_it_does_not_try_again(manage) -> None:
    assert manage("arun scrapers_fetch --until 5 --broken 5 --max-failures 0 --threads 1").code == 1
    resumed = manage("arun scrapers_fetch --until 5 --broken 5 --resume --max-failures 9")
    assert resumed.code == 1
    assert re.search(
        r"^  \d items? dead before: --resume does not try such items again, --retry-failed does$",
        resumed.err,
        re.MULTILINE,
    )
    line = "manage.py arun scrapers_fetch --until 5 --broken 5 --max-failures 9 --retry-failed 1"
    assert f"retry dead  {line}\n" in resumed.err
    assert manage("aruns retry 1 --threads 3").code == 1
    assert "Opened again" in manage("aruns show 1").out
    unknown = manage("arun scrapers_fetch --retry-failed 1 --only-kind KeyError --only-kind permanent")
    assert (unknown.code, "No dead item of run 1 is of the kind 'KeyError'." in unknown.err) == (2, True)


def test_a_failed_handle_names_the_line_that_shows_its_place(manage) -> None:
    assert "traceback  manage.py aruns show 1 -v 2\n" in manage("arun greet nobody").err
    assert 'greet.py", line ' in manage("aruns show 1 -v 2").out


def test_the_code_that_a_command_error_names_is_the_exit_code(manage) -> None:
    ended = manage("arun greet somebody-else --json")
    assert (ended.code, json.loads(ended.out)["exit_code"]) == (7, 7)
