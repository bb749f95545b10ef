"""Models of the project of whose objects is kept which run has written them."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from functools import partial
from inspect import getattr_static
from typing import Any, TypeVar

from asgiref.sync import sync_to_async
from django.contrib.contenttypes.models import ContentType
from django.core import checks
from django.db import connections, models, router, transaction

from async_commander.database.layout import concrete, has_key, shown
from async_commander.database.matching import Matching, untangled
from async_commander.database.touched import key_text, recording
from async_commander.database.unit import current_unit
from async_commander.results import ObjectAction

from .objects import action_named, of_type
from .rows import ObjectLog, Run, RunQuerySet

M = TypeVar("M", bound=models.Model)


class CommandLogs(models.QuerySet[ObjectLog]):
    """`obj.command_logs`: which runs have touched one object, and how; a queryset, to which runs may be added."""

    @classmethod
    def of(cls, obj: models.Model) -> CommandLogs:
        """Those of this object; none of one that was never saved."""
        rows = cls(ObjectLog, hints={"touched": obj})
        if not has_key(obj):
            return rows.none()
        return rows.filter(**of_type(concrete(obj)), object_id=key_text(concrete(obj), obj.pk))

    def add(self, *runs: Run, action: str = ObjectAction.LINKED) -> None:
        """Record that these runs have to do with the object: as linked, or by another `action`. Twice is once.

        With the run that this code is part of (`self.record`) it is committed with the item, at no query of its own.
        ValueError for an object that was never saved.
        """
        mine: Any = self
        done, obj = action_named(action), mine._hints["touched"]  # noqa: SLF001 - where a queryset keeps what it is for
        for run in _known(runs):
            if not has_key(obj):
                raise ValueError(
                    f"{shown(obj)} was never saved, so that nothing can be recorded of it. Save it first; in a "
                    "run that alone records it, as self.db.add() does."
                )
            _link(obj, run, done)

    async def aadd(self, *runs: Run, action: str = ObjectAction.LINKED) -> None:
        """See `add`."""
        await sync_to_async(self.add)(*runs, action=action)


def _link(obj: models.Model, run: Run, action: ObjectAction) -> None:
    current, unit = recording.get(), current_unit.get()
    kind, alias = concrete(obj), run._state.db or router.db_for_write(ObjectLog)
    if current is not None and (current.run_id, current.alias) == (run.pk, alias):
        if unit is not None and not connections[alias].in_atomic_block:
            unit.link(obj, action)
        else:
            current.link(alias, action, [obj])
        return
    row = ObjectLog(
        run=run,
        content_type=ContentType.objects.db_manager(alias).get_for_model(kind),
        object_id=key_text(kind, obj.pk),
        action=action.value,
    )
    write = partial(ObjectLog.objects.using(alias).bulk_create, [row], ignore_conflicts=True)
    if obj._state.db in {alias, None}:
        write()
    else:  # the transaction in which the object is written may be rolled back without this one
        transaction.on_commit(write, using=obj._state.db)


def _known(runs: Iterable[Run]) -> Iterable[Run]:
    for run in runs:
        if not isinstance(run, Run):
            raise TypeError(
                f"{run!r:.80} is a {type(run).__name__}; a Run is needed: self.record, or one of Run.objects"
            )
        if run.pk is None:
            raise ValueError(f"{run!r:.80} was never saved: a run that began is needed.")
    return runs


class LoggedQuerySet(models.QuerySet[M]):
    """A queryset that knows `create_or_update()`."""

    def create_or_update(
        self,
        unique_data: Mapping[str, Any],
        update_data: Mapping[str, Any] | None = None,
        *,
        match_any: bool = False,
        return_object: bool = True,
        search_nulls: bool = False,
        save_nulls: bool = False,
        empty_lists_are_null: bool = True,
        only_update_existing_nulls: bool = False,
        allow_list_overlaps: bool = False,
        logger: logging.Logger | None = None,
        log: Run | None = None,
        force_create: bool = False,
        **save_kwargs: Any,
    ) -> M | None:
        """Find the row that has these values and write `update_data` into it, or make it of both; returns it.

        `unique_data` may have lookups (`name__iexact`), which a new row does without. Null are None, NaN, an empty text
        and, unless `empty_lists_are_null` is false, an empty list: they find and write nothing. `search_nulls` has them
        find nulls, `save_nulls` has them written. `match_any`: one equal value is enough. `only_update_existing_nulls`
        writes only what is null in the row. `allow_list_overlaps`: lists find those that have one of their values
        (PostgreSQL's arrays), and are added to them. `force_create` makes a new row in any case. `save_kwargs` are for
        `save()`, whose `update_fields` are those that differ. Names that are no columns are left out, with a warning.

        Two that do this at the same time make one row where a unique constraint says that there is one. `log`: the run
        that this is recorded for, also where nothing was to be written; the run that this code is part of records what
        is written in any case. `logger` hears what was done, at DEBUG. With `return_object=False` it returns None.

        Raises ValueError where all of `unique_data` is null, MultipleObjectsReturned, and what `save()` raises.
        """
        how = Matching(
            match_any=match_any,
            search_nulls=search_nulls,
            save_nulls=save_nulls,
            empty_lists_are_null=empty_lists_are_null,
            only_update_existing_nulls=only_update_existing_nulls,
            allow_list_overlaps=allow_list_overlaps,
        )
        self._for_write = True
        rows = self.using(self.db)

        def work() -> tuple[M, ObjectAction | None]:
            with transaction.atomic(using=rows.db):
                obj, done = how.create_or_update(
                    rows, unique_data, update_data or {}, force_create=force_create, **save_kwargs
                )
                if log is not None:
                    CommandLogs.of(obj).add(log, action=done or ObjectAction.LINKED)
            return obj, done

        obj, done = untangled(work, rows.db)
        if logger is not None:
            logger.debug("%s %s: %s", self.model._meta.label, obj.pk, done or "as it was")
        return obj if return_object else None

    async def acreate_or_update(
        self, unique_data: Mapping[str, Any], update_data: Mapping[str, Any] | None = None, **how: Any
    ) -> M | None:
        """See `create_or_update`."""
        return await sync_to_async(self.create_or_update)(unique_data, update_data, **how)

    def get_if_exists(
        self,
        unique_data: Mapping[str, Any],
        *,
        match_any: bool = False,
        search_nulls: bool = False,
        empty_lists_are_null: bool = True,
        allow_list_overlaps: bool = False,
    ) -> M | None:
        """The row that `create_or_update()` would find, or None; None, too, where all values are null."""
        how = Matching(
            match_any=match_any,
            search_nulls=search_nulls,
            empty_lists_are_null=empty_lists_are_null,
            allow_list_overlaps=allow_list_overlaps,
        )
        return how.find(self, unique_data)

    async def aget_if_exists(self, unique_data: Mapping[str, Any], **how: Any) -> M | None:
        """See `get_if_exists`."""
        return await sync_to_async(self.get_if_exists)(unique_data, **how)


LoggedManager = models.Manager.from_queryset(LoggedQuerySet)
"""The manager of a `LoggedModel`; a manager of the project's may inherit from it."""


class LoggedModel(models.Model):
    """A model of whose objects is kept which run has created, updated, deleted or linked them.

        class Politician(LoggedModel):
            name = models.CharField(max_length=100, unique=True)

        politician.runs                       the runs, newest first
        politician.command_logs.all()         each with what it did, and when
        run.objects(Politician)               what a run has touched

    It adds no table and no column. Outside of runs nothing is recorded.
    """

    _is_logged = True

    objects = LoggedManager()

    class Meta:
        abstract = True

    @property
    def command_logs(self) -> CommandLogs:
        """What was recorded of this object: a queryset of `ObjectLog`, with `add(run)`."""
        return CommandLogs.of(self)

    @property
    def runs(self) -> RunQuerySet:
        """The runs that have touched this object, newest first."""
        logs = CommandLogs.of(self)
        runs: RunQuerySet = Run.objects.using(logs.db)
        return runs.filter(pk__in=logs.values("run_id"))

    @classmethod
    def check(cls, **kwargs: Any) -> list[checks.CheckMessage]:
        """As Django's; E007: a field, or a reference from another model, has the name of what LoggedModel brings."""
        ours = [base for base in cls.__mro__ if base.__module__.partition(".")[0] == __name__.partition(".")[0]]
        clashes = [
            checks.Error(
                f"{cls.__name__}.{name} stands in the place of the one that LoggedModel brings.",
                hint="Rename it; of a reference from another model, set another related_name.",
                obj=cls,
                id="async_commander.E007",
            )
            for name in ("runs", "command_logs")
            if not any(getattr_static(cls, name) is vars(base).get(name) for base in ours)
        ]
        return [*super().check(**kwargs), *clashes]
