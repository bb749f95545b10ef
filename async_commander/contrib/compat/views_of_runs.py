"""Runs under the names that older packages have for them: proxies of `Run`, which no migration knows."""

from __future__ import annotations

from typing import Any, TypeVar

from django.apps.registry import Apps
from django.db.models import DurationField, ExpressionWrapper, F, FloatField, Func, Model, QuerySet
from django.db.models.functions import NullIf

from async_commander.models import Run
from async_commander.results import AT_WORK, RunStatus

View = TypeVar("View", bound=Model)

UNFINISHED = [RunStatus.QUEUED.value, *AT_WORK, RunStatus.SKIPPED.value]


class Options:
    """What `class Meta` of such a proxy inherits.

    A registry of its own keeps it out of the project's: no migration is made for it, and no app has to be installed.
    """

    proxy = True
    app_label = "async_commander"
    apps = Apps()


class Seconds(Func):
    """A duration as a number of seconds."""

    arity = 1
    output_field = FloatField()
    template = "((%(expressions)s) / 1000000e0)"

    def as_postgresql(self, compiler: Any, connection: Any, **extra: Any) -> Any:
        """PostgreSQL has a type for durations; elsewhere they are microseconds."""
        return self.as_sql(
            compiler, connection, template="EXTRACT(EPOCH FROM %(expressions)s)::double precision", **extra
        )


def duration_in_seconds() -> NullIf:
    """From start to end; null where no time was recorded."""
    took = ExpressionWrapper(F("finished") - F("started"), output_field=DurationField())
    return NullIf(Seconds(took), 0.0)


class ViewQuerySet(QuerySet[View]):
    """What such proxies have in common: deleting one deletes the run, with all that is kept of it."""

    def delete(self) -> tuple[int, dict[str, int]]:
        """See Django's."""
        return runs_of(self).delete()


def runs_of(views: QuerySet[Any]) -> QuerySet[Run]:
    """The runs themselves."""
    return Run.objects.using(views.db).filter(pk__in=list(views.values_list("pk", flat=True)))
