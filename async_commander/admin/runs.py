"""The runs in the admin: the list, and the page of one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

from django.contrib import admin
from django.contrib.contenttypes.models import ContentType
from django.urls import reverse
from django.utils.html import format_html, format_html_join

from async_commander.history.figures import latencies_of
from async_commander.history.provenance import COUNTED, touched_by
from async_commander.history.reading import resumed_among, state_seen, steps_of
from async_commander.models import Run, RunErrorKind
from async_commander.results import CREATED, DELETED, UNDELETED, UPDATED, UPSERTED, ItemState

from .pages import STYLES, ReadOnly, lines_of

if TYPE_CHECKING:
    from datetime import timedelta

    from django.http import HttpRequest
    from django.utils.safestring import SafeString

    RunInline = admin.TabularInline[RunErrorKind, Run]
    OneRunAdmin = admin.ModelAdmin[Run]
else:
    RunInline, OneRunAdmin = admin.TabularInline, admin.ModelAdmin

_NEEDS = {"rows": ("runitem", "runlog"), "steps": ("runitem", "runlog"), "touched": ("objectlog",)}
"""Fields with what other rows say, for those who may view these, too."""
STEPS_SHOWN = 20
_LINKED = ((ItemState.DEAD.value, "dead items"), (ItemState.RETRY.value, "items to be tried again"))


class ErrorKindInline(ReadOnly, RunInline):
    """The kinds of errors of a run, most frequent first."""

    model = RunErrorKind
    fields = readonly_fields = ("kind", "count", "lines_of_example", "item")
    lines_of_example = lines_of("example")
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
    lines_of_error, lines_of_traceback, lines_of_output = map(lines_of, ("error", "traceback", "output"))
    readonly_fields = (
        "state", "took", "items_per_second", "rows", "touched", "latencies", "steps", "would_write", "lines_of_error",
        "lines_of_traceback", "lines_of_output",
    )  # fmt: skip
    fieldsets = (
        (
            None,
            {
                "fields": (
                    "command",
                    "state",
                    "parameters",
                    "started",
                    "finished",
                    "took",
                    "items_per_second",
                    "rows",
                    "touched",
                )
            },
        ),
        (
            "Items",
            {"fields": (("total", "taken"), ("done", "skipped", "dead"), ("retry", "claimed"), "latencies", "steps")},
        ),
        (
            "How it ended",
            {"fields": ("value", "would_write", "lines_of_error", "lines_of_traceback", "lines_of_output")},
        ),
        (
            "How it was asked for",
            {"fields": ("trigger", "user", "testing", "dry_run", "options", "limits", "identity")},
        ),
        ("Where it ran", {"fields": (("host", "pid"), ("heartbeat", "expires"), "parent", "format_version")}),
    )

    class Media:
        css = STYLES

    def get_fieldsets(self, request: HttpRequest, obj: Run | None = None) -> Any:
        """The page, with links to rows for those who may read them."""
        left_out = {
            field
            for field, models in _NEEDS.items()
            if not all(request.user.has_perm(f"async_commander.view_{model}") for model in models)
        }
        return [
            (title, {"fields": [field for field in options["fields"] if field not in left_out]})
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
        if resumed_among(run._state.db or "default", [run]):
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

    @admin.display(description="steps that are kept")
    def steps(self, run: Run) -> SafeString | str:
        """The last steps of its `handle()`: a resume goes on after them."""
        steps = ((one.label, f"{one.parse_ms or 0:,} ms") for one in steps_of(run, STEPS_SHOWN))
        rows = format_html_join("", "<tr><th>{}</th><td>{}</td></tr>", steps)
        return format_html("<table>{}</table>", rows) if rows else "–"

    @admin.display(description="would write")
    def would_write(self, run: Run) -> SafeString | str:
        """What a dry run would have written, in rows by model; and what `--delete` would have deleted."""
        verbs = (CREATED, UPSERTED, UPDATED, DELETED, UNDELETED)
        figures = [
            (label, *(f"{rows[verb]:,}" if verb in rows else "" for verb in verbs)) for label, rows in run.would.items()
        ]
        rows = format_html_join(
            "", "<tr><th>{}</th><td>{}</td><td>{}</td><td>{}</td><td>{}</td><td>{}</td></tr>", figures
        )
        head = (
            "<tr><th>model</th><th>create</th><th>upsert</th><th>update</th><th>delete</th><th>with --delete</th></tr>"
        )
        return format_html(f"<table>{head}{{}}</table>", rows) if figures else "–"

    @admin.display(description="look at")
    def rows(self, run: Run) -> SafeString:
        """The ways to the rows of the run."""
        links = [
            (_list_of("runitem", run), "all items"),
            *((_list_of("runitem", run, state=state), name) for state, name in _LINKED),
            (_list_of("runlog", run), "log"),
        ]
        return format_html_join(" · ", '<a href="{}">{}</a>', links)

    @admin.display(description="objects touched")
    def touched(self, run: Run) -> SafeString | str:
        """How many of which model, each with the way to them."""
        counts = touched_by(run)
        kinds = ContentType.objects.using(run._state.db).in_bulk({kind for kind, _, _ in counts})
        links = [
            (_list_of("objectlog", run, content_type__id=kind, action=action), f"{count:,} {action}", kinds[kind])
            for kind, action, count in counts
            if kind in kinds
        ]
        shown = format_html_join(" · ", '<a href="{}">{}</a> {}', links)
        many = sum(count for _, _, count in counts) >= COUNTED
        return format_html("{} (of the first {})", shown, f"{COUNTED:,}") if many else shown or "–"


def _list_of(page: str, run: Run, **wanted: object) -> str:
    chosen = {"run__id__exact": run.pk} | {f"{name}__exact": value for name, value in wanted.items()}
    return f"{reverse(f'admin:async_commander_{page}_changelist')}?{urlencode(chosen)}"


def shown_duration(duration: timedelta | None) -> str:
    """1.2 s, 3 min 05 s, 2 h 10 min: with blanks that do not break."""
    if duration is None:
        return "–"
    minutes, seconds = divmod(duration.total_seconds(), 60)
    hours, minutes = divmod(int(minutes), 60)
    shown = f"{hours} h {minutes:02} min" if hours else f"{minutes} min {int(seconds):02} s"
    if not (hours or minutes):
        shown = f"{seconds:.1f} s"
    return shown.replace(" ", "\N{NO-BREAK SPACE}")
