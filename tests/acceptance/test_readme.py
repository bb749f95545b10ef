"""The first steps of the README, taken as they are written in a fresh project."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
STEPS = (ROOT / "README.md").read_text().partition("## First steps")[2].partition("\n## ")[0]


def blocks(step: int) -> str:
    """What is to be copied at a step."""
    text = STEPS.partition(f"**{step}.**")[2].partition(f"**{step + 1}.**")[0]
    found = re.search(r"```\w*\n(.*?)```", text, re.DOTALL)
    assert found is not None
    return found[1]


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """What `startproject` and `startapp` make, with the app installed."""
    for line in ("startproject mysite .", "startapp shop"):
        subprocess.run([sys.executable, "-m", "django", *line.split()], cwd=tmp_path, check=True, env=environment())
    with (tmp_path / "mysite" / "settings.py").open("a") as settings:
        settings.write('INSTALLED_APPS += ["shop"]\n')
    return tmp_path


def environment() -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if name != "DJANGO_SETTINGS_MODULE"}
    return {**kept, "PYTHONPATH": str(ROOT)}


def typed(project: Path, line: str) -> str:
    command = [sys.executable, *line.split()[1:]]
    ended = subprocess.run(
        command, cwd=project, env=environment(), capture_output=True, text=True, timeout=60, check=False
    )
    assert ended.returncode == 0, ended.stderr
    return ended.stdout


def test_there_are_five_steps_and_the_first_command_has_ten_lines() -> None:
    assert re.findall(r"\*\*(\d)\.\*\*", STEPS) == ["1", "2", "3", "4", "5"]
    assert len([line for line in blocks(4).splitlines() if line]) == 10


def test_the_first_steps_work_as_they_are_written(project: Path) -> None:
    with (project / "mysite" / "settings.py").open("a") as settings:
        settings.write(blocks(2))
    typed(project, blocks(3).strip())
    (project / "shop" / "commands").mkdir()
    (project / "shop" / "commands" / "lines.py").write_text(blocks(4))
    run, look = blocks(5).strip().splitlines()
    assert "models.py" in typed(project, run)
    assert "succeeded" in typed(project, look)
