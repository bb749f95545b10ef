"""The log lines of runs in the admin."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from django.contrib import admin
from django.utils.formats import date_format
from django.utils.html import format_html
from django.utils.text import Truncator
from django.utils.timezone import is_aware, localtime
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from async_commander.models import RunLog

from .pages import OF_ONE_RUN, OfRun, lines_of

if TYPE_CHECKING:
    from django.db.models import QuerySet
    from django.http import HttpRequest
    from django.utils.safestring import SafeString

LEVELS = (logging.INFO, logging.WARNING, logging.ERROR, logging.CRITICAL)
MESSAGE_WIDTH = 200


class LevelFilter(admin.SimpleListFilter):
    """Log lines from a level on."""

    title = _("level")
    parameter_name = "from_level"

    def lookups(self, request: HttpRequest, model_admin: admin.ModelAdmin[RunLog]) -> list[tuple[str, str]]:
        """The levels above the lowest one, by name."""
        del request, model_admin
        return [
            (str(level), gettext("%(level)s and above") % {"level": logging.getLevelName(level)}) for level in LEVELS
        ]

    def queryset(self, request: HttpRequest, queryset: QuerySet[RunLog]) -> QuerySet[RunLog]:
        """Lines of the level that was chosen and of those above it."""
        del request
        chosen = self.value() or ""
        return queryset.filter(level__gte=int(chosen)) if chosen in {*map(str, LEVELS)} else queryset


@admin.register(RunLog)
class RunLogAdmin(OfRun):
    """The log lines."""

    list_display = ("time", "level_name", "beginning", "of_run")
    list_display_links = ("time",)
    list_filter = (LevelFilter,)
    search_fields = ("message",)
    may_be_asked = OF_ONE_RUN | {"item_key", "item_key__exact", "from_level"}
    lines_of_message = lines_of("message", _("message"))
    readonly_fields = ("of_run", "time", "level_name", "lines_of_message")
    fields = ("of_run", "time", "level_name", "logger", "lines_of_message", "item_key")

    @admin.display(description=_("time"), ordering="at")
    def time(self, line: RunLog) -> SafeString:
        """To the second: lines of one minute have an order."""
        at = localtime(line.at) if is_aware(line.at) else line.at
        return format_html('<span class="nowrap">{}</span>', date_format(at, "Y-m-d H:i:s"))

    @admin.display(description=_("message"))
    def beginning(self, line: RunLog) -> str:
        """What the list has room for."""
        return Truncator(line.message).chars(MESSAGE_WIDTH)

    @admin.display(description=_("level"), ordering="level")
    def level_name(self, line: RunLog) -> str:
        """WARNING in the place of 30."""
        return logging.getLevelName(line.level)
