"""The test's side of the processes that are to be killed."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tests.faults.behaviour import Behaviour

if TYPE_CHECKING:
    from collections.abc import Callable

ROOT = Path(__file__).resolve().parents[2]


def wait_until(condition: Callable[[], Any], seconds: float, what: str) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, f"not within {seconds} s: {what}"
        time.sleep(0.003)


def environment(database: str, cache: str) -> dict[str, str]:
    dropped = {"NO_COLOR", "FORCE_COLOR", "PYTHONWARNINGS"}
    kept = {name: value for name, value in os.environ.items() if name not in dropped}
    ours = {"DJANGO_SETTINGS_MODULE": "tests.faults.settings", "FAULTS_DATABASE": database, "PYTHONPATH": str(ROOT)}
    ours |= {"PYTHONFAULTHANDLER": "1", "XDG_CACHE_HOME": cache}
    return {**kept, **ours}


class Template:
    """The process that victims are forked from."""

    def __init__(self, database: str) -> None:
        self.database = database
        self._cache = tempfile.TemporaryDirectory(prefix="async_commander_kept_")
        self.cache = Path(self._cache.name)
        """Where its children keep the results of cached methods."""
        self.victims: list[Victim] = []
        """All that were begun since `end_victims()`."""
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.faults.template"],
            cwd=ROOT,
            env=environment(database, str(self.cache)),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def ask(self, **request: Any) -> Any:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(request) + "\n")
        self._process.stdin.flush()
        answer = self._process.stdout.readline()
        assert answer, "the template process has ended; its traceback is on stderr"
        return json.loads(answer)

    def end_victims(self) -> None:
        """Kill those that a failed test has left behind."""
        for victim in self.victims:
            victim.kill()
        self.victims.clear()

    def close(self) -> None:
        with self._process:
            assert self._process.stdin is not None
            self._process.stdin.close()
        self._cache.cleanup()


class Victim:
    """One running process: forked from the template."""

    last_words: tuple[int, ...] = (signal.SIGUSR2, signal.SIGABRT)
    """Signals at which it writes the stacks of its tasks, and those of its threads (faulthandler does, at its end)."""

    def __init__(self, template: Template, job: dict[str, Any]) -> None:
        self.output = Path(job["output"])
        self._template = template
        self.code: int | None = None
        self.pid: int = template.ask(fork=job)

    def poll(self) -> int | None:
        if self.code is None:
            self.code = self._template.ask(reap=self.pid)
        return self.code

    def signal(self, number: int) -> None:
        if self.poll() is None:
            os.kill(self.pid, number)

    def wait(self, seconds: float = 60) -> int:
        try:
            wait_until(lambda: self.poll() is not None, seconds, "the end of the process")
        except AssertionError as error:
            for number in self.last_words:
                self.signal(number)
                time.sleep(0.5)
            wait_until(lambda: self.poll() is not None, 10, "the end of a process that was told to abort")
            raise AssertionError(f"{error}; its last words and its stacks: {self.said()}") from None
        assert self.code is not None
        return self.code

    def kill(self) -> bool:
        """Kill it; True where it had not ended by itself."""
        self.signal(signal.SIGKILL)
        return self.wait() == -signal.SIGKILL

    def said(self) -> str:
        return self.output.read_text()[-12_000:] if self.output.exists() else ""


class ShellVictim(Victim):
    """The same through the real command line."""

    last_words = (signal.SIGABRT,)

    def __init__(self, template: Template, job: dict[str, Any]) -> None:
        self.output = Path(job["output"])
        self.code = None
        with self.output.open("ab") as output:
            self._process: subprocess.Popen[bytes] = subprocess.Popen(
                [sys.executable, "-m", "django", "arun", *command_line(job)],
                cwd=ROOT,
                env=environment(template.database, str(template.cache)),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )
        self.pid = self._process.pid

    def poll(self) -> int | None:
        self.code = self._process.poll()
        return self.code


def command_line(job: dict[str, Any]) -> list[str]:
    arguments = {name: value for name, value in job["arguments"].items() if name != "label"}
    options = {**arguments, **job.get("limits", {}), **job.get("request", {})}
    words = [job["command"], job["arguments"]["label"]]
    for name, value in options.items():
        words += [f"--{name}"] if value is True else [f"--{name}", str(value)]
    return words


@dataclass
class Trial:
    """One run that is begun again and again until it is complete."""

    template: Template
    folder: Path
    label: str
    command: str = "effects"
    count: int = 200
    arguments: dict[str, Any] = field(default_factory=dict)
    limits: dict[str, Any] = field(default_factory=dict)
    request: dict[str, Any] = field(default_factory=dict)

    def start(self, kind: type[Victim] = Victim, **more: Any) -> Victim:
        victim = kind(self.template, {**self.job, **more})
        self.template.victims.append(victim)
        return victim

    @property
    def job(self) -> dict[str, Any]:
        return {
            "command": self.command,
            "arguments": {"label": self.label, "count": self.count, "journal": str(self.journal), **self.arguments},
            "limits": self.limits,
            "request": {"resume": True, **self.request},
            "output": str(self.folder / f"{self.label}.output"),
        }

    @property
    def journal(self) -> Path:
        return self.folder / f"{self.label}.journal"

    def calm_down(self) -> None:
        """From the next start on nothing is slow any more."""
        Path(f"{self.journal}.calm").touch()

    def heal(self) -> None:
        """From the next start on nothing fails for good."""
        Path(f"{self.journal}.healed").touch()

    @property
    def behaviour(self) -> Behaviour:
        shares = ("seed", "permanent", "transient", "following")
        return Behaviour(**{"seed": 0, **{name: self.arguments[name] for name in shares if name in self.arguments}})

    def lines(self) -> list[list[str]]:
        return [line.split() for line in self.journal.read_text().splitlines()] if self.journal.exists() else []

    def wait_for(self, victim: Victim, word: str, seconds: float = 60) -> bool:
        """Wait for a word of this process; False where it ended without saying it."""

        def said() -> bool:
            return any(line[:2] == [str(victim.pid), word] for line in self.lines())

        wait_until(lambda: said() or victim.poll() is not None, seconds, f"{word!r}; it said: {victim.said()}")
        return said()

    def repeated(self) -> int:
        """How many items were begun again by another process than the first."""
        begun = {(pid, number[0]) for pid, word, *number in self.lines() if word == "run"}
        return len(begun) - len({number for _, number in begun})

    def tries(self) -> Counter[str]:
        return Counter(number[0] for _, word, *number in self.lines() if word == "run")
