"""The ways into a run: awaited, synchronous, from a view, from another run; and what a cancel does."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import anyio
import pytest
import pytest_asyncio
from asgiref.sync import sync_to_async
from django.db import connection, connections, transaction
from django.http import HttpRequest, JsonResponse
from django.test import AsyncClient, override_settings
from django.urls import path

import async_commander as ac
from async_commander.models import Run
from async_commander.runner.entry import drive_from_shell
from async_commander.runner.reporting import Silent
from async_commander.runner.request import RunRequest
from async_commander.runner.signals import StopRequests
from tests.testapp.models import Effect, Page, Tag

from .ledger import row_of

row = sync_to_async(row_of)


class Letters(ac.IterateDownloadCommand[str, str]):
    async def iterate(self):
        return list("abcdef")

    async def download(self, item: str) -> str:
        return item

    async def parse_and_save(self, item: str, payload: str) -> None:
        self.db.add(Effect(key=item))


class Waits(Letters):
    """Each item begins, tells so, and waits for `go`."""

    limits = ac.Limits(threads=2, batch_size=1)

    def __init__(self) -> None:
        super().__init__()
        self.begun, self.go = asyncio.Event(), asyncio.Event()

    async def download(self, item: str) -> str:
        self.begun.set()
        await self.go.wait()
        return item


# -- arun ----------------------------------------------------------------------------------------------------------


@pytest.mark.asyncio
async def test_arun_runs_on_the_running_loop(arun_db: None) -> None:
    loops: set[Any] = set()

    class Command(Letters):
        async def download(self, item: str) -> str:
            loops.add(asyncio.get_running_loop())
            return item

    result = await ac.arun(Command())
    assert result.counts["done"] == 6
    assert loops == {asyncio.get_running_loop()}
    await row(result)


@pytest.mark.asyncio
async def test_arun_takes_a_name_and_shared_options(arun_db: None) -> None:
    result = await ac.arun("pages", count=4, threads=3, max_items=2)
    assert await Page.objects.acount() == 2
    assert (await row(result)).limits["threads"] == 3


@pytest.mark.asyncio
async def test_a_default_for_the_terminal_is_nothing_to_a_run_from_code(arun_db: None) -> None:
    class Command(Letters):
        option_defaults = {"progress": "plain", "max_items": 2, "threads": 3}

    result = await ac.arun(Command())
    assert result.counts["done"] == 2
    assert (await row(result)).limits["threads"] == 3
    assert (await ac.arun(Command(), max_items=4)).counts["done"] == 4


@pytest.mark.asyncio
async def test_arun_raises_for_a_failed_run(arun_db: None) -> None:
    class Command(ac.AsyncCommand):
        async def handle(self) -> None:
            raise ValueError("no good")

    with pytest.raises(ac.RunFailed, match="no good") as raised:
        await ac.arun(Command())
    assert (await row(raised.value.result)).status == "failed"


@dataclass
class Cancelled:
    """A run with items in hand whose caller was cancelled once."""

    command: Waits
    task: asyncio.Future[ac.RunResult]


@pytest_asyncio.fixture
async def cancelled(arun_db: None) -> Cancelled:
    command = Waits()
    task = asyncio.ensure_future(ac.arun(command))
    await command.begun.wait()
    task.cancel()
    await until_stopping(command)
    return Cancelled(command, task)


async def until_stopping(command: ac.AsyncCommand) -> None:
    while not command.stopping:
        await asyncio.sleep(0)


@pytest.mark.asyncio
async def test_cancelling_the_caller_stops_the_run_in_order(cancelled: Cancelled) -> None:
    cancelled.command.go.set()
    with pytest.raises(asyncio.CancelledError):
        await cancelled.task
    run = await Run.objects.aget()
    assert (run.status, run.accounts, run.claimed) == ("interrupted", True, 0)
    assert 0 < run.done < 6
    assert await Effect.objects.acount() == run.done


@pytest.mark.asyncio
async def test_a_second_cancel_ends_what_is_in_hand(cancelled: Cancelled) -> None:
    cancelled.task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await cancelled.task
    run = await Run.objects.aget()
    assert (run.status, run.accounts, run.done, run.taken) == ("interrupted", True, 0, 0)


@pytest.mark.asyncio
async def test_a_time_out_around_arun_stops_the_run(arun_db: None) -> None:
    command = Waits()
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.2):
            await ac.arun(command, grace=0.05)
    run = await Run.objects.aget()
    assert (run.status, run.accounts) == ("interrupted", True)


@pytest.mark.asyncio
async def test_handle_is_stopped_by_a_second_cancel_only(arun_db: None) -> None:
    class Command(ac.AsyncCommand):
        ended = ""

        async def handle(self) -> None:
            try:
                await anyio.sleep_forever()
            finally:
                type(self).ended = "in handle"

        async def cleanup(self, result: ac.RunResult) -> None:
            self.told = result.status

    command = Command()
    task = asyncio.ensure_future(ac.arun(command))
    while not command.__dict__["_session"]:
        await asyncio.sleep(0)
    task.cancel()
    await until_stopping(command)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert Command.ended in {"in handle", ""}
    assert command.told is ac.RunStatus.INTERRUPTED
    assert (await Run.objects.aget()).status == "interrupted"


@pytest.mark.asyncio
async def test_two_runs_at_once_in_one_process(arun_db: None) -> None:
    first, second = await asyncio.gather(ac.arun(Letters()), ac.arun("pages", count=7))
    assert (first.counts["done"], second.counts["done"]) == (6, 7)
    assert first.run_id != second.run_id
    await row(first)
    await row(second)


@pytest.mark.asyncio
async def test_one_command_cannot_serve_two_runs_at_once(arun_db: None) -> None:
    command = Letters()
    results = await asyncio.gather(ac.arun(command), ac.arun(command), return_exceptions=True)
    assert [type(one) for one in results] == [ac.RunResult, ac.InvalidCommand]
    assert await Run.objects.acount() == 1


@pytest.mark.asyncio
@pytest.mark.parametrize("hook", ["download", "parse_and_save"])
async def test_a_run_inside_of_an_item_is_a_run_of_its_own(arun_db: None, hook: str) -> None:
    class Outer(Letters):
        async def iterate(self):
            return [1, 2]

        async def download(self, item: int) -> int:
            if hook == "download":
                await self.inner(item)
            return item

        async def parse_and_save(self, item: int, payload: int) -> None:
            if hook == "parse_and_save":
                await self.inner(item)
            self.db.add(Effect(key=f"outer {item}"))

        async def inner(self, item: int) -> None:
            result = await ac.arun(Inner())
            assert result.value == ["inner", 3]

    class Inner(ac.AsyncCommand):
        async def handle(self) -> list[Any]:
            self.progress(3)
            self.db.add(Tag(name=str(self.record.pk)))
            await self.db.flush()
            return ["inner", await Tag.objects.filter(name=str(self.record.pk)).acount() + 2]

    result = await ac.arun(Outer(), threads=1)
    assert result.counts["done"] == 2
    assert await Run.objects.acount() == 3
    assert await Run.objects.filter(status="succeeded").acount() == 3
    assert await Tag.objects.acount() == 2
    await row(result)


@pytest.mark.asyncio
async def test_a_run_inside_of_an_items_transaction_is_undone_with_it(arun_db: None) -> None:
    class Outer(Letters):
        async def parse_and_save(self, item: str, payload: str) -> None:
            await ac.arun(Letters())
            if item != "a":
                raise ValueError("all of it for nothing")

    result = await ac.arun(Outer(), threads=1)
    assert result.counts["done"] == 1
    assert await Run.objects.acount() == 2
    assert await Effect.objects.acount() == 6
    await row(result)


# -- views ---------------------------------------------------------------------------------------------------------


async def fetch(request: HttpRequest) -> JsonResponse:
    result = await ac.arun("pages", count=5)
    return JsonResponse({"status": result.status, "done": result.counts["done"]})


urlpatterns = [path("fetch/", fetch)]


@pytest.mark.asyncio
@override_settings(ROOT_URLCONF=__name__)
async def test_arun_in_an_asynchronous_view(arun_db: None) -> None:
    response = await AsyncClient().get("/fetch/")
    assert response.json() == {"status": "succeeded", "done": 5}
    assert (await Run.objects.aget()).limits["processes"] == 1


# -- run -----------------------------------------------------------------------------------------------------------


async def first_of(events: AsyncIterator[object]) -> None:
    await anext(events)


AWAITED: dict[str, Callable[[], Coroutine[Any, Any, object]]] = {
    "arun": lambda: ac.arun(Letters()),
    "astream": lambda: first_of(ac.astream(Letters())),
    "awatch": lambda: first_of(ac.awatch(1)),
    "as_sse": lambda: first_of(ac.as_sse(ac.awatch(1))),
    "adispatch": lambda: ac.adispatch(Letters),
    "acancel_run": lambda: ac.acancel_run(1),
    "apause_run": lambda: ac.apause_run(1),
    "acontinue_run": lambda: ac.acontinue_run(1),
    "achange_limits": lambda: ac.achange_limits(1, threads=2),
    "aanswer_run": lambda: ac.aanswer_run(1, True),
    "result": lambda: ac.RunHandle(1).result(),
    "status": lambda: ac.RunHandle(1).status(),
    "cancel": lambda: ac.RunHandle(1).cancel(),
}


@pytest.mark.parametrize("name", AWAITED)
def test_trio_is_refused_with_the_remedy(name: str) -> None:
    with pytest.raises(ac.AsyncCommanderError, match=r"trio is none\. Begin with anyio\.run"):
        anyio.run(AWAITED[name], backend="trio")


@pytest.mark.django_db
@pytest.mark.parametrize("number", ["abc", "", "-1", "1.0", "１２", None, True, 1.0, -1, 0, 10**30])
@pytest.mark.parametrize(
    "ask",
    [
        ac.cancel_run,
        ac.pause_run,
        ac.continue_run,
        ac.run_events,
        lambda number: ac.change_limits(number, threads=2),
        lambda number: ac.answer_run(number, True),
        lambda number: ac.RunHandle(number).status_sync(),
        lambda number: ac.RunHandle(number).cancel_sync(),
        lambda number: ac.RunHandle(number).result_sync(timeout=1),
    ],
)
def test_what_is_no_number_of_a_run_is_refused(ask: Callable[[Any], object], number: Any) -> None:
    with pytest.raises(ac.InvalidCommand, match=r"There is no run .*manage\.py aruns"):
        ask(number)


@pytest.mark.asyncio
async def test_run_inside_of_a_running_loop_names_the_remedy() -> None:
    with pytest.raises(ac.AsyncCommanderError, match=r"inside a running event loop: `await ac\.arun"):
        ac.run(Letters())


def test_run_works_from_any_thread(run_on_lanes: Any) -> None:
    results: list[ac.RunResult] = []

    def work() -> None:
        results.append(run_on_lanes(Letters()))
        connections.close_all()

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert row_of(results[0]).done == 6


def test_run_inside_of_a_transaction_is_part_of_it(transactional_db: None) -> None:
    with pytest.raises(ZeroDivisionError), transaction.atomic():
        Tag.objects.create(name="seen from inside")

        class Command(ac.AsyncCommand):
            async def handle(self) -> int:
                return await Tag.objects.acount()

        assert ac.run(Command()).value == 1
        assert ac.run(Letters()).counts["done"] == 6
        1 / 0  # noqa: B018
    assert not Run.objects.exists()
    assert not Effect.objects.exists()


def test_a_broken_transaction_of_the_caller_is_left_to_the_caller(transactional_db: None) -> None:
    """An item that fails does not spoil the transaction that the run is part of."""

    class Fails(Letters):
        async def parse_and_save(self, item: str, payload: str) -> None:
            await Tag.objects.acreate(name="the same")

    with transaction.atomic():
        result = ac.run(Fails(), threads=1)
        assert result.counts["done"] == 1
        assert Tag.objects.count() == 1
        assert connection.needs_rollback is False
    row_of(result)


# -- requests to stop ----------------------------------------------------------------------------------------------


def shell(command: ac.AsyncCommand, stops: StopRequests, **options: Any) -> ac.RunResult:
    return drive_from_shell(command, RunRequest(**options), Silent(), stops=stops)


def test_a_request_to_stop_lets_items_in_hand_finish(transactional_db: None) -> None:
    stops = StopRequests()

    class Command(Letters):
        limits = ac.Limits(threads=1, batch_size=1)

        async def download(self, item: str) -> str:
            if item == "b":
                stops.ask()
                while not self.stopping:
                    await anyio.sleep(0)
            return item

    result = shell(Command(), stops)
    run = row_of(result)
    assert (run.status, run.done) == ("interrupted", 2)


def test_requests_that_came_before_the_run_are_kept(transactional_db: None) -> None:
    stops = StopRequests()
    stops.ask()
    result = shell(Letters(), stops)
    assert (result.status, result.counts["done"]) == (ac.RunStatus.INTERRUPTED, 0)
    row_of(result)


@pytest.mark.parametrize("ask", [1, 2])
def test_the_end_of_grace_or_a_second_request_cancels(transactional_db: None, ask: int) -> None:
    stops = StopRequests()

    class Command(Letters):
        async def download(self, item: str) -> str:
            for _ in range(ask):
                stops.ask()
            await anyio.sleep_forever()
            return item

        def cleanup(self, result: ac.RunResult) -> None:
            Tag.objects.create(name=f"cleanup after {result.status}")

    result = shell(Command(), stops, grace=0.05 if ask == 1 else 1000.0)
    run = row_of(result)
    assert (run.status, run.done, run.taken) == ("interrupted", 0, 0)
    assert Tag.objects.get().name == "cleanup after interrupted"


def test_a_second_request_cancels_acknowledgements_too(transactional_db: None) -> None:
    stops, under_way, ended = StopRequests(), set(), asyncio.Event()

    class Command(Letters):
        async def iterate(self):
            for letter in "abcdef":
                yield letter
            ended.set()

        async def committed(self, item: str) -> None:
            under_way.add(item)
            if len(under_way) == 6:  # in however many batches
                await ended.wait()
                stops.ask()
                stops.ask()
            await anyio.sleep_forever()

    run = row_of(shell(Command(), stops, grace=1000.0))
    assert run.done == Effect.objects.count() == 6
    assert run.status == "succeeded"


@pytest.mark.parametrize("where", ["lifespan", "iterate", "total", "end of lifespan", "cleanup"])
def test_a_second_request_ends_whatever_hangs(transactional_db: None, where: str) -> None:
    stops = StopRequests()

    class Command(Letters):
        @asynccontextmanager
        async def lifespan(self):
            await self.hang("lifespan")
            yield
            await self.hang("end of lifespan")

        async def iterate(self):
            await self.hang("iterate")
            return list("abc")

        async def total(self) -> int:
            await self.hang("total")
            return 3

        async def cleanup(self) -> None:
            await self.hang("cleanup")

        async def hang(self, here: str) -> None:
            if here == where:
                stops.ask()
                stops.ask()
                await anyio.sleep_forever()

    run = row_of(shell(Command(), stops, grace=1000.0))
    expected = ("succeeded", 3) if where in {"end of lifespan", "cleanup"} else ("interrupted", 0)
    assert (run.status, run.done) == expected


@pytest.mark.parametrize("shape", ["items", "once"])
@pytest.mark.timeout(120)
def test_a_second_request_ends_a_run_whose_plain_download_blocks(transactional_db: None, shape: str) -> None:
    stops, go, ended = StopRequests(), threading.Event(), threading.Event()

    def block() -> str:
        stops.ask()
        stops.ask()
        go.wait()
        ended.set()
        return "late"

    class Items(Letters):
        limits = ac.Limits(threads=3)

        def download(self, item: str) -> str:
            return block()

    class Once(ac.DownloadIterateCommand[str, str]):
        def download(self) -> str:
            return block()

        async def iterate(self, payload: str):
            return [payload]

        async def parse_and_save(self, item: str) -> None: ...

    try:
        run = row_of(shell(Items() if shape == "items" else Once(), stops, grace=1000.0))
        assert (run.status, run.done, run.claimed) == ("interrupted", 0, 0)
        assert not ended.is_set()
    finally:
        go.set()
    assert ended.wait(10)


def test_a_first_request_waits_for_a_plain_download(transactional_db: None) -> None:
    stops = StopRequests()

    class Command(Letters):
        limits = ac.Limits(threads=1, batch_size=1)

        def download(self, item: str) -> str:
            stops.ask()
            while not self.stopping:
                pass
            return item

    run = row_of(shell(Command(), stops, grace=1000.0))
    assert (run.status, run.done) == ("interrupted", 1)


def test_a_source_that_waits_to_be_asked_again_is_stopped(transactional_db: None) -> None:
    stops = StopRequests()

    class Command(Letters):
        retry = ac.Retry(initial=1000, maximum=1000)

        async def iterate(self):
            stops.ask()
            stops.ask()
            raise ConnectionError("away")

    run = row_of(shell(Command(), stops, grace=1000.0))
    assert run.status in {"interrupted", "failed"}


def test_a_stop_when_all_is_done_changes_nothing(transactional_db: None) -> None:
    stops = StopRequests()

    class Command(Letters):
        async def cleanup(self) -> None:
            stops.ask()
            while not self.stopping:
                await anyio.sleep(0)

    assert row_of(shell(Command(), stops)).status == "succeeded"


def test_a_run_can_be_asked_to_stop_through_its_row(transactional_db: None) -> None:
    class Command(Letters):
        limits = ac.Limits(threads=1, batch_size=1)

        async def download(self, item: str) -> str:
            if item == "b":
                await Run.objects.aupdate(cancel_requested_at="2026-01-01T00:00Z")
                while not self.stopping:
                    await anyio.sleep(0.005)
            return item

    result = ac.run(Command(), lease_seconds=0.4)
    assert row_of(result).status == "interrupted"


def test_a_request_through_the_row_stays_one_request(transactional_db: None) -> None:
    stops = StopRequests()

    class Command(Letters):
        limits = ac.Limits(threads=1, batch_size=1)

        async def download(self, item: str) -> str:
            if item == "b":
                await Run.objects.aupdate(cancel_requested_at="2026-01-01T00:00Z")
                while not self.stopping:
                    await anyio.sleep(0.005)
                asked = (await Run.objects.aget()).heartbeat
                while (await Run.objects.aget()).heartbeat <= asked + timedelta(seconds=0.3):
                    await anyio.sleep(0.02)
            return item

    result = shell(Command(), stops, lease_seconds=0.8, grace=1000.0)
    assert stops.count == 1
    run = row_of(result)
    assert (run.status, run.done) == ("interrupted", 2)


def test_the_driver_from_a_shell_uses_uvloop_where_it_is(transactional_db: None) -> None:
    class Command(ac.AsyncCommand):
        async def handle(self) -> str:
            return type(asyncio.get_running_loop()).__module__

    from async_commander.runner.entry import has_uvloop

    assert shell(Command(), StopRequests()).value.startswith("uvloop" if has_uvloop() else "asyncio")


def test_a_loop_without_a_descriptor_to_close_itself_does_not_hide_how_the_run_ended(transactional_db: None) -> None:
    resource = pytest.importorskip("resource")
    before = resource.getrlimit(resource.RLIMIT_NOFILE)

    class Command(ac.AsyncCommand):
        async def handle(self) -> str:
            return "done"

        def cleanup(self) -> None:
            resource.setrlimit(resource.RLIMIT_NOFILE, (3, before[1]))

    try:
        result = shell(Command(), StopRequests())
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)
    assert (result.status, result.value) == ("succeeded", "done")


def test_a_missing_migration_is_said_with_the_remedy(tmp_path: Any, django_db_blocker: Any) -> None:
    """On a database of its own, without any table."""
    other = {**connections.settings["default"], "ENGINE": "django.db.backends.sqlite3", "OPTIONS": {}}
    connections.settings["bare"] = {**other, "NAME": str(tmp_path / "bare.sqlite3"), "TEST": {"MIRROR": None}}
    wanted: Callable[..., Any] = ac.run
    try:
        with django_db_blocker.unblock(), pytest.raises(ac.InvalidCommand) as raised:
            wanted(Letters(), database="bare")
    finally:
        with django_db_blocker.unblock():
            connections["bare"].close()
        del connections["bare"]
        del connections.settings["bare"]
    assert "lacks the tables of async_commander" in str(raised.value)
    assert "Run `manage.py migrate async_commander --database bare` first" in str(raised.value)
