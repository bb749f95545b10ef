"""mypy and pyright see the arguments and hooks of a command: each reports the wrong lines of api.py and no others."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
API = Path(__file__).with_name("api.py")
WRONG = {number for number, line in enumerate(API.read_text().splitlines(), 1) if "  # wrong:" in line}

pytestmark = pytest.mark.timeout(600)


def run(*command: str) -> str:
    """The output of a type checker, run in the top folder with the project's own settings. Code 1 says errors found."""
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=500)
    assert done.returncode in {0, 1}, done.stdout + done.stderr
    return done.stdout


def lines_reported_by_mypy() -> set[int]:
    pytest.importorskip("mypy")
    output = run(sys.executable, "-m", "mypy", "--no-error-summary", str(API.relative_to(ROOT)))
    return {int(line) for line in re.findall(r"^tests/typing/api\.py:(\d+): error:", output, re.MULTILINE)}


def lines_reported_by_pyright() -> set[int]:
    pyright = shutil.which("pyright", path=str(Path(sys.executable).parent)) or shutil.which("pyright")
    if pyright is None:
        pytest.skip("pyright is not installed")
    output = run(pyright, "--outputjson", "--pythonpath", sys.executable)
    if not output.strip():
        pytest.skip("pyright needs a Node.js that it could not get")
    found = json.loads(output)["generalDiagnostics"]
    return {each["range"]["start"]["line"] + 1 for each in found if each["severity"] == "error"}


def test_mypy_reports_every_wrong_line_and_no_other() -> None:
    assert lines_reported_by_mypy() == WRONG


def test_pyright_reports_every_wrong_line_and_no_other() -> None:
    assert lines_reported_by_pyright() == WRONG


def test_the_wrong_lines_include_a_missing_and_a_misspelt_argument() -> None:
    wrong = [line for line in API.read_text().splitlines() if "  # wrong:" in line]

    assert any("missing" in line for line in wrong)
    assert any("misspelt" in line for line in wrong)


def test_the_command_of_the_readme_passes_mypy_s_strict_mode(tmp_path: Path) -> None:
    pytest.importorskip("mypy")
    snippet = re.search(r"## A scraper\n+```python\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    assert snippet is not None
    shop = tmp_path / "shop"
    shop.mkdir()
    (shop / "__init__.py").touch()
    (shop / "models.py").write_text(MODELS)
    (shop / "parsing.py").write_text("def extract(html: str) -> tuple[str, list[str]]:\n    return html, []\n")
    (tmp_path / "settings.py").write_text(SETTINGS)
    (tmp_path / "mypy.ini").write_text(STRICT)
    (tmp_path / "fetch.py").write_text(snippet[1])
    done = subprocess.run(
        [sys.executable, "-m", "mypy", "fetch.py"],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": os.pathsep.join([str(tmp_path), str(ROOT)]), "MYPYPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
        timeout=500,
    )
    assert done.returncode == 0, done.stdout + done.stderr


MODELS = """
from django.db import models

class Site(models.Model):
    url = models.URLField()
    domain = models.CharField(max_length=100)

class Page(models.Model):
    site = models.OneToOneField(Site, on_delete=models.CASCADE)
    title = models.TextField()
    links = models.JSONField()
"""
SETTINGS = """
SECRET_KEY = "only for this test"
INSTALLED_APPS = ["django.contrib.contenttypes", "async_commander", "shop"]
DATABASES = {"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}}
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
"""
STRICT = """
[mypy]
strict = true
plugins = mypy_django_plugin.main
[mypy.plugins.django-stubs]
django_settings_module = settings
"""
