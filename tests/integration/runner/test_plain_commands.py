"""Plain Django commands and functions whose runs are kept."""

from __future__ import annotations

import asyncio
import io
import json
import logging
import os
import sys
import threading
from datetime import date, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from asgiref.sync import sync_to_async
from django.core.management import call_command
from django.core.management.base import BaseCommand, CommandError
from django.db import IntegrityError, connection, connections, transaction
from django.test.utils import CaptureQueriesContext

import async_commander as ac
from async_commander.exceptions import InvalidCommand
from async_commander.models import Lease, Run
from async_commander.results import EXIT_LOCKED
from tests.testapp.management.commands.plain_once import Command as Once
from tests.testapp.management.commands.plain_seed import Command as Seed
from tests.testapp.models import Effect

from .test_exclusive import left_running

NAME = "testapp.plain_seed"


@pytest.fixture(params=["committed", pytest.param("in a transaction", marks=pytest.mark.django_db)], autouse=True)
def kept(request: pytest.FixtureRequest) -> None:
    """Each test with a record beside the command's own connection, and within a test's transaction."""
    if request.param == "committed":
        request.getfixturevalue("transactional_db")


def seed(*args: Any, **options: Any) -> Any:
    return call_command("plain_seed", *(args or ("eu",)), stdout=io.StringIO(), stderr=io.StringIO(), **options)


def newest() -> Run:
    """The newest run, which has ended and has no owner any more."""
    run = Run.objects.latest()
    lease = Lease.objects.get(name=f"run:{run.pk}")
    assert (lease.pid, run.status == "running") == (None, False)
    return run


# -- a managed command ---------------------------------------------------------------------------------------------


def test_a_run_is_kept_with_its_options_output_and_value() -> None:
    assert (
        seed("eu", day=date(2026, 1, 2), price=Decimal("1.50"), file=Path("a/b.csv"), password="hunter2!") == "seeded"
    )
    run = newest()
    assert (run.command, run.status, run.value, run.trigger) == (NAME, "succeeded", "seeded", "call")
    assert run.parameters == {
        "region": "eu", "day": "2026-01-02", "price": "1.50", "file": "a/b.csv", "password": "********", "end": "",
    }  # fmt: skip
    assert run.output == "seeding eu\na warning\nseeded\n"
    assert run.duration is not None
    assert (run.host, run.pid, run.once_key, run.options, run.limits) != ("", None, "", None, None)


def test_the_row_is_there_while_the_command_runs() -> None:
    class Looks(Seed):
        def execute_command(self, *args: Any, **options: Any) -> str:
            run = self.record
            return f"{run.status} {run.command == 'testapp.looks'} {run.finished}"

    Looks.command_name = "testapp.looks"
    assert call_command(Looks(), "eu", stdout=io.StringIO()) == "running True None"
    with pytest.raises(ac.AsyncCommanderError, match="only while the command runs"):
        Looks().record  # noqa: B018


@pytest.mark.parametrize(("end", "value"), [("text", "done"), ("number", 42), ("none", None)])
def test_any_value_is_returned_and_kept(end: str, value: Any) -> None:
    assert seed(end=end) == value
    assert newest().value == value


def test_what_is_written_goes_where_it_went() -> None:
    out, err = io.StringIO(), io.StringIO()
    call_command("plain_seed", "eu", stdout=out, stderr=err)
    assert (out.getvalue(), err.getvalue()) == ("seeding eu\nseeded\n", "a warning\n")


def test_an_error_is_recorded_and_raised() -> None:
    with pytest.raises(ValueError, match="no good, hunter2!"):
        seed(end="raise", password="hunter2!")
    run = newest()
    assert (run.status, run.error, run.value) == ("failed", "ValueError: no good, ********", None)
    assert "in execute_command" in run.traceback
    assert "hunter2!" not in json.dumps([run.traceback, run.output, run.parameters])
    assert run.output == "seeding eu\n"


@pytest.mark.parametrize(("code", "status"), [(0, "succeeded"), (3, "failed")])
def test_sys_exit_is_recorded(code: int, status: str) -> None:
    with pytest.raises(SystemExit) as raised:
        seed(end=f"exit{code}")
    assert raised.value.code == code
    assert newest().status == status


