"""The first steps of the README, taken as they are written in a fresh project."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from .fresh import ROOT, fresh_project, typed

STEPS = (ROOT / "README.md").read_text().partition("## First steps")[2].partition("\n## ")[0]


def blocks(step: int) -> str:
    """What is to be copied at a step."""
    text = STEPS.partition(f"**{step}.**")[2].partition(f"**{step + 1}.**")[0]
    found = re.search(r"```\w*\n(.*?)```", text, re.DOTALL)
    assert found is not None
    return found[1]


@pytest.fixture
def project(tmp_path: Path) -> Path:
    return fresh_project(tmp_path)


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
