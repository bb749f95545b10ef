"""Worker processes that the tests start, kill and ask."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from django.db import connection

ROOT = Path(__file__).resolve().parents[2]


def wait_until(condition: Callable[[], Any], seconds: float, what: str) -> None:
    """Look again and again. AssertionError with `what` where it has not come true in time."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, f"not within {seconds} s: {what}"
        time.sleep(0.02)


class Process:
    """One worker, in a process group of its own."""

    def __init__(self, command: Sequence[str], environment: dict[str, str]) -> None:
        self._output = tempfile.TemporaryFile()  # noqa: SIM115 - closed with the process
        kept = {name: value for name, value in os.environ.items() if name not in ("NO_COLOR", "PYTHONWARNINGS")}
        ours = {
            "DJANGO_SETTINGS_MODULE": "tests.queued.settings",
            "QUEUED_DATABASE": str(connection.settings_dict["NAME"]),
            "PYTHONPATH": str(ROOT),
        }
        self._process = subprocess.Popen(
            command,
            cwd=ROOT,
            env={**kept, **ours, **environment},
            stdin=subprocess.DEVNULL,
            stdout=self._output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )

    def signal(self, number: int) -> None:
        """Send it to the process, not to its children."""
        self._process.send_signal(number)

    def wait(self, seconds: float = 30) -> int:
        """Its exit code, once it has ended."""
        try:
            return self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"it has not ended within {seconds} s: {self.said()}") from None

    def kill(self) -> None:
        """Kill it with all of its children, and wait for that."""
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait(10)

    def close(self) -> None:
        """Leave nothing of it."""
        self.kill()
        self._output.close()

    def said(self) -> str:
        """What it has written."""
        self._output.seek(0)
        return self._output.read().decode(errors="replace")[-8000:]


@contextmanager
def workers(*command: str, **environment: str) -> Iterator[Callable[[], Process]]:
    """What starts a worker of this kind; all of them are killed at the end of the block."""
    begun: list[Process] = []

    def begin() -> Process:
        begun.append(Process(command, environment))
        return begun[-1]

    try:
        yield begin
    finally:
        for process in begun:
            process.close()


def manage(*words: str) -> tuple[str, ...]:
    """The command line of `manage.py`."""
    return (sys.executable, "-m", "django", *words)