def test_ctrl_c_is_recorded() -> None:
    class Interrupted(Seed):
        def execute_command(self, *args: Any, **options: Any) -> None:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        call_command(Interrupted(), "eu")
    assert newest().status == "interrupted"


def test_a_coroutine_is_run_to_its_end() -> None:
    assert call_command("plain_once", stdout=io.StringIO()) == "seeded once"
    assert (newest().status, Effect.objects.get().key) == ("succeeded", "once")


def test_a_coroutine_behind_a_plain_function_is_run_too() -> None:
    class Wrapped(Once):
        def execute_command(self, *args: Any, **options: Any) -> Any:
            return super().execute_command(*args, **options)

    assert call_command(Wrapped(), stdout=io.StringIO()) == "seeded once"
    assert Effect.objects.count() == 1


@pytest.mark.asyncio
async def test_a_coroutine_is_refused_where_a_loop_runs() -> None:
    class Alone(Once):
        async def execute_command(self, *args: Any, **options: Any) -> None: ...

    def within_a_loop() -> str:
        async def call() -> str:
            with pytest.raises(InvalidCommand, match="an event loop runs here") as raised:
                from async_commander.runner.plain import awaited

                awaited(Alone().execute_command())
            return str(raised.value)

        return asyncio.run(call())

    assert "await sync_to_async(call_command)" in await sync_to_async(within_a_loop, thread_sensitive=False)()


def test_a_generator_that_nobody_runs_is_a_failure() -> None:
    class Yields(Seed):
        def execute_command(self, *args: Any, **options: Any) -> Any:
            yield Effect.objects.create(key="never")

    with pytest.raises(InvalidCommand, match="has a `yield` in it"):
        call_command(Yields(), "eu")
    assert newest().status == "failed"
    assert not Effect.objects.exists()


def test_a_command_without_a_body_says_so() -> None:
    with pytest.raises(NotImplementedError, match=r"execute_command\(\)"):
        call_command(ac.ManagedCommand())


def test_an_author_s_own_option_of_our_name_is_left_alone() -> None:
    class Own(ac.ManagedCommand):
        def add_arguments(self, parser: Any) -> None:
            parser.add_argument("--dry-run", choices=["no", "yes"], default="no")

        def execute_command(self, *args: Any, **options: Any) -> str:
            return str(options["dry_run"])

    assert call_command(Own(), stdout=io.StringIO(), dry_run="yes") == "yes"
    assert newest().dry_run is False  # whatever a text of its own means

    class Flag(Own):
        def add_arguments(self, parser: Any) -> None:
            parser.add_argument("--dry-run", action="store_true")

    assert call_command(Flag(), stdout=io.StringIO(), dry_run=True) == "True"
    assert newest().dry_run is True


# -- dry run -------------------------------------------------------------------------------------------------------


def test_a_dry_run_keeps_its_record_and_nothing_else() -> None:
    out, hooks = io.StringIO(), []

    class Writes(Seed):
        def execute_command(self, *args: Any, **options: Any) -> int:
            with transaction.atomic(durable=True):
                Effect.objects.create(key="in a block")
            transaction.on_commit(lambda: hooks.append("called"))
            with connection.cursor() as cursor:
                cursor.execute("INSERT INTO testapp_effect (key, run) VALUES ('raw', '')".replace("key", quoted))
            return Effect.objects.count()

    quoted = connection.ops.quote_name("key")
    assert call_command(Writes(), "eu", "--dry-run", stdout=out) == 2
    assert not Effect.objects.exists()
    assert hooks == []
    run = newest()
    assert (run.status, run.dry_run, run.value) == ("succeeded", True, 2)
    assert "DRY RUN: all that was written to databases was rolled back." in out.getvalue()


def test_a_failed_dry_run_is_rolled_back_too() -> None:
    with pytest.raises(ValueError):
        seed(end="raise", dry_run=True)
    assert (newest().status, Effect.objects.exists()) == ("failed", False)


