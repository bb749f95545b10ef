"""How runs end: nothing is left open or behind, and what is told is what happened."""

from __future__ import annotations

import asyncio
import io
import threading
from collections.abc import Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any

import anyio
import pytest
from asgiref.sync import sync_to_async

import async_commander as ac
from async_commander.history.recorder import Ending
from async_commander.models import Run
from async_commander.runner.entry import drive_from_shell
from async_commander.runner.reporting import Silent
from async_commander.runner.request import RunRequest
from async_commander.runner.signals import StopRequests
from async_commander.testing import InMemoryRecorder
from tests.testapp.models import Tag

from .ledger import end_without_a_word, give_lease, row_of

QUICK = ac.Retry(attempts=3, initial=0.001, maximum=0.002)


class Numbers(ac.IterateDownloadCommand[int, int]):
    count = 100
    limits = ac.Limits(threads=1)
    retry = QUICK

    async def iterate(self):
        return range(self.count)

    async def download(self, item: int) -> int:
        return item

    async def parse_and_save(self, item: int, payload: int) -> None: ...


def failed(run: Any, command: ac.AsyncCommand, **options: Any) -> ac.RunResult:
    with pytest.raises(ac.RunFailed) as raised:
        run(command, **options)
    return raised.value.result


def shell(command: ac.AsyncCommand, stops: StopRequests, **options: Any) -> ac.RunResult:
    return drive_from_shell(command, RunRequest(**options), Silent(), stops=stops)


def tags() -> list[str]:
    return sorted(Tag.objects.values_list("name", flat=True))


async def until_stopping(command: ac.AsyncCommand) -> None:
    while not command.stopping:
        await anyio.sleep(0)


# -- the source ----------------------------------------------------------------------------------------------------


def test_an_asynchronous_generator_that_is_cut_is_closed_before_cleanup(run: Any) -> None:
    told: list[str] = []

    class Command(Numbers):
        async def iterate(self):
            try:
                for number in range(1000):
                    yield number
            finally:
                await anyio.sleep(0.01)
                told.append("source closed")

        async def cleanup(self) -> None:
            told.append("cleanup")

    run(Command(), max_items=20)
    assert told == ["source closed", "cleanup"]


def test_a_plain_generator_that_is_cut_is_closed_on_its_own_thread(run: Any) -> None:
    told: list[Any] = []

    class Command(Numbers):
        def iterate(self):
            try:
                yield from range(1000)
            finally:
                told.append(Tag.objects.count())

        async def cleanup(self) -> None:
            told.append("cleanup")

    run(Command(), max_items=20)
    assert told == [0, "cleanup"]


@pytest.mark.parametrize("kind", ["asynchronous", "plain"])
def test_a_generator_is_closed_when_the_run_is_stopped(transactional_db: None, kind: str) -> None:
    stops, told = StopRequests(), []

    class Base(Numbers):
        async def download(self, item: int) -> int:
            if item == 20:
                stops.ask()
                await until_stopping(self)
            return item

        async def cleanup(self) -> None:
            told.append("cleanup")

    class Asynchronous(Base):
        async def iterate(self):
            try:
                for number in range(1000):
                    yield number
            finally:
                await Tag.objects.acount()
                told.append("source closed")

    class Plain(Base):
        def iterate(self):
            try:
                yield from range(1000)
            finally:
                Tag.objects.count()
                told.append("source closed")

    row_of(shell({"asynchronous": Asynchronous, "plain": Plain}[kind](), stops))
    assert told == ["source closed", "cleanup"]


def test_a_source_that_always_fails_at_the_same_place_is_asked_as_often_as_an_item(run: Any) -> None:
    passes: list[int] = []

    class Command(Numbers):
        async def iterate(self):
            passes.append(1)
            yield 1
            if len(passes) < 20:
                raise ConnectionError("page 2 is down")

    assert "page 2 is down" in failed(run, Command()).error
    assert len(passes) == 3


def test_a_source_that_gets_further_each_time_is_asked_on(run: Any) -> None:
    passes: list[int] = []

    class Command(Numbers):
        async def iterate(self):
            passes.append(1)
            for number in range(len(passes)):
                yield number
            if len(passes) < 8:
                raise ConnectionError("away again")

    result = run(Command())
    assert (result.status, result.counts["done"]) == (ac.RunStatus.SUCCEEDED, 8)


def test_a_source_that_fails_because_it_was_stopped_makes_no_failed_run(transactional_db: None) -> None:
    stops = StopRequests()

    class Command(Numbers):
        async def iterate(self):
            try:
                yield 1
                stops.ask()
                await anyio.sleep_forever()
            except asyncio.CancelledError as error:
                raise ConnectionError("cursor was closed") from error

    assert row_of(shell(Command(), stops)).status == "interrupted"


# -- queued rows -----------------------------------------------------------------------------------------------------


