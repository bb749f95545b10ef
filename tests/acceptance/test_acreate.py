"""`manage.py acreate` in a fresh project: what it writes works at once, and it writes nowhere else."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.acceptance.fresh import environment, fresh_project

SHAPES = ("iterate_download", "download_iterate", "import", "bot", "plain", "managed")
LAYOUTS = ("tests.py", "tests/", "tests/ that is no package", "neither")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    project = fresh_project(tmp_path_factory.mktemp("fresh"))
    with (project / "mysite" / "settings.py").open("a") as settings:
        settings.write('INSTALLED_APPS += ["async_commander"]\n')
    return project


@pytest.fixture
def project(made: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(made, tmp_path / "project"))


def ran(project: Path, *words: str, given: str = "", **more: str) -> subprocess.CompletedProcess[str]:
    """`python …` in the project."""
    return subprocess.run(
        [sys.executable, *words],
        cwd=project,
        env={**environment(), **more},
        input=given,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def created(project: Path, *words: str) -> str:
    ended = ran(project, "manage.py", "acreate", *words)
    assert ended.returncode == 0, ended.stderr
    return ended.stdout


ASK = """
import json, sys, django
django.setup()
from django.core.management import CommandError, call_command
for words in json.load(sys.stdin):
    try:
        call_command("acreate", *words, stdout=sys.stderr)
    except CommandError as error:
        print(json.dumps([error.returncode, str(error)]))
    else:
        print(json.dumps([0, "created"]))
