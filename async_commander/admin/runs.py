"""The runs in the admin: the list, and the way to the page of one."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

from django.contrib import admin, messages
from django.contrib.admin.views.main import ChangeList
from django.core.exceptions import PermissionDenied
from django.db.models import Q, QuerySet, TextField
from django.db.models.fields.json import KT
from django.db.models.functions import Cast
from django.http import Http404, HttpResponseRedirect, JsonResponse
from django.http.response import HttpResponseBase
from django.template.response import TemplateResponse
from django.urls import path, reverse
from django.utils.html import format_html
from django.utils.text import Truncator, smart_split, unescape_string_literal
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from async_commander.exceptions import AsyncCommanderError, CommandNotFound
from async_commander.history.reading import resumed_among, state_seen, states_seen
from async_commander.history.trends import recent_of, recorded
from async_commander.models import Run
from async_commander.templatetags.async_commander_pages import badge, count, duration, in_words, moment, rate, value

from . import run_page
from .actions import ACTIONS, Action
from .commands import CommandPage, all_commands
from .drawing import shares, sparkline
from .forms import LimitsForm
from .pages import STYLES, BoundedPaginator, ReadOnly, newest, state_shown
from .permissions import may

if TYPE_CHECKING:
    from django.http import HttpRequest
    from django.urls import URLPattern
    from django.utils.safestring import SafeString

    OneRunAdmin = admin.ModelAdmin[Run]
else:
    OneRunAdmin = admin.ModelAdmin

ARGUMENTS_WIDTH = 80
LONG_COLUMNS = ("output", "traceback", "value", "would", "cursor")
_PAIR = re.compile(r"(?P<name>[A-Za-z_]\w*)=(?P<value>.*)", re.DOTALL)


FILTER = "admin/async_commander/filter.html"


class StatusFilter(admin.ChoicesFieldListFilter):
    """In which state."""

    template = FILTER


class StartedFilter(admin.DateFieldListFilter):
    """Since when."""

    template = FILTER


class RecordedFilter(admin.SimpleListFilter):
    """The values that runs have in a column that has an index: no list of runs is read for them."""

    template = FILTER
    column: Any = ""

    def lookups(self, request: HttpRequest, model_admin: admin.ModelAdmin[Run]) -> list[tuple[str, str]]:
        """What there is."""
        return [(name, name) for name in recorded(model_admin.get_queryset(request).db, self.column)]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Run]) -> QuerySet[Run]:
        """Runs of the one that was chosen; "" is none."""
        del request
        chosen = self.value()
        return queryset if chosen is None else queryset.filter(**{self.column: chosen})


class CommandFilter(RecordedFilter):
    """Of which command."""

    title, parameter_name, column = _("command"), "command__exact", "command"


class UserFilter(RecordedFilter):
    """Who asked for it."""

    title, parameter_name, column = _("user"), "user__exact", "user"


class RunList(ChangeList):
    """A page of runs, with what is known of them beside their rows: some queries, however many runs it shows."""

    def get_results(self, request: HttpRequest) -> None:
        """As Django's, and then what the columns show."""
        super().get_results(request)
        self.result_list = list(self.result_list)
        alias = self.root_queryset.db
        states = states_seen(alias, self.result_list)
        resumed = resumed_among(alias, self.result_list)
        for run in self.result_list:
            run.seen, run.resumed = state_shown(run, states[run.pk]), run.pk in resumed
        self.trends = [
            (command, sparkline(last), last[-1]) for command, last in sorted(recent_of(alias, self.result_list).items())
        ]


