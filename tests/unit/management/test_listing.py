"""The list of commands, told from their files."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest

from async_commander.management.listing import Line, list_commands, render

if TYPE_CHECKING:
    from pathlib import Path


@dataclass(frozen=True)
class File:
    name: str
    app_label: str
    path: Path

    @property
    def full_name(self) -> str:
        return f"{self.app_label}.{self.name}"


@pytest.fixture
def write(tmp_path: Path):
    def write(name: str, source: str | bytes, app_label: str = "shop") -> File:
        path = tmp_path / f"{app_label}_{name}.py"
        path.write_bytes(source if isinstance(source, bytes) else source.encode())
        return File(name, app_label, path)

    return write


@pytest.mark.parametrize(
    ("source", "summary"),
    [
        ('class Command(X):\n    """Fetch all.\n\n    And more."""', "Fetch all"),
        ('class Command(X):\n    """Doc."""\n    help = "Help wins."', "Help wins"),
        ('class Command(X):\n    help: ClassVar[str] = "Annotated."', "Annotated"),
        ('"""The module."""\nclass Command(X): pass', "The module"),
        ('"""The module."""\nfrom json import JSONDecoder as Command', "The module"),
        ('"""The module."""\nfrom .fetch import Fetch as Command', "The module"),
        (
            '"""The module."""\ntry:\n    import no_such\nexcept ImportError:\n    no_such = None\nclass Command: ...',
            "The module",
        ),
        ('"""The module."""\nfrom json import *', "The module"),
        ('class Command(X):\n    help = _("translated")\n    """no docstring"""', ""),
        ('class Command(X):\n    """Escape \\x1b[31mcodes."""', "Escape codes"),
    ],
)
def test_the_first_line_of_help_or_docstring_is_told(write, source: str, summary: str) -> None:
    assert list_commands([write("fetch", source)]) == [Line("shop", "fetch", summary)]


def test_no_command_is_run_to_be_listed(write) -> None:
    assert list_commands([write("fetch", 'raise SystemExit\nclass Command: "Fetch."')])[0].summary == "Fetch"


@pytest.mark.parametrize("source", ["class Command(:", b"\xff\xfe", b"x = '\x00'"])
def test_a_broken_file_breaks_its_own_line_only(write, source: str | bytes) -> None:
    broken, good = list_commands([write("broken", source), write("fetch", 'class Command: "Fetch."')])
    assert broken.broken
    assert (good.summary, good.broken) == ("Fetch", "")


@pytest.mark.parametrize(
    ("source", "broken"),
    [
        ("", "there is no class named Command in it"),
        ("class Comand: ...", "there is no class named Command in it"),
        ("import json, no_such\nclass Command: ...", "there is no module no_such, line 1"),
        ("\nfrom django.no_such import x\nclass Command: ...", "there is no module django.no_such, line 2"),
    ],
)
def test_a_file_that_is_no_command_is_marked_without_being_run(write, source: str, broken: str) -> None:
    assert list_commands([write("fetch", source)]) == [Line("shop", "fetch", broken=broken)]


def test_a_file_that_went_away_is_told(tmp_path: Path) -> None:
    assert "No such file" in list_commands([File("gone", "shop", tmp_path / "gone.py")])[0].broken


def test_files_that_share_a_name_are_listed_by_what_they_can_be_called(write) -> None:
    clashing = [write("fetch", "", "shop"), write("fetch", "", "blog")]
    assert [line.name for line in list_commands([], clashing)] == ["blog.fetch", "shop.fetch"]


def test_files_of_one_app_that_share_a_name_are_told_apart_by_their_paths(write, tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    first, second = write("fetch", ""), File("fetch", "shop", tmp_path / "folder" / "fetch.py")
    lines = list_commands([], [first, second])
    assert [line.name for line in lines] == ["shop.fetch", "shop.fetch"]
    assert {line.broken.rpartition(" ")[2] for line in lines} == {str(first.path), str(second.path)}


def test_the_list_is_grouped_by_app_and_stands_in_columns() -> None:
    lines = [
        Line("blog", "clean", "Clean up"),
        Line("shop", "bad", broken="invalid syntax, line 1"),
        Line("shop", "scrapers_fetch", "Fetch"),
    ]
    assert render(lines, prog="manage.py arun", width=80) == [
        "[blog]",
        "  clean           Clean up",
        "",
        "[shop]",
        "  bad             broken: invalid syntax, line 1",
        "  scrapers_fetch  Fetch",
        "",
        "manage.py arun NAME --help shows what a command takes.",
    ]


def test_no_line_is_wider_than_the_terminal() -> None:
    lines = [Line("shop", "fetch", "word " * 50)]
    assert len(render(lines, prog="p", width=60)[1]) <= 60


def test_an_empty_list_says_where_commands_go() -> None:
    (line,) = render([], prog="manage.py arun", width=80)
    assert "<app>/commands/<name>.py" in line
