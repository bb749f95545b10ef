"""The history in the admin: to be read, not written."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

from django.contrib import admin
from django.db.models import Model, QuerySet
from django.urls import reverse
from django.utils.formats import date_format
from django.utils.html import format_html, format_html_join
from django.utils.safestring import mark_safe
from django.utils.text import Truncator
from django.utils.timezone import is_aware, localtime

from async_commander.engine.results import ItemState
from async_commander.history.figures import latencies_of
from async_commander.history.reading import resumed_among, state_seen
from async_commander.models import Run, RunErrorKind, RunItem, RunLog

if TYPE_CHECKING:
    from datetime import timedelta

    from django.http import HttpRequest
    from django.utils.safestring import SafeString

    RunInline = admin.TabularInline[RunErrorKind, Run]
    OneRunAdmin = admin.ModelAdmin[Run]
    AnyAdmin = admin.ModelAdmin[Any]
else:
    RunInline, OneRunAdmin, AnyAdmin = admin.TabularInline, admin.ModelAdmin, admin.ModelAdmin


_LINKED = ((ItemState.DEAD.value, "dead items"), (ItemState.RETRY.value, "items to be tried again"))
REASONS = (
    "permanent", "exhausted", "timeout", "crashed", "too_large", "blocked_address", "bad_body", "throttled",
    "skipped", "duplicate", "gone",
)  # fmt: skip
"""Why items are given up, or left out."""


LEVELS = (logging.INFO, logging.WARNING, logging.ERROR, logging.CRITICAL)
MESSAGE_WIDTH = 200
STYLES = {"all": ("async_commander/admin.css",)}
_BREAK = mark_safe("/<wbr>")


def _lines(name: str) -> Any:
    """A field as it was written: with its lines, and the blanks that they begin with."""

    @admin.display(description=name)
    def lines(_: Any, row: Any) -> str:
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
        """Never: retention is a command's business."""
        del request, obj
        return False


class ErrorKindInline(ReadOnly, RunInline):
    """The kinds of errors of a run, most frequent first."""

    model = RunErrorKind
    fields = readonly_fields = ("kind", "count", "lines_of_example", "item")
    lines_of_example = _lines("example")
    ordering = ("-count",)
    extra = 0
    verbose_name_plural = "errors by kind"


@admin.register(Run)
class RunAdmin(ReadOnly, OneRunAdmin):
    """The runs, newest first. Those whose owner is gone are shown as crashed; who looks here changes nothing."""

    list_display = ("id", "command", "state", "started", "took", "done", "dead")
    list_display_links = ("id", "command")
    list_filter = ("status", "started")
    search_fields = ("=id", "command", "error")
    date_hierarchy = "started"
    ordering = ("-id",)
    list_per_page = 50
    show_full_result_count = False
    show_facets = admin.ShowFacets.NEVER
    may_be_asked = frozenset({
        "id", "id__exact", "command", "command__exact", "status", "status__exact", "started__gte", "started__lt",
        "started__year", "started__month", "started__day",
    })  # fmt: skip
    inlines = (ErrorKindInline,)
    lines_of_error, lines_of_traceback, lines_of_output = map(_lines, ("error", "traceback", "output"))
    readonly_fields = (
        "state", "took", "items_per_second", "rows", "latencies", "lines_of_error", "lines_of_traceback",
        "lines_of_output",
    )  # fmt: skip
    fieldsets = (
        (
            None,
            {"fields": ("command", "state", "parameters", "started", "finished", "took", "items_per_second", "rows")},
        ),
        ("Items", {"fields": (("total", "taken"), ("done", "skipped", "dead"), ("retry", "claimed"), "latencies")}),
        ("How it ended", {"fields": ("value", "lines_of_error", "lines_of_traceback", "lines_of_output")}),
        ("How it was asked for", {"fields": ("trigger", "user", "options", "limits", "identity")}),
        ("Where it ran", {"fields": (("host", "pid"), ("heartbeat", "expires"), "parent", "format_version")}),
    )

    class Media:
        css = STYLES

    def get_fieldsets(self, request: HttpRequest, obj: Run | None = None) -> Any:
        """The page, with links to rows for those who may read them."""
        may_read = all(request.user.has_perm(f"async_commander.view_{model}") for model in ("runitem", "runlog"))
        return [
            (title, {"fields": [field for field in options["fields"] if field != "rows" or may_read]})
            for title, options in super().get_fieldsets(request, obj)
        ]

    @admin.display(description="status", ordering="status")
    def state(self, run: Run) -> str:
        """The status; of a run whose owner is gone, or has missed its heartbeats on another machine, that."""
        return state_seen(run)

    @admin.display(description="took")
    def took(self, run: Run) -> str:
        """The duration, in words that a person reads."""
        return shown_duration(run.duration)

    @admin.display(description="items per second")
    def items_per_second(self, run: Run) -> str:
        """Items with an outcome per second, over the whole run; pauses have no speed."""
        if _was_resumed(run):
            return "– (resumed: the time it took counts its pauses)"
        return "–" if run.rate is None else f"{run.rate:.1f}"

    @admin.display(description="latencies")
    def latencies(self, run: Run) -> SafeString | str:
        """How long each stage took, from the roll-ups: no page reads the ledger for it."""
        figures = (
            (one.stage, f"{one.count:,}", *(f"{each:,.0f} ms" for each in (one.median, one.p95, one.maximum)))
            for one in latencies_of(run)
        )
        rows = format_html_join("", "<tr><th>{}</th><td>{}</td><td>{}</td><td>{}</td><td>{}</td></tr>", figures)
        head = "<tr><th>stage</th><th>count</th><th>median</th><th>95th percentile</th><th>at most</th></tr>"
        return format_html(f"<table>{head}{{}}</table>", rows) if rows else "–"

    @admin.display(description="look at")
    def rows(self, run: Run) -> SafeString:
        """The ways to the rows of the run."""
        links = [
            (_list_of("runitem", run), "all items"),
            *((_list_of("runitem", run, state=state), name) for state, name in _LINKED),
            (_list_of("runlog", run), "log"),
        ]
        return format_html_join(" · ", '<a href="{}">{}</a>', links)


