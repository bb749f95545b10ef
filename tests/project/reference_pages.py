"""The pages of docs/reference/, made from the code. `make reference` writes them; a test compares them."""

from __future__ import annotations

import argparse
import ast
import inspect
import re
import sys
import types
from collections.abc import Iterator
from dataclasses import MISSING, fields
from itertools import pairwise
from pathlib import Path
from typing import Any

from django.core.management import load_command_class
from django.db import models as django_models
from django.dispatch import Signal
from django.test import override_settings

import async_commander as ac
from async_commander import bulk, checks, conf, imports, models, testing
from async_commander.command.declaration import declaration_of, idle_names
from async_commander.command.options import REQUESTS, SHARED
from async_commander.command.parser import check_parser
from async_commander.exceptions import AsyncCommanderError
from async_commander.management.options import flags_of, metavar_of

FOLDER = Path(__file__).parents[2] / "docs" / "reference"
MADE = "This page is made from the code, by `make reference`.\n"

GUIDES = {
    "LIMITS": "[Limits and Retry](../commands.md#limits-and-retry)",
    "COMMAND_PACKAGES": "[Writing commands](../commands.md)",
    "CACHE": "[Keeping what was downloaded](../caching.md)",
    "UPLOADS": "[The admin](../admin.md#a-command-and-running-it)",
    "INTERNAL_HOSTS": "[Downloading](../downloads.md#where-it-may-go)",
    "KEEP_DAYS": "[Old runs](../history.md#old-runs)",
    "ENGINE": "[Queues and workers](../queues.md)",
    "PREPARE_CONNECTION": "[Several tenants](../tenants.md)",
    "MAIL_ADMINS": "[A mail to ADMINS](../being-told.md#a-mail-to-admins)",
}
"""Where a setting is explained."""
WRONG: dict[str, Any] = {
    "LIMITS": {"threads": 0},
    "COMMAND_PACKAGES": ["shop.comands"],
    "CACHE": "downloads",
    "UPLOADS": "files",
    "INTERNAL_HOSTS": "localhost",
    "KEEP_DAYS": {"items": 0},
    "ENGINE": "rabbits",
    "PREPARE_CONNECTION": "os.path",
    "MAIL_ADMINS": "yes",
}
"""A wrong value of each setting, to show what the check says of it."""


def pages() -> dict[str, str]:
    """Each page by its name."""
    return {"settings.md": settings(), "options.md": options(), "checks.md": numbered_checks(), "names.md": names()}


def write() -> None:
    """All of them, to docs/reference/."""
    FOLDER.mkdir(exist_ok=True)
    for name, text in pages().items():
        (FOLDER / name).write_text(text)


# -- settings ----------------------------------------------------------------------------------------------------------


def settings() -> str:
    parts = [
        "# Settings\n",
        MADE,
        "All settings are keys of one dict, and none has to be there:\n",
        '```python\nASYNC_COMMANDER = {\n    "LIMITS": {"threads": 50, "db_lanes": 2},\n    "KEEP_DAYS": 90,\n}\n```\n',
        (
            "A key that does not exist, and a value that does not fit, are `async_commander.E001` of "
            "[the checks](checks.md), and an `ImproperlyConfigured` where they are needed.\n"
        ),
    ]
    told = attribute_docstrings(inspect.getsource(conf.Settings))
    for each in fields(conf.Settings):
        key = each.name.upper()
        default = each.default_factory() if each.default_factory is not MISSING else each.default
        shown = dict(default) if isinstance(default, types.MappingProxyType) else default
        shown = list(shown) if isinstance(shown, tuple) else shown
        parts += [
            f"## `{key}`\n",
            f"{told[each.name]} More: {GUIDES[key]}.\n",
            f"Default: `{shown!r}`. A wrong value, `{WRONG[key]!r}`: *{complaint(key)}*\n",
        ]
    return "\n".join(parts)


