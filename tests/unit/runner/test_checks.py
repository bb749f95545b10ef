"""The numbered system checks."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from django.core.checks import run_checks
from django.db import connections

from async_commander.checks import SPARE_CONNECTIONS, TAG, checks_for_a_run
from async_commander.command.registry import get_command, get_commands, name_of
from async_commander.engine.limits import Limits
from async_commander.exceptions import InvalidCommand

BROKEN = "import nothing_of_this_name\n"
GOOD = "import async_commander as ac\n\nclass Command(ac.AsyncCommand):\n    async def handle(self): ...\n"
HOOKLESS = "import async_commander as ac\n\nclass Command(ac.IterateDownloadCommand[int, int]): ...\n"
CLASHING = "    def add_arguments(self, parser): parser.add_argument('--json')\n"

PREFIX = "async_commander."
NEEDED = Limits().db_lanes + SPARE_CONNECTIONS


def ids(tags: list[str] | None = None) -> list[str]:
    found = [str(message.id) for message in run_checks(tags=tags, databases=[])]
    return [number.removeprefix(PREFIX) for number in found if number.startswith(PREFIX)]


def message(number: str) -> Any:
    return next(one for one in run_checks(tags=[TAG]) if one.id == f"{PREFIX}{number}")


def test_w007_mails_that_nobody_would_get_are_named(settings: Any) -> None:
    settings.ASYNC_COMMANDER, settings.ADMINS = {"MAIL_ADMINS": True}, []
    assert ids() == ["W007"]
    settings.ADMINS = [("Ada", "ada@example.org")]
    assert ids() == []


@pytest.fixture
def options() -> Iterator[dict[str, Any]]:
    """The OPTIONS of the default database as connections see them."""
    options = connections["default"].settings_dict["OPTIONS"]
    before = dict(options)
    yield options
    options.clear()
    options.update(before)


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, settings: Any) -> Path:
    """A package of commands that belongs to no app."""
    name = f"loose_{re.sub(r'[^a-z0-9]+', '_', tmp_path.name.lower())}"
    folder = tmp_path / name
    folder.mkdir()
    (folder / "__init__.py").touch()
    monkeypatch.syspath_prepend(str(tmp_path))
    settings.ASYNC_COMMANDER = {"COMMAND_PACKAGES": [name]}
    return folder


def test_the_suites_own_settings_are_in_order() -> None:
    assert ids() == []
    assert ids([TAG]) == []


@pytest.mark.parametrize(
    ("value", "told"),
    [
        ({"LIMITZ": {}}, "LIMITZ"),
        ({"LIMITS": {"threads": 0}}, "threads=0"),
        ({"LIMITS": {"thread": 5}}, "thread"),
        ({"LIMITS": 5}, "LIMITS"),
        ({"INTERNAL_HOSTS": "localhost"}, "INTERNAL_HOSTS"),
        ("no dict", "a dict"),
        ({"COMMAND_PACKAGES": ["no_package_at_all"]}, "no_package_at_all"),
        ({"UPLOADS": "no_alias_at_all"}, "no_alias_at_all"),
        ({"PREPARE_CONNECTION": "os.path"}, "os.path"),
    ],
)
def test_e001_a_wrong_setting_is_named(settings: Any, value: Any, told: str) -> None:
    settings.ASYNC_COMMANDER = value
    assert told in message("E001").msg


def test_e002_two_files_of_one_name_are_named(package: Path) -> None:
    (package / "shop").mkdir()
    (package / "shop" / "fetch.py").write_text(GOOD)
    (package / "shop_fetch.py").write_text(GOOD)
    told = message("E002").msg
    assert "'shop_fetch' is given by 2 files" in told
    assert str(package / "shop" / "fetch.py") in told


def test_e004_one_name_in_two_apps_is_an_error_and_both_are_checked(
    package: Path, tmp_path: Path, settings: Any
) -> None:
    other = tmp_path / f"other_{package.name}"
    other.mkdir()
    (other / "__init__.py").touch()
    settings.ASYNC_COMMANDER = {"COMMAND_PACKAGES": [package.name, other.name]}
    (package / "sync.py").write_text(GOOD)
    (other / "sync.py").write_text(BROKEN)

    assert ids() == ["E004"]
    hint = message("E004").hint
    assert f"{package.name}.sync and {other.name}.sync run them, and 'sync' alone runs none" in hint
    assert '"async_commander.E004" into SILENCED_SYSTEM_CHECKS' in hint
    assert message("E003").obj == f"{other.name}.sync"
    assert name_of(get_command(f"{package.name}.sync")) == f"{package.name}.sync"
    with pytest.raises(InvalidCommand, match=f"{package.name}.sync .*{other.name}.sync"):
        get_command("sync")
    with checks_for_a_run():
        assert ids() == []
    assert ids() == ["E004"]


@pytest.mark.parametrize(
    ("code", "told"),
    [
        (BROKEN, "nothing_of_this_name"),
        (HOOKLESS, "has no iterate()"),
        ("", "Command"),
        (GOOD + CLASHING, "'json', which is an argument of the class or a shared option already"),
        (GOOD + "    option_defaults = {'threads': 'many'}\n", "option_defaults gives 'threads'"),
    ],
)
def test_e003_a_broken_file_is_named_where_commands_are_imported(package: Path, code: str, told: str) -> None:
    (package / f"broken_{len(code)}.py").write_text(code)
    assert f"broken_{len(code)}" in get_commands()
    assert "E003" not in ids()
    assert ids([TAG]) == ["E003"]
    assert told in message("E003").msg


def test_w001_sqlite_that_is_not_set_up_for_writers_is_named(options: dict[str, Any]) -> None:
    if connections["default"].vendor != "sqlite":
        pytest.skip("a check of SQLite")
    options.pop("transaction_mode")
    assert message("W001").hint == "Add to DATABASES['default']['OPTIONS']: \"transaction_mode\": \"IMMEDIATE\"."
    options.clear()
    assert message("W001").hint.count("PRAGMA") == 2


@pytest.mark.parametrize(
    ("pool", "known"),
    [({"max_size": NEEDED - 1}, True), ({"max_size": NEEDED}, False), (True, True), (False, False)],
)
def test_w002_a_pool_that_is_too_small_is_named(options: dict[str, Any], pool: Any, known: bool) -> None:
    options["pool"] = pool
    assert ("W002" in ids()) is known


def test_w002_counts_the_lanes_of_the_settings(options: dict[str, Any], settings: Any) -> None:
    options["pool"] = {"max_size": NEEDED}
    settings.ASYNC_COMMANDER = {"LIMITS": {"db_lanes": 10}}
    assert f"one run may hold {10 + SPARE_CONNECTIONS} connections" in message("W002").msg


def test_w005_a_limit_of_descriptors_that_is_too_low_for_threads_is_named(
    settings: Any, package: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("async_commander.downloads.descriptors.soft_limit", lambda: 256)
    (package / "greedy.py").write_text(GOOD + "    limits = ac.Limits(threads=500)\n")
    assert ids() == []
    settings.ASYNC_COMMANDER = {**settings.ASYNC_COMMANDER, "LIMITS": {"threads": 200}}
    assert ids() == ["W005"]
    told = [one for one in run_checks(tags=[TAG]) if one.id == "async_commander.W005"]  # in any order
    by_class, by_settings = sorted(told, key=lambda one: "greedy" not in one.msg)
    assert "threads=200 needs 264 file descriptors, and a process may have 256" in by_settings.msg
    assert "ulimit -n 264" in by_settings.hint
    assert "greedy: threads=500 needs 564" in by_class.msg
    monkeypatch.setattr("async_commander.downloads.descriptors.soft_limit", lambda: None)
    assert ids([TAG]) == []


ITEMS = """
import async_commander as ac

