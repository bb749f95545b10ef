"""A fresh project, as Django makes it, in which the pages are followed as they are written."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def fresh_project(folder: Path) -> Path:
    """What `startproject` and `startapp` make, with the app installed."""
    for line in ("startproject mysite .", "startapp shop"):
        subprocess.run([sys.executable, "-m", "django", *line.split()], cwd=folder, check=True, env=environment())
    with (folder / "mysite" / "settings.py").open("a") as settings:
        settings.write('INSTALLED_APPS += ["shop"]\n')
    return folder


def environment() -> dict[str, str]:
    """No settings of the suite's own."""
    kept = {name: value for name, value in os.environ.items() if name != "DJANGO_SETTINGS_MODULE"}
    return {**kept, "PYTHONPATH": str(ROOT)}


def typed(project: Path, line: str) -> str:
    """What `python …` prints; it has to succeed."""
    command = [sys.executable, *line.split()[1:]]
    ended = subprocess.run(
        command, cwd=project, env=environment(), capture_output=True, text=True, timeout=120, check=False
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr
    return ended.stdout


def code_of(page: str, has: str) -> str:
    """The block of Python in a page in which this stands."""
    found = [
        block for block in re.findall(r"```python\n(.*?)```", (ROOT / page).read_text(), re.DOTALL) if has in block
    ]
    assert found, f"{page} has no code with {has!r}"
    return found[0]
