"""The code in the pages: what is Python is imported and declared, what is typed is parsed. Some of it is run elsewhere.

`tests/acceptance` follows the README's first steps, the tutorial and several pages in a fresh project. Here every
block of every page is looked at: its imports are made, its classes and functions are defined, its commands are declared
as `arun` declares them, and lines for a shell name commands, actions, options and extras that exist.
"""

from __future__ import annotations

import ast
import builtins
import importlib.abc
import importlib.machinery
import re
import shlex
import sys
import tomllib
import types
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from django.core.management import get_commands, load_command_class
from django.test.utils import isolate_apps

from async_commander.command.base import AsyncCommand
from async_commander.command.declaration import declaration_of
from async_commander.command.options import ON_THE_LINE
from async_commander.exceptions import InvalidCommand

REPOSITORY = Path(__file__).parents[2]
PAGES = [REPOSITORY / "README.md", *sorted((REPOSITORY / "docs").rglob("*.md"))]
BLOCK = re.compile(r"^(?P<fence>```+)(?P<language>\w*)\n(?P<code>.*?)^(?P=fence)$", re.MULTILINE | re.DOTALL)
OF_THE_READER = {
    "shop", "mysite", "project", "rosters", "whatssignagram", "django_commander", "winidjango", "winiutils",
    "django_managed_commands",
}  # fmt: skip
"""Packages of projects, and of systems that the pages come from."""

NOT_DECLARED = {
    (
        "docs/reference/checks.md",
        "",
    ): "commands that cannot be used, and what is said of them: reference_pages.py has both",
    ("docs/tutorial.md", "@admin.register"): "needs a model that is one: test_tutorial.py follows the whole page",
}
"""Python that is parsed only, by page and a part of it, and why."""
OF_OTHERS = {
    "git", "cd", "source", "systemctl", "celery", "django-admin", "workon", "timeout", "npm",
}  # fmt: skip
"""Programs that are not ours: what their lines say is not looked at, but for a `manage.py` in them."""


class Block(NamedTuple):
    page: str
    language: str
    code: str

    def __str__(self) -> str:
        first = next(line for line in self.code.splitlines() if line.strip())
        return f"{self.page}: {first.strip():.40}"


def blocks() -> list[Block]:
    return [
        Block(str(page.relative_to(REPOSITORY)), found["language"], found["code"])
        for page in PAGES
        for found in BLOCK.finditer(page.read_text())
    ]


def reason(table: dict[tuple[str, str], str], block: Block) -> str:
    """Why this block is left out; empty where it is not."""
    return next((why for (page, part), why in table.items() if page == block.page and part in block.code), "")


# -- Python ------------------------------------------------------------------------------------------------------------


