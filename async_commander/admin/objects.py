"""What runs have touched, in the admin: a list, and a part of the pages of the objects themselves."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.contrib import admin
from django.contrib.admin.utils import quote
from django.contrib.contenttypes.models import ContentType
from django.urls import NoReverseMatch, reverse
from django.utils.formats import date_format
from django.utils.html import format_html, format_html_join
from django.utils.timezone import is_aware, localtime
from django.utils.translation import gettext_lazy as _

from async_commander.models import LoggedModel, ObjectLog
from async_commander.templatetags.async_commander_pages import in_words

from .pages import OF_ONE_RUN, OfRun

if TYPE_CHECKING:
    from django.db.models import QuerySet
    from django.http import HttpRequest
    from django.utils.safestring import SafeString

SHOWN = 20
"""Rows about an object on its own page, the newest."""


@admin.register(ObjectLog)
class ObjectLogAdmin(OfRun):
    """The objects that runs have touched."""

    list_display = ("time", "of_model", "of_object", "action", "of_run")
    list_display_links = None
    list_filter = ("action",)
    order_within_run = ("content_type", "object_id", "action")
    search_fields = ("=object_id",)
    may_be_asked = OF_ONE_RUN | {
        "action", "action__exact", "content_type", "content_type__id__exact", "object_id", "object_id__exact",
    }  # fmt: skip

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        """The rows with their run and their model."""
        return super().get_queryset(request).select_related("run", "content_type")

    @admin.display(description=_("time"), ordering="at")
    def time(self, log: ObjectLog) -> SafeString:
        """To the second."""
        return format_html('<span class="nowrap">{}</span>', _moment(log))

    @admin.display(description=_("model"))
    def of_model(self, log: ObjectLog) -> str:
        """The model's name, also where its class is gone."""
        return str(log.content_type)

    @admin.display(description=_("object"), ordering="object_id")
    def of_object(self, log: ObjectLog) -> SafeString | str:
        """The key, and the way to the object's own page, where it has one: the object is not asked for."""
        kind: ContentType = log.content_type
        try:
            url = reverse(f"admin:{kind.app_label}_{kind.model}_change", args=[quote(log.object_id)])
        except NoReverseMatch:
            return log.object_id
        return format_html('<a href="{}">{}</a>', url, log.object_id)


if TYPE_CHECKING:
    Mixed = admin.ModelAdmin[LoggedModel]
else:
    Mixed = object


class RunsOfObject(Mixed):
    """For the admin of a `LoggedModel`: the page of an object shows which runs have touched it, the newest first.

        @admin.register(Politician)
        class PoliticianAdmin(RunsOfObject, admin.ModelAdmin):
            ...

    For those who may view object logs.
    """

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> Any:
        """The author's own, and the runs."""
        own = super().get_readonly_fields(request, obj)
        shown = obj is not None and request.user.has_perm("async_commander.view_objectlog")
        return [*own, "touched_by"] if shown else own

    def get_fieldsets(self, request: HttpRequest, obj: Any = None) -> Any:
        """The author's own, and the runs behind them, where they are not among them."""
        own = super().get_fieldsets(request, obj)
        named = {field for _, options in own for field in options["fields"]}
        if "touched_by" in named or "touched_by" not in self.get_readonly_fields(request, obj):
            return own
        return [*own, (None, {"fields": ("touched_by",)})]

    @admin.display(description=_("runs"))
    def touched_by(self, obj: LoggedModel) -> SafeString | str:
        """What was done, when, by which run: one query."""
        logs = obj.command_logs.select_related("run").order_by("-pk")[:SHOWN]
        rows = (
            (
                in_words(log.action),
                _moment(log),
                reverse("admin:async_commander_run_change", args=[log.run_id]),
                log.run,
            )
            for log in logs
        )
        table = format_html_join("", '<tr><th>{}</th><td>{}</td><td><a href="{}">{}</a></td></tr>', rows)
        return format_html("<table>{}</table>", table) if table else "–"


def _moment(log: ObjectLog) -> str:
    return date_format(localtime(log.at) if is_aware(log.at) else log.at, "Y-m-d H:i:s")