def test_what_other_threads_of_a_dry_run_write_is_rolled_back() -> None:
    if connection.in_atomic_block:
        pytest.skip("another thread does not see what this one has not committed")

    class Threads(Seed):
        def execute_command(self, *args: Any, **options: Any) -> None:
            thread = threading.Thread(target=self.work)
            thread.start()
            thread.join()

        def work(self) -> None:
            try:
                Effect.objects.create(key="from a thread")
            finally:
                connections.close_all()

    if connection.vendor == "sqlite":
        pytest.skip("on SQLite the rehearsal has the only write lock, perhaps")
    call_command(Threads(), "eu", dry_run=True, stdout=io.StringIO())
    assert not Effect.objects.exists()


def test_a_run_within_a_dry_run_is_rolled_back_too() -> None:
    class Runs(Seed):
        def execute_command(self, *args: Any, **options: Any) -> str:
            return str(ac.run("pages", count=2).status)

    assert call_command(Runs(), "eu", dry_run=True, stdout=io.StringIO()) == "succeeded"
    assert Run.objects.get().dry_run


# -- run once ------------------------------------------------------------------------------------------------------


def once(**options: Any) -> tuple[Any, str]:
    out = io.StringIO()
    return call_command("plain_once", stdout=out, **options), out.getvalue()


def test_a_command_that_succeeded_is_skipped() -> None:
    assert once()[0] == "seeded once"
    value, said = once()
    assert value is None
    assert f"Skipping: testapp.plain_once is to run once, and run {Run.objects.get().pk} succeeded on" in said
    assert Effect.objects.count() == 1
    assert once(verbosity=0) == (None, "")


def test_a_command_that_failed_runs_again() -> None:
    with pytest.raises(ValueError):
        once(fail=True)
    assert ac.should_run("testapp.plain_once")
    assert once()[0] == "seeded once"
    assert not ac.should_run("testapp.plain_once")
    assert not ac.should_run("plain_once")


def test_a_dry_run_is_not_the_one_run() -> None:
    assert once(dry_run=True)[0] == once()[0] == "seeded once"


def test_force_runs_it_again() -> None:
    assert [once()[0], once(force=True)[0], once()[0]] == ["seeded once", "seeded once", None]


def test_a_second_start_is_refused_with_75() -> None:
    once()
    left_running(Run.objects.get().pk)
    with pytest.raises(CommandError, match="is at it: process") as raised:
        once()
    assert raised.value.returncode == EXIT_LOCKED


def test_one_at_a_time_holds_for_plain_commands() -> None:
    class Single(Seed):
        single_instance = True
        command_name = "testapp.single"

    call_command(Single(), "eu", stdout=io.StringIO())
    held = left_running(Run.objects.get().pk)
    Lease.objects.filter(name="testapp.single").update(run_id=held.pk)
    with pytest.raises(CommandError, match="runs one at a time"):
        call_command(Single(), "us")


# -- tracked -------------------------------------------------------------------------------------------------------


def test_a_command_s_class_is_tracked() -> None:
    @ac.tracked(name="testapp.old")
    class Old(BaseCommand):
        def add_arguments(self, parser: Any) -> None:
            parser.add_argument("--token", default="")

        def handle(self, *args: Any, **options: Any) -> str:
            self.stdout.write(f"old {options['token']}")
            return "returned"

    out = io.StringIO()
    assert call_command(Old(), token="s3cret-s3cret", stdout=out) == "returned"
    run = newest()
    assert (run.command, run.value, run.output) == ("testapp.old", "returned", "old ********\nreturned\n")
    assert run.parameters == {"token": "********"}


def test_a_command_s_handle_is_tracked_and_runs_once() -> None:
    class Old(BaseCommand):
        @ac.tracked(name="testapp.old", run_once=True)
        def handle(self, *args: Any, **options: Any) -> None:
            Effect.objects.create(key="old")

    out = io.StringIO()
    call_command(Old(), stdout=out)
    call_command(Old(), stdout=out)
    assert Effect.objects.count() == Run.objects.count() == 1
    assert "Skipping:" in out.getvalue()


