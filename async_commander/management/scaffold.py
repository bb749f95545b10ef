"""What `acreate` writes: for each shape a command that works, and a test of it that passes."""

from __future__ import annotations

from dataclasses import dataclass
from string import Template


@dataclass(frozen=True, slots=True, kw_only=True)
class Scaffold:
    """A command and its test, with `$name` in it.

    `imports` and `offline` are of the test: what it needs beside the command, and what stands in for the network.
    """

    about: str
    command: str
    test: str
    imports: str = ""
    offline: str = ""
    needs: str = ""
    """A package that is not always there, and is the name of an extra."""

    def command_text(self, name: str) -> str:
        """The command's file."""
        return Template(self.command).substitute(name=name)

    def test_text(self, name: str, module: str) -> str:
        """The test's file. `module` is the command's, to be imported."""
        line = f"from {module} import Command"
        if len(line) > _WIDTH:
            line = f"from {module} import (\n    Command,\n)"
        words = {"name": name, "command": line, "tests": f"{_camel(name)}Tests", "imports": self.imports}
        return Template(_TEST).substitute(words, offline=self.offline, test=self.test)


_WIDTH = 88
"""Columns that ruff and Black allow where nobody has said anything else."""


def _camel(name: str) -> str:
    return "".join(word[:1].upper() + word[1:] for word in name.split("_"))


_TEST = '''\
"""Tests of `manage.py arun $name`."""

from __future__ import annotations
$imports
from async_commander.testing import run_command
from django.test import TestCase

$command
$offline

class $tests(TestCase):
$test'''

_ITERATE_DOWNLOAD = '''\
"""`manage.py arun $name https://example.org/`."""

from __future__ import annotations

import async_commander as ac


class Command(ac.IterateDownloadCommand[str, str]):
    """Fetch pages, many at once, and save what is on them."""

    urls: list[str]

    limits = ac.Limits(threads=20)

    def iterate(self) -> list[str]:
        """Return the items, or yield them; a queryset is read in pages."""
        return self.urls

    async def download(self, url: str) -> str:
        response = await self.http.get(url)
        return response.raise_for_status().text

    async def parse_and_save(self, url: str, page: str) -> None:
        """Queue rows by `self.db.add(…)`: they commit with the item."""
        self.log.info("%s has %d characters", url, len(page))
'''

_DOWNLOAD_ITERATE = '''\
"""`manage.py arun $name https://example.org/rows.csv`."""

from __future__ import annotations

import csv
from collections.abc import Iterator

import async_commander as ac


class Command(ac.DownloadIterateCommand[str, dict[str, str]]):
    """Fetch one table and save its rows."""

    url: str

    async def download(self) -> str:
        response = await self.http.get(self.url)
        return response.raise_for_status().text

    def iterate(self, table: str) -> Iterator[dict[str, str]]:
        yield from csv.DictReader(table.splitlines())

    async def parse_and_save(self, row: dict[str, str]) -> None:
        """Queue rows by `self.db.add(…)`: they commit with the item."""
        self.log.info("%s", row)
'''

_IMPORT = '''\
"""`manage.py arun $name rows.csv`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import ClassVar

import async_commander as ac
import polars as pl
from async_commander.imports import Cleaner
from django.db.models import Model


class Columns(Cleaner):
    """The columns that are wanted, and which of them each row must have."""

    columns: ClassVar = {"name": str}
    required: ClassVar = ["name"]


class Command(ac.ImportCommand):
    """Load a table, batch by batch."""

    file: Path

    cleaner = Columns

    def extract(self) -> Path:
        return self.file

    def transform(self, frame: pl.DataFrame) -> Mapping[type[Model], Iterable[Model]]:
        """Return the objects of each model; an empty dict loads nothing."""
        self.log.info("%d rows are clean", len(frame))
        return {}
'''

_PLAIN = '''\
"""`manage.py arun $name --who everybody`."""

from __future__ import annotations

import async_commander as ac


class Command(ac.AsyncCommand):
    """Greet somebody."""

    who: str = "world"

    async def handle(self) -> str:
        greeting = f"Hello, {self.who}!"
        self.stdout.write(greeting)
        return greeting
'''

SCAFFOLDS = {
    "iterate_download": Scaffold(
        about="items first, a download for each",
        command=_ITERATE_DOWNLOAD,
        offline='''

class Offline(Command):
    """The command without a network."""

    async def download(self, url: str) -> str:
        return f"the page of {url}"
''',
        test="""\
    def test_every_page_is_saved(self) -> None:
        result = run_command(Offline(urls=["https://example.org/"]))
        self.assertEqual(result.counts["done"], 1)
""",
    ),
    "download_iterate": Scaffold(
        about="one download, then the items in it",
        command=_DOWNLOAD_ITERATE,
        offline='''

class Offline(Command):
    """The command without a network."""

    async def download(self) -> str:
        return "name\\nAda\\nGrace\\n"
''',
        test="""\
    def test_every_row_is_saved(self) -> None:
        result = run_command(Offline(url="https://example.org/rows.csv"))
        self.assertEqual(result.counts["done"], 2)
""",
    ),
    "import": Scaffold(
        about="a table, cleaned and loaded",
        command=_IMPORT,
        imports="""
import tempfile
from pathlib import Path
""",
        test="""\
    def test_a_clean_table_is_loaded(self) -> None:
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder, "rows.csv")
            file.write_text("name\\nAda\\nGrace\\n")
            result = run_command(Command(file=file))
        self.assertEqual(result.counts["dead"], 0)
""",
        needs="polars",
    ),
    "plain": Scaffold(
        about="one job in handle()",
        command=_PLAIN,
        test="""\
    def test_everybody_is_greeted(self) -> None:
        result = run_command(Command(who="everybody"))
        self.assertEqual(result.value, "Hello, everybody!")
""",
    ),
}
"""By the names of their shapes; the first one is the default."""
