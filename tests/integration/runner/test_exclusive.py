"""Commands that run once, and commands of which one runs at a time."""

from __future__ import annotations

import asyncio
import io
from collections.abc import Callable
from dataclasses import asdict
from datetime import timedelta
from typing import Any, ClassVar

import anyio
import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

import async_commander as ac
from async_commander.exceptions import InvalidCommand
from async_commander.history.ownership import this_process
from async_commander.models import Lease, Run
from async_commander.results import EXIT_LOCKED
from async_commander.runner.entry import drive_from_shell
from async_commander.runner.reporting import Silent
from async_commander.runner.request import RunRequest
from async_commander.runner.signals import StopRequests
from async_commander.testing import InMemoryRecorder, run_command
from tests.testapp.models import Effect

from .ledger import end_without_a_word, give_lease

RunIt = Callable[..., Any]


class Seed(ac.AsyncCommand):
    """Writes one row; its name is that of the class, so that each test's is another command."""

    run_once = True
    region: str = "eu"
    error: ClassVar[type[BaseException] | None] = None

    async def handle(self) -> str:
        await Effect.objects.acreate(key=self.region)
        if self.error is not None:
            raise self.error
        return self.region


class Failing(Seed):
    error = ValueError


class Letters(ac.IterateDownloadCommand[str, str]):
    run_once = True
    broken: ClassVar[set[str]] = set()

    async def iterate(self):
        return list("abcd")

    async def download(self, item: str) -> str:
        if item in self.broken:
            raise ValueError(item)
        return item

    async def parse_and_save(self, item: str, payload: str) -> None:
        self.db.add(Effect(key=item))


class Bot(ac.AsyncCommand):
    single_instance = True
    channel: str = "news"

    async def handle(self) -> None:
        await Effect.objects.acreate(key=self.channel)


def written() -> list[str]:
    return sorted(Effect.objects.values_list("key", flat=True))


def left_running(run_id: Any, **owner: Any) -> Run:
    """The run as its living owner has it: this process, unless it is said to be another one."""
    end_without_a_word(run_id)
    give_lease(run_id)
    run: Run = Run.objects.get(pk=run_id)
    Lease.objects.filter(name=f"run:{run_id}").update(**(asdict(this_process()) | owner))
    return run


# -- run once ------------------------------------------------------------------------------------------------------


def test_a_run_that_succeeded_is_not_run_again(run: RunIt) -> None:
    first = run(Seed())
    again = run(Seed())
    assert (first.status, again.status) == ("succeeded", "skipped")
    assert (again.run_id, again.exit_code, again.error, again.value) == (None, 0, "", None)
    assert f"is to run once, and run {first.run_id} succeeded on {timezone.now():%Y-%m-%d}" in again.reason
    assert "--force" in again.reason
    assert written() == ["eu"]


def test_what_is_skipped_leaves_no_row(run: RunIt) -> None:
    first = run(Seed())
    run(Seed())
    kept = Run.objects.get()
    assert (kept.pk, kept.status, kept.once_key) == (first.run_id, "succeeded", kept.identity)


def test_other_arguments_are_another_run(run: RunIt) -> None:
    assert [run(Seed(region=one)).status for one in ("eu", "us", "eu")] == ["succeeded", "succeeded", "skipped"]


def test_a_failure_lets_another_run_begin(run: RunIt) -> None:
    for _ in range(2):
        with pytest.raises(ac.RunFailed):
            run(Failing())
    assert Run.objects.filter(status="failed", once_key=None).count() == 2


def test_force_passes_what_has_happened_and_leaves_it_so(run: RunIt) -> None:
    first = run(Seed())
    assert [run(Seed(), force=True).status, run(Seed()).status] == ["succeeded", "skipped"]
    assert Run.objects.get(pk=first.run_id).once_key is not None
    assert written() == ["eu", "eu"]


def test_a_run_that_was_forced_and_fails_takes_nothing_back(run: RunIt, monkeypatch: pytest.MonkeyPatch) -> None:
    run(Seed())
    with monkeypatch.context() as patch:
        patch.setattr(Seed, "error", ValueError)
        with pytest.raises(ac.RunFailed):
            run(Seed(), force=True)
    assert run(Seed()).status == "skipped"