"""


def answers_to(project: Path, lines: list[list[str]]) -> list[list[object]]:
    """What `acreate` says to each of these lines, in one process: its exit code and its words."""
    ended = ran(project, "-c", ASK, given=json.dumps(lines), DJANGO_SETTINGS_MODULE="mysite.settings")
    answers = [json.loads(line) for line in ended.stdout.splitlines()]
    assert len(answers) == len(lines), ended.stderr
    return answers


def files(project: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(project)): path.read_bytes()
        for path in project.rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }


def lay_out(project: Path, layout: str) -> None:
    app = project / "shop"
    if layout != "tests.py":
        (app / "tests.py").unlink()
    if layout.startswith("tests/"):
        (app / "tests").mkdir()
    if layout == "tests/":
        (app / "tests" / "__init__.py").touch()
        own = "from django.test import SimpleTestCase\n\n\nclass Own(SimpleTestCase):\n    def test_it(self): ...\n"
        (app / "tests" / "test_own.py").write_text(own)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_shape_passes_its_test_at_once_by_both_runners_and_the_checkers(project: Path, layout: str) -> None:
    lay_out(project, layout)
    shapes = SHAPES if layout in ("tests.py", "tests/") else SHAPES[-1:]
    folders = {"managed": ""}
    asked = [["shop", f"{folders.get(shape, 'scrapers/')}by_{shape}", "--shape", shape] for shape in shapes]
    ending = [shape for shape in shapes if shape != "bot"]
    asked += [["shop", f"once_{shape}", "--shape", shape, "--run-once"] for shape in ending]
    assert answers_to(project, asked) == [[0, "created"]] * len(asked)
    assert not ((project / "shop" / "tests.py").exists() and (project / "shop" / "tests").exists())
    own = layout == "tests/"
    crashes = 2 * ("iterate_download" in shapes)  # its tests have one each
    tests = len(shapes) + 2 * len(ending) + crashes + own  # those that run once have two each

    by_django = ran(project, "manage.py", "test")
    assert f"Ran {tests} tests" in by_django.stderr, by_django.stderr
    assert by_django.returncode == 0

    by_pytest = ran(project, "-m", "pytest", "-q", "-p", "no:cacheprovider", DJANGO_SETTINGS_MODULE="mysite.settings")
    assert f"{tests} passed" in by_pytest.stdout, by_pytest.stdout

    if layout != "tests.py":  # the texts are the same everywhere
        return
    for words in (["ruff", "check", "--isolated"], ["ruff", "format", "--check", "--isolated"], ["mypy"]):
        written = [name for name in files(project) if "by_" in name or "once_" in name]
        checked = ran(project, "-m", *words, *written)
        assert checked.returncode == 0, checked.stdout + checked.stderr


def test_what_is_always_on_cannot_run_once(project: Path) -> None:
    code, told = answers_to(project, [["shop", "inbox", "--shape", "bot", "--run-once"]])[0]
    assert (code, "always on" in told) == (2, True)
    assert not (project / "shop" / "commands").exists()


def test_paths_and_next_steps_are_told_and_the_docstring_is_the_help(project: Path) -> None:
    assert created(project, "shop", "scrapers.fetch").splitlines() == [
        "Created shop/commands/scrapers/fetch.py",
        "Created shop/test_scrapers_fetch.py",
        "",
        "Next:",
        "  manage.py arun scrapers_fetch --help",
        "  manage.py test shop.test_scrapers_fetch",
    ]
    told = ran(project, "manage.py", "arun", "scrapers_fetch", "--help").stdout
    assert "Fetch pages, many at once, and save what is on them." in told
    assert "2 tests" in ran(project, "manage.py", "test", "shop.test_scrapers_fetch").stderr


def test_existing_files_are_touched_only_by_force_and_kept(project: Path) -> None:
    created(project, "shop", "fetch")
    command = project / "shop" / "commands" / "fetch.py"
    command.write_text("# mine\n")
    before = files(project)
    refused = ran(project, "manage.py", "acreate", "shop", "fetch", "--shape", "plain")
    assert refused.returncode == 2
    assert "shop/commands/fetch.py and shop/test_fetch.py: exists already. --force writes over it" in refused.stderr
    assert files(project) == before
    told = created(project, "shop", "fetch", "--shape", "plain", "--force")
    assert "Kept the old shop/commands/fetch.py as fetch.py.bak" in told
    created(project, "shop", "fetch", "--force")
    folder = project / "shop" / "commands"
    assert (folder / "fetch.py.bak").read_text() == "# mine\n"
    assert "Greet somebody" in (folder / "fetch.py.bak2").read_text()
    assert ran(project, "manage.py", "test").returncode == 0


REFUSED = [
    ("shop", "migrate", "django.core has a command 'migrate' already, which this one would hide", "managed"),
    ("shop", "arun", "async_commander has a command 'arun' already", "managed"),
    ("shop", "a/b", "Commands of Django's are in no folders", "managed"),
    ("shop", "class", "'class' is a keyword of Python"),
    ("shop", "a/import/b", "'import' is a keyword"),
    ("shop", "fetch-all", "'fetch-all' is no name in Python"),
    ("shop", "2fast", "'2fast' is no name"),
    ("shop", "_hidden", "begins with _"),
    ("shop", "a/_b/c", "begins with _"),
    ("shop", "../outside", "a part of it is empty"),
    ("shop", "/etc/x", "a part of it is empty"),
    ("shop", "a//b", "a part of it is empty"),
    ("shop", "", "a part of it is empty"),
    ("shop", "fetch.py", "is a file's name; write 'fetch'"),
    ("shop", "a b", "'a b' is no name"),
    ("shop", "ﬁx", "Python reads"),
    ("shop", "x" * 240, "is too long"),
    ("shp", "fetch", "There is no app 'shp' in INSTALLED_APPS. Did you mean shop?"),
    ("admin", "fetch", "The app 'admin' is not of this project"),
    ("async_commander", "fetch", "The app 'async_commander' is not of this project"),
]


def test_what_nobody_would_take_is_refused_before_anything_is_written(project: Path) -> None:
    before = files(project)
    answers = answers_to(
        project, [[app, name, *(["--shape", *shape] if shape else [])] for app, name, _, *shape in REFUSED]
    )
    for (_, _, told, *_), (code, text) in zip(REFUSED, answers, strict=True):
        assert code == 2
        assert told in text
    assert files(project) == before


def test_a_file_in_the_place_of_a_folder_is_refused(project: Path) -> None:
    (project / "shop" / "commands.py").write_text("")
    refused = ran(project, "manage.py", "acreate", "shop", "fetch")
    assert "shop/commands.py is a module: a folder beside it hides one of the two" in refused.stderr
    assert not (project / "shop" / "commands").exists()


def test_a_name_that_another_file_gives_is_refused(project: Path) -> None:
    created(project, "shop", "scrapers/fetch", "--shape", "plain")
    before = files(project)
    refused = ran(project, "manage.py", "acreate", "shop", "scrapers_fetch")
    assert (
        "There is a command 'scrapers_fetch' already, of the app 'shop': shop/commands/scrapers/fetch.py"
        in refused.stderr
    )
    for name in ("scrapers", "scrapers/fetch/more"):
        assert ran(project, "manage.py", "acreate", "shop", name).returncode == 2
    assert files(project) == before


def test_nothing_is_written_through_a_link_out_of_the_app(project: Path, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (project / "shop" / "commands").symlink_to(tmp_path / "elsewhere")
    refused = ran(project, "manage.py", "acreate", "shop", "fetch")
    assert "leads out of the app, by a link" in refused.stderr
    assert list((tmp_path / "elsewhere").iterdir()) == []


def test_the_name_of_another_apps_command_is_refused(project: Path) -> None:
    """The project's check would fail (async_commander.E004), and with it every test."""
    created(project, "shop", "fetch", "--shape", "plain")
    ran(project, "manage.py", "startapp", "blog")
    with (project / "mysite" / "settings.py").open("a") as settings:
        settings.write('INSTALLED_APPS += ["blog"]\n')
    refused = ran(project, "manage.py", "acreate", "blog", "fetch", "--shape", "plain")
    assert "There is a command 'fetch' already, of the app 'shop': shop/commands/fetch.py" in refused.stderr
