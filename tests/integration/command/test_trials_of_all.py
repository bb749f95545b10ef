"""`manage.py arun --test-all`: a trial run of every command that has test values, and a report."""

from __future__ import annotations

import io
import json
import re
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from django.core.management import CommandError, call_command

from async_commander.models import Run

pytestmark = pytest.mark.django_db

Report = Callable[..., list[str]]

COMMAND = """
import async_commander as ac

class Command(ac.AsyncCommand):
    {body}

    async def handle(self):
        {work}
"""


@pytest.fixture
def write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, settings: Any) -> Callable[..., None]:
    """Writes commands into a package that belongs to no app."""
    name = f"tried_{re.sub(r'[^a-z0-9]+', '_', tmp_path.name.lower())}"
    (tmp_path / name).mkdir()
    (tmp_path / name / "__init__.py").touch()
    monkeypatch.syspath_prepend(str(tmp_path))
    settings.ASYNC_COMMANDER = {"COMMAND_PACKAGES": [name]}

    def write(file: str, body: str = "test_parameters = {}", work: str = "return 1", code: str = COMMAND) -> None:
        (tmp_path / name / f"{file}.py").write_text(code.format(body=body, work=work))

    return write


def tried(**options: Any) -> list[list[str]]:
    """The lines of the report, in their parts; without those of the suite's own commands, and without times."""
    out = io.StringIO()
    with suppress(CommandError):
        call_command("arun", test_all=True, stdout=out, stderr=io.StringIO(), **options)
    lines = out.getvalue().splitlines()
    told = [re.sub(r"  +[\d.]+ s\b", "", line) for line in lines if line and "pages" not in line]
    return [line.split(maxsplit=2) for line in told]


def test_each_command_has_a_line(write: Callable[..., None]) -> None:
    write("fine", "domain: str\n    test_parameters = {'domain': 'x'}")
    write("without", "")
    write("wrong", work="raise ValueError('it broke')")
    write("lacking", "domain: str\n    test_options = {'yes': True}")
    write("broken", code="import nothing_of_this_name")
    assert tried() == [
        ["failed", "broken", tried()[0][2]],
        ["skipped", "without", "it has neither test_parameters nor test_options"],
        ["ok", "fine"],
        ["failed", "lacking", "TypeError: " + tried()[3][2].removeprefix("TypeError: ")],
        ["failed", "wrong", "failed: ValueError: it broke"],
        ["2", "ok,", "3 failed, 1 skipped."],
    ]
    assert "nothing_of_this_name" in tried()[0][2]
    assert "missing 1 required argument: 'domain'" in tried()[3][2]
    assert {run.testing for run in Run.objects.all()} == {True}
    assert Run.objects.filter(command="fine").first().parameters == {"domain": "x"}  # type: ignore[union-attr]


def test_who_is_needed_goes_first_and_who_needs_what_failed_is_skipped(write: Callable[..., None]) -> None:
    write("a_posts", "dependencies = ['c_rosters', 'd_languages']; test_parameters = {}")
    write("b_report", "dependencies = ['a_posts']; test_parameters = {}")
    write("c_rosters")
    write("d_languages", "")
    write("e_wrong", work="raise ValueError('it broke')")
    write("f_late", "dependencies = ['e_wrong']; test_parameters = {}")
    write("g_later", "dependencies = ['f_late']; test_parameters = {}")
    report = tried()
    told = {line[1]: line for line in report[:-1]}
    assert {name: line[0] for name, line in told.items()} == {
        "d_languages": "skipped", "c_rosters": "ok", "a_posts": "ok", "b_report": "ok",
        "e_wrong": "failed", "f_late": "skipped", "g_later": "skipped",
    }  # fmt: skip
    names = [*told]
    assert names.index("c_rosters") < names.index("a_posts") < names.index("b_report")
    assert told["f_late"][2] == "it depends on e_wrong, which did not succeed"
    assert told["g_later"][2] == "it depends on f_late, which did not succeed"
    assert not Run.objects.filter(command__in=["f_late", "g_later"]).exists()


def test_a_dependency_that_cannot_be_used_is_a_failure(write: Callable[..., None]) -> None:
    write("posts", "dependencies = ['rostres']; test_parameters = {}")
    write("rosters")
    told = {line[1]: line for line in tried()[:-1]}
    assert (told["posts"][0], told["rosters"][0]) == ("failed", "ok")
    assert "there is no command 'rostres'. Did you mean rosters" in told["posts"][2]


def test_a_circle_fails_and_the_others_are_tried(write: Callable[..., None]) -> None:
    for name, needed in (("egg", "hen"), ("hen", "egg"), ("farm", "hen")):
        write(name, f"dependencies = ['{needed}']; test_parameters = {{}}")
    write("barn")
    told = {line[1]: line for line in tried()[:-1]}
    assert {name: line[0] for name, line in told.items()} == {
        "egg": "failed", "hen": "failed", "farm": "skipped", "barn": "ok",
    }  # fmt: skip
    assert "it depends on itself, in a circle: " in told["egg"][2]


def test_nobody_is_asked_and_output_is_kept_apart(write: Callable[..., None], monkeypatch: Any) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO("y\n"))
    monkeypatch.setattr("sys.stdin.isatty", lambda: True, raising=False)
    write("asking", work="return await self.confirm('Delete all?')")
    write("talking", work="self.stdout.write('hello')")
    write("agreeing", "test_options = {'yes': True}", "return await self.confirm('Delete all?')")
    told = {line[1]: line for line in tried()}
    assert told["asking"][0] == "failed"
    assert "“Delete all?” cannot be asked without a terminal. Give yes=True to agree." in told["asking"][2]
    assert (told["agreeing"][0], told["talking"][0]) == ("ok", "ok")
    assert Run.objects.get(command="talking").output == "hello\n"


def test_programs_get_one_document(write: Callable[..., None]) -> None:
    write("fine")
    write("wrong", work="raise ValueError('it broke')")
    out = io.StringIO()
    with pytest.raises(CommandError, match="1 failed, ") as raised:
        call_command("arun", test_all=True, json=True, stdout=out, stderr=io.StringIO())
    assert raised.value.returncode == 1
    document = json.loads(out.getvalue())
    assert (document["failed"], document["skipped"]) == (1, 0)
    trials = {one["name"]: one for one in document["trials"]}
    assert trials["fine"]["outcome"] == "ok"
    assert trials["fine"]["run"] == Run.objects.get(command="fine").pk
    assert trials["fine"]["seconds"] >= 0
    assert trials["wrong"]["why"] == "failed: ValueError: it broke"


def test_all_is_well(write: Callable[..., None]) -> None:
    write("fine")
    out = io.StringIO()
    call_command("arun", "--test-all", stdout=out)
    assert out.getvalue().endswith("\n2 ok, 0 failed, 0 skipped.\n")


def test_what_is_for_a_run_is_refused(write: Callable[..., None]) -> None:
    with pytest.raises(CommandError, match="--threads is for a run: name the command"):
        call_command("arun", "--test-all", "--threads", "5")
