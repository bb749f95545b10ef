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
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO

import pytest

PROJECT = Path(__file__).parent / "project"
ROOT = Path(__file__).parents[3]
SECONDS = 200


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
        return _ended(self._begun(self._command(line), environment))

    def at_a_terminal(self, line: str, *, until: str = "", typed: str = "", **environment: str) -> Ended:
        """The same, where stderr is a terminal of eighty columns.

        As soon as the terminal shows `until`, the file of the environment's GATE is made; or, where something is to be
        `typed`, stdin is that terminal too and gets it.
        """
        ours, theirs = pty.openpty()
        terminal = {"TERM": "xterm-256color", "COLUMNS": "80", "LINES": "24", "PYTHONIOENCODING": "utf-8"}
        environment = {**terminal, **environment}
        process = self._begun(self._command(line), environment, stderr=theirs, stdin=theirs if typed else None)
        os.close(theirs)
        seen = b""
        for chunk in _read_to_the_end(ours):
            seen += chunk
            if typed and until.encode() in seen:
                os.write(ours, typed.encode())
                typed = ""
            if until and "GATE" in environment and until.encode() in seen:
                Path(environment["GATE"]).touch()
        return replace(_ended(process), err=seen.decode())

    def redirected(self, line: str, where: str, **environment: str) -> Ended:
        """The same, with the shell's redirections after it: `2>&-`, `>/dev/full`."""
        return _ended(self._begun(["sh", "-c", f'exec "$@" {where}', "sh", *self._command(line)], environment))

    def left_alone(self, line: str, **environment: str) -> Ended:
        """The same, where nobody reads what is written to stdout."""
        reader, writer = os.pipe()
        os.close(reader)
        process = self._begun(self._command(line), environment, stdout=writer)
        os.close(writer)
        return _ended(process)

    def interrupted(self, line: str, when: str, *, and_again: str = "", **environment: str) -> Ended:
        """The same without a terminal, with one Ctrl-C as soon as stdout shows `when`, one more at `and_again`."""
        process = self._begun(self._command(line), environment)
        shown = _read_until(when, process.stdout)
        process.send_signal(signal.SIGINT)
        told = ""
        if and_again:
            told = _read_until(and_again, process.stderr)
            process.send_signal(signal.SIGINT)
        ended = _ended(process)
        return replace(ended, out=shown + ended.out, err=told + ended.err)

    @contextmanager
    def held(self, line: str, when: str, **environment: str) -> Iterator[None]:
        """For the block, a command line that has shown `when` on stdout and goes on; it is ended with the block."""
        process = self._begun(self._command(line), environment, stderr=subprocess.DEVNULL)
        try:
            _read_until(when, process.stdout)
            yield
        finally:
            process.kill()
            _ended(process)

    def _begun(
        self,
        command: list[str],
        environment: dict[str, str],
        *,
        stdout: int = subprocess.PIPE,
        stderr: int = subprocess.PIPE,
        stdin: int | None = None,
    ) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            command,
            cwd=self.project,
            env=self._environment(environment),
            stdin=subprocess.DEVNULL if stdin is None else stdin,
            stdout=stdout,
            stderr=stderr,
        )

    def _command(self, line: str) -> list[str]:
        return [sys.executable, "-W", "error::DeprecationWarning:async_commander", "manage.py", *line.split()]

    def _environment(self, more: dict[str, str]) -> dict[str, str]:
        dropped = {"NO_COLOR", "FORCE_COLOR", "DJANGO_SETTINGS_MODULE", "DJANGO_COLORS", "COLUMNS"}
        kept = {name: value for name, value in os.environ.items() if name not in dropped}
        return {**kept, "PYTHONPATH": str(ROOT), "PROJECT_DATABASE": str(self.database), **more}


def _ended(process: subprocess.Popen[bytes]) -> Ended:
    try:
        out, err = process.communicate(timeout=SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        out, err = process.communicate()
        pytest.fail(f"did not end within {SECONDS} s; so far: {out.decode()}{(err or b'').decode()}")
    return Ended(process.returncode, (out or b"").decode(), (err or b"").decode())


def _read_until(shown: str, stream: IO[bytes] | None) -> str:
    """The lines of a stream, up to the one that shows this."""
    assert stream is not None
    lines = ""
    for line in stream:
        lines += line.decode()
        if shown in lines:
            return lines
    return pytest.fail(f"ended without {shown!r}: {lines}")


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