def complaint(key: str) -> str:
    """What the check says of the wrong value of a setting."""
    with override_settings(ASYNC_COMMANDER={key: WRONG[key]}, STORAGES={"default": {"BACKEND": "x"}}):
        return " ".join(one.msg for one in checks.check_settings(None))


def attribute_docstrings(source: str) -> dict[str, str]:
    """The texts that stand below the names of a class, or of a module."""
    tree = ast.parse(source)
    body = tree.body[0].body if isinstance(tree.body[0], ast.ClassDef) and len(tree.body) == 1 else tree.body
    found = {}
    for above, below in pairwise(body):
        targets = [above.target] if isinstance(above, ast.AnnAssign) else getattr(above, "targets", [])
        for target in targets:
            if isinstance(target, ast.Name) and isinstance(below, ast.Expr) and isinstance(below.value, ast.Constant):
                found[target.id] = " ".join(str(below.value.value).split())
    return found


# -- options -----------------------------------------------------------------------------------------------------------


def options() -> str:
    parts = [
        "# Options\n",
        MADE,
        "## Of every run\n",
        (
            "`manage.py arun NAME --help` shows those that have an effect on a command, `--help-all` the rare "
            'ones, too. In code each goes by its name with underscores: `await ac.arun("fetch", max_items=10)`. '
            "[Running commands](../running.md) explains them.\n"
        ),
        "| option | |\n|---|---|",
        *(
            f"| `{f'{flags_of(one)} {metavar_of(one)}'.strip()}` "
            f"| {cell(one.help)}{f'; needs {one.needs}' * bool(one.needs)} |"
            for one in SHARED
            if one.written is not None
        ),
        "\n## In code only\n",
        "| option | what fits |\n|---|---|",
        *(
            f"| `{name}` | {re.sub(r' (is|are) needed', '', cell(one.needed))} |"
            for name, one in REQUESTS.items()
            if one.written is None
        ),
        "",
    ]
    for name in ("arun", "aruns", "abots", "aworker", "acache", "acreate"):
        parser = load_command_class("async_commander", name).create_parser("manage.py", name)
        parts += [f"## `manage.py {name}`\n", f"{sentence(parser.description or 'Runs commands, and lists them.')}\n"]
        of_actions = [one for one in parser._actions if isinstance(one, argparse._SubParsersAction)]
        parts += table_of(parser, left_out={flags_of(one) for one in SHARED} if name == "arun" else set())
        for action in of_actions:
            helps = {each.dest: each.help for each in action._choices_actions}
            for verb, inner in action.choices.items():
                parts += [f"### `{name} {verb}`\n", f"{helps.get(verb) or ''}\n", *table_of(inner)]
    return "\n".join(parts).rstrip() + "\n"


OF_DJANGO = {
    "--help", "--help-all", "--version", "--verbosity", "--settings", "--pythonpath", "--traceback", "--no-color",
    "--force-color", "--skip-checks",
}  # fmt: skip


def table_of(parser: argparse.ArgumentParser, left_out: set[str] = frozenset()) -> list[str]:  # type: ignore[assignment]
    """What a parser takes beside Django's own options."""
    rows = []
    for one in parser._actions:
        if isinstance(one, argparse._SubParsersAction) or one.help == argparse.SUPPRESS:
            continue
        if {*one.option_strings} & (OF_DJANGO | left_out):
            continue
        value = (
            one.metavar if isinstance(one.metavar, str) else "\\|".join(map(str, one.choices)) if one.choices else ""
        )
        spelt = ", ".join(f"`{each}`" for each in one.option_strings) or f"`{value or one.dest}`"
        shown = (one.help or "") % {**vars(one), "prog": parser.prog} if one.help else ""
        given = f" `{value}`" if one.option_strings and value and one.nargs != 0 else ""
        rows.append(f"| {spelt}{given} | {cell(shown)} |")
    return ["| | |\n|---|---|", *rows, ""] if rows else []


