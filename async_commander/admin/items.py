"""The ledger in the admin."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.contrib import admin
from django.template.response import TemplateResponse
from django.urls import reverse
from django.utils.translation import gettext_lazy as _

from async_commander.models import Run, RunItem, RunLog
from async_commander.results import ItemState
from async_commander.templatetags.async_commander_pages import breakable, in_words

from .actions import ACTIONS
from .drawing import STAGES, lane
from .pages import OF_ONE_RUN, OfRun
from .permissions import may
from .run_page import LINES_SHOWN

if TYPE_CHECKING:
    from django.db.models import QuerySet
    from django.http import HttpRequest
    from django.utils.safestring import SafeString

REASONS = (
    "permanent", "exhausted", "timeout", "crashed", "too_large", "blocked_address", "bad_body", "proxy", "throttled",
    "rejected", "skipped", "duplicate", "gone", "step",
)  # fmt: skip
"""Why items are given up, or left out; an error of the project's may have a `reason` of its own."""


class ReasonFilter(admin.SimpleListFilter):
    """Why items were given up. The ledger is not asked which reasons there are: it would be read from end to end."""

    title = _("reason")
    parameter_name = "reason"

    def lookups(self, request: HttpRequest, model_admin: admin.ModelAdmin[RunItem]) -> list[tuple[str, str]]:
        """All reasons that there may be."""
        del request, model_admin
        return [(reason, in_words(reason.replace("_", " "))) for reason in REASONS]

    def queryset(self, request: HttpRequest, queryset: QuerySet[RunItem]) -> QuerySet[RunItem]:
        """Items of the reason that was chosen."""
        del request
        return queryset.filter(reason=self.value()) if self.value() in REASONS else queryset


@admin.register(RunItem)
class RunItemAdmin(OfRun):
    """The ledger."""

    list_display = ("breakable_label", "of_run", "state", "why", "error_kind")
    list_filter = ("state", ReasonFilter)
    order_within_run = ("key",)
    search_fields = ("label", "error_kind")
    may_be_asked = OF_ONE_RUN | {
        "key", "key__exact", "state", "state__exact", "reason", "error_kind", "error_kind__exact",
    }  # fmt: skip
    exclude = ("item",)
    """It is kept as it is, secrets of its URL included, to be run again: the label says which one it is."""

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: dict[str, Any] | None = None
    ) -> Any:
        """One item: what became of it, how long it took, its failed attempts, and what was logged about it."""
        item = self.get_object(request, object_id) if object_id.isdecimal() and len(object_id) < 19 else None
        if request.method == "POST" or item is None or not self.has_view_permission(request, item):
            return super().change_view(request, object_id, form_url, extra_context)
        times = {name: getattr(item, f"{name}_ms") for name in ("wait", *(stage for stage, _ in STAGES[1:]))}
        lines = list[RunLog]()
        if request.user.has_perm("async_commander.view_runlog"):
            logs = RunLog.objects.using(item._state.db).filter(item_key=item.key, run_id=item.run_id)
            lines = list(logs.order_by("-pk")[:LINES_SHOWN])[::-1]
        retry = ACTIONS["retry"]
        run = Run.objects.using(item._state.db).get(pk=item.run_id)
        retried = item.state == ItemState.DEAD.value and retry.fits(run, run.status)
        page = reverse("admin:async_commander_run_action", args=[item.run_id, retry.name])
        context = {
            **self.admin_site.each_context(request),
            "title": item.label or str(item.key),
            "opts": self.opts,
            "original": item,
            "media": self.media,
            "item": item,
            "reason": self.why(item),
            "run": run,
            "times": times,
            "lane": lane(times, sum(times[stage] or 0 for stage, _ in STAGES[1:])),
            "stages": STAGES[1:],
            "attempts": [line for line in lines if line.failure],
            "log": lines,
            "retry_url": f"{page}?key={item.key}" if retried and may(request.user, retry.needs, run.command) else "",
            **(extra_context or {}),
        }
        return TemplateResponse(request, "admin/async_commander/runitem/page.html", context)

    @admin.display(description=_("label"), ordering="label")
    def breakable_label(self, item: RunItem) -> SafeString:
        """The label; the path of a URL may go on in the next line."""
        return breakable(item.label)

    @admin.display(description=_("reason"))
    def why(self, item: RunItem) -> str:
        """Why it was given up, or left out."""
        return in_words(item.reason.replace("_", " "))