class Command(ac.IterateDownloadCommand[int, int]):
    def iterate(self): return []
    def download(self, item): return item
    def parse_and_save(self, item, payload): ...
"""


@pytest.mark.parametrize(
    ("line", "meant"),
    [
        ("def commited(self, item): ...", "committed"),
        ("def clean_up(self): ...", "cleanup"),
        ("async def onTimeout(self): ...", "on_timeout"),
        ("def item_keys(self, item): ...", "item_key"),
        ("@staticmethod\n    def add_argument(parser): ...", "add_arguments"),
        ("limit = ac.Limits(threads=3)", "limits"),
        ("options_defaults = {}", "option_defaults"),
        ("threads = 3", r"limits = ac\.Limits\(threads=…\)"),
    ],
)
def test_w006_a_slip_of_the_pen_in_an_optional_name_is_named(package: Path, line: str, meant: str) -> None:
    (package / "slips.py").write_text(f"{ITEMS}    {line}\n")
    assert ids() == []
    assert ids([TAG]) == ["W006"]
    assert re.search(rf"slips\.Command\.\w+ is not used by a run; did you mean {meant}\?", message("W006").msg)
    assert message("W006").obj == "slips"


@pytest.mark.parametrize(
    "line",
    [
        "def committed(self, item): ...",
        "def _commited(self, item): ...",
        "def downloads(self): ...",
        "def clean_html(self, text): ...",
        "def helper(self): ...",
        "totals: int = 3",
        "threads_of_old = 3",
        "def item_key(self, item): return 'a'\n    def item_keys(self): ...",
    ],
)
def test_w006_leaves_names_of_the_author_s_own_alone(package: Path, line: str) -> None:
    (package / "own.py").write_text(f"{ITEMS}    {line}\n")
    assert ids([TAG]) == []


NEEDING = """
import async_commander as ac