def test_rows_queued_in_lifespan_are_committed_at_its_beginning_and_end(run: Any) -> None:
    seen: list[str] = []

    class Command(ac.AsyncCommand):
        @asynccontextmanager
        async def lifespan(self):
            self.db.add(Tag(name="enter"))
            yield
            self.db.add(Tag(name="exit"))

        async def handle(self) -> None:
            seen.extend(await sync_to_async(tags)())

    run(Command())
    assert seen == ["enter"]
    assert tags() == ["enter", "exit"]


@pytest.mark.parametrize("tidies", [True, False])
def test_rows_of_a_hook_that_fails_are_dropped(run: Any, tidies: bool) -> None:
    class Command(ac.AsyncCommand):
        async def handle(self) -> None:
            self.db.add(Tag(name="half done"))
            raise ValueError

    class Tidies(Command):
        async def cleanup(self) -> None:
            self.db.add(Tag(name="cleanup"))

    failed(run, Tidies() if tidies else Command())
    assert tags() == ["cleanup"] * tidies


def test_rows_of_a_hook_that_is_cancelled_are_dropped(transactional_db: None) -> None:
    stops = StopRequests()

    class Command(ac.AsyncCommand):
        async def handle(self) -> None:
            self.db.add(Tag(name="half done"))
            stops.ask()
            stops.ask()
            await anyio.sleep_forever()

        async def cleanup(self) -> None:
            self.db.add(Tag(name="cleanup"))

    shell(Command(), stops)
    assert tags() == ["cleanup"]


def test_rows_of_a_cleanup_that_fails_are_dropped(run: Any) -> None:
    class Command(ac.AsyncCommand):
        @asynccontextmanager
        async def lifespan(self):
            yield
            self.db.add(Tag(name="exit"))

        async def handle(self) -> None: ...

        async def cleanup(self) -> None:
            self.db.add(Tag(name="cleanup"))
            raise ValueError

    failed(run, Command())
    assert tags() == ["exit"]


def test_rows_queued_in_committed_are_written_when_it_ends(run: Any) -> None:
    seen: list[int] = []

    class Command(Numbers):
        count = 30

        async def committed(self, item: int) -> None:
            self.db.add(Tag(name=str(item)))
            if item == 20:
                raise ValueError("this row is dropped")

        async def cleanup(self) -> None:
            seen.append(await Tag.objects.acount())

    assert run(Command()).status is ac.RunStatus.SUCCEEDED
    assert seen == [29]
    assert "20" not in tags()


# -- committed() -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("way", ["raises", "cancels its task"])
def test_an_acknowledgement_that_is_cancelled_by_itself_is_its_own_failure(run: Any, way: str) -> None:
    class Command(Numbers):
        count = 30

        async def committed(self, item: int) -> None:
            if item == 3 and way == "raises":
                raise asyncio.CancelledError
            if item == 3:
                asyncio.current_task().cancel()  # type: ignore[union-attr]
                await anyio.sleep(0)

    result = run(Command())
    assert (result.status, result.counts["done"]) == (ac.RunStatus.SUCCEEDED, 30)
    row_of(result)


def test_a_run_that_is_aborted_tells_of_all_items_that_were_committed(run: Any) -> None:
    told: list[dict[str, int]] = []

    class Command(Numbers):
        limits = ac.Limits(threads=20)

        async def parse_and_save(self, item: int, payload: int) -> None:
            if item == 60:
                raise SystemExit(3)

        async def committed(self, item: int) -> None:
            await anyio.sleep_forever() if item > 30 else None

        async def cleanup(self, result: ac.RunResult) -> None:
            told.append(dict(result.counts))

    result = failed(run, Command())
    row_of(result)
    assert result.counts["claimed"] == 0
    assert told == [result.counts]


def test_an_error_of_a_reporter_does_not_leave_the_row_running(run: Any) -> None:
    class Broken(Silent):
        async def watch(self) -> None:
            raise ValueError("the screen is gone")

    with pytest.raises(ExceptionGroup):
        run(Numbers(), reporter=Broken())
    row = Run.objects.get()
    assert (row.status, row.error) == ("failed", "ValueError: the screen is gone")
    assert row.finished is not None


# -- the status ------------------------------------------------------------------------------------------------------


def test_a_stop_before_max_items_were_done_is_an_interruption(transactional_db: None) -> None:
    stops = StopRequests()

    class Command(Numbers):
        async def download(self, item: int) -> int:
            if item == 4:
                stops.ask()
                await until_stopping(self)
            return item

    run = row_of(shell(Command(), stops, max_items=16))
    assert (run.status, run.done, run.taken) == ("interrupted", 5, 5)


def test_a_stop_during_cleanup_leaves_a_finished_command_succeeded(transactional_db: None) -> None:
    stops = StopRequests()

    class Command(ac.AsyncCommand):
        async def handle(self) -> int:
            return 42

        async def cleanup(self) -> None:
            stops.ask()
            await until_stopping(self)

    run = row_of(shell(Command(), stops))
    assert (run.status, run.value) == ("succeeded", 42)