def cell(text: str) -> str:
    """As a table's cell holds it."""
    return " ".join(text.split()).replace(" | ", " \\| ")


def sentence(text: str) -> str:
    """The first one of a docstring."""
    first = " ".join(text.partition("\n\n")[0].split())
    found = re.match(r".*?[.!?](?=\s[A-Z`]|$)", first)
    return found[0] if found else first


# -- checks ------------------------------------------------------------------------------------------------------------

MISTAKES = (
    "class Command(ac.IterateDownloadCommand[str, str]):\n    def iterate(self): ...",
    (
        "class Command(ac.IterateDownloadCommand[str, str]):\n    def iterate(self): ...\n    def download(self): ...\n"
        "    def parse_and_save(self, item, page): ..."
    ),
    "class Command(ac.AsyncCommand):\n    threads: int\n    def handle(self): ...",
    "class Command(ac.AsyncCommand):\n    db: str\n    def handle(self): ...",
    "class Command(ac.AsyncCommand):\n    max_body: int = 5\n    def handle(self): ...",
    "class Command(ac.AsyncCommand):\n    day: date = None\n    def handle(self): ...",
    "class Command(ac.AsyncCommand):\n    count: int = 'many'\n    def handle(self): ...",
    "class Command(ac.AsyncCommand):\n    shop: object\n    def handle(self): ...",
    "class Command(ac.AsyncCommand):\n    shop: Nothing\n    def handle(self): ...",
    "class Command(ac.AsyncCommand):\n    name: Annotated[str, ac.Option(short='xy')]\n    def handle(self): ...",
    "class Command(ac.AsyncCommand):\n    quick: bool = False\n    no_quick: bool = False\n    def handle(self): ...",
    "class Command(ac.AsyncCommand):\n    def handle(self, nothing): ...",
    "class Command(ac.AsyncCommand):\n    async def add_arguments(self, parser): ...\n    def handle(self): ...",
    (
        "class Command(ac.AsyncCommand):\n    def add_arguments(self, parser): parser.add_argument('--json')\n"
        "    def handle(self): ..."
    ),
    "class Command(ac.AsyncCommand):\n    limits = {'threads': 5}\n    def handle(self): ...",
    "class Command(ac.AsyncCommand):\n    retry = 4\n    def handle(self): ...",
    "class Command(ac.AsyncCommand):\n    always_on = run_once = True\n    def handle(self): ...",
    "class Command(ac.AsyncCommand):\n    option_defaults = {'thread': 5}\n    def handle(self): ...",
    "class Command(ac.AsyncCommand):\n    option_defaults = {'max_items': 5}\n    def handle(self): ...",
    "class Command(ac.AsyncCommand):\n    test_parameters = {'supplier': 'ACME'}\n    def handle(self): ...",
    "class Command(ac.AsyncCommand):\n    dependencies = [5]\n    def handle(self): ...",
    (
        "class Command(ac.IterateDownloadCommand[str, str]):\n    batches = ac.Batches()\n    def iterate(self): ...\n"
        "    def download(self, item): ...\n    def parse_and_save(self, item, page): ..."
    ),
)
"""Commands that cannot be used as they are written, each for another reason."""
SLIPS = (
    "class Command(ac.AsyncCommand):\n    limit = ac.Limits(threads=5)\n    def handle(self): ...",
    "class Command(ac.AsyncCommand):\n    threads = 5\n    def handle(self): ...",
    "class Command(ac.AsyncCommand):\n    def handle(self): ...\n    def clean_up(self): ...",
)
"""... and those with a name that no run looks at."""


