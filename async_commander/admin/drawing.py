"""Bars as SVG, drawn here: attributes and classes only, so that `default-src 'self'` is enough for them.

Each picture says in words what it shows; where it shows figures, a table beside it has them.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from django.utils.html import format_html, format_html_join
from django.utils.translation import gettext

from async_commander.history.moments import moment
from async_commander.templatetags.async_commander_pages import count, duration, in_words, kind_of_state

if TYPE_CHECKING:
    from django.utils.safestring import SafeString

    from async_commander.history.timeline import Timeline
    from async_commander.models import Run

HEIGHT = 100
SPARK_HEIGHT, SPARK_STEP = 20, 6
LEAST = 2
"""No bar of something is lower: it would not be seen."""

Rect = tuple[str, float, float, float, float, str]
"""Its class, x, y, width, height and what it says."""


def _picture(rects: Iterable[Rect], width: float, height: float, kind: str, told: str) -> SafeString:
    drawn = ((kind, *(f"{number:.2f}" for number in place), told) for kind, *place, told in rects)
    return format_html(
        '<svg class="{}" viewBox="0 0 {} {}" preserveAspectRatio="none" role="img" aria-label="{}" focusable="false">{}'
        "</svg>",
        kind,
        f"{width:g}",
        f"{height:g}",
        told,
        format_html_join(
            "", '<rect class="ac-fill-{}" x="{}" y="{}" width="{}" height="{}"><title>{}</title></rect>', drawn
        ),
    )


def shares(parts: Sequence[tuple[str, int, str]], total: int, told: str) -> SafeString:
    """One bar, of which each part (its class, how many, its name) takes its share of `total`; what is left is empty."""
    whole, at, rects = max(total, sum(number for _, number, _ in parts), 1), 0.0, []
    for kind, number, name in parts:
        share = number / whole * 100
        if number:
            rects.append((kind, at, 0.0, max(share, 0.5), 10.0, f"{count(number)} {name}"))
        at += share
    return _picture(rects, 100, 10, "ac-shares", told)


def over_time(timeline: Timeline) -> SafeString:
    """Bars of what was done, and on top of them of what failed, in each stretch of time."""
    points = timeline.points
    most = max((point.done + point.errors for point in points), default=0) or 1
    rects: list[Rect] = []
    for place, point in enumerate(points):
        figures = {"done": count(point.done), "errors": count(point.errors)}
        said = gettext("%(done)s done, %(errors)s errors") % figures
        at = f"{moment(point.at)}, {duration(timeline.seconds)}: {said}"
        done = max(point.done / most * HEIGHT, LEAST) if point.done else 0.0
        errors = max(point.errors / most * HEIGHT, LEAST) if point.errors else 0.0
        errors = min(errors, HEIGHT - done) if done + errors > HEIGHT and done > errors else errors
        done = min(done, HEIGHT - errors)
        rects += [("good", place + 0.08, HEIGHT - done, 0.84, done, at)] if done else []
        rects += [("bad", place + 0.08, HEIGHT - done - errors, 0.84, errors, at)] if errors else []
    sums = sum(point.done for point in points), sum(point.errors for point in points)
    told = gettext("Done and errors over time: %(done)s done, %(errors)s errors, at most %(most)s in %(seconds)s s") % {
        "done": count(sums[0]),
        "errors": count(sums[1]),
        "most": count(most),
        "seconds": timeline.seconds,
    }
    return _picture(rects, max(len(points), 1), HEIGHT, "ac-chart", told)


def sparkline(runs: Sequence[Run], places: int = 20) -> SafeString:
    """The last runs of a command, the newest at the right: as high as they took long, in the colour of their end."""
    return _durations(runs, places, SPARK_STEP, SPARK_HEIGHT, "ac-spark", linked=False)


def trend(runs: Sequence[Run]) -> SafeString:
    """The same, large."""
    return _durations(runs, max(len(runs), 20), 1, HEIGHT, "ac-chart", linked=True)


def _durations(runs: Sequence[Run], places: int, step: float, height: float, kind: str, *, linked: bool) -> SafeString:
    seconds = [run.duration.total_seconds() if run.duration else 0.0 for run in runs]
    longest, before = max(seconds, default=0.0) or 1.0, max(places - len(runs), 0)
    rects: list[Rect] = []
    for place, (run, took) in enumerate(zip(runs, seconds, strict=True)):
        tall = max(took / longest * height, height * 0.12)
        said = f"#{run.pk} {in_words(run.status)}, {moment(run.started)}, {duration(took)}"
        rects.append((kind_of_state(run.status), (before + place + 0.1) * step, height - tall, step * 0.8, tall, said))
    ends = [run.status for run in runs]
    counted = ", ".join(f"{ends.count(one)} {in_words(one)}" for one in dict.fromkeys(ends))
    which = gettext("The last %(number)s runs: %(counted)s; the longest took %(longest)s") % {
        "number": len(runs),
        "counted": counted,
        "longest": duration(max(seconds, default=0.0)),
    }
    return _picture(rects, places * step, height, kind, which if linked or runs else gettext("No runs"))


STAGES = (("wait", "quiet"), ("download", "busy"), ("parse", "good"), ("save", "warn"))
"""The parts of an item's way, with the class that each is drawn in."""


def lane(item: dict[str, int | None], longest: int) -> SafeString:
    """One item's way through its stages; `longest` is the time of the longest one, in milliseconds."""
    at, rects, told = 0.0, list[Rect](), []
    for stage, kind in STAGES[1:]:
        took = item.get(stage) or 0
        width = took / max(longest, 1) * 100
        if took:
            said = f"{in_words(stage)} {count(took)} ms"
            rects.append((kind, at, 0.0, max(width, 0.3), 10.0, said))
            told.append(said)
        at += width
    return _picture(rects, 100, 10, "ac-lane", ", ".join(told) or gettext("no times"))
