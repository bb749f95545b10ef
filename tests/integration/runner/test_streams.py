"""`ac.astream`: a run as events for who began it, and what leaving it does."""

from __future__ import annotations

import asyncio
import json
from contextlib import aclosing
from typing import Any

import pytest
from asgiref.sync import sync_to_async
from django.test import TestCase

import async_commander as ac
from async_commander.models import Run, RunItem, RunLog
from tests.testapp.models import Effect

from .ledger import row_of

row = sync_to_async(row_of)


class Letters(ac.IterateDownloadCommand[str, str]):
    """Two of six items fail; one of these at once, the other after a second attempt."""

    retry = ac.Retry(attempts=2, initial=0.001)

    def iterate(self):
        return list("abcdef")

    async def download(self, item: str) -> str:
        if item == "b":
            raise TimeoutError("no answer")
        if item == "d":
            raise ValueError("not for us")
        self.log.info("downloaded %s", item)
        return item

    async def parse_and_save(self, item: str, payload: str) -> None:
        self.db.add(Effect(key=item))


class Endless(ac.IterateDownloadCommand[int, int]):
    """Goes on until it is asked to stop."""

    limits = ac.Limits(threads=2, batch_size=1)
    api_token: str = ""

    async def iterate(self):
        for number in range(1_000_000):
            yield number

    async def download(self, item: int) -> int:
        await asyncio.sleep(0.01)
        return item

    async def parse_and_save(self, item: int, payload: int) -> None:
        self.db.add(Effect(key=str(item)))


async def all_of(command: Any, **arguments: Any) -> list[ac.RunEvent]:
    return [event async for event in ac.astream(command, **arguments)]


@pytest.mark.asyncio
async def test_a_run_is_told_from_its_start_to_its_result(arun_db: None) -> None:
    events = await all_of(Letters, threads=1)
    started, *between, last = events
    assert isinstance(started, ac.RunStarted)
    assert isinstance(last, ac.RunFinished)
    assert started.command.endswith("Letters")
    run = await row(last.result)
    assert {event.run_id for event in events} == {run.pk}
    assert (last.result.status, last.result.counts["dead"]) == ("partial", 2)
    progress = [event for event in between if isinstance(event, ac.Progress)]
    assert (progress[-1].done, progress[-1].dead, progress[-1].total, progress[-1].share) == (4, 2, 6, 1.0)
    failures = [event for event in between if isinstance(event, ac.ItemFailed)]
    assert sorted((one.label, one.kind, one.error, one.attempt, one.final) for one in failures) == [
        ("b", "TimeoutError", "no answer", 1, False),
        ("b", "TimeoutError", "no answer", 2, True),
        ("d", "ValueError", "not for us", 1, True),
    ]
    dead = {str(key) async for key in RunItem.objects.filter(state="dead").values_list("key", flat=True)}
    assert {one.item_key for one in failures} == dead
    said = [event.message for event in between if isinstance(event, ac.LogLine)]
    assert said == [f"downloaded {item}" for item in "acef"]


@pytest.mark.asyncio
async def test_its_lines_have_the_numbers_of_the_stored_ones_and_a_watch_tells_the_same(arun_db: None) -> None:
    events = await all_of(Letters)
    run_id = events[-1].run_id
    assert isinstance(run_id, int)
    numbers = [number async for number in RunLog.objects.order_by("pk").values_list("pk", flat=True)]
    lines = [event for event in events if isinstance(event, ac.LogLine | ac.ItemFailed)]
    assert [event.id for event in lines] == [f"{run_id}.{number}" for number in numbers]
    stored = [event async for event in ac.awatch(run_id)]
    assert [event for event in stored if isinstance(event, ac.LogLine | ac.ItemFailed)] == lines
    assert stored[-1].id == events[-1].id
    first, last = stored[-1].as_dict(), events[-1].as_dict()
    for told in (first, last):
        del told["seconds"], told["at"]
    assert first == last


@pytest.mark.asyncio
async def test_a_failed_run_is_told_and_raises_nothing(arun_db: None) -> None:
    class Command(ac.AsyncCommand):
        async def handle(self) -> None:
            raise ValueError("broken")

    *_, last = await all_of(Command)
    assert isinstance(last, ac.RunFinished)
    assert (last.result.status, last.result.error) == ("failed", "ValueError: broken")
    assert isinstance(last.result.failure, ValueError)
    assert last.as_dict()["status"] == "failed"


@pytest.mark.asyncio
async def test_a_run_that_is_skipped_has_an_end_only(arun_db: None) -> None:
    class Command(ac.AsyncCommand):
        run_once = True

        async def handle(self) -> int:
            return 1

    await ac.arun(Command)
    (only,) = await all_of(Command)
    assert isinstance(only, ac.RunFinished)
    assert (only.run_id, only.result.status) == (None, "skipped")


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("command", "arguments", "error"),
    [("no_such_command", {}, ac.CommandNotFound), (Endless, {"threads": 0}, ac.InvalidCommand)],
)
async def test_what_is_wrong_with_the_call_is_raised(
    arun_db: None, command: Any, arguments: dict[str, Any], error: type[Exception]
) -> None:
    with pytest.raises(error):
        await all_of(command, **arguments)
    assert not await Run.objects.aexists()