def test_a_function_is_tracked() -> None:
    @ac.tracked
    def add(a: int, b: Any = None) -> int:
        """Add."""
        return a + 1

    assert add(1, b=date(2026, 1, 2)) == 2
    run = newest()
    assert run.command.startswith("tests.integration.runner.test_plain_commands.test_a_function_is_tracked.add")
    assert (run.parameters, run.value, add.__doc__) == ({"a": 1, "b": "2026-01-02"}, 2, "Add.")
    with pytest.raises(TypeError, match="missing 1 required"):
        add()  # type: ignore[call-arg]
    assert newest().status == "failed"


def test_a_function_that_runs_once_does_so(caplog: pytest.LogCaptureFixture) -> None:
    @ac.tracked(name="fill", run_once=True)
    def fill() -> str:
        return "filled"

    with caplog.at_level(logging.INFO, "async_commander.run"):
        assert [fill(), fill()] == ["filled", None]
    assert "fill is to run once" in caplog.text
    left_running(Run.objects.get().pk)
    with pytest.raises(ac.RunLocked):
        fill()


def test_an_async_function_is_tracked_and_stays_one() -> None:
    @ac.tracked(name="later", run_once=True)
    async def later(number: int) -> int:
        await Effect.objects.acreate(key=str(number))
        return number

    assert asyncio.iscoroutinefunction(later)

    async def work() -> list[Any]:
        return [await later(1), await later(2)]

    from asgiref.sync import async_to_sync

    assert async_to_sync(work)() == [1, None]
    assert (newest().status, newest().parameters) == ("succeeded", {"number": 1})


def test_a_cancelled_function_is_interrupted() -> None:
    @ac.tracked(name="later")
    async def later() -> None:
        await asyncio.Event().wait()

    async def work() -> None:
        task = asyncio.ensure_future(later())
        while not await Run.objects.filter(command="later").aexists():
            await asyncio.sleep(0.01)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    from asgiref.sync import async_to_sync

    async_to_sync(work)()
    assert newest().status == "interrupted"


@pytest.mark.parametrize("target", [42, int, classmethod(lambda cls: None)])
def test_what_cannot_be_tracked_is_refused(target: Any) -> None:
    with pytest.raises(TypeError, match="for Django's commands and for functions"):
        ac.tracked(target)


def test_what_is_kept_already_is_not_kept_twice() -> None:
    with pytest.raises(TypeError, match="kept already"):
        ac.tracked(type("Command", (Seed,), {}))


def test_a_generator_function_is_refused() -> None:
    def work() -> Any:
        yield 1

    with pytest.raises(TypeError, match="`yield`"):
        ac.tracked(work)


def test_a_run_within_has_it_as_its_parent() -> None:
    @ac.tracked(name="outer")
    def outer() -> None:
        ac.run("pages", count=1)

    outer()
    inner, around = Run.objects.get(command="pages"), Run.objects.get(command="outer")
    assert inner.parent_id == around.pk


# -- recorded, asked, counted --------------------------------------------------------------------------------------


def test_what_was_done_is_recorded() -> None:
    run = ac.record_run(
        "shop.mail", True, {"to": Path("a"), "api_key": "k-123456"}, "5 sent, k-123456", duration=2.5, run_once=True
    )
    run.refresh_from_db()
    assert (run.command, run.status, run.output) == ("shop.mail", "succeeded", "5 sent, ********")
    assert run.parameters == {"to": "a", "api_key": "********"}
    assert run.duration == timedelta(seconds=2.5)
    failed = ac.record_run("shop.mail", success=False, error_message="no server")
    assert (failed.status, failed.error, failed.duration) == ("failed", "no server", None)


def test_the_newest_record_decides_whether_it_should_run() -> None:
    asked = []
    for record in (
        {"run_once": True},
        {"run_once": True},
        {"success": False, "run_once": True},
        {},
        {"run_once": True},
    ):
        ac.record_run("shop.seed", **record)
        asked.append(ac.should_run("shop.seed"))
    assert asked == [False, False, True, True, False]
    assert ac.should_run("shop.other")


