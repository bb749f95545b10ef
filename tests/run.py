"""python -m tests.run: everything on SQLite and, beside it, what touches a database on the servers that are there.

REQUIRE_SERVICES=1 makes an absent server a failure; otherwise it is said and passed over. The last lines name every
test that failed, whichever part it belonged to. Arguments are handed on to pytest.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from .services import absence

DATABASE_TESTS = [
    f"tests/integration/{name}"
    for name in ("admin", "command", "compat", "database", "history", "runner", "supervisor")
]
BESIDE = {"postgres": [*DATABASE_TESTS, "tests/faults"], "mariadb": ["tests/integration/history"]}
"""Tests that need a server, by its name; the servers take turns."""
_FAILED = re.compile(r"(FAILED|ERROR) .*")


@dataclass
class Part:
    """What pytest said on one database, and its exit code."""

    database: str
    lines: list[str]
    code: int

    def failures(self) -> Iterator[str]:
        """A line for each test that failed, and one for the part."""
        if self.code:
            yield f"{self.database}: exit code {self.code}"
            yield from (f"{self.database}: {line}" for line in self.lines if _FAILED.match(line))


def main(arguments: Sequence[str]) -> int:
    """Returns the exit code: 0 where every part passed."""
    with ThreadPoolExecutor(1) as beside:
        others = beside.submit(_on_the_servers, arguments)
        parts = [_part("sqlite", ["tests"], arguments, show=True)]
        parts += others.result()
    for part in parts[1:]:
        print(f"== {part.database} ==", *part.lines, sep="\n")
    failures = [line for part in parts for line in part.failures()]
    if failures:
        print("== failed ==", *failures, sep="\n")
    return 1 if failures else 0


def _on_the_servers(arguments: Sequence[str]) -> list[Part]:
    return [_on_one(database, folders, arguments) for database, folders in BESIDE.items()]


def _on_one(database: str, folders: Sequence[str], arguments: Sequence[str]) -> Part:
    if reason := absence(database):
        return Part(database, [reason], 1 if os.environ.get("REQUIRE_SERVICES") == "1" else 0)
    return _part(database, folders, arguments)


def _part(database: str, folders: Sequence[str], arguments: Sequence[str], *, show: bool = False) -> Part:
    command = [sys.executable, "-m", "pytest", "-rfE", *folders, *arguments]
    environment = os.environ | {"DATABASE": database}
    lines = []
    with subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace"
    ) as pytest:
        assert pytest.stdout is not None
        for line in pytest.stdout:
            lines.append(line.rstrip("\n"))
            if show:
                print(line, end="", flush=True)
    return Part(database, lines, pytest.returncode)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