@pytest.mark.asyncio
async def test_a_run_of_somebody_else_is_an_error(arun_db: None) -> None:
    async with aclosing(ac.astream(Endless)) as events:
        await anext(events)
        with pytest.raises(ac.RunLocked):
            await all_of(Endless, resume=True)


async def interrupted() -> None:
    run = await Run.objects.aget()
    assert (run.status, run.accounts, run.claimed, run.dead) == ("interrupted", True, 0, 0)
    assert await Effect.objects.acount() == run.done


@pytest.mark.asyncio
async def test_closing_the_stream_stops_the_run_in_order_and_waits_for_its_end(arun_db: None) -> None:
    async with aclosing(ac.astream(Endless)) as events:
        async for event in events:
            if isinstance(event, ac.Progress) and event.done > 3:
                break
    await interrupted()


@pytest.mark.asyncio
async def test_leaving_the_loop_stops_the_run(arun_db: None) -> None:
    async for event in ac.astream(Endless):
        if isinstance(event, ac.Progress) and event.done > 3:
            break
    async with asyncio.timeout(20):
        while await Run.objects.filter(status="running").aexists():
            await asyncio.sleep(0.01)
    await interrupted()


@pytest.mark.asyncio
async def test_a_cancel_stops_the_run_in_order(arun_db: None) -> None:
    async def read() -> None:
        async for _ in ac.astream(Endless):
            begun.set()

    begun = asyncio.Event()
    task = asyncio.create_task(read())
    await begun.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await interrupted()


@pytest.mark.asyncio
async def test_who_is_cancelled_twice_does_not_wait_for_what_is_in_hand(arun_db: None) -> None:
    class Stuck(Endless):
        async def download(self, item: int) -> int:
            begun.set()
            await asyncio.sleep(1_000)
            return item

    async def read() -> None:
        async for _ in ac.astream(Stuck, grace=500):
            pass

    begun = asyncio.Event()
    task = asyncio.create_task(read())
    await begun.wait()
    for _ in range(2):
        task.cancel()
        await asyncio.sleep(0.01)
    with pytest.raises(asyncio.CancelledError):
        await asyncio.wait_for(task, 60)
    await interrupted()


@pytest.mark.asyncio
async def test_a_reader_that_does_not_read_holds_up_nothing_and_is_told_what_was_left_out(arun_db: None) -> None:
    class Talks(ac.AsyncCommand):
        async def handle(self) -> int:
            for number in range(3_000):
                self.log.info("line %d", number)
                if not number % 1_000:
                    await asyncio.sleep(1.2)  # another batch of lines
            ended.set()
            return 7

    ended = asyncio.Event()
    async with aclosing(ac.astream(Talks)) as events:
        assert isinstance(await anext(events), ac.RunStarted)
        await asyncio.wait_for(ended.wait(), 60)
        rest = [event async for event in events]
    left_out = [event.count for event in rest if isinstance(event, ac.LeftOut)]
    lines = [event.message for event in rest if isinstance(event, ac.LogLine)]
    assert sum(left_out) + len(lines) == 3_000
    assert 0 < len(lines) <= 1_000
    assert lines[-1] == "line 2999"
    assert isinstance(rest[-1], ac.RunFinished)
    assert rest[-1].value == 7


@pytest.mark.asyncio
async def test_progress_comes_ten_times_a_second_at_most(arun_db: None) -> None:
    class Counts(ac.AsyncCommand):
        async def handle(self) -> None:
            for number in range(300):
                self.progress(number, 300)
                await asyncio.sleep(0.002)

    began = asyncio.get_running_loop().time()
    events = await all_of(Counts)
    seconds = asyncio.get_running_loop().time() - began
    progress = [event for event in events if isinstance(event, ac.Progress)]
    assert 3 <= len(progress) <= seconds * 10 + 3
    assert [one.done for one in progress] == sorted(one.done for one in progress)


@pytest.mark.asyncio
async def test_no_event_shows_a_secret(arun_db: None) -> None:
    class Tells(Letters):
        api_token: str

        async def cleanup(self, result: ac.RunResult) -> None:
            self.log.warning("the token is %s", self.api_token)

        async def download(self, item: str) -> str:
            raise ValueError(f"refused {self.api_token}")

    events = await all_of(Tells, api_token="s3cr3t-0815")
    assert any(isinstance(event, ac.ItemFailed) for event in events)
    told = json.dumps([event.as_dict() for event in events])
    assert "0815" not in told


class InATestsTransaction(TestCase):
    async def test_a_stream_and_a_watch(self) -> None:
        events = await all_of(Letters)
        assert isinstance(events[-1], ac.RunFinished)
        assert isinstance(events[-1].run_id, int)
        lines = [event for event in events if isinstance(event, ac.LogLine | ac.ItemFailed)]
        stored = [event async for event in ac.awatch(events[-1].run_id)]
        assert [event for event in stored if isinstance(event, ac.LogLine | ac.ItemFailed)] == lines


@pytest.mark.asyncio
async def test_with_a_recorder_in_memory() -> None:
    from async_commander.testing import InMemoryRecorder

    class Command(ac.AsyncCommand):
        async def handle(self) -> str:
            self.log.info("here")
            return "done"

    events = await all_of(Command, recorder=InMemoryRecorder())
    assert [type(event).__name__ for event in events if not isinstance(event, ac.Progress)] == [
        "RunStarted",
        "LogLine",
        "RunFinished",
    ]
