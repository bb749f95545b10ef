"""Runs that are watched by their numbers: from the rows, by many at once, from where a reader was."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from contextlib import aclosing, contextmanager
from datetime import timedelta
from typing import Any

import pytest
from asgiref.sync import sync_to_async
from django.db import connection, connections
from django.db.backends.signals import connection_created
from django.http import HttpRequest, StreamingHttpResponse
from django.test import AsyncClient, override_settings
from django.urls import path
from django.utils import timezone

import async_commander as ac
from async_commander.history.lease import establish
from async_commander.models import Run, RunLog


class Steps(ac.IterateDownloadCommand[int, int]):
    """Each item waits for a permit and logs a line."""

    limits = ac.Limits(threads=1)

    def __init__(self) -> None:
        super().__init__()
        self.permits = asyncio.Semaphore(0)
        self.begun: asyncio.Future[int] = asyncio.get_running_loop().create_future()

    def iterate(self):
        return range(6)

    async def download(self, item: int) -> int:
        if not self.begun.done():
            self.begun.set_result(self.record.pk)
        await self.permits.acquire()
        return item

    async def parse_and_save(self, item: int, payload: int) -> None:
        self.log.info("line %d", item)


@contextmanager
def opened_connections() -> Iterator[list[object]]:
    """Those that are opened in the block, on any thread."""
    opened: list[object] = []

    def note(**of_signal: Any) -> None:
        opened.append(of_signal["connection"])

    connection_created.connect(note)
    try:
        yield opened
    finally:
        connection_created.disconnect(note)


def lines_of(events: list[ac.RunEvent]) -> list[str]:
    return [event.message for event in events if isinstance(event, ac.LogLine)]


async def read(run_id: int, into: list[ac.RunEvent], *, after: str | None = None) -> list[ac.RunEvent]:
    async for event in ac.awatch(run_id, after=after):
        into.append(event)
    return into


@pytest.mark.asyncio
async def test_a_run_is_watched_while_it_is_at_work(arun_db: None) -> None:
    command, events = Steps(), list[ac.RunEvent]()
    run = asyncio.create_task(ac.arun(command))
    run_id = await command.begun
    watch = asyncio.create_task(read(run_id, events))
    for _ in range(3):
        command.permits.release()
    async with asyncio.timeout(30):
        while lines_of(events) != ["line 0", "line 1", "line 2"]:
            await asyncio.sleep(0.05)
        while not any(isinstance(event, ac.Progress) and event.done == 3 for event in events):
            await asyncio.sleep(0.05)
        assert not watch.done()
        for _ in range(3):
            command.permits.release()
        await run
        await watch
    assert isinstance(events[0], ac.RunStarted)
    assert isinstance(events[-1], ac.RunFinished)
    assert lines_of(events) == [f"line {number}" for number in range(6)]
    assert events[-1].result.counts["done"] == 6


async def finished_run(lines: int = 0, **columns: Any) -> Run:
    values = {"command": "shop.fetch", "identity": "0", "status": "succeeded", "finished": timezone.now(), **columns}
    run = await Run.objects.acreate(**values)
    logs = (RunLog(run=run, at=timezone.now(), level=20, logger="shop", message=f"line {n}") for n in range(lines))
    await RunLog.objects.abulk_create(logs)
    return run


@pytest.mark.asyncio
async def test_who_comes_back_goes_on_where_he_was(arun_db: None) -> None:
    run = await finished_run(20, done=3, taken=3, value={"pages": 3})
    whole, seen, place, sittings = await read(run.pk, []), list[ac.RunEvent](), None, 0
    while not any(isinstance(event, ac.RunFinished) for event in seen):
        sittings += 1
        async with aclosing(ac.awatch(run.pk, after=place)) as events:
            for _ in range(3):
                event = await anext(events)
                place = event.id
                seen.append(event)
                if isinstance(event, ac.RunFinished):
                    break
    assert sittings > 5
    assert lines_of(seen) == lines_of(whole) == [f"line {number}" for number in range(20)]
    assert sum(isinstance(event, ac.RunStarted) for event in seen) == 1
    last = seen[-1]
    assert isinstance(last, ac.RunFinished)
    assert (last.result.status, last.value) == ("succeeded", {"pages": 3})


@pytest.mark.asyncio
@pytest.mark.parametrize(
    "after", ["", "nonsense", "1", "999999.3", "{run}.-1", "{run}.9e9", "{run}.\x00", "{run}.99999999999999999999999"]
)
async def test_an_id_that_is_none_of_this_run_means_from_the_beginning(arun_db: None, after: str) -> None:
    run = await finished_run(2)
    events = await read(run.pk, [], after=after.format(run=run.pk))
    assert isinstance(events[0], ac.RunStarted)
    assert lines_of(events) == ["line 0", "line 1"]


@pytest.mark.asyncio
async def test_of_a_long_log_the_last_lines_are_told_and_the_others_counted(arun_db: None) -> None:
    run = await finished_run(1_203)
    events = await read(run.pk, [])
    assert [event.count for event in events if isinstance(event, ac.LeftOut)] == [703]
    assert lines_of(events) == [f"line {number}" for number in range(703, 1_203)]
    left_out = next(event for event in events if isinstance(event, ac.LeftOut))
    assert lines_of(await read(run.pk, [], after=left_out.id)) == lines_of(events)


@pytest.mark.asyncio
async def test_there_is_no_such_run(arun_db: None) -> None:
    with pytest.raises(ac.InvalidCommand, match="There is no run 4711"):
        await read(4711, [])
    with pytest.raises(ac.InvalidCommand, match="There is no run 4711"):
        await sync_to_async(ac.run_events)(4711)


@pytest.mark.asyncio
async def test_who_asks_for_nonsense_ends_no_other_reader(arun_db: None) -> None:
    run = await finished_run(status="queued", finished=None)
    other = await finished_run()
    await RunLog.objects.acreate(run=other, at=timezone.now(), level=40, message="x", failure={"of": "a newer release"})
    watch = asyncio.create_task(read(run.pk, events := []))
    with pytest.raises(ac.InvalidCommand, match="abc"):
        await read("abc", [])  # type: ignore[arg-type]
    with pytest.raises(TypeError):
        await read(other.pk, [])
    await Run.objects.filter(pk=run.pk).aupdate(status="succeeded", finished=timezone.now())
    async with asyncio.timeout(30):
        await watch
    assert isinstance(events[-1], ac.RunFinished)


@pytest.mark.asyncio
async def test_a_run_that_is_removed_ends_its_watches(arun_db: None) -> None:
    run = await finished_run(status="running", finished=None)
    await sync_to_async(establish)("default", run.pk)
    async with aclosing(ac.awatch(run.pk)) as events:
        assert isinstance(await anext(events), ac.RunStarted)
        await run.adelete()
        with pytest.raises(ac.InvalidCommand):
            async with asyncio.timeout(30):
                async for _ in events:
                    pass


@pytest.mark.asyncio
async def test_a_run_that_waits_to_begin_is_waited_for(arun_db: None) -> None:
    run = await finished_run(status="queued", finished=None)
    watch = asyncio.create_task(read(run.pk, events := []))
    await asyncio.sleep(0.1)
    assert not events
    await Run.objects.filter(pk=run.pk).aupdate(status="succeeded", finished=timezone.now())
    async with asyncio.timeout(30):
        await watch
    assert [type(event).__name__ for event in events] == ["RunStarted", "Progress", "RunFinished"]


@pytest.mark.asyncio
async def test_a_run_whose_owner_is_gone_ends_as_crashed(arun_db: None) -> None:
    gone = {"status": "running", "finished": None, "expires": timezone.now() - timedelta(hours=1), "host": "other"}
    run = await finished_run(1, **gone)
    async with asyncio.timeout(30):
        *_, last = await read(run.pk, [])
    assert isinstance(last, ac.RunFinished)
    assert last.result.status == "crashed"
    assert (await Run.objects.aget()).status == "crashed"


@pytest.mark.asyncio
async def test_a_hundred_readers_share_one_connection_that_is_given_back(arun_db: None) -> None:
    command = Steps()
    run = asyncio.create_task(ac.arun(command))
    run_id = await command.begun
    with opened_connections() as opened:
        watches = [asyncio.create_task(read(run_id, [])) for _ in range(100)]
        await asyncio.sleep(0.5)
        for _ in range(6):
            command.permits.release()
        async with asyncio.timeout(60):
            await run
            told = [lines_of(await watch) for watch in watches]
    assert told == [[f"line {number}" for number in range(6)]] * 100
    assert len([one for one in opened if one is not connection]) <= 1 + 3  # one of the readers', the run's own at most
    await sync_to_async(connections.close_all)()
    if connection.vendor == "postgresql":
        assert await sync_to_async(other_backends)() == 0


def other_backends() -> int:
    """Connections to the test's database but the one that asks; one that was closed is gone within moments."""
    for _ in range(200):
        with connection.cursor() as cursor:
            cursor.execute(
                "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
            )
            (number,) = cursor.fetchone()
            if not number:
                return 0
            cursor.execute("SELECT pg_sleep(0.01)")
    return int(number)


