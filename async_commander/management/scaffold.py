"""What `acreate` writes: for each shape a command that works, and a test of it that passes."""

from __future__ import annotations

from dataclasses import dataclass
from string import Template

from async_commander.command.registry import FOLDER


@dataclass(frozen=True, slots=True, kw_only=True)
class Scaffold:
    """A command with `$name` and `$once` in it, and the parts of its test."""

    about: str
    command: str
    made: str
    """In the test, what one run is."""
    test: str
    before: str = ""
    """What stands above the class of the test."""
    modules: str = ""
    """What the test imports from the standard library."""
    tools: str = ""
    """What it imports to run the command with, where that is not the same for all."""
    needs: str = ""
    """A package that is not always there, and is the name of an extra."""
    folder: tuple[str, ...] = (FOLDER,)
    """Of the app's, where the command goes."""
    ends: bool = True
    """False: it is always on, so that it cannot be one that runs once."""
    is_plain: bool = False
    """A command of Django's: it is run by its name alone, and there are no folders of such."""

    def line(self, name: str) -> str:
        """How it is run by `manage.py`."""
        return name if self.is_plain else f"arun {name}"

    def command_text(self, name: str, *, once: bool) -> str:
        """The command's file."""
        return Template(self.command).substitute(name=name, once="    run_once = True\n" if once else "")

    def test_text(self, name: str, module: str, *, once: bool) -> str:
        """The test's file. `module` is the command's, to be imported."""
        line = f"from {module} import Command\n"
        if len(line) > _WIDTH:
            line = f"from {module} import (\n    Command,\n)\n"
        words = {
            "line": self.line(name),
            "modules": self.modules,
            "tools": self.tools or (_PLAIN_TOOLS if self.is_plain else _TOOLS),
            "command": "" if self.is_plain else f"\n{line}",
            "before": self.before,
            "tests": "".join(word[:1].upper() + word[1:] for word in [*name.split("_"), "tests"]),
            "test": self.test + (_PLAIN_ONCE if self.is_plain else _ONCE) * once,
        }
        return Template(Template(_TEST).substitute(words)).substitute(made=self.made, name=name)


_WIDTH = 88
"""Columns that ruff and Black allow where nobody has said anything else."""


_TEST = '''\
"""Tests of `manage.py $line`."""

from __future__ import annotations

$modules$tools$command$before

class $tests(TestCase):
$test'''

_TOOLS = """\
from async_commander.testing import run_command
from django.test import TestCase
"""

_TOOLS_OF_DOWNLOADS = """\
from async_commander.testing import assert_done, canned_responses, run_command
from django.test import TestCase
"""

_PLAIN_TOOLS = """\
from django.core.management import call_command
from django.test import TestCase
"""

_ONCE = """
    def test_it_runs_once(self) -> None:
        run_command($made)
        again = run_command($made)
        self.assertEqual(again.status, "skipped")
"""

_PLAIN_ONCE = """
    def test_it_runs_once(self) -> None:
        call_command("$name", stdout=StringIO())
        output = StringIO()
        call_command("$name", stdout=output)
        self.assertNotIn("Hello", output.getvalue())
"""

_ITERATE_DOWNLOAD = '''\
"""`manage.py arun $name https://example.org/`."""

from __future__ import annotations

import async_commander as ac


class Command(ac.IterateDownloadCommand[str, str]):
    """Fetch pages, many at once, and save what is on them."""

    urls: list[str]

    limits = ac.Limits(threads=20)
$once
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
$once
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
$once
    def extract(self) -> Path:
        return self.file

    def transform(self, frame: pl.DataFrame) -> Mapping[type[Model], Iterable[Model]]:
        """Return the objects of each model; an empty dict loads nothing."""
        self.log.info("%d rows are clean", len(frame))
        return {}
'''

_BOT = '''\
"""`manage.py arun $name`, for ever."""

from __future__ import annotations

from collections.abc import AsyncIterator

import async_commander as ac


class Command(ac.DownloadIterateCommand[None, str]):
    """Handle messages as they come."""

    seconds: float = 60.0

    always_on = True
    single_instance = True
    limits = ac.Limits(threads=20)
$once
    async def download(self) -> None:
        """Connect to where the messages come from, and return the connection."""

    async def iterate(self, connection: None) -> AsyncIterator[str]:
        """Yield each message; where this fails, it connects anew."""
        async for tick in ac.every(self.seconds):
            yield f"message {tick}"

    async def parse_and_save(self, message: str) -> str:
        """Queue rows by `self.db.add(…)`: they commit together."""
        return message.upper()

    async def committed(self, message: str, answer: str) -> None:
        """Reply, and acknowledge: what was saved is safe now."""
        self.log.info("%s", answer)
'''

