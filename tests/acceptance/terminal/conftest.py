"""A project on disk whose manage.py is run as a person runs it."""

from __future__ import annotations

import os
import pty
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

PROJECT = Path(__file__).parent / "project"
ROOT = Path(__file__).parents[3]
SECONDS = 60


@dataclass(frozen=True)
class Ended:
    """What a command line came to."""

    code: int
    out: str
    err: str


@dataclass
class Manage:
    """`manage.py` of the project, on a database of its own."""

    project: Path
    database: Path

    def __call__(self, line: str, **environment: str) -> Ended:
        """Run a command line to its end; nothing is a terminal."""
        done = subprocess.run(
            self._command(line),
            cwd=self.project,
            env=self._environment(environment),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=SECONDS,
            check=False,
        )
        return Ended(done.returncode, done.stdout.decode(), done.stderr.decode())

    def at_a_terminal(self, line: str, *, until: str = "", **environment: str) -> Ended:
        """The same, where stderr is a terminal of eighty columns.

        `until` has the file of the environment's GATE made as soon as the terminal shows it.
        """
        ours, theirs = pty.openpty()
        terminal = {"TERM": "xterm-256color", "COLUMNS": "80", "LINES": "24", "PYTHONIOENCODING": "utf-8"}
        environment = {**terminal, **environment}
        process = subprocess.Popen(
            self._command(line),
            cwd=self.project,
            env=self._environment(environment),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=theirs,
        )
        os.close(theirs)
        seen = b""
        for chunk in _read_to_the_end(ours):
            seen += chunk
            if until and until.encode() in seen:
                Path(environment["GATE"]).touch()
        out, _ = process.communicate(timeout=SECONDS)
        return Ended(process.returncode, out.decode(), seen.decode())

    def redirected(self, line: str, where: str, **environment: str) -> Ended:
        """The same, with the shell's redirections after it: `2>&-`, `>/dev/full`."""
        done = subprocess.run(
            ["sh", "-c", f'exec "$@" {where}', "sh", *self._command(line)],
            cwd=self.project,
            env=self._environment(environment),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=SECONDS,
            check=False,
        )
        return Ended(done.returncode, done.stdout.decode(), done.stderr.decode())

    def left_alone(self, line: str, **environment: str) -> Ended:
        """The same, where nobody reads what is written to stdout."""
        reader, writer = os.pipe()
        os.close(reader)
        done = subprocess.run(
            self._command(line),
            cwd=self.project,
            env=self._environment(environment),
            stdin=subprocess.DEVNULL,
            stdout=writer,
            stderr=subprocess.PIPE,
            timeout=SECONDS,
            check=False,
        )
        os.close(writer)
        return Ended(done.returncode, "", done.stderr.decode())

    def interrupted(self, line: str, when: str, *, and_again: str = "", **environment: str) -> Ended:
        """The same without a terminal, with one Ctrl-C as soon as stdout shows `when`, one more at `and_again`."""
        process = self._begun(line, environment, stderr=subprocess.PIPE)
        assert process.stdout is not None
        shown = ""
        while when not in shown:
            line_shown = process.stdout.readline()
            assert line_shown, process.communicate()[1]
            shown += line_shown
        process.send_signal(signal.SIGINT)
        if and_again:
            assert process.stderr is not None
            while and_again not in process.stderr.readline():
                pass
            process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=SECONDS)
        return Ended(process.returncode, shown + out, err)

    @contextmanager
    def held(self, line: str, when: str, **environment: str) -> Iterator[None]:
        """For the block, a command line that has shown `when` on stdout and goes on; it is ended with the block."""
        process = self._begun(line, environment, stderr=subprocess.DEVNULL)
        assert process.stdout is not None
        try:
            assert any(when in shown for shown in process.stdout)
            yield
        finally:
            process.kill()
            process.communicate(timeout=SECONDS)

    def _begun(self, line: str, environment: dict[str, str], *, stderr: int) -> subprocess.Popen[str]:
        return subprocess.Popen(
            self._command(line),
            cwd=self.project,
            env=self._environment(environment),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=stderr,
            text=True,
        )

    def _command(self, line: str) -> list[str]:
        return [sys.executable, "-W", "error::DeprecationWarning:async_commander", "manage.py", *line.split()]

    def _environment(self, more: dict[str, str]) -> dict[str, str]:
        dropped = {"NO_COLOR", "FORCE_COLOR", "DJANGO_SETTINGS_MODULE", "DJANGO_COLORS", "COLUMNS"}
        kept = {name: value for name, value in os.environ.items() if name not in dropped}
        return {**kept, "PYTHONPATH": str(ROOT), "PROJECT_DATABASE": str(self.database), **more}


def _read_to_the_end(terminal: int) -> Iterator[bytes]:
    while True:
        try:
            chunk = os.read(terminal, 65536)
        except OSError:  # a terminal without anybody at the other end
            chunk = b""
        if not chunk:
            os.close(terminal)
            return
        yield chunk


@pytest.fixture(scope="session")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The project, with one file in it that no linter must see."""
    project = tmp_path_factory.mktemp("terminal") / "project"
    shutil.copytree(PROJECT, project, ignore=shutil.ignore_patterns("__pycache__"))
    (project / "shop" / "commands" / "syntax.py").write_text("class Command(:\n")
    return project


@pytest.fixture(scope="session")
def migrated(project: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A database with the tables, to be copied."""
    database = tmp_path_factory.mktemp("terminal") / "template.sqlite3"
    ended = Manage(project, database)("migrate -v 0")
    assert ended.code == 0, ended.err
    return database


@pytest.fixture
def manage(project: Path, migrated: Path, tmp_path: Path) -> Manage:
    """manage.py on a fresh database with tables."""
    return Manage(project, Path(shutil.copy(migrated, tmp_path / "project.sqlite3")))


@pytest.fixture
def unmigrated(project: Path, tmp_path: Path) -> Manage:
    """manage.py on a database without tables."""
    return Manage(project, tmp_path / "empty.sqlite3")