@pytest.mark.asyncio
async def test_readers_come_and_go_at_any_moment(arun_db: None) -> None:
    command = Steps()
    run = asyncio.create_task(ac.arun(command))
    run_id = await command.begun

    async def come_and_go(seconds: float) -> None:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(seconds):
                await read(run_id, [])

    await asyncio.gather(*(come_and_go(number % 37 / 100) for number in range(150)))
    stays = asyncio.create_task(read(run_id, []))
    for _ in range(6):
        command.permits.release()
    async with asyncio.timeout(60):
        assert len(lines_of(await stays)) == 6
        assert (await run).status == "succeeded"
    assert [task.get_name() for task in asyncio.all_tasks() if "watched" in task.get_name()] == []


@pytest.mark.django_db
def test_what_is_new_for_a_page_that_asks_again_and_again() -> None:
    run = Run.objects.create(command="shop.fetch", identity="0", status="running")
    establish("default", run.pk)
    RunLog.objects.create(run=run, at=timezone.now(), level=20, logger="shop", message="first")
    events = ac.run_events(run.pk)
    assert [event.name for event in events] == ["started", "log", "progress"]
    place = events[-1].id
    assert [type(event) for event in ac.run_events(run.pk, place)] == [ac.Progress]
    RunLog.objects.create(run=run, at=timezone.now(), level=40, logger="shop", message="second")
    Run.objects.filter(pk=run.pk).update(status="failed", error="ValueError: broken", finished=timezone.now())
    log, _, last = ac.run_events(run.pk, place)
    assert isinstance(log, ac.LogLine)
    assert isinstance(last, ac.RunFinished)
    assert (log.message, last.result.status, last.result.error) == ("second", "failed", "ValueError: broken")
    json.dumps([event.as_dict() for event in ac.run_events(run.pk)], allow_nan=False)