def test_a_record_counts_for_a_command_that_runs_once() -> None:
    ac.record_run("testapp.plain_once", run_once=True)
    assert once()[0] is None
    ac.record_run("testapp.plain_once", success=False)
    assert once()[0] == "seeded once"


def test_a_run_that_is_at_work_is_a_reason_not_to_run() -> None:
    once()
    left_running(Run.objects.get().pk)
    assert not ac.should_run("testapp.plain_once")
    assert ac.record_run("testapp.plain_once", run_once=True).once_key is None
    left_running(Run.objects.earliest().pk, pid=2**22 + 1)
    assert ac.should_run("testapp.plain_once")


@pytest.mark.parametrize(
    "wrong", [{"name": ""}, {"name": "x" * 201}, {"name": "x", "duration": -1}, {"name": "x", "duration": float("nan")}]
)
def test_a_record_that_cannot_be_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(InvalidCommand, match="needed"):
        ac.record_run(**wrong)


def test_the_history_is_a_queryset() -> None:
    for number in range(12):
        ac.record_run("shop.seed", success=number % 2 == 0, output=str(number))
    ac.record_run("shop.other")
    found = ac.history("shop.seed")
    assert [run.output for run in found] == [str(number) for number in range(11, 1, -1)]
    assert found.filter(status="succeeded").count() == 5
    first = found.first()
    assert first is not None
    assert first.output == "11"
    assert ac.history("shop.seed", limit=1).exists()
    assert [len(ac.history("shop.seed", limit)) for limit in (0, 3, 100, None)] == [0, 3, 12, 12]
    assert not ac.history("shop.nothing").exists()
    with pytest.raises(InvalidCommand, match="limit=-1"):
        ac.history("shop.seed", -1)


def test_a_plain_command_is_found_by_its_bare_name() -> None:
    seed()
    assert [run.command for run in ac.history("plain_seed")] == [NAME]


def test_the_history_marks_what_was_killed() -> None:
    seed()
    left_running(Run.objects.get().pk, pid=2**22 + 1)
    assert [run.status for run in ac.history(NAME)] == ["crashed"]


def test_the_history_may_be_read_by_async_code() -> None:
    from asgiref.sync import async_to_sync

    ac.record_run("shop.seed", duration=1.0)

    async def work() -> tuple[list[str], float | None]:
        found = ac.history("shop.seed")
        return [run.command async for run in found], (await found.astatistics()).average_seconds

    assert async_to_sync(work)() == (["shop.seed"], 1.0)


def test_statistics_count_what_has_ended() -> None:
    for seconds in range(1, 101):
        ac.record_run("shop.seed", success=seconds <= 90, duration=float(seconds))
    Run.objects.create(command="shop.seed", identity="x", status="running")
    Run.objects.create(command="shop.seed", identity="x", status="succeeded", dry_run=True)
    Run.objects.create(command="shop.seed", identity="x", status="crashed")
    found = ac.history("shop.seed", limit=None).filter(identity__isnull=False).statistics()
    assert (found.count, found.succeeded) == (102, 90)  # the running one has lost its process
    assert found.success_rate == pytest.approx(90 / 102)
    assert (found.average_seconds, found.p95_seconds) == (pytest.approx(50.5), pytest.approx(95))


def test_statistics_of_nothing_are_none() -> None:
    found = ac.history("shop.seed").statistics()
    assert (found.count, found.success_rate, found.average_seconds, found.p95_seconds) == (0, None, None, None)


def test_the_history_room_is_a_module_all_the_same() -> None:
    import async_commander.history
    from async_commander.history import lease

    assert ac.history is async_commander.history
    assert async_commander.history.lease is lease


def test_tracking_costs_few_statements() -> None:
    if not connection.in_atomic_block:
        pytest.skip("the statements are on a connection of their own")

    class Nothing(ac.ManagedCommand):
        def execute_command(self, *args: Any, **options: Any) -> None: ...

    with CaptureQueriesContext(connection) as captured:
        call_command(Nothing())
    statements = [one["sql"] for one in captured if not one["sql"].startswith(("SAVEPOINT", "RELEASE"))]
    assert len(statements) == (10 if connection.vendor == "postgresql" else 8), "\n".join(statements)