_PLAIN = '''\
"""`manage.py arun $name --who everybody`."""

from __future__ import annotations

import async_commander as ac


class Command(ac.AsyncCommand):
    """Greet somebody."""

    who: str = "world"
$once
    async def handle(self) -> str:
        greeting = f"Hello, {self.who}!"
        self.stdout.write(greeting)
        return greeting
'''

_MANAGED = '''\
"""`manage.py $name --who everybody`."""

from __future__ import annotations

from typing import Any

import async_commander as ac
from django.core.management.base import CommandParser


class Command(ac.ManagedCommand):
    help = "Greet somebody."
$once
    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--who", default="world")

    def execute_command(self, *args: Any, **options: Any) -> str:
        return f"Hello, {options['who']}!"
'''

SCAFFOLDS = {
    "iterate_download": Scaffold(
        about="items first, a download for each",
        command=_ITERATE_DOWNLOAD,
        tools=_TOOLS_OF_DOWNLOADS,
        made='Command(urls=["https://example.org/"])',
        test="""\
    def setUp(self) -> None:
        self.responses = self.enterContext(canned_responses())
        self.responses.get("https://example.org/", text="a page")

    def test_every_page_is_saved(self) -> None:
        run = run_command($made)
        assert_done(run, "https://example.org/")

    def test_a_crash_loses_nothing(self) -> None:
        run_command($made, crash_at="commit:1")
        run = run_command($made, resume=True)
        assert_done(run, "https://example.org/")
""",
    ),
    "download_iterate": Scaffold(
        about="one download, then the items in it",
        command=_DOWNLOAD_ITERATE,
        tools=_TOOLS_OF_DOWNLOADS.replace("assert_done, ", ""),
        made='Command(url="https://example.org/rows.csv")',
        test="""\
    def setUp(self) -> None:
        self.responses = self.enterContext(canned_responses())
        self.responses.get("https://example.org/rows.csv", text="name\\nAda\\nGrace\\n")

    def test_every_row_is_saved(self) -> None:
        result = run_command($made)
        self.assertEqual(result.counts["done"], 2)
""",
    ),
    "import": Scaffold(
        about="a table, cleaned and loaded",
        command=_IMPORT,
        modules="""\
import tempfile
from pathlib import Path

""",
        made="Command(file=self.file)",
        test="""\
    def setUp(self) -> None:
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.file = Path(folder.name, "rows.csv")
        self.file.write_text("name\\nAda\\nGrace\\n")

    def test_a_clean_table_is_loaded(self) -> None:
        result = run_command($made)
        self.assertEqual(result.counts["dead"], 0)
""",
        needs="polars",
    ),
    "bot": Scaffold(
        about="messages for ever, handled as they come",
        command=_BOT,
        before='''

class Offline(Command):
    """The bot with a short line."""

    async def iterate(self, connection: None) -> AsyncIterator[str]:
        yield "hello"
        yield "hello"
''',
        modules="from collections.abc import AsyncIterator\n\n",
        made="Offline(), max_items=2",
        test="""\
    def test_every_message_is_handled(self) -> None:
        result = run_command($made)
        self.assertEqual(result.counts["done"], 2)
""",
        ends=False,
    ),
    "plain": Scaffold(
        about="one job in handle()",
        command=_PLAIN,
        modules="from io import StringIO\n\n",
        made='Command(who="everybody"), stdout=StringIO()',
        test="""\
    def test_everybody_is_greeted(self) -> None:
        result = run_command($made)
        self.assertEqual(result.value, "Hello, everybody!")
""",
    ),
    "managed": Scaffold(
        about="a command of Django's whose runs are kept",
        command=_MANAGED,
        modules="from io import StringIO\n\n",
        made="",
        test="""\
    def test_everybody_is_greeted(self) -> None:
        output = StringIO()
        call_command("$name", who="everybody", stdout=output)
        self.assertIn("Hello, everybody!", output.getvalue())
""",
        folder=("management", "commands"),
        is_plain=True,
    ),
}
"""By the names of their shapes; the first one is the default."""