class Command(ac.AsyncCommand):
    domain: str = ""
    dependencies = [{}]

    async def handle(self): ...
"""


@pytest.mark.parametrize(
    ("needed", "told"),
    [
        ("ac.DependsOn('rosters_laod')", "there is no command 'rosters_laod'. Did you mean rosters_load?"),
        ("('rosters_load', {'regoin': 'eu'})", "'regoin' is no parameter of it; did you mean 'region'?"),
        ("ac.DependsOn('rosters_load', region=3)", "'region': found 3 (int), allowed: a text"),
    ],
)
def test_e005_a_dependency_that_does_not_exist_is_named(package: Path, needed: str, told: str) -> None:
    (package / "rosters_load.py").write_text(NEEDING.format("").replace("domain", "region"))
    (package / f"posts_{len(needed)}.py").write_text(NEEDING.format(needed))
    assert ids() == []
    assert ids([TAG]) == ["E005"]
    assert told in message("E005").msg
    assert message("E005").obj == f"posts_{len(needed)}"


def test_e006_a_circle_is_named_once(package: Path) -> None:
    for name, needed in (("hen", "'egg'"), ("egg", "'nest'"), ("nest", "'hen'"), ("farm", "'hen'")):
        (package / f"{name}.py").write_text(NEEDING.format(needed))
    assert ids([TAG]) == ["E006"]
    shown = message("E006").msg
    assert all(part in shown for part in ("hen → egg", "egg → nest", "nest → hen"))
    assert "farm" not in shown


@pytest.mark.parametrize(
    ("needed", "found"),
    [("ac.DependsOn('month', domain=lambda command: command.domain[1:])", []), ("'month'", ["E006"])],
)
def test_a_command_that_needs_itself_with_other_parameters_is_no_circle(
    package: Path, needed: str, found: list[str]
) -> None:
    (package / "month.py").write_text(NEEDING.format(needed))
    assert ids([TAG]) == found