def test_a_first_run_may_be_forced_and_counts(run: RunIt) -> None:
    assert [run(Seed(), force=True).status, run(Seed()).status] == ["succeeded", "skipped"]


def test_a_run_that_takes_some_of_its_items_is_not_the_one_run(run: RunIt) -> None:
    assert run(Letters(), max_items=2).status == "succeeded"
    assert run(Letters()).counts["done"] == 4
    assert run(Letters()).status == "skipped"


def test_a_partial_run_is_not_the_one_run(run: RunIt, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(Letters, "broken", {"b"})
        assert run(Letters()).status == "partial"
    assert Run.objects.get().once_key is None
    assert run(Letters()).status == "succeeded"


def test_an_interrupted_run_is_resumed_and_then_met(run: RunIt) -> None:
    class Stops(Letters):
        stops: ClassVar[bool] = True
        limits = ac.Limits(threads=1, batch_size=1)

        async def iterate(self):
            for item in "abcd":
                yield item
                if item == "b" and self.stops:
                    Stops.stops = False
                    await ask_for_the_end(self)

    first = run(Stops())
    assert first.status == "interrupted"
    assert Run.objects.get().once_key is None
    whole = run(Stops(), resume=True)
    assert (whole.run_id, whole.status) == (first.run_id, "succeeded")
    assert run(Stops()).status == run(Stops(), resume=True).status == "skipped"
    assert written() == list("abcd")


async def ask_for_the_end(command: ac.AsyncCommand) -> None:
    from async_commander.runner.signals import open_run

    around = open_run.get()
    assert around is not None
    around.stops.ask()
    while not command.stopping:
        await asyncio.sleep(0)


def test_what_has_happened_depends_on_nothing_any_more(run: RunIt) -> None:
    class Needs(Seed):
        dependencies: ClassVar[list[Any]] = []

    run(Needs())
    body = {"dependencies": [ac.DependsOn("pages", count=7)], "__qualname__": Needs.__qualname__}
    Later = type("Needs", (Needs,), body)  # after a deploy
    assert run(Later()).status == "skipped"
    with pytest.raises(ac.MissingDependency):
        run(Later(region="us"))


def test_a_trial_is_neither_the_one_run_nor_kept_from_happening(run: RunIt) -> None:
    assert [run(Seed(), test=True).status, run(Seed()).status] == ["succeeded", "succeeded"]
    assert [run(Seed(), test=True).status, run(Seed()).status] == ["succeeded", "skipped"]


def test_a_failed_run_is_not_resumed_once_another_one_succeeded(run: RunIt, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(Letters, "broken", set("abcd"))
        with pytest.raises(ac.RunFailed) as raised:
            run(Letters())
    run(Letters())
    failed = raised.value.result.run_id
    assert run(Letters(), resume_run=failed).status == "skipped"
    assert Run.objects.get(pk=failed).status == "failed"


def test_a_second_start_says_who_is_at_it(run_on_lanes: RunIt) -> None:
    left_running(run_on_lanes(Seed()).run_id)
    with pytest.raises(ac.RunLocked, match=r"run \d+ is at it: process \d+ on .*, since \d{4}-.*--wait") as raised:
        run_on_lanes(Seed())
    assert str(Run.objects.get().pid) in str(raised.value)
    assert Run.objects.get().status == "running"


def test_force_does_not_pass_a_run_that_is_at_it(run_on_lanes: RunIt) -> None:
    left_running(run_on_lanes(Seed()).run_id)
    with pytest.raises(ac.RunLocked):
        run_on_lanes(Seed(), force=True)


def test_from_a_shell_a_second_start_ends_with_75(run_on_lanes: RunIt) -> None:
    left_running(run_on_lanes(Seed()).run_id)
    result = drive_from_shell(Seed(), RunRequest(), Silent(), stops=StopRequests())
    assert (result.exit_code, result.locked) == (EXIT_LOCKED, True)


def test_the_run_of_a_process_that_is_gone_is_in_nobodys_way(run_on_lanes: RunIt) -> None:
    first = run_on_lanes(Seed()).run_id
    left_running(first, pid=2**22 + 1)
    assert run_on_lanes(Seed()).status == "succeeded"
    crashed = Run.objects.get(pk=first)
    assert (crashed.status, crashed.once_key) == ("crashed", None)
    assert run_on_lanes(Seed()).status == "skipped"


def test_a_run_of_another_host_is_in_the_way_until_its_lease_runs_out(run_on_lanes: RunIt) -> None:
    first = left_running(run_on_lanes(Seed()).run_id, host="elsewhere", pid=1)
    with pytest.raises(ac.RunLocked):
        run_on_lanes(Seed())
    Run.objects.filter(pk=first.pk).update(expires=timezone.now() - timedelta(seconds=1))
    assert run_on_lanes(Seed()).status == "succeeded"


def test_who_waits_is_skipped_where_the_other_run_succeeds(run_on_lanes: RunIt) -> None:
    first = left_running(run_on_lanes(Seed()).run_id)
    ended = Ended(first, status="succeeded")
    assert run_on_lanes(Seed(), wait=True, reporter=ended).status == "skipped"
    assert ended.said == [f"{first.command} is to run once, and run {first.pk} is at it"]


def test_who_resumes_and_is_skipped_is_told_nothing_else(run: RunIt) -> None:
    run(Letters())
    said = Said()
    assert run(Letters(), resume=True, reporter=said).status == "skipped"
    assert said.said == []


class Said(Silent):
    def __init__(self) -> None:
        self.said: list[str] = []

    def message(self, text: str, level: int = 0) -> None:
        self.said.append(text)


def test_who_waits_runs_where_the_other_run_fails(run_on_lanes: RunIt) -> None:
    first = left_running(run_on_lanes(Seed()).run_id)
    assert run_on_lanes(Seed(), wait=True, reporter=Ended(first, status="failed", once_key=None)).status == "succeeded"


def test_who_waits_may_be_asked_to_stop(run_on_lanes: RunIt) -> None:
    first = left_running(run_on_lanes(Seed()).run_id)
    stops = StopRequests()

    class Stopped(Silent):
        def message(self, text: str, level: int = 0) -> None:
            stops.ask()

    result = drive_from_shell(Seed(), RunRequest(wait=True), Stopped(), stops=stops)
    assert (result.status, result.run_id) == ("interrupted", None)
    assert Run.objects.get() == first


class Ended(Silent):
    """Ends another run as soon as somebody waits for it, and keeps what was said."""

    def __init__(self, run: Run, **ending: Any) -> None:
        self.run = run
        self.ending = ending
        self.said: list[str] = []

    def message(self, text: str, level: int = 0) -> None:
        self.said.append(text.partition(":")[0])
        thread = anyio.to_thread.run_sync(self._end)
        self.task = asyncio.ensure_future(thread)

    def _end(self) -> None:
        Run.objects.filter(pk=self.run.pk).update(**self.ending)
        connection.close()


@pytest.mark.asyncio
async def test_of_many_that_are_awaited_at_once_one_runs(arun_db: None) -> None:
    results = await asyncio.gather(*(ac.arun(Seed(), wait=True) for _ in range(5)))
    assert sorted(one.status for one in results) == [*["skipped"] * 4, "succeeded"]
    assert await Effect.objects.acount() == 1


@pytest.mark.django_db
def test_in_a_test_it_is_as_everywhere() -> None:
    assert [run_command(Seed()).status, run_command(Seed()).status] == ["succeeded", "skipped"]


def test_a_recorder_in_memory_knows_it_too() -> None:
    class Nothing(ac.AsyncCommand):
        run_once = True

        async def handle(self) -> None: ...

    recorder = InMemoryRecorder()
    results = [run_command(Nothing(), recorder=recorder, force=force) for force in (False, False, True)]
    assert [one.status for one in results] == ["succeeded", "skipped", "succeeded"]
    assert "and run 1 succeeded already:" in results[1].reason


@pytest.mark.django_db
def test_what_a_command_says_costs_one_statement_and_nobody_else_any() -> None:
    def statements(command: ac.AsyncCommand) -> int:
        run_command(command)  # the second time it is known by its identity, and its name has a row
        with CaptureQueriesContext(connection) as captured:
            run_command(type(command)(), force=True)
        return len(captured)

    class Plain(ac.AsyncCommand):
        async def handle(self) -> None: ...

    class Once(Plain):
        run_once = True

    class Single(Plain):
        single_instance = True

    plain = statements(Plain())
    assert statements(Once()) == plain + 1
    assert statements(Single()) == plain + 3


# -- one at a time -------------------------------------------------------------------------------------------------


def test_a_second_instance_is_refused_whatever_its_arguments(run_on_lanes: RunIt) -> None:
    first = run_on_lanes(Bot())
    held = left_running(first.run_id)
    Lease.objects.filter(name=held.command).update(run_id=held.pk)
    with pytest.raises(ac.RunLocked, match=rf"runs one at a time, and run {held.pk} is at it: process {held.pid} on"):
        run_on_lanes(Bot(channel="sport"))


def test_the_name_is_held_during_the_run_and_free_after_it(run: RunIt) -> None:
    class Looks(Bot):
        error: ClassVar[type[Exception] | None] = None

        async def handle(self) -> list[Any]:
            if self.error:
                raise self.error
            lease = await Lease.objects.aget(name=self.record.command)
            return [lease.run_id == self.record.pk, lease.pid]

    assert run(Looks()).value == [True, this_process().pid]
    assert Lease.objects.filter(name__endswith="Looks").values_list("run_id", "pid", "host").get() == (None, None, "")
    Looks.error = ValueError
    with pytest.raises(ac.RunFailed):
        run(Looks())
    assert Lease.objects.filter(name__endswith="Looks").values_list("run_id", "pid", "epoch").get() == (None, None, 2)


def test_one_instance_after_the_other_is_as_ever(run: RunIt) -> None:
    assert [run(Bot()).status for _ in range(3)] == ["succeeded"] * 3
    assert len(written()) == 3


def test_an_instance_whose_process_is_gone_is_taken_over_at_once(run_on_lanes: RunIt) -> None:
    held = left_running(run_on_lanes(Bot()).run_id, pid=2**22 + 1)
    Lease.objects.filter(name=held.command).update(run_id=held.pk)
    assert run_on_lanes(Bot()).status == "succeeded"
    assert Run.objects.get(pk=held.pk).status == "crashed"


def test_an_instance_whose_row_was_deleted_holds_nothing(run_on_lanes: RunIt) -> None:
    held = left_running(run_on_lanes(Bot()).run_id)
    Lease.objects.filter(name=held.command).update(run_id=held.pk)
    held.delete()
    assert run_on_lanes(Bot()).status == "succeeded"


@pytest.mark.asyncio
async def test_instances_that_wait_run_one_after_another(arun_db: None) -> None:
    class Counts(Bot):
        at_once: ClassVar[int] = 0
        most: ClassVar[int] = 0

        async def handle(self) -> None:
            Counts.at_once += 1
            Counts.most = max(Counts.most, Counts.at_once)
            await Effect.objects.acreate(key="x")
            Counts.at_once -= 1

    results = await asyncio.gather(*(ac.arun(Counts(channel=str(number)), wait=True) for number in range(4)))
    assert {one.status for one in results} == {"succeeded"}
    assert (Counts.most, await Effect.objects.acount()) == (1, 4)


# -- how it is asked for -------------------------------------------------------------------------------------------


def test_to_wait_is_refused_where_nobody_is_waited_for(run: RunIt) -> None:
    with pytest.raises(InvalidCommand, match=r"wait=True has no effect here: .* has no run_once or single_instance"):
        run("pages", count=1, wait=True)


@pytest.mark.parametrize("name", ["run_once", "single_instance"])
def test_what_the_class_says_is_checked(name: str) -> None:
    with pytest.raises(InvalidCommand, match=rf"{name} is 'yes'; allowed: True or False"):
        type("Command", (Bot,), {name: "yes"})()


def test_the_terminal_says_that_it_was_skipped(run_on_lanes: RunIt, monkeypatch: pytest.MonkeyPatch) -> None:
    from django.core.management import call_command

    command = ac.as_management_command(Seed)
    said = io.StringIO()
    call_command(command(), stderr=said, stdout=io.StringIO())
    call_command(command(), stderr=said, stdout=io.StringIO())
    assert "skipped" in said.getvalue()
    assert "is to run once, and run" in said.getvalue()
