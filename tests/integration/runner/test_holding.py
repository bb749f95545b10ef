"""`throttle_on()`: nothing begins while the command says so, and the run tells of it."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import pytest
from django.db import OperationalError, connection

import async_commander as ac
from async_commander.models import RunBucket, RunLog
from async_commander.results import Tally
from tests.testapp.models import Effect

from .ledger import row_of


class Held(ac.DownloadIterateCommand[str, int]):
    """Says what it has in `answers`, one after another, and then nothing."""

    limits = ac.Limits(threads=2)
    retry = ac.Retry(attempts=2, initial=0.05, factor=1.0)

    async def download(self) -> str:
        return ""

    def iterate(self, payload: str):
        return range(4)

    def answer(self) -> Any:
        answers = vars(self).setdefault("left", list(type(self).answers))
        answer = answers.pop(0) if answers else None
        if isinstance(answer, Exception):
            raise answer
        return answer

    async def throttle_on(self) -> float | None:
        return self.answer()

    async def parse_and_save(self, item: int) -> None:
        vars(self).setdefault("began", []).append(time.monotonic())
        self.db.add(Effect(key=str(item)))


def test_nothing_begins_meanwhile_and_the_run_tells_for_how_long(run: Any) -> None:
    class Command(Held):
        answers = (0.4,)

    command, started = Command(), time.monotonic()
    result = run(command)
    assert result.counts["done"] == 4
    assert command.began[0] - started >= 0.4
    bucket = RunBucket.objects.get(run_id=result.run_id, stage="held")
    assert bucket.count == 1
    assert 350 <= bucket.total_ms < 2_000
    assert (
        "nothing begins for 0.4 s" in RunLog.objects.get(run_id=result.run_id, message__contains="throttle_on").message
    )
    row_of(result)


def test_a_plain_hook_asks_the_database_on_a_thread_of_its_own(run: Any) -> None:
    class Command(Held):
        def throttle_on(self) -> float:
            with connection.cursor() as cursor:
                cursor.execute("SELECT 1")
                vars(self).setdefault("asked", []).append(cursor.fetchone())
            return 0

    command = Command()
    assert run(command).counts["done"] == 4
    assert command.asked[0] == (1,)
    assert len(command.asked) < 4


@pytest.mark.parametrize("answer", [-1, float("nan"), float("inf"), 1e9, "3", True], ids=str)
def test_an_answer_that_is_no_time_ends_the_run_with_what_is_allowed(run: Any, answer: Any) -> None:
    class Command(Held):
        answers = (answer,)

    with pytest.raises(ac.RunFailed, match=r"throttle_on\(\) returned .*; allowed: seconds to wait, .* 0 to 3,600"):
        run(Command())
    assert not Effect.objects.exists()


def test_an_outage_is_waited_out_and_begins_nothing(run: Any) -> None:
    class Command(Held):
        answers = (OperationalError("server closed the connection unexpectedly"), ConnectionError("no route"))

    assert run(Command()).counts["done"] == 4


def test_after_an_error_that_passes_nothing_begins_before_the_hook_is_asked_again(run: Any) -> None:
    class Command(Held):
        answers = (ConnectionError("no route"), ZeroDivisionError("asked again"))

    with pytest.raises(ac.RunFailed, match="ZeroDivisionError: asked again") as failed:
        run(Command())
    assert failed.value.result.counts["taken"] == 0


def test_any_other_error_ends_the_run(run: Any) -> None:
    class Command(Held):
        answers = (ZeroDivisionError("no such thing"),)

    with pytest.raises(ac.RunFailed, match="ZeroDivisionError: no such thing"):
        run(Command())


def test_a_bot_goes_on_after_an_error(run_on_lanes: Any) -> None:
    class Bot(Held):
        always_on = True
        answers = (ZeroDivisionError("once"),)

        async def committed(self, item: int) -> None:
            from async_commander.runner.signals import open_run

            open_run.get().stops.ask()

    assert run_on_lanes(Bot()).counts["done"] >= 1


@pytest.mark.asyncio
async def test_a_stop_ends_the_wait(arun_db: None) -> None:
    class Command(Held):
        answers = (3_000,)

    class Stops(Command):
        async def throttle_on(self) -> float | None:
            answer = self.answer()
            from async_commander.runner.signals import open_run

            asyncio.get_running_loop().call_later(0.1, open_run.get().stops.ask)
            return answer

    started = time.monotonic()
    result = await ac.arun(Stops())
    assert (result.status, result.counts["taken"]) == ("interrupted", 0)
    assert time.monotonic() - started < 20


def test_the_progress_says_what_is_waited_for() -> None:
    from async_commander.management.progress import Meter, plain_line

    meter = Meter("name", Tally(held_until=103.2), now=lambda: 100.0)
    assert plain_line(meter, "").endswith("waiting for the database 3 s")
    assert plain_line(meter, "stopping").endswith("stopping")
    assert "waiting" not in plain_line(Meter("name", Tally(held_until=99.0), now=lambda: 100.0), "")
