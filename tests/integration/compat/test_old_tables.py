"""The history that the old packages have kept, brought over from their tables."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from django.apps.registry import Apps
from django.db import connection, models
from django.utils import timezone

import async_commander as ac
from async_commander.contrib.compat.django_commander import BasicCommand, CommandLog
from async_commander.contrib.compat.managed_commands import CommandExecution, get_command_history, should_run_command
from async_commander.contrib.compat.old_tables import import_command_logs, import_executions
from async_commander.exceptions import InvalidCommand
from async_commander.models import Run

pytestmark = pytest.mark.django_db(transaction=True)
THEIRS = Apps()


class OldExecution(models.Model):
    command_name = models.CharField(max_length=255)
    executed_at = models.DateTimeField()
    success = models.BooleanField(default=True)
    parameters = models.JSONField(null=True)
    output = models.TextField(default="")
    error_message = models.TextField(default="")
    duration = models.FloatField(null=True)
    run_once = models.BooleanField(default=False)

    class Meta:
        app_label, apps, db_table = "theirs", THEIRS, "django_managed_commands_commandexecution"


class OldCommand(models.Model):
    name = models.CharField(max_length=400)
    parameters = models.JSONField(default=dict)

    class Meta:
        app_label, apps, db_table = "theirs", THEIRS, "django_commander_command"


class OldLog(models.Model):
    command = models.ForeignKey(OldCommand, on_delete=models.CASCADE)
    start_time = models.DateTimeField()
    end_time = models.DateTimeField(null=True)
    options = models.JSONField(null=True)
    error = models.TextField(null=True)

    class Meta:
        app_label, apps, db_table = "theirs", THEIRS, "django_commander_commandlog"


@pytest.fixture
def tables() -> Iterator[None]:
    kinds = (OldExecution, OldCommand, OldLog)
    with connection.schema_editor() as editor:
        for kind in kinds:
            editor.create_model(kind)
    yield
    with connection.schema_editor() as editor:
        for kind in reversed(kinds):
            editor.delete_model(kind)


NOW = timezone.now().replace(microsecond=0)


def executed(name: str, days_ago: int, **columns: Any) -> None:
    OldExecution.objects.create(command_name=name, executed_at=NOW - timedelta(days=days_ago), **columns)


def test_executions_are_runs_and_what_ran_once_is_skipped(tables: None) -> None:
    executed("shop.seed", 3, success=False, error_message="no db", run_once=True)
    executed("shop.seed", 2, run_once=True, duration=5.0, output="done", parameters={"to": "eu", "password": "hunter2"})
    executed("shop.again", 2, run_once=True)
    executed("shop.again", 1, success=False, run_once=True)
    assert import_executions() == 4
    assert import_executions() == 0
    newest = get_command_history("shop.seed", limit=1).get()
    assert (newest.success, newest.run_once, newest.duration, newest.output) == (True, True, 5.0, "done")
    assert newest.parameters == {"to": "eu", "password": "********"}
    assert newest.executed_at == NOW - timedelta(days=2, seconds=5)
    assert CommandExecution.objects.get(success=False, command_name="shop.seed").error_message == "no db"
    assert (should_run_command("shop.seed"), should_run_command("shop.again")) == (False, True)
    assert ac.history("shop.seed").statistics().count == 2


class Rosters(BasicCommand):
    parameter_names = ["region"]

    @staticmethod
    def add_arguments(parser: Any) -> None:
        parser.add_argument("region")

    def run(self) -> None: ...


class Posts(BasicCommand):
    dependencies = [(f"{__name__}.Rosters", {"region": "eu"})]

    def run(self) -> str:
        return "posts"


def test_logs_are_runs_and_satisfy_dependencies(tables: None) -> None:
    rosters = OldCommand.objects.create(name=f"{__name__}.Rosters", parameters={"region": "eu"})
    hour = timedelta(hours=1)
    OldLog.objects.create(command=rosters, start_time=NOW - 3 * hour, error="pickled")
    OldLog.objects.create(command=rosters, start_time=NOW - 2 * hour)  # which was killed
    with pytest.raises(ac.MissingDependency):
        Posts().run()
    OldLog.objects.create(command=rosters, start_time=NOW - hour, end_time=NOW, options={"quick": True})
    assert import_command_logs() == 2
    assert Posts().run() == "posts"
    done, failed = CommandLog.objects.filter(command=f"{__name__}.Rosters").order_by("-start_time")
    assert (done.start_time, done.end_time, done.options, done.error) == (NOW - hour, NOW, {"quick": True}, None)
    assert (failed.status, failed.error) == ("failed", "failed, as django_commander recorded it")


def test_where_there_is_no_table_that_is_said() -> None:
    with pytest.raises(InvalidCommand, match="has no table django_commander_commandlog"):
        import_command_logs()
    assert not Run.objects.exists()
