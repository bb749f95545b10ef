"""What the documentation of django-managed-commands shows, with another import line."""

from __future__ import annotations

import io
import time
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import pytest
from django.core.management import call_command
from django.core.management.base import BaseCommand
from django.db import models
from django.db.models import Avg, Count, Max
from django.utils import timezone

import async_commander as ac
from async_commander.contrib.compat.managed_commands import (
    CommandExecution,
    ManagedCommand,
    get_command_history,
    record_command_execution,
    should_run_command,
)
from async_commander.exceptions import InvalidCommand
from async_commander.models import Run
from tests.testapp.models import Effect


@pytest.fixture(params=["committed", pytest.param("in a transaction", marks=pytest.mark.django_db)], autouse=True)
def kept(request: pytest.FixtureRequest) -> None:
    """Each test with a record beside the command's own connection, and within a test's transaction."""
    if request.param == "committed":
        request.getfixturevalue("transactional_db")


class Command(ManagedCommand):
    """As the README has it: `super().add_arguments()`, a limit, a number that is returned."""

    help = "Process data with automatic tracking"
    command_name = "myapp.process"

    def add_arguments(self, parser: Any) -> None:
        super().add_arguments(parser)
        parser.add_argument("--limit", type=int, default=100)
        parser.add_argument("--since", type=date.fromisoformat)
        parser.add_argument("--password", default="")

    def execute_command(self, *args: Any, **options: Any) -> Any:
        Effect.objects.create(key="processed")
        self.stdout.write(f"Processed {self.do_work(options['limit'])} items")
        return self.do_work(options["limit"])

    def do_work(self, limit: int) -> int:
        if limit < 0:
            raise ValueError("a limit below 0")
        return 42


def called(command: BaseCommand, *args: str) -> tuple[Any, str]:
    out = io.StringIO()
    return call_command(command, *args, stdout=out, stderr=io.StringIO()), out.getvalue()


def test_a_command_is_kept_with_its_options_its_output_and_its_duration() -> None:
    value, told = called(Command(), "--limit", "7", "--since", "2026-01-02", "--password", "hunter2!")
    assert (value, told) == (42, "Processed 42 items\n")
    execution = CommandExecution.objects.get(command_name="myapp.process")
    assert execution.success is True
    assert execution.parameters == {"limit": 7, "since": "2026-01-02", "password": "********"}
    assert (execution.output, execution.error_message, execution.run_once) == ("Processed 42 items\n", "", False)
    assert 0 < execution.duration < 60
    assert str(execution) == "myapp.process - Success"
    assert timezone.now() - execution.executed_at < timedelta(minutes=1)


def test_an_error_rolls_back_what_the_body_wrote_and_is_raised_and_kept() -> None:
    with pytest.raises(ValueError, match="below 0"):
        called(Command(), "--limit", "-1")
    assert not Effect.objects.exists()
    execution = CommandExecution.objects.get()
    assert (execution.success, str(execution)) == (False, "myapp.process - Failed")
    assert "a limit below 0" in execution.error_message


def test_a_dry_run_says_so_writes_nothing_and_leaves_no_execution() -> None:
    _, told = called(Command(), "--dry-run")
    assert "DRY RUN" in told
    assert "rolled back" in told
    assert not Effect.objects.exists()
    assert not CommandExecution.objects.filter(command_name="myapp.process").exists()
    assert Run.objects.get().dry_run


class Once(Command):
    run_once = True
    command_name = None

    def get_command_name(self) -> str:
        return "myapp.setup"


def test_what_runs_once_is_skipped_from_then_on() -> None:
    with pytest.raises(ValueError, match="below 0"):
        called(Once(), "--limit", "-1")
    assert CommandExecution.objects.get().run_once is True
    called(Once())
    _, told = called(Once())
    assert "Skipping" in told
    assert "already" in told
    assert CommandExecution.objects.filter(command_name="myapp.setup", success=True, run_once=True).count() == 1
    assert not should_run_command("myapp.setup")


def test_a_body_that_is_async_runs() -> None:
    class Async(ManagedCommand):
        command_name = "myapp.async"

        async def execute_command(self, *args: Any, **options: Any) -> str:
            await Effect.objects.acreate(key="async")
            return "done"

    assert called(Async()) == ("done", "done\n")
    assert CommandExecution.objects.get().output == "done\n"


