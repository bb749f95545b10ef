"""django_commander's base for models whose objects know which command touched them, and its manager."""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar

from django.db import models

from async_commander import bulk
from async_commander.models import CommandLogs, LoggedModel, LoggedQuerySet, Run

from .commander_rows import Command, CommandLog, LogQuerySet

if TYPE_CHECKING:
    from async_commander.database.deletion_preview import DeletionPreview

M = TypeVar("M", bound=models.Model)


class LoggedExtendedManager(LoggedQuerySet[M]):
    """`objects = LoggedExtendedManager().as_manager()`: a `LoggedQuerySet`, with the old names for work in steps."""

    def create_or_update(
        self,
        unique_data: Mapping[str, Any],
        update_data: Mapping[str, Any] | None = None,
        match_any: bool = False,  # noqa: FBT001 - likewise
        return_object: bool = True,  # noqa: FBT001 - likewise
        *,
        log: Run | None = None,
        command_log: Run | None = None,
        **how: Any,
    ) -> M | None:
        """See `LoggedQuerySet.create_or_update`. `command_log` and `log` are one: the run this is recorded for."""
        return super().create_or_update(
            unique_data,
            update_data,
            match_any=match_any,
            return_object=return_object,
            log=log if log is not None else command_log,
            **how,
        )

    def chunk(self, size: int = 100, *, randomize: bool = False) -> Iterator[M]:
        """The rows one by one, read `size` at a time; in any order if that is asked for."""
        if not randomize:
            yield from self.iterator(chunk_size=size)
            return
        yield from self._by_keys(random.sample(keys := self._keys(), len(keys)), size)

    def sample(self, n: int) -> Iterator[M]:
        """`n` of the rows, chosen at random; all where there are no more."""
        keys = self._keys()
        return self._by_keys(random.sample(keys, min(n, len(keys))), 100)

    def chunk_update(self, size: int = 100, **fields: Any) -> int:
        """`update(**fields)`, `size` rows at a time. Returns how many."""
        keys = self._keys()
        parts = (keys[start : start + size] for start in range(0, len(keys), size))
        return sum(self.model._base_manager.using(self.db).filter(pk__in=part).update(**fields) for part in parts)

    def chunk_delete(self, size: int = 100) -> tuple[int, dict[str, int]]:
        """Delete the rows and what cascades from them, `size` at a time."""
        return bulk.delete(self, step=size, atomic=False)

    def inspect_delete(self) -> DeletionPreview:
        """What `delete()` would take along: see `bulk.preview_deletion`."""
        return bulk.preview_deletion(self)

    def _keys(self) -> list[Any]:
        return list(self.values_list("pk", flat=True))

    def _by_keys(self, keys: list[Any], size: int) -> Iterator[M]:
        for start in range(0, len(keys), size):
            part = keys[start : start + size]
            rows = self.in_bulk(part)
            yield from (rows[key] for key in part if key in rows)


class LogsOfObject(LogQuerySet):
    """`obj.command_logs`: the logs of the commands that touched it. `add(self.log)` says that one did."""

    recorded: CommandLogs

    def add(self, *logs: Run) -> None:
        """See `LoggedModel.command_logs`."""
        self.recorded.add(*logs)


class LoggedExtendedModel(LoggedModel):
    """A `LoggedModel` by the old names: `command_logs` are `CommandLog`s, `commands` are `Command`s.

    Nothing has to be added: what a run writes is recorded with it.
    """

    objects: ClassVar[Any] = LoggedExtendedManager.as_manager()

    class Meta(LoggedModel.Meta):
        abstract = True

    @property
    def command_logs(self) -> LogsOfObject:  # type: ignore[override]  # the rows have other names there
        """The logs of the commands that touched it, newest first."""
        recorded = super().command_logs
        found = LogsOfObject(CommandLog, using=recorded.db).filter(pk__in=recorded.values("run_id"))
        logs: Any = found.annotate(start_time=models.F("started"), end_time=models.F("finished")).order_by("-pk")
        logs.recorded = recorded
        return logs  # type: ignore[no-any-return]

    @property
    def commands(self) -> models.QuerySet[Command]:
        """The commands that touched it."""
        return Command.objects.filter(identity__in=self.runs.values("identity"))

    def inspect_delete(self) -> DeletionPreview:
        """What `delete()` would take along."""
        return bulk.preview_deletion([self])
