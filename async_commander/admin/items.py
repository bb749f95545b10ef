"""The ledger in the admin."""

from __future__ import annotations

from typing import TYPE_CHECKING

from django.contrib import admin
from django.utils.html import format_html_join
from django.utils.safestring import mark_safe

from async_commander.models import RunItem

from .pages import OF_ONE_RUN, OfRun, lines_of

if TYPE_CHECKING:
    from django.db.models import QuerySet
    from django.http import HttpRequest
    from django.utils.safestring import SafeString

REASONS = (
    "permanent", "exhausted", "timeout", "crashed", "too_large", "blocked_address", "bad_body", "proxy", "throttled",
    "rejected", "skipped", "duplicate", "gone", "step",
)  # fmt: skip
"""Why items are given up, or left out; an error of the project's may have a `reason` of its own."""
_BREAK = mark_safe("/<wbr>")


class ReasonFilter(admin.SimpleListFilter):
    """Why items were given up. The ledger is not asked which reasons there are: it would be read from end to end."""

    title = "reason"
    parameter_name = "reason"

    def lookups(self, request: HttpRequest, model_admin: admin.ModelAdmin[RunItem]) -> list[tuple[str, str]]:
        """All reasons that there may be."""
        del request, model_admin
        return [(reason, reason.replace("_", " ")) for reason in REASONS]

    def queryset(self, request: HttpRequest, queryset: QuerySet[RunItem]) -> QuerySet[RunItem]:
        """Items of the reason that was chosen."""
        del request
        return queryset.filter(reason=self.value()) if self.value() in REASONS else queryset


@admin.register(RunItem)
class RunItemAdmin(OfRun):
    """The ledger."""

    list_display = ("breakable_label", "of_run", "state", "reason", "error_kind")
    list_filter = ("state", ReasonFilter)
    order_within_run = ("key",)
    search_fields = ("label", "error_kind")
    may_be_asked = OF_ONE_RUN | {
        "key", "key__exact", "state", "state__exact", "reason", "error_kind", "error_kind__exact",
    }  # fmt: skip
    lines_of_error = lines_of("error")
    readonly_fields = ("lines_of_error",)
    exclude = ("item", "error")
    """`item` is kept as it is, secrets of its URL included, to be run again: the label says which one it is. `error` is
    shown with its lines."""

    @admin.display(description="label", ordering="label")
    def breakable_label(self, item: RunItem) -> SafeString:
        """The label; the path of a URL may go on in the next line."""
        return format_html_join(_BREAK, "{}", ((part,) for part in item.label.split("/")))
