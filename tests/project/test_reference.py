"""The reference in docs/ tells of each option and bound, as the table has it."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from async_commander.command.options import ON_THE_LINE
from async_commander.engine.limits import BOUNDS, Limits

DOCS = Path(__file__).parents[2] / "docs"


def rows(page: str, head: str) -> list[list[str]]:
    """The cells of the table that begins with this line."""
    table = (DOCS / page).read_text().partition(head)[2].partition("\n\n")[0]
    return [[cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]] for line in table.splitlines()[2:]]


def test_every_option_of_the_command_line_is_in_the_reference_and_no_other() -> None:
    told = {
        option.replace("-", "_")
        for cells in rows("running.md", "| option | |")
        for option in re.findall(r"`--([a-z-]+)", cells[0])
    }
    of_django = {"no_color"}
    assert told == ON_THE_LINE | of_django


@pytest.mark.parametrize("name", BOUNDS)
def test_every_bound_is_in_the_reference_with_its_default(name: str) -> None:
    found = [cells for cells in rows("commands.md", "| `ac.Limits(…)` | default | |") if f"`{name}`" in cells[0]]
    assert len(found) == 1, f"{name} is not in the table of bounds"
    default = BOUNDS[name].default
    if not callable(default):
        written = f'`"{default}"`' if isinstance(default, str) else str(default)
        assert found[0][1] in ({"none", "no limit"} if default is None else {written})


def test_every_bound_is_a_keyword_of_limits() -> None:
    assert {name: getattr(Limits(), name) for name in BOUNDS} == {name: each.value for name, each in BOUNDS.items()}
