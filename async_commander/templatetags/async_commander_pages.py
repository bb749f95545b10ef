"""Values as the pages of the admin show them: always escaped, times to the second, figures as the terminal has them."""

from __future__ import annotations

import json
import logging
from datetime import datetime, timedelta
from typing import Any

from django import template
from django.utils import timezone
from django.utils.formats import get_format
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString
from django.utils.translation import gettext, ngettext

from async_commander.history.moments import moment as to_the_second
from async_commander.results import Asked, RunStatus
from async_commander.text import amounts

NONE = "–"
VALUE_WIDTH = 300

register = template.Library()

register.filter("to_second", to_the_second)


def localized(text: str) -> str:
    """Figures with their unit as the language writes them: 1,240.5 s is 1.240,5 s in German."""
    separators = {",": get_format("THOUSAND_SEPARATOR"), ".": get_format("DECIMAL_SEPARATOR")}
    return text.translate(str.maketrans(separators))


@register.filter
def count(number: int) -> str:
    """A count with thousands set apart."""
    return localized(amounts.count(number))


def items_in_words(number: int) -> str:
    """A count of items: "1 item", "12,345 items"."""
    return ngettext("%(count)s item", "%(count)s items", number) % {"count": count(number)}


@register.filter
def in_words(word: str) -> str:
    """A state, a stage or the like in the language of the page; what it has no word for stays as it is."""
    return gettext(word) if word else ""


_KINDS = {
    RunStatus.SUCCEEDED.value: ("good", "✓"),
    RunStatus.RUNNING.value: ("busy", "▶"),
    RunStatus.WAITING.value: ("warn", "?"),
    "paused": ("warn", "‖"),
    RunStatus.PARTIAL.value: ("warn", "◐"),
    RunStatus.INTERRUPTED.value: ("warn", "■"),
    RunStatus.FAILED.value: ("bad", "✗"),
    RunStatus.CRASHED.value: ("bad", "✗"),
    "done": ("good", "✓"),
    "dead": ("bad", "✗"),
    "retry": ("warn", "↻"),
}
"""How a state looks; its sign is there for those who do not see the colour, and its name for those who see neither."""


def kind_of_state(state: str) -> str:
    """Which class of the style sheet a state has."""
    return "bad" if "no sign of life" in state else _KINDS.get(state, ("quiet", ""))[0]


@register.filter
def by(asked: Asked) -> str:
    """Who asked for it, behind what was asked for."""
    return " " + gettext("by %(user)s") % {"user": asked.by} if asked.by else ""


@register.filter
def badge(state: str) -> SafeString:
    """A state with its colour and its sign."""
    sign = "✗" if "no sign of life" in state else _KINDS.get(state, ("quiet", "○"))[1]
    return format_html(
        '<span class="ac-badge ac-{}"><span aria-hidden="true">{}</span> <span class="ac-state">{}</span></span>',
        kind_of_state(state),
        sign,
        in_words(state),
    )


@register.filter
def moment(at: datetime | None) -> SafeString | str:
    """A point in time to the second, and how long ago it was."""
    if at is None:
        return NONE
    now = timezone.now() if timezone.is_aware(at) else datetime.now()  # noqa: DTZ005 - as the project keeps them
    return format_html(
        '<time datetime="{}"><span class="nowrap">{}</span> <span class="ac-ago">{}</span></time>',
        at.isoformat(),
        to_the_second(at),
        ago(now - at),
    )


def ago(passed: timedelta) -> str:
    """How long ago something was, in one unit."""
    seconds = passed.total_seconds()
    if seconds < 0:
        return gettext("in the future")
    for unit, said in (
        (86_400, gettext("%(number)s days ago")),
        (3_600, gettext("%(number)s h ago")),
        (60, gettext("%(number)s min ago")),
    ):
        if seconds >= 2 * unit:
            return said.replace(" ", "\N{NO-BREAK SPACE}") % {"number": count(int(seconds // unit))}
    told = gettext("%(number)s s ago") % {"number": int(seconds)} if seconds >= 1 else gettext("just now")
    return told.replace(" ", "\N{NO-BREAK SPACE}")


@register.filter
def duration(seconds: float | timedelta | None) -> str:
    """A stretch of time, with blanks that do not break."""
    if seconds is None:
        return NONE
    number = seconds.total_seconds() if isinstance(seconds, timedelta) else seconds
    return localized(amounts.duration(number)).replace(" ", "\N{NO-BREAK SPACE}")


@register.filter
def milliseconds(number: float | None) -> str:
    """A latency: 12 ms, 3.4 s."""
    if number is None:
        return NONE
    return localized(f"{number:,.0f}\N{NO-BREAK SPACE}ms") if number < 1000 else duration(number / 1000)


@register.filter
def rate(per_second: float | None) -> str:
    """Items per second."""
    return localized(amounts.rate(per_second)) or NONE


@register.filter
def lines(text: str) -> SafeString | str:
    """A text as it was written: with its lines, and the blanks that they begin with. The keyboard scrolls it."""
    return format_html('<pre class="async-commander-lines" tabindex="0">{}</pre>', text) if text else NONE


@register.filter
def value(given: Any) -> str:
    """A stored value, as JSON unless it is a text."""
    return given if isinstance(given, str) else json.dumps(given, ensure_ascii=False, default=str)


@register.filter
def breakable(text: str) -> SafeString:
    """A label; the path of a URL may go on in the next line."""
    parts = text.split("/")
    return format_html("{}{}", parts[0], format_html_join("", "/<wbr>{}", ((part,) for part in parts[1:])))


@register.filter
def level_name(level: int) -> str:
    """WARNING in the place of 30."""
    return logging.getLevelName(level)
