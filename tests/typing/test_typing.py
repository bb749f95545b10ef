"""mypy and pyright see the arguments and hooks of a command: each reports the wrong lines of api.py and no others."""

from __future__ import annotations

import json
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
