"""The command line that runs a command: what is typed is what was meant."""

from __future__ import annotations

import shlex
from argparse import ArgumentParser
from datetime import timedelta
from typing import Annotated, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import async_commander as ac
from async_commander.command.arguments import to_json
from async_commander.command.line import line_of
from async_commander.command.parser import add_arguments_to


class Command(ac.AsyncCommand):
    domain: str
    file: Annotated[str, ac.Option(named=True)]
    tags: list[str] = []
    quick: bool = False
    slow: bool = True
    age: timedelta | None = None
    api_token: str = ""

    async def handle(self) -> None: ...


def read(line: str) -> dict[str, Any]:
    parser = ArgumentParser()
    add_arguments_to(parser, Command)
    program, arun, name, *tokens = shlex.split(line)
    assert (program, arun, name) == ("manage.py", "arun", "posts")
    return vars(parser.parse_args(tokens))


@pytest.mark.parametrize(
    ("values", "line"),
    [
        ({"domain": "x", "file": "y"}, "manage.py arun posts --file y x"),
        ({"domain": "a b", "file": "-y"}, "manage.py arun posts --file=-y 'a b'"),
        ({"domain": "-x", "file": "y"}, "manage.py arun posts --file y -- -x"),
        ({"quick": True, "slow": False}, "manage.py arun posts --file FILE --quick --no-slow DOMAIN"),
        ({"age": "P1D", "tags": ["a", "b"]}, "manage.py arun posts --file FILE --tags a b --age P1D DOMAIN"),
        ({"domain": "https://me:pw@x.org"}, "manage.py arun posts --file FILE 'https://********@x.org'"),
        ({"domain": "x\x1b[31m", "file": "y"}, r"manage.py arun posts --file y $'x\x1b[31m'"),
    ],
)
def test_a_line_is_written_as_it_is_typed(values: dict[str, Any], line: str) -> None:
    assert line_of(Command, "posts", values) == line


TEXTS = st.text(st.characters(codec="utf-8", categories=["L", "N", "P"], include_characters=" "), max_size=8)


@given(TEXTS, TEXTS, st.lists(TEXTS, max_size=3), st.booleans(), st.timedeltas())
def test_what_is_typed_is_what_was_meant(domain: str, file: str, tags: list[str], quick: bool, age: timedelta) -> None:
    values = {"domain": domain, "file": file, "tags": tags, "quick": quick, "age": age}
    found = read(line_of(Command, "posts", to_json(Command, values)))
    assert {**found, "tags": found.get("tags", [])} == values
