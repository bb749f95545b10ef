"""python -m tests.run: everything on SQLite, and on the servers that are there what touches a database.

The suite is cut into parts, four of which run at a time, since much of it is waiting: each line says which part it is
of. REQUIRE_SERVICES=1 makes an absent server a failure; otherwise it is said and passed over. The last lines name every
test that failed. Arguments are handed on to pytest.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from .services import absence

AT_ONCE = 4
SUFFIX = os.environ.get("TEST_DATABASE_SUFFIX", "")
NOTHING_TO_RUN = 5
"""pytest's exit code where its arguments leave no test."""
RUNNER = "tests/integration/runner"
DATABASE_TESTS = [
    f"tests/integration/{name}"
    for name in ("admin", "command", "compat", "database", "history", "queues", "supervisor")
]
_ENVIRONMENT = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
"""Images for containers set it. Tests start hundreds of processes, each of which would compile the package anew."""
SAME_EVERYWHERE = """
    again base_exceptions bounds callers cpu doors error_groups exit_codes extreme_bounds hooks_beside_each_other
    hostile_errors interception items_settings nested_runs nobody_pays plain_downloads points ported_commands progress
    refusals resources responses service shapes shared_bounds stop_iteration streams stubborn_hooks telemetry telling
    testing trials unawaited unfit_items
""".split()  # noqa: SIM905 - a list of names, to be read
"""Tests of runs about hooks, texts, requests and the loop, to which one database is as good as another: on SQLite only,
unless EVERYWHERE=1 says otherwise."""
RUNNER_ON_POSTGRES = [
    RUNNER,
    *(() if os.environ.get("EVERYWHERE") else (f"--ignore={RUNNER}/test_{name}.py" for name in SAME_EVERYWHERE)),
]
_FAILED = re.compile(r"(FAILED|ERROR) .*")
_printing = threading.Lock()


@dataclass
class Part:
    """Some folders on one database; after `run()`, what pytest said of them and its exit code."""

    name: str
    database: str
    folders: Sequence[str]
    suffix: str = ""
    """Of its database's name, where another part may be on the same server at the same time."""
    lines: list[str] = field(default_factory=list)
    code: int = 0

    def run(self, arguments: Sequence[str]) -> None:
        """Run it, or say why it is not run."""
        if self.database != "sqlite" and (reason := absence(self.database)):
            self._say(reason)
            self.code = 1 if os.environ.get("REQUIRE_SERVICES") == "1" else 0
            return
        began = time.monotonic()
        command = [sys.executable, "-m", "pytest", "-rfE", *self.folders, *arguments]
        with subprocess.Popen(
            command,
            env=_ENVIRONMENT | {"DATABASE": self.database, "TEST_DATABASE_SUFFIX": f"{SUFFIX}{self.suffix}"},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
        ) as pytest:
            assert pytest.stdout is not None
            for line in pytest.stdout:
                self._say(line.rstrip("\n"))
        self.code = 0 if pytest.returncode == NOTHING_TO_RUN and arguments else pytest.returncode
        self._say(f"exit code {self.code} after {time.monotonic() - began:.0f} s")

    def failures(self) -> Iterator[str]:
        """A line for each test that failed, and one for the part."""
        if self.code:
            yield f"{self.name}: exit code {self.code}"
            yield from (f"{self.name}: {line}" for line in self.lines if _FAILED.match(line))

    def _say(self, line: str) -> None:
        self.lines.append(line)
        with _printing:
            print(f"{self.name:<20} {line}", flush=True)


def parts() -> list[Part]:
    """The longest ones first, so that the last ones end at about the same time."""
    long = {"tests/integration", "tests/acceptance", "tests/faults"}
    short = sorted({f"tests/{path.parts[1]}" for path in Path("tests").rglob("test_*.py")} - long)
    return [
        Part("sqlite runner", "sqlite", [RUNNER]),
        Part("postgres faults", "postgres", ["tests/faults"], suffix="_faults"),
        Part("postgres runner", "postgres", RUNNER_ON_POSTGRES, suffix="_runner"),
        Part("sqlite faults", "sqlite", ["tests/faults"]),
        Part("sqlite acceptance", "sqlite", ["tests/acceptance"]),
        Part("sqlite integration", "sqlite", ["tests/integration", f"--ignore={RUNNER}"]),
        Part("postgres integration", "postgres", DATABASE_TESTS),
        Part("sqlite unit", "sqlite", short),
        Part("mariadb", "mariadb", ["tests/integration/history"]),
    ]


def main(arguments: Sequence[str]) -> int:
    """Returns the exit code: 0 where every part passed."""
    whole = parts()
    with ThreadPoolExecutor(AT_ONCE) as pool:
        list(pool.map(lambda part: part.run(arguments), whole))
    failures = [line for part in whole for line in part.failures()]
    if failures:
        print("== failed ==", *failures, sep="\n")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