def test_an_error_at_the_end_of_lifespan_does_not_hide_the_first_one(run: Any, caplog: Any) -> None:
    class Command(ac.AsyncCommand):
        @asynccontextmanager
        async def lifespan(self):
            yield
            raise OSError("broker gone")

        async def handle(self) -> None:
            raise ValueError("the real reason")

    result = failed(run, Command())
    assert "the real reason" in result.error
    assert "broker gone" in caplog.text


# -- signals ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("where", ["cleanup", "end of lifespan"])
def test_what_begins_after_a_cancel_has_one_more_grace(transactional_db: None, where: str) -> None:
    stops = StopRequests()

    class Command(ac.AsyncCommand):
        @asynccontextmanager
        async def lifespan(self):
            yield
            await self.hang("end of lifespan")

        async def handle(self) -> None:
            stops.ask()
            stops.ask()
            await anyio.sleep_forever()

        async def cleanup(self) -> None:
            await self.hang("cleanup")

        async def hang(self, here: str) -> None:
            await anyio.sleep(0.01)
            self.db.add(Tag(name=here))
            if here == where:
                await anyio.sleep_forever()

    assert row_of(shell(Command(), stops, grace=0.1)).status == "interrupted"
    assert tags() == sorted({"cleanup", "end of lifespan"} - {where})


def test_a_stop_ends_the_wait_for_the_lease_of_another_host(transactional_db: None) -> None:
    stops = StopRequests()
    first = ac.run(Numbers(), max_items=10)
    end_without_a_word(first.run_id, 50)
    give_lease(first.run_id, host="elsewhere")

    class Stops(Silent):
        def message(self, text: str, level: int = 0) -> None:
            assert "belongs to process" in text
            stops.ask()

    result = drive_from_shell(Numbers(), RunRequest(resume=True), Stops(), stops=stops)
    assert (result.status, result.run_id) == (ac.RunStatus.INTERRUPTED, None)


class Silence(io.StringIO):
    """A terminal at which nobody answers; requests to stop come while the question stands."""

    def __init__(self, stops: StopRequests, requests: int) -> None:
        super().__init__()
        self._stops, self._requests = stops, requests
        self._over = threading.Event()
        self.readers: list[threading.Thread] = []

    def isatty(self) -> bool:
        return True

    def readline(self, size: int | None = -1) -> str:  # type: ignore[override]
        self.readers.append(threading.current_thread())
        for _ in range(self._requests):
            self._stops.ask()
        self._over.wait()
        return "y\n"

    @contextmanager
    def kept(self) -> Iterator[None]:
        """For the block; then the readers are let go."""
        try:
            yield
        finally:
            self._over.set()
            for reader in self.readers:
                reader.join(5)


class Asks(ac.AsyncCommand):
    async def handle(self) -> bool:
        return await self.confirm("Sure?")


def test_a_question_that_nobody_answers_keeps_no_process_alive(
    transactional_db: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    terminal = Silence(stops := StopRequests(), requests=2)
    monkeypatch.setattr("sys.stdin", terminal)
    with terminal.kept():
        assert row_of(shell(Asks(), stops)).status == "interrupted"
        assert [reader.daemon for reader in terminal.readers] == [True]


def test_ctrl_c_answers_a_question_with_no(transactional_db: None, monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = Silence(stops := StopRequests(), requests=1)
    monkeypatch.setattr("sys.stdin", terminal)
    with terminal.kept():
        result = shell(Asks(), stops, grace=100)
        assert (result.value, row_of(result).status) == (False, "interrupted")


@pytest.mark.parametrize("answer", ["y\n", "no\n", OSError("the terminal is gone")])
def test_a_question_is_answered_at_the_terminal(run: Any, monkeypatch: pytest.MonkeyPatch, answer: Any) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

        def readline(self, size: int | None = -1) -> str:  # type: ignore[override]
            if isinstance(answer, OSError):
                raise answer
            return answer

    class Command(ac.AsyncCommand):
        async def handle(self) -> bool:
            return await self.confirm("Sure?")

    monkeypatch.setattr("sys.stdin", Terminal())
    if isinstance(answer, OSError):
        assert "the terminal is gone" in failed(run, Command()).error
    else:
        assert run(Command()).value is (answer == "y\n")


class SlowToClose(InMemoryRecorder):
    """One whose database takes its time for the last line."""

    async def close(self, ending: Ending) -> dict[str, int]:
        await anyio.sleep(0.2)
        return await super().close(ending)


def test_the_duration_of_a_run_lasts_until_its_end_is_written() -> None:
    assert ac.run(Numbers(), recorder=SlowToClose()).duration >= 0.2