def test_a_method_that_nothing_would_call_is_refused_with_the_remedy() -> None:
    with pytest.raises(InvalidCommand, match="Leave the method out"):
        type("Filters", (Command,), {"get_serializable_options": lambda self, options: {}})


class ByHand(BaseCommand):
    """As the README tracks a command that is there already."""

    def handle(self, *args: Any, **options: Any) -> None:
        started = time.time()
        try:
            record_command_execution(
                command_name="myapp.custom_command",
                success=True,
                parameters={"option": options.get("option")},
                output="Processed 42 items",
                duration=time.time() - started,
            )
        except Exception as error:
            record_command_execution("myapp.custom_command", success=False, error_message=str(error))
            raise


def test_what_is_recorded_by_hand_is_found_again() -> None:
    called(ByHand())
    execution = record_command_execution(
        command_name="myapp.setup_initial_data", success=True, output="Created 100 records", duration=5.2, run_once=True
    )
    assert (execution.success, execution.duration, execution.run_once) == (True, 5.2, True)
    assert isinstance(execution, CommandExecution)
    failed = CommandExecution.objects.create(command_name="myapp.process_data", success=False, error_message="no db")
    assert (failed.error_message, failed.duration, str(failed)) == ("no db", None, "myapp.process_data - Failed")
    assert [each.command_name for each in CommandExecution.objects.all()][-1] == "myapp.setup_initial_data"


def test_whether_to_run_is_said_by_the_newest_execution() -> None:
    assert should_run_command("myapp.setup_data")
    record_command_execution("myapp.setup_data", success=True, run_once=True)
    assert not should_run_command("myapp.setup_data")
    record_command_execution("myapp.setup_data", success=False, run_once=True)
    assert should_run_command("myapp.setup_data")
    record_command_execution("myapp.setup_data", success=True, run_once=False)
    assert should_run_command("myapp.setup_data")


def test_the_history_is_filtered_and_counted_as_the_readme_does() -> None:
    for number in range(12):
        record_command_execution("myapp.daily", success=number % 4 != 0, duration=60.0 * number, output=str(number))
    record_command_execution("myapp.other", duration=6000.0)
    history = get_command_history("myapp.daily", limit=4)
    assert [each.output for each in history] == ["11", "10", "9", "8"]
    assert history.filter(success=True).count() / history.count() == 0.75
    assert (history.exists(), history.first().output) == (True, "11")  # type: ignore[union-attr]
    assert len(get_command_history("myapp.daily")) == 10
    stats = CommandExecution.objects.filter(command_name="myapp.daily").aggregate(
        total_runs=Count("id"),
        avg_duration=Avg("duration"),
        max_duration=Max("duration"),
        success_count=Count("id", filter=models.Q(success=True)),
    )
    assert f"{stats['avg_duration']:.2f}" == "360.00"  # a duration of 0 is none
    assert (stats["total_runs"], stats["max_duration"], stats["success_count"]) == (12, 660.0, 9)
    assert CommandExecution.objects.filter(duration__gt=600.0).count() == 2
    assert CommandExecution.objects.filter(executed_at__gte=timezone.now() - timedelta(minutes=4.5)).count() == 5
    assert CommandExecution.objects.filter(success=False).values_list("command_name", flat=True)[0] == "myapp.daily"


def test_executions_are_deleted_with_all_that_is_kept_of_them() -> None:
    record_command_execution("myapp.one")
    called(Command())
    Run.objects.latest().logs.create(at=timezone.now(), level=20, logger="x", message="x")
    CommandExecution.objects.filter(command_name="myapp.process").delete()
    assert [run.command for run in Run.objects.all()] == ["myapp.one"]
    CommandExecution.objects.get().delete()
    assert not Run.objects.exists()


def test_such_a_run_is_one_of_all_and_needs_no_migration(tmp_path: Path) -> None:
    called(Command())
    assert ac.history("myapp.process").get().status == "succeeded"
    call_command("makemigrations", "--check", "--dry-run", stdout=io.StringIO())
