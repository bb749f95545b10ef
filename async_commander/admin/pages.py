"""What the pages of the history have in common: nobody writes, and no row is read for nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.contrib import admin
from django.db.models import Model, QuerySet
from django.urls import reverse
from django.utils.html import format_html

if TYPE_CHECKING:
    from collections.abc import Callable

    from django.http import HttpRequest
    from django.utils.safestring import SafeString

    from async_commander.models import ObjectLog, RunItem, RunLog

    AnyAdmin = admin.ModelAdmin[Any]
else:
    AnyAdmin = admin.ModelAdmin

STYLES = {"all": ("async_commander/admin.css",)}


def lines_of(name: str) -> Callable[[Any, Model], str]:
    """A field as it was written: with its lines, and the blanks that they begin with."""

    @admin.display(description=name)
    def lines(_: Any, row: Model) -> str:
        text = getattr(row, name)
        return format_html('<pre class="async-commander-lines">{}</pre>', text) if text else "–"

    return lines


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


OF_ONE_RUN = frozenset({"id", "id__exact", "run", "run__exact", "run__id", "run__id__exact"})


class OfRun(ReadOnly, AnyAdmin):
    """Rows of one run: never counted or joined over all runs at once."""

    list_per_page = 100
    show_full_result_count = False
    show_facets = admin.ShowFacets.NEVER
    list_select_related = ("run",)
    ordering = ("-id",)

    class Media:
        css = STYLES

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        """The rows with their run."""
        return super().get_queryset(request).select_related("run")

    @admin.display(description="run", ordering="run")
    def of_run(self, row: RunItem | RunLog | ObjectLog) -> SafeString:
        """The way back to the run."""
        return format_html(
            '<a href="{}" title="{}">#{}</a>',
            reverse("admin:async_commander_run_change", args=[row.run_id]),
            row.run,
            row.run_id,
        )
