"""P12: a bot is killed and its broker restarted, again and again, and no question that the broker took stays open."""

from __future__ import annotations

import asyncio
import os
import random
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from tests.faults.bots import Stage, skip_without_broker, staged
from tests.faults.counts import chance, count

nats = pytest.importorskip("nats")
skip_without_broker()
pytestmark = pytest.mark.skipif(
    os.environ.get("DATABASE", "sqlite") != "sqlite", reason="the example has a database of its own"
)

ANSWERS = "answers"
AT_ONCE = 50
NAMES = ("alice", "bob", "eve")


@pytest.fixture
def stage(tmp_path: Path) -> Iterator[Stage]:
    with staged(tmp_path) as made:
        yield made


class BadDay:
    """Questions that the broker has promised to keep, their answers in a stream of it, and who disturbs both."""

    def __init__(self, stage: Stage, number: int) -> None:
        self.stage, self.number = stage, number
        self.answers: dict[int, str] = {}
        self.times: Counter[int] = Counter()
        self.broker, self.bot = stage.broker(), stage.bot()

    async def live(self, troubles: list[str], seed: random.Random) -> None:
        """Ask all the questions and hear all the answers, while one trouble follows the other."""
        self.connection = await nats.connect(self.stage.url, max_reconnect_attempts=-1, reconnect_time_wait=0.1)
        await self._patiently(lambda: self._stream().add_stream(name="ANSWERS", subjects=[f"{ANSWERS}.*"]))
        while "COMMENTS" not in await self._patiently(self._names):
            await asyncio.sleep(0.05)
        moments = sorted(seed.randrange(1, self.number * 19 // 20) for _ in troubles)
        async with asyncio.TaskGroup() as tasks:
            numbers = iter(range(self.number))
            for _ in range(AT_ONCE):
                tasks.create_task(self._ask(numbers))
            hearing = tasks.create_task(self._hear())
            for moment, trouble in zip(moments, troubles, strict=True):
                while len(self.answers) < moment and not hearing.done():
                    await asyncio.sleep(0.01)
                await asyncio.to_thread(self._kill_the_bot if trouble == "kill" else self._restart_the_broker)
        await self.connection.close()

    def _kill_the_bot(self) -> None:
        self.bot.kill()
        self.bot.wait(10)
        self.bot = self.stage.bot()

    def _restart_the_broker(self) -> None:
        self.broker.terminate()
        self.broker.wait(10)
        self.broker = self.stage.broker()

    async def _ask(self, numbers: Iterator[int]) -> None:
        for one in numbers:
            headers = {"Answer-To": f"{ANSWERS}.{one}", "Nats-Msg-Id": str(one)}
            name = NAMES[one % len(NAMES)].encode()
            await self._patiently(
                lambda name=name, headers=headers: self._stream().publish(
                    "comments.ask", name, timeout=1, headers=headers
                )
            )

    async def _hear(self) -> None:
        """Read the stream of answers, each of which is kept there until it is acknowledged."""
        subscription = await self._patiently(lambda: self._stream().pull_subscribe(f"{ANSWERS}.*", durable="judge"))
        while len(self.answers) < self.number:
            for message in await self._patiently(lambda: subscription.fetch(batch=500, timeout=1)):
                one = int(message.subject.rpartition(".")[2])
                self.answers[one] = message.data.decode()
                self.times[one] += 1
                with suppress(nats.errors.Error):
                    await message.ack()

    def _stream(self) -> Any:
        return self.connection.jetstream()

    async def _names(self) -> list[str]:
        return [one.config.name for one in await self._stream().streams_info()]

    async def _patiently(self, call: Any) -> Any:
        """What the broker answers, once it is there and does."""
        while True:
            with suppress(nats.errors.Error, nats.js.errors.Error, TimeoutError, asyncio.TimeoutError):
                return await call()
            await asyncio.sleep(0.05)


@pytest.mark.timeout(900)
def test_no_question_that_the_broker_has_taken_stays_without_an_answer(stage: Stage) -> None:
    seed = chance()
    number, kills, restarts = count("P12_QUESTIONS"), count("P12_KILLS"), count("P12_RESTARTS")
    troubles = ["kill"] * kills + ["restart"] * restarts
    seed.shuffle(troubles)
    day = BadDay(stage, number)
    began = time.monotonic()
    try:
        asyncio.run(asyncio.wait_for(day.live(troubles, seed), timeout=600))
    except TimeoutError:
        lacking = number - len(day.answers)
        pytest.fail(f"{lacking} of {number} without an answer\n{(stage.folder / 'output').read_text()[-3000:]}")
    print(f"{number:,} questions in {time.monotonic() - began:.0f} s, {day.times.total() - number:,} answered again")
    expected = (
        "Last comment for alice was the last of alice",
        "Last comment for bob was the last of bob",
        "No comments found for user eve",
    )
    assert day.answers == {one: expected[one % len(NAMES)] for one in range(number)}
    assert _stopped(day.bot) == 128 + signal.SIGTERM
    statuses = [line.split()[2] for line in stage.manage("aruns").splitlines()[1:]]
    assert sorted(statuses) == sorted(["crashed"] * kills + ["interrupted"])


def _stopped(bot: subprocess.Popen[bytes]) -> int:
    bot.send_signal(signal.SIGTERM)
    return bot.wait(15)