class ReasonFilter(admin.SimpleListFilter):
    """Why items were given up. The ledger is not asked which reasons there are: it would be read from end to end."""

    title = "reason"
    parameter_name = "reason"

    def lookups(self, request: HttpRequest, model_admin: AnyAdmin) -> list[tuple[str, str]]:
        """All reasons that there may be."""
        del request, model_admin
        return [(reason, reason.replace("_", " ")) for reason in REASONS]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        """Items of the reason that was chosen."""
        del request
        return queryset.filter(reason=self.value()) if self.value() in REASONS else queryset


class LevelFilter(admin.SimpleListFilter):
    """Log lines from a level on."""

    title = "level"
    parameter_name = "from_level"

    def lookups(self, request: HttpRequest, model_admin: AnyAdmin) -> list[tuple[str, str]]:
        """The levels above the lowest one, by name."""
        del request, model_admin
        return [(str(level), f"{logging.getLevelName(level)} and above") for level in LEVELS]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        """Lines of the level that was chosen and of those above it."""
        del request
        chosen = self.value() or ""
        return queryset.filter(level__gte=int(chosen)) if chosen in {*map(str, LEVELS)} else queryset


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
    def of_run(self, row: RunItem | RunLog) -> SafeString:
        """The way back to the run."""
        return format_html('<a href="{}" title="{}">#{}</a>', _page_of(row.run), row.run, row.run_id)


@admin.register(RunItem)
class RunItemAdmin(OfRun):
    """The ledger."""

    list_display = ("breakable_label", "of_run", "state", "reason", "error_kind")
    list_filter = ("state", ReasonFilter)
    search_fields = ("label", "error_kind")
    may_be_asked = OF_ONE_RUN | {
        "key", "key__exact", "state", "state__exact", "reason", "error_kind", "error_kind__exact",
    }  # fmt: skip
    lines_of_error = _lines("error")
    readonly_fields = ("lines_of_error",)
    exclude = ("item", "error")
    """Kept as it is, secrets of its URL included: it is to be run again. The label says which one it is."""

    @admin.display(description="label", ordering="label")
    def breakable_label(self, item: RunItem) -> SafeString:
        """The label; the path of a URL may go on in the next line."""
        return format_html_join(_BREAK, "{}", ((part,) for part in item.label.split("/")))


@admin.register(RunLog)
class RunLogAdmin(OfRun):
    """The log lines."""

    list_display = ("time", "level_name", "beginning", "of_run")
    list_display_links = ("time",)
    list_filter = (LevelFilter,)
    search_fields = ("message",)
    may_be_asked = OF_ONE_RUN | {"item_key", "item_key__exact", "from_level"}
    lines_of_message = _lines("message")
    readonly_fields = ("level_name", "lines_of_message")
    fields = ("run", "at", "level_name", "logger", "lines_of_message", "item_key")

    @admin.display(description="time", ordering="at")
    def time(self, line: RunLog) -> SafeString:
        """To the second: lines of one minute have an order."""
        at = localtime(line.at) if is_aware(line.at) else line.at
        return format_html('<span class="nowrap">{}</span>', date_format(at, "Y-m-d H:i:s"))

    @admin.display(description="message")
    def beginning(self, line: RunLog) -> str:
        """What the list has room for."""
        return Truncator(line.message).chars(MESSAGE_WIDTH)

    @admin.display(description="level", ordering="level")
    def level_name(self, line: RunLog) -> str:
        """WARNING in the place of 30."""
        return logging.getLevelName(line.level)


def _was_resumed(run: Run) -> bool:
    return bool(resumed_among(run._state.db or "default", [run]))


def _page_of(run: Run) -> str:
    return reverse("admin:async_commander_run_change", args=[run.pk])


def _list_of(page: str, run: Run, **wanted: str) -> str:
    chosen = {"run__id__exact": run.pk} | {f"{name}__exact": value for name, value in wanted.items()}
    return f"{reverse(f'admin:async_commander_{page}_changelist')}?{urlencode(chosen)}"


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
