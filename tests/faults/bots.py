"""The project of `examples/always_on` with a broker of its own, and bots as processes, for tests that end them all."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

PROJECT = Path(__file__).parents[2] / "examples" / "always_on"
BROKER = shutil.which("nats-server")

PEOPLE = """
from datetime import timedelta
from django.contrib.auth.models import User
from django.utils import timezone
from comments.models import Comment
for name in ("alice", "bob"):
    user = User.objects.create(username=name)
    Comment.objects.create(user=user, text="the first")
    Comment.objects.create(user=user, text=f"the last of {name}")
old = Comment.objects.create(user=user, text="the day before yesterday")
Comment.objects.filter(pk=old.pk).update(timestamp=timezone.now() - timedelta(days=2))
"""


def skip_without_broker() -> None:
    """Skip the module where there is no broker to be started, unless services are required."""
    if BROKER is None and os.environ.get("REQUIRE_SERVICES") != "1":
        pytest.skip("SKIPPED: no nats-server; the example's bot is not run.", allow_module_level=True)


class Stage:
    """A broker with a store on disk, a project with its database, and bots."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        with socket.socket() as one:
            one.bind(("127.0.0.1", 0))
            self.port = one.getsockname()[1]
        self.url = f"nats://127.0.0.1:{self.port}"
        self.environment = os.environ | {
            "NATS_URL": self.url,
            "COMMENTS_DATABASE": str(folder / "c.sqlite3"),
            "DJANGO_SETTINGS_MODULE": "project.settings",
        }
        self.running: list[subprocess.Popen[bytes]] = []

    def broker(self) -> subprocess.Popen[bytes]:
        """Start the broker, on what it has stored."""
        assert BROKER is not None, "nats-server is required"
        return self.started([BROKER, "-js", "-sd", str(self.folder / "js"), "-a", "127.0.0.1", "-p", str(self.port)])

    def bot(self) -> subprocess.Popen[bytes]:
        """Start a bot, to which a question comes again when it is open for five seconds."""
        return self.started([sys.executable, "manage.py", "comment_bot", "--ack-wait", "5"])

    def started(self, command: list[str]) -> subprocess.Popen[bytes]:
        """Start a process in the project's folder; what it prints is in the file `output`."""
        with (self.folder / "output").open("ab") as output:
            process = subprocess.Popen(command, cwd=PROJECT, env=self.environment, stdout=output, stderr=output)
        self.running.append(process)
        return process

    def manage(self, *line: str) -> str:
        """What a command of `manage.py` prints, which has to succeed."""
        command = [sys.executable, "manage.py", *line]
        ended = subprocess.run(
            command, cwd=PROJECT, env=self.environment, capture_output=True, text=True, timeout=120, check=False
        )
        assert ended.returncode == 0, ended.stdout + ended.stderr
        return ended.stdout + ended.stderr


@contextmanager
def staged(folder: Path) -> Iterator[Stage]:
    """A stage with tables and people; whatever was started on it is ended."""
    made = Stage(folder)
    made.manage("migrate", "-v0")
    made.manage("shell", "-v0", "-c", PEOPLE)
    yield made
    for process in made.running:
        if process.poll() is None:
            process.kill()
        process.wait(30)
