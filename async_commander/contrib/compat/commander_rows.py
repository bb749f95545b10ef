"""Runs of django_commander's commands under its names: a `Command` for each identity, a `CommandLog` for each run."""

from __future__ import annotations

from copy import copy
from functools import cached_property
from typing import TYPE_CHECKING, Any

from django.apps import apps
from django.db import models, transaction

from async_commander.command.base import AsyncCommand
from async_commander.exceptions import InvalidCommand
from async_commander.models import ObjectLog, Run
from async_commander.results import RunStatus

from .views_of_runs import Options, ViewQuerySet

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime


class LogQuerySet(ViewQuerySet["CommandLog"]):
    """Logs by the names of their old fields."""

    def create(self, **_: Any) -> CommandLog:
        """A log is what a run has left."""
        raise InvalidCommand("A CommandLog is made by a run. What was done elsewhere is recorded by ac.record_run().")


class _Logs(models.Manager["CommandLog"]):
    def get_queryset(self) -> LogQuerySet:
        found: LogQuerySet = LogQuerySet(self.model, using=self._db).annotate(
            start_time=models.F("started"), end_time=models.F("finished")
        )
        return found


class CommandLog(Run):
    """`django_commander.models.CommandLog`: a run, by `start_time`, `end_time`, `options` and `error`.

    `end_time` is set also where the run failed; `error` is its text, None where there was none. `command` is the
    command's name, `command_row` its `Command`.
    """

    objects = _Logs.from_queryset(LogQuerySet)()  # type: ignore[assignment]

    class Meta(Options):
        verbose_name = "command log"

    def __str__(self) -> str:
        return f"{self.command} {self.parameters}: {STATES.get(self.status, self.status.upper())}"

    @classmethod
    def of(cls, run: Run) -> CommandLog:
        """The log that a run's row is, without a query."""
        log = copy(run)
        log.__class__ = cls
        log.error = log.error or None  # type: ignore[assignment]
        return log  # type: ignore[return-value]

    @classmethod
    def from_db(cls, *args: Any, **kwargs: Any) -> CommandLog:
        """See Django's: what a run keeps as an empty text was no error."""
        log = super().from_db(*args, **kwargs)
        if not vars(log).get("error", "-"):
            log.error = None  # type: ignore[assignment]
        return log

    def save(self, *args: Any, **kwargs: Any) -> None:
        """See Django's."""
        self.error = self.error or ""
        super().save(*args, **kwargs)
        self.error = self.error or None  # type: ignore[assignment]

    @cached_property
    def start_time(self) -> datetime:
        """When the run began."""
        return self.started

    @cached_property
    def end_time(self) -> datetime | None:
        """When it ended."""
        return self.finished

    def __getattr__(self, name: str) -> Any:
        """`log.politician_related`: what the run has touched of a model that keeps such logs."""
        model = None
        if name.endswith("_related") and not name.startswith("_"):
            kinds = {
                f"{each.__name__.lower()}_related": each for each in apps.get_models() if hasattr(each, "_is_logged")
            }
            model = kinds.get(name)
        if model is None:
            raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")
        return Run.objects.using(self._state.db).get(pk=self.pk).objects(model)

    @property
    def command_row(self) -> Command:
        """What all runs with these parameters have in common."""
        return Command.objects.using(self._state.db).get(identity=self.identity)


STATES = {RunStatus.SUCCEEDED.value: "COMPLETED"}
"""How a log calls its state; others by their own name: a crashed run is no running one."""


class CommandQuerySet(ViewQuerySet["Command"]):
    """Commands by the names of their old fields."""

    def create(self, **_: Any) -> Command:
        """A command is there when it was run."""
        raise InvalidCommand("A Command is made by its first run: there is nothing to be created before it.")

    def delete(self) -> tuple[int, dict[str, int]]:
        """A command goes with all of its logs."""
        identities = list(self.values_list("identity", flat=True))
        return Run.objects.using(self.db).filter(identity__in=identities).delete()


class _Commands(models.Manager["Command"]):
    def get_queryset(self) -> CommandQuerySet:
        """The first run of each identity stands for all of them."""
        first = Run.objects.using(self._db).order_by().values("identity").annotate(first=models.Min("pk"))
        found: CommandQuerySet = CommandQuerySet(self.model, using=self._db).filter(pk__in=first.values("first"))
        named: CommandQuerySet = found.annotate(name=models.F("command"))
        return named


class Command(Run):
    """`django_commander.models.Command`: a command's name with the parameters of its runs. Made by the first run."""

    objects = _Commands.from_queryset(CommandQuerySet)()  # type: ignore[assignment]

    class Meta(Options):
        verbose_name = "command"

    def __str__(self) -> str:
        return f"{self.name} {self.parameters}"

    @cached_property
    def name(self) -> str:
        """What the command is run by."""
        return self.command

    @property
    def logs(self) -> models.QuerySet[CommandLog]:  # type: ignore[override]  # a run's are its log lines
        """Its runs, newest first."""
        return CommandLog.objects.using(self._state.db).filter(identity=self.identity)

    def consolidate_logs(self) -> None:
        """Leave only the newest log, which has begun when the first one did, and has touched what they all have."""
        newest, others = self.logs.order_by("-pk")[0], self.logs.order_by("-pk")[1:]
        gone = list(others.values_list("pk", flat=True))
        with transaction.atomic(using=self._state.db):
            first = self.logs.aggregate(first=models.Min("started"))["first"]
            Run.objects.using(self._state.db).filter(pk=newest.pk).update(started=first)
            touched = ObjectLog.objects.using(self._state.db).filter(run__in=gone)
            moved = [ObjectLog(**row) for row in touched.values("content_type_id", "object_id", "action", "at")]
            for row in moved:
                row.run_id = newest.pk
            ObjectLog.objects.using(self._state.db).bulk_create(moved, ignore_conflicts=True)
            Run.objects.using(self._state.db).filter(pk__in=gone).delete()

    def instance(self, **options: Any) -> AsyncCommand:
        """A command with these parameters, to be run once."""
        given: Mapping[str, Any] = {**self.parameters, **options}
        return self.command_class(**given)

    def run(self, **options: Any) -> Any:
        """Run it again, and return what it returns."""
        return self.instance(**options).run()  # type: ignore[attr-defined]  # of an old command