class Readers(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Any module of the reader's project: whatever is taken from it is a class."""

    def find_spec(self, fullname: str, path: Any, target: Any = None) -> importlib.machinery.ModuleSpec | None:
        mine = fullname.partition(".")[0] in OF_THE_READER
        return importlib.machinery.ModuleSpec(fullname, self, is_package=True) if mine else None

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> types.ModuleType:
        module = types.ModuleType(spec.name)
        module.__getattr__ = self.any_class  # type: ignore[method-assign]
        return module

    def exec_module(self, module: types.ModuleType) -> None: ...

    @staticmethod
    def any_class(name: str) -> type:
        if name.startswith("__"):
            raise AttributeError(name)
        return type(name, (), {"__init__": lambda *_, **__: None})


@pytest.fixture
def readers() -> Iterator[None]:
    """A project of the reader's, for the test."""
    finder = Readers()
    sys.meta_path.insert(0, finder)
    yield
    sys.meta_path.remove(finder)
    of_pages = [name for name in sys.modules if name.partition(".")[0] in OF_THE_READER]
    for name in [*of_pages, "tests.testapp.of_a_page"]:
        sys.modules.pop(name, None)


PRELUDE = """
from datetime import date, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Annotated
import async_commander as ac
import polars as pl
import pytest
from async_commander.imports import Cleaner
from async_commander.testing import *
from django.conf import settings
from django.core.management.base import BaseCommand
from django.db import models
from django.test import TestCase, override_settings
"""
"""What parts of a file may take as given."""


def defined(code: str) -> dict[str, Any]:
    """What the block imports and defines. Its other statements would need a project: they are parsed only."""
    tree = compile(code, "block", "exec", flags=ast.PyCF_ONLY_AST | ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
    module = types.ModuleType("tests.testapp.of_a_page")
    known = vars(module)
    known |= {"__file__": "shop/commands/fetch.py", "__package__": "shop"}
    exec(PRELUDE, known)
    names = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}
    known |= {name: Readers.any_class(name) for name in names - known.keys() - set(dir(builtins))}
    tree.body = [
        each
        for each in tree.body
        if isinstance(each, ast.Import | ast.ImportFrom | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef)
    ]
    before = dict(known)
    sys.modules[module.__name__] = module
    with isolate_apps("tests.testapp"):
        exec(compile(tree, "block", "exec"), known)
    return {name: value for name, value in known.items() if before.get(name) is not value}


def names_of_ac(code: str) -> set[str]:
    return set(re.findall(r"\bac\.([A-Za-z_]\w*)", code))


@pytest.mark.parametrize("block", [one for one in blocks() if one.language == "python"], ids=str)
@pytest.mark.usefixtures("readers")
def test_python_in_the_pages_can_be_imported_and_its_commands_declared(block: Block) -> None:
    import async_commander as ac

    assert names_of_ac(block.code) <= {*ac.__all__, "__version__"}
    if reason(NOT_DECLARED, block):
        compile(block.code, str(block), "exec")
        return
    for value in defined(block.code).values():
        if isinstance(value, type) and issubclass(value, AsyncCommand) and value.__module__.endswith("of_a_page"):
            try:
                declaration_of(value)
            except InvalidCommand as error:
                if not re.search(r" has no \w+\(\)", str(error)):  # the page shows some of its hooks
                    raise


# -- lines for a shell -------------------------------------------------------------------------------------------------

MANAGE = re.compile(r"manage\.py ([a-z_]+)(.*)")
LINE = re.compile(r"\s{2,}.*| # .*")
"""What follows a command in its line: an explanation."""


def own_options() -> set[str]:
    """Options of the commands in the pages: annotated attributes."""
    code = "".join(one.code for one in blocks() if one.language == "python")
    return {f"--{name.replace('_', '-')}" for name in re.findall(r"^    (\w+): ", code, re.MULTILINE)}


def check_manage(command: str, rest: str) -> None:
    """A command of Django's or ours, with options that it has."""
    assert command in {
        *get_commands(),
        "db_worker",
        "procrastinate",
        "run_command",
        "runserver",
        "load_regions",
        "old_products",
    }, command
    if command not in {"arun", "aruns", "abots", "aworker", "acache", "acreate"}:
        return
    parser = load_command_class("async_commander", command).create_parser("manage.py", command)
    words = shlex.split(rest.replace("…", ""), comments=True)
    parsers = [parser]
    actions = next((one.choices for one in parser._actions if one.choices and hasattr(one, "_choices_actions")), {})
    if actions and words and not words[0].startswith("-") and not words[0].isdecimal() and words[0] != "ID":
        assert words[0] in actions, f"aruns has no action {words[0]}"
        parsers.append(actions[words[0]])
    elif actions:
        parsers += [actions["list"], actions["show"]]
    flags = {flag for one in parsers for flag in one._option_string_actions}
    if command == "arun" or words[:1] == ["retry"]:
        flags |= {f"--{name.replace('_', '-')}" for name in ON_THE_LINE} | own_options() | {"--help-all"}
    asked = {word.partition("=")[0] for word in words if word.startswith("-") and word != "-"}
    assert asked <= flags | {"-v"}, f"manage.py {command} has no {asked - flags}"


def check_line(line: str) -> bool:
    """Whether it is a line for a shell; AssertionError where it names something that does not exist."""
    line = line.removeprefix("$ ").strip()
    found = MANAGE.search(line)
    if found:
        check_manage(found[1], re.split(r"&&|;|\||>|<", LINE.sub("", found[2]))[0])
        return True
    words = LINE.sub("", line).split()
    if not words or words[0] == "#":
        return True
    if words[0] == "make":
        targets = re.findall(r"^([\w-]+):", (REPOSITORY / "Makefile").read_text(), re.MULTILINE)
        assert words[1] in targets, line
        return True
    if words[0] == "pip":
        extras = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]["optional-dependencies"]
        assert {one for group in re.findall(r"\[(.*?)\]", line) for one in group.split(",")} <= extras.keys(), line
        return True
    if words[0] in {"python", ".venv/bin/python"}:
        module = re.search(r"-m ([\w.]+)", line)
        assert module is None or importlib.util.find_spec(module[1]) is not None, line
        return True
    return words[0] in OF_OTHERS


def lines_of(block: Block) -> Sequence[str]:
    return [line for line in block.code.splitlines() if line.strip()]


@pytest.mark.parametrize("block", [one for one in blocks() if one.language in {"", "sh"}], ids=str)
def test_what_is_to_be_typed_exists(block: Block) -> None:
    strange = [line for line in lines_of(block) if not check_line(line)]
    assert not strange, "no lines for a shell: what is printed, or drawn, is ```text"


@pytest.mark.parametrize(
    "block", [one for one in blocks() if one.language in {"ini", "cron", "yaml", "dockerfile"}], ids=str
)
def test_what_other_programs_are_to_start_exists(block: Block) -> None:
    lines = [re.sub(r'", "|\["|"\]', " ", line).replace("  ", " ") for line in lines_of(block)]
    for line in lines:
        if found := MANAGE.search(line):
            check_manage(found[1], found[2])


NOT_LOOKED_AT = {
    "text": "what is printed, or a drawing",
    "sql": "roles and their rights, which need a server of one's own",
    "js": "runs in a browser: tests/acceptance/test_views_example.py has such a page",
}
"""Languages of which no block is looked at here, and why."""


def test_each_block_has_a_language_that_is_looked_at() -> None:
    known = {"", "sh", "python", "ini", "cron", "yaml", "dockerfile"}
    assert {one.language for one in blocks()} <= known | NOT_LOOKED_AT.keys()


def test_the_table_names_blocks_that_are_there() -> None:
    for page, part in NOT_DECLARED:
        assert any(page == one.page and part in one.code for one in blocks()), (page, part)
