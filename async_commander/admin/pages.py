"""What the pages of the history have in common: nobody writes, and no row is read for nothing."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, Any

from django.contrib import admin
from django.contrib.admin.views.main import ChangeList
from django.core.paginator import Paginator
from django.db.models import Max, Model, QuerySet
from django.urls import reverse
from django.utils.html import format_html
from django.utils.text import capfirst
from django.utils.translation import gettext_lazy as _

from async_commander.models import Run
from async_commander.results import RunStatus
from async_commander.templatetags.async_commander_pages import lines

if TYPE_CHECKING:
    from collections.abc import Callable

    from django.http import HttpRequest
    from django.utils.safestring import SafeString

    from async_commander.models import ObjectLog, RunItem, RunLog

    AnyAdmin = admin.ModelAdmin[Any]
    AnyPaginator = Paginator[Any]
else:
    AnyAdmin, AnyPaginator = admin.ModelAdmin, Paginator

STYLES = {"all": ("async_commander/admin.css",)}
COUNTED = 5_000
"""Rows that a list is counted and paged through, at most. What is further back is found by its filters."""
SEARCHED = 100_000
"""Rows that a text is looked for in, the newest; and those that a list of all runs' rows is narrowed among."""


def lines_of(name: str, label: Any) -> Callable[[Any, Model], str]:
    """A field as it was written."""

    @admin.display(description=label)
    def shown(model_admin: Any, row: Model) -> str:
        del model_admin
        return lines(getattr(row, name))

    return shown


def state_shown(run: Run, state: str) -> str:
    """The state that a run was seen in, as a page shows it: one at work that is paused is *paused*."""
    return "paused" if state == RunStatus.RUNNING.value and run.paused is not None else state


class BoundedPaginator(AnyPaginator):
    """Counts no further than anybody turns pages: tables of millions of rows are not counted for a list."""

    @cached_property
    def count(self) -> int:
        """How many rows there are, `COUNTED` at most."""
        rows: Any = self.object_list
        return int(rows.order_by().values("pk")[:COUNTED].count())


def newest(queryset: QuerySet[Any]) -> QuerySet[Any]:
    """Those that are among the last rows of the table; what is asked of them reads no more than these."""
    last = queryset.model._default_manager.using(queryset.db).aggregate(last=Max("pk"))["last"] or 0
    return queryset.filter(pk__gt=last - SEARCHED) if last > SEARCHED else queryset


class ReadOnly:
    """No one adds, changes or deletes what happened; and only what is named may be asked for in a URL.

    Django lets every column be asked for, also one that no page shows: with `?item__regex=` it would be read letter by
    letter.
    """

    may_be_asked: frozenset[str] = frozenset()

    def lookup_allowed(self, lookup: str, value: str, request: HttpRequest | None = None) -> bool:
        """Whether a list may be narrowed by this: it is named, and no value that PostgreSQL refuses."""
        del request
        return lookup in self.may_be_asked and "\x00" not in str(value)

    def has_add_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        """Never."""
        del request, obj
        return False

    def has_change_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        """Never."""
        del request, obj
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        """Never."""
        del request, obj
        return False


_OF_RUN_SHOWN = ("id", "command", "status")
OF_ONE_RUN = frozenset({"id", "id__exact", "run", "run__exact", "run__id", "run__id__exact"})


class RowsOfRun(ChangeList):
    """A list in an order that an index has: of one run by `order_within_run`, else the newest first."""

    model_admin: OfRun

    def get_ordering(self, request: HttpRequest, queryset: QuerySet[Any]) -> Any:
        """Whatever the page was asked for: no other order is to be had without sorting all of a run's rows."""
        del request, queryset
        return list(self.model_admin.order_within_run) if self.of_one_run else ["-pk"]

    @property
    def of_one_run(self) -> bool:
        """Whether the list was narrowed to a run."""
        return any(name in OF_ONE_RUN - {"id", "id__exact"} for name in self.filter_params)

    def get_queryset(self, request: HttpRequest, exclude_parameters: Any = None) -> QuerySet[Any]:
        """Over all runs only the newest rows are narrowed, for no index has what all of them together say."""
        found = super().get_queryset(request, exclude_parameters)
        narrowed = bool(self.filter_params or self.query)
        return newest(found) if narrowed and not self.of_one_run and "id__exact" not in self.filter_params else found


class OfRun(ReadOnly, AnyAdmin):
    """Rows of one run: never counted or joined over all runs at once."""

    list_per_page = 100
    empty_value_display = ""
    show_full_result_count = False
    show_facets = admin.ShowFacets.NEVER
    paginator = BoundedPaginator
    sortable_by = ()
    list_select_related = ("run",)
    ordering = ("-id",)
    order_within_run: tuple[str, ...] = ("-pk",)

    class Media:
        css = STYLES

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> Any:
        """Under the name of what it lists: there is nothing to be selected."""
        title = capfirst(self.opts.verbose_name_plural)
        return super().changelist_view(request, {"title": title, **(extra_context or {})})

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> type[ChangeList]:
        """See RowsOfRun."""
        del request, kwargs
        return RowsOfRun

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        """The rows with their run, without the long columns of it."""
        long = [f"run__{field.attname}" for field in Run._meta.concrete_fields if field.name not in _OF_RUN_SHOWN]
        return super().get_queryset(request).select_related("run").defer(*long)

    @admin.display(description=_("run"), ordering="run")
    def of_run(self, row: RunItem | RunLog | ObjectLog) -> SafeString:
        """The way back to the run."""
        return format_html(
            '<a href="{}" title="{}">#{}</a>',
            reverse("admin:async_commander_run_change", args=[row.run_id]),
            row.run.command,
            row.run_id,
        )