# -- as a browser has it ---------------------------------------------------------------------------------------------


async def events_view(request: HttpRequest, run_id: int) -> StreamingHttpResponse:
    return ac.EventStreamResponse(ac.awatch(run_id, after=request.headers.get("Last-Event-ID")), keep_alive=0.05)


async def run_view(request: HttpRequest) -> StreamingHttpResponse:
    return ac.EventStreamResponse(ac.astream(Steps.the_one), keep_alive=0.05)  # type: ignore[attr-defined]


urlpatterns = [path("events/<int:run_id>/", events_view), path("run/", run_view)]


async def body_of(response: Any) -> bytes:
    return b"".join([part async for part in response])


def parsed(body: bytes) -> list[dict[str, str]]:
    """The blocks of a stream of server-sent events."""
    blocks = [block for block in body.decode().split("\n\n") if block and not block.startswith(":")]
    return [dict(line.split(": ", 1) for line in block.split("\n")) for block in blocks]


@pytest.mark.asyncio
@override_settings(ROOT_URLCONF=__name__)
async def test_a_response_for_an_event_source(arun_db: None) -> None:
    run = await finished_run(2)
    response = await AsyncClient().get(f"/events/{run.pk}/")
    assert response.headers["Content-Type"] == "text/event-stream"
    assert response.headers["Cache-Control"] == "no-cache"
    assert response.headers["X-Accel-Buffering"] == "no"
    retry, started, *events, late = parsed(await body_of(response))
    assert (retry, late) == ({"retry": "3000"}, {"retry": "86400000"})
    assert (started["event"], started["id"]) == ("started", f"{run.pk}.0")
    assert [one["event"] for one in events] == ["progress", "log", "log", "finished"]
    assert [one["id"] for one in events[1:3]] == [
        f"{run.pk}.{pk}" async for pk in RunLog.objects.values_list("pk", flat=True)
    ]
    assert json.loads(events[1]["data"])["message"] == "line 0"
    again = await AsyncClient().get(f"/events/{run.pk}/", headers={"last-event-id": events[1]["id"]})
    *_, log, finished, _ = parsed(await body_of(again))
    assert (json.loads(log["data"])["message"], finished["event"]) == ("line 1", "finished")