def test_a_migration_runs_what_is_tracked_once() -> None:
    if connection.in_atomic_block:
        pytest.skip("a migration begins its own transaction")
    calls = []

    @ac.tracked(name="testapp.0003_fill", run_once=True)
    def fill(apps: Any, schema_editor: Any) -> None:
        calls.append(apps.get_model("testapp", "Effect").objects.create(key="filled"))

    def record(apps: Any, schema_editor: Any) -> None:
        if ac.should_run("testapp.legacy"):
            ac.record_run("testapp.legacy", output="by hand", run_once=True)

    def fail(apps: Any, schema_editor: Any) -> None:
        ac.record_run("testapp.failed", run_once=True)
        raise ValueError("no good")

    migrate(fill, record)
    migrate(fill, record)
    with pytest.raises(ValueError, match="no good"):
        migrate(fail)
    assert (len(calls), Effect.objects.count()) == (1, 1)
    succeeded = set(Run.objects.filter(status="succeeded").values_list("command", flat=True))
    went_back = connection.features.can_rollback_ddl  # with its transaction, where a migration has one
    assert succeeded == {"testapp.0003_fill", "testapp.legacy", *([] if went_back else ["testapp.failed"])}
    assert ac.should_run("testapp.failed") is went_back


def migrate(*functions: Any) -> None:
    from django.apps import apps
    from django.db.migrations import RunPython
    from django.db.migrations.state import ProjectState

    state = ProjectState.from_apps(apps)
    with connection.schema_editor(atomic=True) as editor:
        for function in functions:
            RunPython(function).database_forwards("testapp", editor, state, state)


def test_a_process_that_the_body_forks_ends_with_it_and_leaves_the_run_alone() -> None:
    class Forks(Seed):
        def execute_command(self, *args: Any, **options: Any) -> int:
            child = os.fork()
            if not child:
                sys.exit(7)
            return child

    child = call_command(Forks(), "eu", stdout=io.StringIO())
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
    assert (newest().status, newest().value) == ("succeeded", child)


def test_no_thread_is_left_behind() -> None:
    before = threading.active_count()
    seed()
    with pytest.raises(ValueError):
        seed(end="raise")
    assert threading.active_count() == before


def test_an_error_that_breaks_the_callers_transaction_is_raised_as_it_was(caplog: pytest.LogCaptureFixture) -> None:
    class Breaks(Seed):
        def execute_command(self, *args: Any, **options: Any) -> None:
            Effect.objects.create(pk=1, key="a")
            Effect.objects.create(pk=1, key="b")

    with pytest.raises(IntegrityError), transaction.atomic():
        call_command(Breaks(), "eu", stdout=io.StringIO())
    assert not Run.objects.exists()


def test_who_asked_for_it_is_kept(rf: Any) -> None:
    from django.contrib.auth.models import User

    from async_commander.runner.caller import served

    request = rf.get("/")
    request.user = User(username="ann")
    token = served.set(request)
    try:
        seed()
    finally:
        served.reset(token)
    assert (newest().user, newest().trigger) == ("ann", "view")


def test_without_tables_it_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    def lacking(alias: str, *_: Any) -> Any:
        with connections[alias].cursor() as cursor:
            cursor.execute("SELECT 1 FROM async_commander_nothing")

    monkeypatch.setattr("async_commander.history.keeper.begin", lacking)
    with pytest.raises(CommandError, match=r"manage\.py migrate async_commander"):
        seed()
    assert not Run.objects.exists()


def test_an_end_that_cannot_be_recorded_spoils_nothing(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    from django.db import InternalError

    def refused(*_: Any, **__: Any) -> Any:
        raise InternalError("no")

    with monkeypatch.context() as patch:
        patch.setattr("async_commander.history.runs.close", refused)
        assert seed() == "seeded"
    assert "The end of run" in caplog.text
    if not connection.in_atomic_block:  # kept on this machine: who looks next stores it
        left_running(Run.objects.get().pk)
        assert [run.status for run in ac.history(NAME)] == ["succeeded"]
