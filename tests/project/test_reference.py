"""The reference in docs/ names each option and bound, as the table has it."""

from __future__ import annotations

import re

import pytest

from async_commander.command.options import ON_THE_LINE, REQUESTS
from async_commander.engine.limits import BOUNDS, Limits
from tests.project import reference, reference_pages


def test_every_option_of_the_command_line_is_in_the_reference_and_no_other() -> None:
    told = {
        option.replace("-", "_")
        for row in reference.table(*reference.OPTIONS)
        for option in re.findall(r"`--([a-z-]+)", re.split(r"(?<!\\)\|", row)[1])
    }
    of_django = {"no_color"}
    assert told == ON_THE_LINE | of_django


def test_every_option_of_a_call_only_is_in_the_reference_and_no_other() -> None:
    told = {name for row in reference.table(*reference.IN_CODE) for name in re.findall(r"`(\w+)`", row.split("|")[1])}
    assert told == {name for name, option in REQUESTS.items() if option.written is None}


def test_the_rows_about_bounds_are_those_of_the_table() -> None:
    """`make reference` writes them."""
    assert reference.table(*reference.LIMITS) == reference.limit_rows()
    rows = reference.option_rows()
    assert reference.table(*reference.OPTIONS)[: len(rows)] == rows


def test_every_bound_is_a_keyword_of_limits() -> None:
    assert {name: getattr(Limits(), name) for name in BOUNDS} == {name: each.value for name, each in BOUNDS.items()}


@pytest.mark.parametrize("name", ["settings.md", "options.md", "checks.md", "names.md"])
def test_the_pages_of_the_reference_are_what_the_code_says(name: str) -> None:
    """`make reference` writes them."""
    assert (reference_pages.FOLDER / name).read_text() == reference_pages.pages()[name]