@pytest.mark.asyncio
async def test_a_browser_does_not_come_back_at_once_for_a_run_that_is_not_there(arun_db: None) -> None:
    parts = []
    with pytest.raises(ac.InvalidCommand, match="There is no run 4711"):
        async for part in ac.as_sse(ac.awatch(4711)):
            parts.append(part)
    assert parsed(b"".join(parts)) == [{"retry": "3000"}, {"retry": "86400000"}]


@pytest.mark.asyncio
@pytest.mark.parametrize("after", [None, "", "nonsense", 5, b"1.2"])
async def test_what_is_no_place_means_from_the_beginning(arun_db: None, after: Any) -> None:
    run = await finished_run(2)
    names = [event.name for event in await sync_to_async(ac.run_events)(run.pk, after)]
    assert names == ["started", "log", "log", "progress", "finished"]


@pytest.mark.asyncio
@override_settings(ROOT_URLCONF=__name__)
async def test_while_nothing_happens_comments_keep_the_connection_alive(arun_db: None) -> None:
    Steps.the_one = command = Steps()  # type: ignore[attr-defined]
    response = await AsyncClient().get("/run/")
    body = b""
    async with asyncio.timeout(60):
        async for part in response:
            body += part
            if body.count(b": the run goes on\n\n") == 3 and b"event: finished" not in body:
                command.permits._value = 6
                command.permits.release()
    assert parsed(body)[-2]["event"] == "finished"


@pytest.mark.asyncio
@override_settings(ROOT_URLCONF=__name__)
async def test_a_response_that_is_left_stops_its_run_before_it_is_closed(arun_db: None) -> None:
    Steps.the_one = command = Steps()  # type: ignore[attr-defined]
    response = await AsyncClient().get("/run/")
    async with aclosing(aiter(response)) as parts:
        async for part in parts:
            if b"started" in part:
                command.permits.release()
                break
    assert (await Run.objects.aget()).status == "interrupted"


async def nothing() -> AsyncIterator[ac.RunEvent]:
    return
    yield


@pytest.mark.asyncio
async def test_any_stream_of_events_can_be_sent() -> None:
    event = ac.LogLine(run_id=1, id="1.2", level=20, logger="shop", message="line\nfeed \ud800 \u2028")

    async def some() -> AsyncIterator[ac.RunEvent]:
        yield event

    (_, told) = parsed(b"".join([part async for part in ac.as_sse(some())]))
    assert (told["id"], json.loads(told["data"])["message"]) == ("1.2", event.message)
    assert [part async for part in ac.as_sse(nothing(), retry=0.5)] == [b"retry: 500\n\n"]
