"""The pages point at what is there: other pages, their headings, and modules of the package with what is in them."""

from __future__ import annotations

import ast
import re
from importlib import import_module
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[2]
PACKAGE = REPOSITORY / "async_commander"
PAGES = [*sorted(REPOSITORY.glob("*.md")), *sorted((REPOSITORY / "docs").rglob("*.md"))]
LINK = re.compile(r"\]\((?!https?:|mailto:)([^)#\s]*)(?:#([^)\s]+))?\)")


def anchors_of(page: Path) -> set[str]:
    """The anchors of a page's headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.+)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_link_leads_somewhere(page: Path) -> None:
    for name, anchor in LINK.findall(page.read_text()):
        target = (page.parent / name) if name else page
        assert target.exists(), f"{page.name} points at {name}"
        assert not anchor or anchor in anchors_of(target), f"{page.name} points at {name}#{anchor}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_module_that_a_page_names_exists(page: Path) -> None:
    rooms = "|".join(sorted(each.name for each in PACKAGE.iterdir() if each.is_dir()))
    for path in re.findall(rf"`((?:{rooms})/[\w/]+\.py)`", page.read_text()):
        assert (PACKAGE / path).exists(), f"{page.name} names {path}"


ARCHITECTURE = REPOSITORY / "docs" / "architecture.md"
PLACE = re.compile(r"`(?P<path>[\w/]+\.py)`(?P<names>(?:(?:,| and) `\w+(?:\(\))?`)+)")
"""A module, and what is to be found in it: `engine/pace.py`, `Pace`."""


def names_in(path: Path) -> set[str]:
    """What a module defines: functions and methods, classes, values and attributes."""
    found = set[str]()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            found.add(node.name)
        elif isinstance(node, ast.Name | ast.Attribute) and isinstance(node.ctx, ast.Store):
            found.add(node.id if isinstance(node, ast.Name) else node.attr)
    return found


def test_the_page_about_the_house_names_modules_that_exist() -> None:
    paths = set(re.findall(r"`([\w/]+\.py)`", ARCHITECTURE.read_text()))
    assert len(paths) > 60
    assert [path for path in paths if not any(PACKAGE.rglob(path))] == []


def test_the_page_about_the_house_says_rightly_what_is_in_a_module() -> None:
    places = list(PLACE.finditer(ARCHITECTURE.read_text()))
    assert len(places) > 30
    for place in places:
        missing = set(re.findall(r"`(\w+)(?:\(\))?`", place["names"])) - names_in(PACKAGE / place["path"])
        assert not missing, f"{place['path']} has no {', '.join(missing)}"


def test_the_page_about_the_house_names_ports_by_the_path_they_are_imported_from() -> None:
    dotted = re.findall(r"`([a-z_]+(?:\.[a-z_]+)*)\.([A-Z]\w+)`", ARCHITECTURE.read_text())
    ports = [(module, name) for module, name in dotted if module != "ac"]
    assert len(ports) > 3
    assert [
        (module, name) for module, name in ports if not hasattr(import_module(f"async_commander.{module}"), name)
    ] == []
