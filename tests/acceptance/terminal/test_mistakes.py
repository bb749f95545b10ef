"""What was typed wrong, and files that are broken: a message, an exit code, no traceback, nothing run."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from async_commander.management.commands.arun import Command

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.django_db  # Django's checks ask the database what it can
BROKEN = {
    "syntax": "class Command(:\n",
    "missing": "import nothing_of_that_name\n",
    "empty": "",
    "hookless": """
import async_commander as ac

class Command(ac.IterateDownloadCommand[int, str]):
    async def iterate(self): ...
""",
    "clashing": """
import async_commander as ac

class Command(ac.AsyncCommand):
    threads: int
    async def handle(self): ...
""",
    "unmade": """
import async_commander as ac

class Command(ac.AsyncCommand):
    def __init__(self):
        self.seen = []
    async def handle(self): ...
""",
}


@pytest.fixture(autouse=True)
def commands(settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "broken_commands"
    folder.mkdir()
    for name, source in BROKEN.items():
        (folder / f"{name}.py").write_text(source)
    monkeypatch.syspath_prepend(tmp_path)
    settings.ASYNC_COMMANDER = {"COMMAND_PACKAGES": ["tests.acceptance.terminal.called", "broken_commands"]}


def typed(line: str) -> None:
    Command().run_from_argv(["manage.py", "arun", *line.split()])


@pytest.mark.parametrize(
    ("line", "code", "said"),
    [
        ("cuont 3", 2, "manage.py arun: there is no command 'cuont'. Did you mean count"),
        ("count", 2, "the following arguments are required: until"),
        ("count x", 2, "until: found 'x', allowed: a whole number"),
        ("count 3 --threads 0", 2, "--threads: 0: at least 1"),
        ("count 3 --timeout soon", 2, "'soon' is no stretch of time"),
        ("count 3 --strides 5", 2, "unknown option --strides. Did you mean --stride"),
        (
            "count 3 --stride -x",
            2,
            "--stride: expected one argument; one that begins with a dash is written --stride=-…",
        ),
        (
            "count -x",
            2,
            "the following arguments are required: until; unknown option -x. A value that begins with a dash",
        ),
        ("count 3 --max-items 5", 2, "--max-items has no effect here"),
        ("count 3 4", 2, "one argument too many: '4'"),
        ("count 3 --progress dots", 2, "invalid choice: 'dots'"),
        ("--max-items 5", 2, "--max-items is for a run"),
        ("syntax", 1, "syntax.py cannot be imported: SyntaxError"),
        ("missing", 1, "missing.py cannot be imported: ModuleNotFoundError"),
        ("empty", 1, "has no class named Command"),
        ("hookless", 1, "download"),
        (
            "unmade",
            1,
            "unmade.Command.__init__() does not call super().__init__(**arguments): call it, or set attributes",
        ),
        ("clashing", 1, "'threads' is a shared option of every command"),
    ],
)
def test_a_mistake_is_named(line: str, code: int, said: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        typed(line)
    told = capsys.readouterr()
    assert ended.value.code == code
    assert said in told.err
    assert told.out == ""


def test_a_broken_file_shows_its_traceback_where_it_is_asked_for() -> None:
    with pytest.raises(Exception, match="cannot be imported") as raised:
        typed("missing --traceback")
    assert isinstance(raised.value.__cause__, ModuleNotFoundError)


def test_a_wrong_setting_is_named(settings, capsys: pytest.CaptureFixture[str]) -> None:
    settings.ASYNC_COMMANDER = {"COMMAND_PACKAGES": ["no.such.package"]}
    with pytest.raises(SystemExit) as ended:
        typed("count 3")
    assert ended.value.code == 1
    assert "no.such.package" in capsys.readouterr().err


def test_ctrl_c_while_a_command_is_loaded_leaves_no_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("async_commander.management.commands.arun.get_command", interrupted)
    with pytest.raises(SystemExit) as ended:
        typed("count 3")
    assert ended.value.code == 130


def test_the_list_is_there_for_programs(capsys: pytest.CaptureFixture[str]) -> None:
    typed("--json")
    listed = {one["name"]: one for one in json.loads(capsys.readouterr().out)}
    assert listed["count"] == {"name": "count", "app": "called", "help": "Count in steps", "broken": ""}
    assert listed["syntax"]["broken"] == "invalid syntax, line 1"
