"""The bot and the nightly clean-up of `examples/always_on`, with a broker of their own that is restarted."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

nats = pytest.importorskip("nats")

PROJECT = Path(__file__).parents[2] / "examples" / "always_on"
BROKER = shutil.which("nats-server")
if BROKER is None and os.environ.get("REQUIRE_SERVICES") != "1":
    pytest.skip("SKIPPED: no nats-server; the example's bot is not run.", allow_module_level=True)

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
        assert BROKER is not None, "nats-server is required"
        return self.started([BROKER, "-js", "-sd", str(self.folder / "js"), "-a", "127.0.0.1", "-p", str(self.port)])

    def bot(self) -> subprocess.Popen[bytes]:
        return self.started([sys.executable, "manage.py", "comment_bot", "--ack-wait", "2"])

    def started(self, command: list[str]) -> subprocess.Popen[bytes]:
        with (self.folder / "output").open("ab") as output:
            process = subprocess.Popen(command, cwd=PROJECT, env=self.environment, stdout=output, stderr=output)
        self.running.append(process)
        return process

    def manage(self, *line: str) -> str:
        command = [sys.executable, "manage.py", *line]
        ended = subprocess.run(
            command, cwd=PROJECT, env=self.environment, capture_output=True, text=True, timeout=120, check=False
        )
        assert ended.returncode == 0, ended.stdout + ended.stderr
        return ended.stdout + ended.stderr


@pytest.fixture
def stage(tmp_path: Path) -> Iterator[Stage]:
    made = Stage(tmp_path)
    made.manage("migrate", "-v0")
    made.manage("shell", "-v0", "-c", PEOPLE)
    yield made
    for process in made.running:
        if process.poll() is None:
            process.kill()
        process.wait(30)


async def asked(connection: Any, name: str, number: int, answers: str) -> None:
    """See one question promised by the broker, which may be away."""
    headers = {"Answer-To": f"{answers}.{number}", "Nats-Msg-Id": str(number)}
    while True:
        with suppress(nats.errors.Error, nats.js.errors.Error, TimeoutError, asyncio.TimeoutError):
            stream = connection.jetstream()
            await stream.publish("comments.ask", name.encode(), timeout=1, headers=headers)
            return
        await asyncio.sleep(0.1)


async def questions_through_a_bad_day(stage: Stage, number: int) -> dict[int, str]:
    """Kill the bot and restart the broker while questions are asked; the answers, by the questions' numbers."""
    broker, bot = stage.broker(), stage.bot()
    connection = await nats.connect(stage.url, max_reconnect_attempts=-1, reconnect_time_wait=0.1)
    found: dict[int, str] = {}
    inbox = connection.new_inbox()

    async def heard(message: Any) -> None:
        found[int(message.subject.rpartition(".")[2])] = message.data.decode()

    await connection.subscribe(f"{inbox}.*", cb=heard)
    while not (await connection.jetstream().account_info()).streams:
        await asyncio.sleep(0.05)
    for one in range(number):
        if one == number // 3:
            bot.kill()
            bot.wait(10)
            bot = stage.bot()
        if one == 2 * number // 3:
            broker.terminate()
            broker.wait(10)
            broker = stage.broker()
        await asked(connection, ("alice", "bob", "eve")[one % 3], one, inbox)
    end = time.monotonic() + 60
    while len(found) < number and time.monotonic() < end:
        await asyncio.sleep(0.05)
    await connection.close()
    bot.send_signal(signal.SIGTERM)
    assert bot.wait(10) == 128 + signal.SIGTERM
    return found


def test_each_question_is_answered_whatever_happens_to_bot_and_broker(stage: Stage) -> None:
    answers = asyncio.run(questions_through_a_bad_day(stage, 300))
    assert sorted(answers) == list(range(300)), (stage.folder / "output").read_text()[-3000:]
    assert Counter(answers.values()) == {
        "Last comment for alice was the last of alice": 100,
        "Last comment for bob was the last of bob": 100,
        "No comments found for user eve": 100,
    }
    assert [line.split()[2] for line in stage.manage("aruns").splitlines()[1:]] == ["interrupted", "crashed"]


def test_both_bots_run_in_one_process(stage: Stage) -> None:
    assert stage.manage("abots", "--list").split() == ["comment_bot", "digest"]
    bots = stage.started([sys.executable, "manage.py", "abots"])
    end = time.monotonic() + 30
    while stage.manage("aruns").count("running") < 2:
        assert bots.poll() is None
        assert time.monotonic() < end
    bots.send_signal(signal.SIGTERM)
    assert bots.wait(15) == 128 + signal.SIGTERM
    assert [line.split()[2] for line in stage.manage("aruns").splitlines()[1:]] == ["interrupted"] * 2


def test_the_nightly_clean_up_deletes_what_is_older_than_a_day(stage: Stage) -> None:
    assert "value 1" in stage.manage("delete_old_comments")
    assert "value 0" in stage.manage("arun", "delete_old_comments")