@admin.register(Run)
class RunAdmin(ReadOnly, OneRunAdmin):
    """The runs, newest first. Those whose owner is gone are shown as crashed; who looks here changes nothing."""

    list_display = ("named", "state", "begun", "took", "items", "pace", "errors", "asked_by")
    list_display_links = None
    empty_value_display = ""
    list_filter = (("status", StatusFilter), CommandFilter, UserFilter, ("started", StartedFilter))
    search_fields = ("command",)
    search_help_text = _(
        "A run's number, a part of its command, of a value of its arguments or of its error; name=value"
    )
    ordering = ("-id",)
    sortable_by = ()
    list_per_page = 50
    show_full_result_count = False
    show_facets = admin.ShowFacets.NEVER
    paginator = BoundedPaginator
    may_be_asked = frozenset({
        "id", "id__exact", "command", "command__exact", "status", "status__exact", "started__gte", "started__lt",
        "started__year", "started__month", "started__day", "user__exact",
    })  # fmt: skip

    class Media:
        css = STYLES

    # -- the list ----------------------------------------------------------------------------------------------

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> Any:
        """See RunList."""
        return super().changelist_view(request, {"title": gettext("Runs"), **(extra_context or {})})

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> type[ChangeList]:
        """See RunList."""
        del request, kwargs
        return RunList

    def get_queryset(self, request: HttpRequest) -> QuerySet[Run]:
        """Without the columns that a list has no room for; shards are on the pages of their runs."""
        return super().get_queryset(request).filter(shard=None).defer(*LONG_COLUMNS)

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[Run], search_term: str
    ) -> tuple[QuerySet[Run], bool]:
        """Runs that have each of the words in their number, command, arguments or error; among the newest ones."""
        del request
        if not search_term.strip():
            return queryset, False
        found = newest(queryset).annotate(said=Cast("parameters", TextField()))
        for place, bit in enumerate(smart_split(search_term)):
            word = unescape_string_literal(bit) if bit[:1] in {'"', "'"} and bit[0] == bit[-1] and bit[1:] else bit
            as_json = json.dumps(word)[1:-1]  # where JSON is kept as a text, it is kept in ASCII
            fits = Q(command__icontains=word) | Q(error__icontains=word) | Q(said__icontains=word)
            fits |= Q(said__icontains=as_json)
            if word.isdecimal() and len(word) < 19:
                fits |= Q(pk=int(word))
            if pair := _PAIR.fullmatch(word):
                found = found.annotate(**{f"given{place}": KT(f"parameters__{pair['name']}")})
                fits |= Q(**{f"given{place}__iexact": pair["value"]})
            found = found.filter(fits)
        return found, False

    @admin.display(description=_("run"))
    def named(self, run: Run) -> SafeString:
        """The way to its page; and what the list has room for of its arguments."""
        marks = [mark for mark, there in ((gettext("dry"), run.dry_run), (gettext("trial"), run.testing)) if there]
        given = ", ".join(f"{name}={value(one)}" for name, one in run.parameters.items() if one not in (None, "", []))
        return format_html(
            '<a href="{}">#{} <strong>{}</strong></a>{} <span class="ac-arguments" title="{}">{}</span>',
            self._page_of(run),
            run.pk,
            run.command,
            f" ({', '.join(marks)})" if marks else "",
            given,
            Truncator(given).chars(ARGUMENTS_WIDTH),
        )

    @admin.display(description=_("status"))
    def state(self, run: Run) -> SafeString:
        """The status; of a run whose owner is gone, or has missed its heartbeats on another machine, that."""
        return badge(run.seen)  # type: ignore[attr-defined]

    @admin.display(description=_("started"))
    def begun(self, run: Run) -> SafeString | str:
        """To the second, and how long ago."""
        return moment(run.started)

    @admin.display(description=_("took"))
    def took(self, run: Run) -> str:
        """The duration."""
        return duration(run.duration)

    @admin.display(description=_("items"))
    def items(self, run: Run) -> SafeString | str:
        """How many have an outcome, of how many, as a bar and in figures."""
        if not run.taken and not run.total:
            return ""
        whole = run.total if run.total is not None else run.taken
        ends = (("good", run.done, "done"), ("quiet", run.skipped, "skipped"), ("bad", run.dead, "dead"))
        parts = [(kind, number, in_words(end)) for kind, number, end in ends]
        told = count(run.settled)
        if whole != run.settled:
            told = gettext("%(settled)s of %(whole)s") % {"settled": told, "whole": count(whole)}
        return format_html(
            '<span class="ac-items">{} <span class="nowrap">{}</span></span>', shares(parts, whole, told), told
        )

    @admin.display(description=_("items/s"))
    def pace(self, run: Run) -> SafeString | str:
        """Items per second, over the whole run; pauses have no speed."""
        if run.resumed:  # type: ignore[attr-defined]
            return format_html(
                '<span title="{}">{}</span>', gettext("the time it took counts its pauses"), gettext("resumed")
            )
        return rate(run.rate) if run.taken else ""

    @admin.display(description=_("errors"))
    def errors(self, run: Run) -> SafeString | str:
        """Items that were given up; else what the run failed with."""
        if run.dead:
            return format_html('<span class="ac-text-bad">{}</span>', count(run.dead))
        return (
            format_html('<span class="ac-error">{}</span>', Truncator(run.error).chars(ARGUMENTS_WIDTH))
            if run.error
            else ""
        )

    @admin.display(description=_("by"))
    def asked_by(self, run: Run) -> str:
        """Who or what began it."""
        return f"{run.user} ({in_words(run.trigger)})" if run.user else in_words(run.trigger)

    # -- the page of one ---------------------------------------------------------------------------------------

    def get_urls(self) -> list[URLPattern]:
        """Beside Django's: what a page that is open asks for."""
        ours = self.admin_site.admin_view
        return [
            path("commands/", ours(self.commands_view), name="async_commander_commands"),
            path("commands/<str:name>/", ours(self.command_view), name="async_commander_command"),
            path("<path:object_id>/live/", ours(self.live_view), name="async_commander_run_live"),
            path("<path:object_id>/do/<slug:name>/", ours(self.action_view), name="async_commander_run_action"),
            *super().get_urls(),
        ]

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: dict[str, Any] | None = None
    ) -> Any:
        """One run. Nothing is changed here, whatever is posted."""
        if request.method == "POST":
            return super().change_view(request, object_id, form_url, extra_context)
        run = self.get_object(request, object_id)
        if not self.has_view_permission(request, run):
            return super().change_view(request, object_id, form_url, extra_context)
        if run is None:
            return super().change_view(request, object_id, form_url, extra_context)  # which says so
        page = run_page.RunPage(run, request)
        context = {
            **self.admin_site.each_context(request),
            "title": f"{run.command} #{run.pk}",
            "opts": self.opts,
            "original": run,
            "media": self.media,
            "live": reverse(f"{self.admin_site.name}:async_commander_run_live", args=[run.pk]),
            **page.context(),
            **(extra_context or {}),
        }
        return TemplateResponse(request, "admin/async_commander/run/page.html", context)

    def get_object(self, request: HttpRequest, object_id: str, from_field: str | None = None) -> Run | None:
        """With all of its columns."""
        del from_field
        if not object_id.isdecimal() or len(object_id) > 18:
            return None
        return super().get_queryset(request).filter(pk=int(object_id)).first()

    def live_view(self, request: HttpRequest, object_id: str) -> HttpResponseBase:
        """What is new on the page of a run since its cursor, as JSON."""
        run = self.get_object(request, object_id)
        if run is None or not self.has_view_permission(request, run):
            raise Http404
        answer = JsonResponse(run_page.RunPage(run, request).since(request.GET.get("cursor", "")))
        answer["Cache-Control"] = "no-store"
        return answer

    # -- what is done ------------------------------------------------------------------------------------------

    def action_view(self, request: HttpRequest, object_id: str, name: str) -> HttpResponseBase:
        """Asks whether an action is meant; does it, where that is posted. It is noted with the user."""
        run, action = self.get_object(request, object_id), ACTIONS.get(name)
        if run is None or action is None or not self.has_view_permission(request, run):
            raise Http404
        if not may(request.user, action.needs, run.command):
            raise PermissionDenied
        if request.method == "POST":
            return self._done(request, run, action)
        return self._asked(request, run, action, action.form(run) if action.form else None)

    def _asked(self, request: HttpRequest, run: Run, action: Action, form: LimitsForm | None) -> HttpResponseBase:
        context = {
            **self.admin_site.each_context(request),
            "title": f"{action.label}: {run.command} #{run.pk}",
            "opts": self.opts,
            "media": self.media,
            "run": run,
            "action": action,
            "form": form,
            "fits": action.fits(run, state_seen(run)),
            "kinds": request.GET.getlist("kind"),
            "keys": request.GET.getlist("key"),
            "page": self._page_of(run),
        }
        return TemplateResponse(request, "admin/async_commander/run/confirm.html", context)

    def _page_of(self, run: Run) -> str:
        return reverse(f"{self.admin_site.name}:async_commander_run_change", args=[run.pk])

    def _done(self, request: HttpRequest, run: Run, action: Action) -> HttpResponseBase:
        try:
            told = action.carry_out(run, request)
        except (AsyncCommanderError, TypeError, ValueError) as error:
            self.message_user(request, f"{action.label}: {error}", messages.ERROR)
            return HttpResponseRedirect(self._page_of(run))
        if isinstance(told, LimitsForm):
            return self._asked(request, run, action, told)
        if isinstance(told, HttpResponseBase):
            self.log_change(request, run, f"{action.label}.")
            return told
        if isinstance(told, Run):
            return self._sent(
                request, told, gettext("%(action)s: run %(run)s.") % {"action": action.label, "run": run.pk}
            )
        self.log_change(request, run, f"{action.label}: {told}")
        self.message_user(request, told, messages.SUCCESS)
        return HttpResponseRedirect(self._page_of(run))

    def _sent(self, request: HttpRequest, run: Run, noted: str) -> HttpResponseBase:
        self.log_addition(request, run, noted)
        self.message_user(
            request, gettext("The run waits for a worker: this page shows when it begins."), messages.SUCCESS
        )
        return HttpResponseRedirect(self._page_of(run))

    def commands_view(self, request: HttpRequest) -> HttpResponseBase:
        """Which commands there are."""
        if not self.has_view_permission(request):
            raise PermissionDenied
        shown = {"title": gettext("Commands"), "apps": all_commands(), "opts": self.opts, "media": self.media}
        context = {**self.admin_site.each_context(request), **shown}
        return TemplateResponse(request, "admin/async_commander/commands.html", context)

    def command_view(self, request: HttpRequest, name: str) -> HttpResponseBase:
        """One command. A form that is posted has a worker run it, on a trial basis or for good, or counts its items."""
        if not self.has_view_permission(request):
            raise PermissionDenied
        try:
            page = CommandPage(name, request, self.get_queryset(request).db)
        except CommandNotFound as error:
            raise Http404(str(error)) from error
        form, counted = page.form(), ""
        if form is None and request.method == "POST":
            raise PermissionDenied
        if form is not None and request.method == "POST" and form.is_valid():
            if "_count" in request.POST:
                counted = page.count(form)
            elif (sent := page.send(form)) is not None:
                return self._sent(request, sent, gettext("Run, dry.") if sent.dry_run else gettext("Run."))
        context = {
            **self.admin_site.each_context(request),
            "title": name,
            "opts": self.opts,
            "media": self.media,
            "form": form,
            "items": counted,
            **page.context(),
        }
        return TemplateResponse(request, "admin/async_commander/command.html", context)
