"""The history in the admin: to be read, not written."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.contrib import admin
from django.db.models import Model, QuerySet

from async_commander.models import Run, RunErrorKind, RunItem, RunLog

if TYPE_CHECKING:
    from datetime import timedelta

    from django.http import HttpRequest

    RunInline = admin.TabularInline[RunErrorKind, Run]
    OneRunAdmin = admin.ModelAdmin[Run]
    AnyAdmin = admin.ModelAdmin[Any]
else:
    RunInline, OneRunAdmin, AnyAdmin = admin.TabularInline, admin.ModelAdmin, admin.ModelAdmin


class ReadOnly:
    """No one adds, changes or deletes what happened."""

    def has_add_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        """Never."""
        del request, obj
        return False

    def has_change_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        """Never."""
        del request, obj
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        """Never: retention is a command's business."""
        del request, obj
        return False


class ErrorKindInline(ReadOnly, RunInline):
    """The kinds of errors of a run, most frequent first."""

    model = RunErrorKind
    fields = ("kind", "count", "example", "item")
    ordering = ("-count",)
    extra = 0
    verbose_name_plural = "errors by kind"


@admin.register(Run)
class RunAdmin(ReadOnly, OneRunAdmin):
    """The runs, newest first."""

    list_display = ("id", "command", "status", "started", "took", "done", "dead", "skipped")
    list_display_links = ("id", "command")
    list_filter = ("status", "trigger", "started")
    search_fields = ("command", "error")
    date_hierarchy = "started"
    ordering = ("-id",)
    list_per_page = 50
    show_full_result_count = False
    inlines = (ErrorKindInline,)
    readonly_fields = ("took", "items_per_second")
    fieldsets = (
        (None, {"fields": ("command", "status", "parameters", "started", "finished", "took", "items_per_second")}),
        ("Items", {"fields": (("total", "taken"), ("done", "skipped", "dead"), ("retry", "claimed"))}),
        ("How it ended", {"fields": ("value", "error", "traceback", "output")}),
        ("How it was asked for", {"fields": ("trigger", "user", "options", "limits", "identity")}),
        ("Where it ran", {"fields": (("host", "pid"), ("heartbeat", "expires"), "parent", "format_version")}),
    )

    @admin.display(description="took")
    def took(self, run: Run) -> str:
        """The duration, in words that a person reads."""
        return shown_duration(run.duration)

    @admin.display(description="items per second")
    def items_per_second(self, run: Run) -> str:
        """Items with an outcome per second, over the whole run."""
        return "–" if run.rate is None else f"{run.rate:.1f}"


class OfRun(ReadOnly, AnyAdmin):
    """Rows of one run: never counted or joined over all runs at once."""

    list_per_page = 100
    show_full_result_count = False
    list_select_related = ("run",)
    ordering = ("-id",)

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        """The rows with their run."""
        return super().get_queryset(request).select_related("run")


@admin.register(RunItem)
class RunItemAdmin(OfRun):
    """The ledger."""

    list_display = ("label", "run", "state", "attempts", "reason", "error_kind", "download_ms", "parse_ms")
    list_filter = ("state", "reason")
    search_fields = ("label", "error_kind")
    exclude = ("item",)
    """Kept as it is, secrets of its URL included: it is to be run again. The label tells which one it is."""


@admin.register(RunLog)
class RunLogAdmin(OfRun):
    """The log lines."""

    list_display = ("at", "run", "level", "logger", "message")
    list_filter = ("level",)
    search_fields = ("message",)


def shown_duration(duration: timedelta | None) -> str:
    """1.2 s, 3 min 05 s, 2 h 10 min: with blanks that do not break."""
    return _duration(duration).replace(" ", "\N{NO-BREAK SPACE}")


def _duration(duration: timedelta | None) -> str:
    if duration is None:
        return "–"
    seconds = duration.total_seconds()
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02} min" if hours else f"{minutes} min {rest:02} s"
