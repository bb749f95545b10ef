"""The house rules: what the front door promises, and what no room may contain."""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

import async_commander

ROOT = Path(async_commander.__file__).parent
REPOSITORY = ROOT.parent
SOURCES = sorted(path for path in ROOT.rglob("*.py") if "migrations" not in path.parts)
POOL_FILES = {"payload.py", "link.py"}
"""The process pool speaks pickle to its own children, over pipes that nobody else has."""


def test_the_front_door_loads_no_models_and_no_client() -> None:
    heavy = ("django.db", "httpx", "h11", "rich", "async_commander.models")
    code = f"import sys, async_commander; print([name for name in {heavy} if name in sys.modules])"
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=REPOSITORY)
    assert told.stdout.strip() == "[]"


def test_a_project_that_starts_loads_no_client() -> None:
    """Django loads the models and the checks for every `manage.py`, whatever it is to do."""
    code = f"""
import sys
import django
from django.conf import settings
settings.configure(
    INSTALLED_APPS=["django.contrib.contenttypes", "django.contrib.auth", "django.contrib.admin", "async_commander"],
    DATABASES={{"default": {{"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}}}},
)
django.setup()
print([name for name in {("httpx", "h11", "rich", "polars", "hishel", "boto3")} if name in sys.modules])
"""
    assert outside_of_django(code).strip() == "[]"


def test_a_plain_command_whose_runs_are_kept_loads_no_client() -> None:
    code = """
import sys
import django
from django.conf import settings
from django.core.management import call_command
settings.configure(
    INSTALLED_APPS=["django.contrib.contenttypes", "async_commander"],
    DATABASES={"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}},
)
django.setup()
import async_commander as ac
class Command(ac.ManagedCommand):
    def execute_command(self, *args, **options):
        raise ValueError("looked at, too")
call_command("migrate", verbosity=0)
try:
    call_command(Command())
except ValueError:
    print("httpx" in sys.modules)
"""
    assert outside_of_django(code).split() == ["False"]


@pytest.mark.parametrize("name", async_commander.__all__)
def test_every_public_name_is_there(name: str) -> None:
    assert getattr(async_commander, name) is not None


def outside_of_django(code: str) -> str:
    """What a Python program without settings prints."""
    environment = {name: value for name, value in os.environ.items() if name != "DJANGO_SETTINGS_MODULE"}
    told = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=REPOSITORY, env=environment
    )
    return told.stdout


def test_every_public_name_is_there_before_django_is_set_up() -> None:
    code = """
import sys
import async_commander as ac
print([name for name in ac.__all__ if getattr(ac, name) is None], "async_commander.models" in sys.modules)
"""
    assert outside_of_django(code).strip() == "[] False"


@pytest.mark.parametrize(
    ("configured", "remedy"),
    [("", "Set DJANGO_SETTINGS_MODULE and call"), ("settings.configure()", "Django is not set up yet. Call")],
)
def test_a_run_before_django_is_set_up_is_refused_with_the_remedy(configured: str, remedy: str) -> None:
    code = f"""
import asyncio
import async_commander as ac
from django.conf import settings
{configured}
for call in (lambda: ac.run("x"), lambda: asyncio.run(ac.arun("x"))):
    try:
        call()
    except ac.AsyncCommanderError as error:
        print(error)
"""
    assert outside_of_django(code).count(f"{remedy} django.setup()") == 2


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        async_commander.nothing  # noqa: B018


def test_what_type_checkers_see_is_what_there_is() -> None:
    tree = ast.parse((ROOT / "__init__.py").read_text())
    seen = {
        alias.asname
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("async_commander")
        for alias in node.names
    }
    assert seen == set(async_commander.__all__)


def test_room_doors_are_empty() -> None:
    of_authors = {ROOT, ROOT / "imports", ROOT / "testing", ROOT / "admin", ROOT / "models"}  # these list names
    of_authors.add(ROOT / "history")  # ... and this one is called by its own
    doors = [path for path in ROOT.rglob("__init__.py") if path.parent not in of_authors]
    assert [path for path in doors if path.read_text().strip()] == []


def test_no_room_is_a_lumber_room() -> None:
    lumber = {"utils", "util", "helpers", "helper", "common", "misc", "core"}
    assert [path for path in SOURCES if path.stem in lumber or lumber & set(path.relative_to(ROOT).parts)] == []


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_nothing_is_evaluated_and_nothing_is_unpickled(path: Path) -> None:
    tree = ast.parse(path.read_text())
    imported = {
        name.split(".")[0]
        for node in ast.walk(tree)
        if isinstance(node, ast.Import | ast.ImportFrom)
        for name in ([alias.name for alias in node.names] if isinstance(node, ast.Import) else [node.module or ""])
    }
    forbidden = {"marshal", "shelve", "jsonpickle", "yaml", "dill"} | (set() if path.name in POOL_FILES else {"pickle"})
    assert imported & forbidden == set()
    called = {node.func.id for node in ast.walk(tree) if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)}
    assert called & {"eval", "exec", "input"} == set()


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_task_is_born_in_a_task_group(path: Path) -> None:
    if str(path.relative_to(ROOT)) in {"runner/entry.py", "runner/watching.py", "runner/sse.py"}:  # each says why
        return
    assert not re.search(r"\b(create_task|ensure_future)\(", path.read_text())


def test_links_in_the_pages_lead_somewhere() -> None:
    pages = [REPOSITORY / "README.md", REPOSITORY / "CONTRIBUTING.md", *sorted((REPOSITORY / "docs").rglob("*.md"))]
    broken = [
        f"{page.name}: {target}"
        for page in pages
        for target in re.findall(r"\]\(([^)#:]+)\)", page.read_text())
        if not (page.parent / target).exists()
    ]
    assert broken == []


def test_targets_that_make_is_told_about_exist() -> None:
    makefile = (REPOSITORY / "Makefile").read_text()
    phony = re.search(r"^\.PHONY: (.*)$", makefile, re.MULTILINE)
    assert phony is not None
    assert set(phony[1].split()) == set(re.findall(r"^([\w-]+):", makefile, re.MULTILINE))