def numbered_checks() -> str:
    told = dict(each for function in vars(checks).values() for each in numbers_in(function))
    parts = [
        "# System checks\n",
        MADE,
        (
            "`manage.py check` says what would go wrong later. The checks that import every command are made where "
            "they are asked for: by `manage.py check --tag async_commander`, or `manage.py arun --check`. A number in "
            "`SILENCED_SYSTEM_CHECKS` is not reported.\n"
        ),
        "| number | what it means |\n|---|---|",
        *(f"| `async_commander.{number}` | {text[0].upper()}{text[1:]} |" for number, text in sorted(told.items())),
        "\nWhat E001 says of each setting is on [the page about settings](settings.md).\n",
        "## Mistakes in a command\n",
        "E003 says these, before anything runs. The same text is an `ac.InvalidCommand` where the command is run.\n",
        *(f"```python\n{source}\n```\n\n> {mistake_in(source)}\n" for source in MISTAKES),
        "## Names that nothing looks at\n",
        "W006 warns of these:\n",
        *(f"```python\n{source}\n```\n\n> {slip_in(source)}\n" for source in SLIPS),
    ]
    return "\n".join(parts)


def numbers_in(function: object) -> Iterator[tuple[str, str]]:
    """The checks that a function's docstring tells of, by their numbers."""
    if getattr(function, "__module__", "") == checks.__name__:
        head = (inspect.getdoc(function) or "").split("\n\n")[0]
        for found in re.finditer(r"([EW]\d{3}): (.*?)(?= [EW]\d{3}: |$)", " ".join(head.split())):
            yield found[1], found[2]


def made_of(source: str) -> Any:
    """The class of a command, as if it stood in a file of a project."""
    module = types.ModuleType("shop.commands.fetch")
    sys.modules[module.__name__] = module
    exec(
        "from datetime import date\nfrom typing import Annotated\nimport async_commander as ac\n" + source,
        vars(module),
    )
    return module.Command


def mistake_in(source: str) -> str:
    """What is said of a command that cannot be used."""
    try:
        made = made_of(source)
        declaration_of(made)
        check_parser(made)
    except AsyncCommanderError as error:
        return str(error)
    finally:
        sys.modules.pop("shop.commands.fetch", None)
    raise AssertionError(f"nothing is wrong with\n{source}")


def slip_in(source: str) -> str:
    """What is said of a name in a command."""
    ((owner, name, meant),) = idle_names(made_of(source))
    sys.modules.pop("shop.commands.fetch", None)
    return f"{owner.__module__}.{owner.__name__}.{name} is not used by a run; did you mean {meant}?"


# -- names -------------------------------------------------------------------------------------------------------------


def names() -> str:
    rooms = (
        ("`import async_commander as ac`", "ac", ac, ac.__all__),
        ("`async_commander.testing`", "", testing, testing.__all__),
        ("`async_commander.imports`", "", imports, imports.__all__),
        ("`async_commander.bulk`", "", bulk, bulk.__all__),
        ("`async_commander.models`", "", models, public_models()),
    )
    parts = ["# Public names\n", MADE, "Everything else may change without a word in the changelog.\n"]
    for heading, prefix, room, listed in rooms:
        parts += [f"## {heading}\n", "| name | |\n|---|---|"]
        for name in listed:
            shown = f"{prefix}.{name}" if prefix else name
            value = getattr(room, name)
            call = "()" if inspect.isroutine(value) or name == "history" else ""
            parts.append(f"| `{shown}{call}` | {cell(sentence(docstring(room, name, value)))} |")
        parts.append("")
    return "\n".join(parts).rstrip() + "\n"


def public_models() -> list[str]:
    """The models, and what a model of the project may inherit."""
    rows = [name for name in models.__all__ if inspect.isclass(getattr(models, name))]
    return [name for name in rows if issubclass(getattr(models, name), django_models.Model)]


def docstring(room: Any, name: str, value: Any) -> str:
    """Its own, or the text below its name."""
    if isinstance(value, Signal):
        return attribute_docstrings(inspect.getsource(sys.modules["async_commander.signals"]))[name]
    told = vars(value).get("__doc__") if inspect.isclass(value) else inspect.getdoc(value)
    if not told:
        raise AssertionError(f"{room.__name__}.{name} has no docstring")
    return inspect.cleandoc(told)
