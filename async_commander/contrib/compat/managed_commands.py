"""The names of django-managed-commands (0.2 to 0.4): change the import line, and an old command file runs.

    from async_commander.contrib.compat.managed_commands import ManagedCommand, record_command_execution

As documented there: the body of a `ManagedCommand` is in one transaction, `run_once` is skipped once it has succeeded,
a dry run leaves no execution, and `CommandExecution` is asked by `command_name`, `executed_at`, `success`, `duration` …

Otherwise than there, for its users' sake: of two run-once commands that start at once one runs; the record is written
before the body begins, so that a killed process leaves one, which says so; dates and paths among the options are kept,
passwords hidden; `output` is what the command wrote; what the body returns may be anything; `async def
execute_command` runs, without a transaction around it; `--dry-run` rolls back every database.

`docs/migrating.md` leads from here to `ac.ManagedCommand`.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Any

from django.core.management.base import CommandParser
from django.db import models, router, transaction

from async_commander.exceptions import InvalidCommand
from async_commander.history import tracking
from async_commander.history.reading import notice_crashes_now, recorded_names
from async_commander.management import managed
from async_commander.models import Run
from async_commander.results import RunStatus

from .old_paths import lead_here
from .views_of_runs import UNFINISHED, Options, ViewQuerySet, duration_in_seconds

if TYPE_CHECKING:
    from django.db.models import QuerySet

__all__ = [
    "CommandExecution", "ManagedCommand", "get_command_history", "record_command_execution", "should_run_command",
]  # fmt: skip

lead_here(__name__, "base", "models", "utils")


class ManagedCommand(managed.ManagedCommand):
    """`django_managed_commands.base.ManagedCommand`: write `execute_command(self, *args, **options)`."""

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if "get_serializable_options" in vars(cls):
            raise InvalidCommand(
                f"{cls.__qualname__}.get_serializable_options() would not be asked: all of a command's own options are "
                "kept, those with a name like password or token hidden. Leave the method out."
            )

    def add_arguments(self, parser: CommandParser) -> None:
        """Nothing to add: --dry-run is there for every command, also where a subclass does not call this."""

    def get_command_name(self) -> str:
        """What its runs are recorded under: `command_name`, else `app_label.module`."""
        from async_commander.management.plain_runs import name_of_command  # the runner, which a look needs not

        return self.command_name or name_of_command(type(self))

    def handle(self, *args: Any, **options: Any) -> str | None:
        """See `ac.ManagedCommand`; with a line about the end, as there is one in that package."""
        self.command_name = self.get_command_name()  # type: ignore[misc]  # a subclass may say it by the method
        return super().handle(*args, **options)

    def body(self, *args: Any, **options: Any) -> Any:
        """`execute_command` in a transaction: what it wrote before an error is rolled back."""
        if inspect.iscoroutinefunction(self.execute_command):
            return self.execute_command(*args, **options)
        with transaction.atomic():
            return self.execute_command(*args, **options)


class ExecutionQuerySet(ViewQuerySet["CommandExecution"]):
    """Executions by the names of their old fields."""

    def create(self, **fields: Any) -> CommandExecution:
        """Record one, as `record_command_execution` does."""
        return record_command_execution(**fields)


class _Executions(models.Manager["CommandExecution"]):
    def get_queryset(self) -> ExecutionQuerySet:
        """Runs that have ended; dry runs and trials leave no execution."""
        succeeded = models.Q(status=RunStatus.SUCCEEDED.value)
        once = models.Q(once_key__isnull=False) | models.Q(options__run_once=True)
        ended = ExecutionQuerySet(self.model, using=self._db).filter(dry_run=False, testing=False)
        annotated: ExecutionQuerySet = ended.exclude(status__in=UNFINISHED).annotate(
            command_name=models.F("command"),
            executed_at=models.F("started"),
            success=_is(succeeded),
            error_message=models.F("error"),
            duration=duration_in_seconds(),
            run_once=_is(once),
        )
        return annotated


def _is(condition: models.Q) -> models.Case:
    return models.Case(
        models.When(condition, then=models.Value(True)),
        default=models.Value(False),
        output_field=models.BooleanField(),
    )


class CommandExecution(Run):
    """`django_managed_commands.models.CommandExecution`: a run that has ended, by the names of the old fields.

    All of them can be filtered, ordered and aggregated by: `command_name`, `executed_at` (when it began), `success`,
    `parameters`, `output`, `error_message`, `duration` (seconds), `run_once`.
    """

    command_name: str
    success: bool
    error_message: str
    duration: Any = None
    run_once: bool

    objects = _Executions.from_queryset(ExecutionQuerySet)()  # type: ignore[assignment]

    class Meta(Options):
        ordering = ("-executed_at", "-id")
        verbose_name = "Command Execution"
        verbose_name_plural = "Command Executions"

    def __str__(self) -> str:
        return f"{self.command_name} - {'Success' if self.success else 'Failed'}"

    @property
    def executed_at(self) -> datetime:
        """When it began. Another value moves its end as well."""
        return self.started

    @executed_at.setter
    def executed_at(self, value: datetime) -> None:
        moved = value - self.started
        self.started, self.finished = value, self.finished + moved if self.finished else None

    def delete(self, using: str | None = None, keep_parents: bool = False) -> tuple[int, dict[str, int]]:  # noqa: FBT001
        """See Django's: the run goes, with all that is kept of it."""
        return Run.objects.using(using or self._state.db).get(pk=self.pk).delete(keep_parents=keep_parents)


def record_command_execution(  # noqa: PLR0917 - that package's signature
    command_name: str,
    success: bool = True,  # noqa: FBT001 - likewise
    parameters: Mapping[str, Any] | None = None,
    output: str = "",
    error_message: str = "",
    duration: float | None = None,
    run_once: bool = False,  # noqa: FBT001 - likewise
) -> CommandExecution:
    """Record what was done under a name; see `ac.record_run`, which this is."""
    run = tracking.record_run(command_name, success, parameters, output, error_message, duration, run_once)
    if run_once:
        run.options = {"run_once": True}
        run.save(update_fields=["options"])
    return CommandExecution.objects.using(run._state.db).get(pk=run.pk)


def should_run_command(command_name: str) -> bool:
    """Whether a command may run: False where it was to run once, and has succeeded or is at work.

    It is a look, and no lock; `run_once = True` on a `ManagedCommand` is one.
    """
    return tracking.should_run(command_name)


def get_command_history(command_name: str, limit: int = 10) -> QuerySet[CommandExecution]:
    """The newest executions of a command, newest first. Unlike a slice the result can be filtered."""
    alias = router.db_for_read(Run)
    notice_crashes_now(router.db_for_write(Run))
    found = CommandExecution.objects.using(alias).filter(command__in=recorded_names(command_name))
    return tracking.newest(found, limit)
