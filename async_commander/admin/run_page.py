"""What the page of one run shows, part by part; the parts that change are made again for a page that is open."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

from django.contrib.contenttypes.models import ContentType
from django.template.loader import render_to_string
from django.urls import reverse
from django.utils.translation import gettext

from async_commander.history.figures import latencies_of
from async_commander.history.orders import bound_in_words, changed_limits, yes_or_no
from async_commander.history.provenance import COUNTED, touched_by
from async_commander.history.reading import resumed_among, state_seen, steps_of
from async_commander.history.timeline import progress_of, timeline_of
from async_commander.models import Run, RunLog, RunSlowest
from async_commander.results import (
    AT_WORK,
    CREATED,
    DELETED,
    UNDELETED,
    UPDATED,
    UPSERTED,
    Asked,
    ItemState,
    RunStatus,
)
from async_commander.templatetags.async_commander_pages import count, in_words

from .actions import ACTIONS
from .drawing import STAGES, lane, over_time, shares
from .pages import state_shown
from .permissions import may

if TYPE_CHECKING:
    from django.http import HttpRequest

STEPS_SHOWN = 20
KINDS_SHOWN = 50
SLOW_SHOWN = 10
"""The others are folded away."""
LINES_SHOWN = 100
LEVELS = (logging.DEBUG, logging.INFO, logging.WARNING, logging.ERROR)
FIGURES_SECONDS = 5
"""How often a page that is open gets its pictures and tables anew; what the run is doing now it gets each time."""
LIVE_PARTS = ("now", "actions", "figures")
LAST_PARTS = (*LIVE_PARTS, "ending", "objects")
"""What is made anew when a run has ended."""
_AT_WORK = frozenset({RunStatus.QUEUED.value, *AT_WORK})
_VERBS = (CREATED, UPSERTED, UPDATED, DELETED, UNDELETED)


class RunPage:
    """One run, for one reader, who sees of the rows beside it what they may view."""

    def __init__(self, run: Run, request: HttpRequest) -> None:
        self.run = run
        self.state = state_seen(run)
        self.shown = state_shown(run, self.state)
        self._request = request
        level = request.GET.get("level", "")
        self._level = int(level) if level in {*map(str, LEVELS)} else logging.DEBUG

    def context(self) -> dict[str, Any]:
        """All of it."""
        newest, lines = self._log()
        every: dict[str, Any] = {}
        for part in _PARTS.values():
            every |= part(self)
        return every | {
            "run": self.run,
            "state": self.shown,
            "at_work": self.state in _AT_WORK,
            "log": lines,
            "may_read_log": self._may_view("runlog"),
            "level": self._level,
            "levels": [(level, logging.getLevelName(level)) for level in LEVELS],
            "cursor": self._cursor(newest),
            "children": list(self.run.children.only("command", "status", "started").order_by("pk")[:LINES_SHOWN]),
        }

    def since(self, cursor: str) -> dict[str, Any]:
        """What a page that has all up to `cursor` needs: parts to be shown in the place of old ones, and log lines."""
        last, _, drawn = cursor.partition(".")
        after = int(last) if last.isdecimal() and len(last) < 19 else None
        seen = int(drawn) if drawn.isdecimal() and len(drawn) < 19 else 0
        ended = self.state not in _AT_WORK
        due = ended or time.time() - seen >= FIGURES_SECONDS
        names = LAST_PARTS if ended else LIVE_PARTS if due else LIVE_PARTS[:2]
        newest, lines = self._log(after)
        return {
            "cursor": self._cursor(newest or after or 0, None if due else seen),
            "ended": ended,
            "state": in_words(self.shown),
            "parts": {name: self._rendered(name, _PARTS[name](self)) for name in names},
            "log": self._rendered("lines", {"log": lines}) if lines else "",
        }

    def _cursor(self, line: int, drawn: int | None = None) -> str:
        return f"{line}.{int(time.time()) if drawn is None else drawn}"

    def _rendered(self, name: str, context: dict[str, Any]) -> str:
        given = {"run": self.run, "state": self.shown, "at_work": self.state in _AT_WORK, **context}
        return render_to_string(f"admin/async_commander/run/_{name}.html", given, request=self._request)

    def _may_view(self, *models: str) -> bool:
        return all(self._request.user.has_perm(f"async_commander.view_{model}") for model in models)

    # -- its parts ---------------------------------------------------------------------------------------------

    def now(self) -> dict[str, Any]:
        """How far it is, and at what pace."""
        run, progress = self.run, progress_of(self.run)
        whole = run.total if run.total is not None else run.taken
        in_hand = run.claimed if self.state in _AT_WORK else 0
        parts = [
            ("good", run.done, in_words("done")),
            ("quiet", run.skipped, in_words("skipped")),
            ("bad", run.dead, in_words("dead")),
            ("busy", in_hand, gettext("in hand")),
        ]
        counted = [*parts, ("warn", run.retry, gettext("to be tried again"))]
        told = ", ".join(f"{count(number)} {name}" for _, number, name in counted if number)
        return {
            "progress": progress,
            "percent": None if progress.share is None else f"{progress.share * 100:.0f}",
            "bar": shares(parts, whole, told or gettext("nothing yet")) if whole else None,
            "resumed": run.pk in resumed_among(run._state.db or "default", [run]),
            "counters": [
                (name, number, _items_of(run, state) if state and number and self._may_view("runitem") else "", kind)
                for name, number, state, kind in (
                    (in_words("done"), run.done, ItemState.DONE, "good"),
                    (in_words("skipped"), run.skipped, ItemState.SKIPPED, "quiet"),
                    (in_words("dead"), run.dead, ItemState.DEAD, "bad"),
                    (gettext("to be tried again"), run.retry, ItemState.RETRY, "warn"),
                    (gettext("in hand"), run.claimed, None, "busy"),
                )
                if number or state in (ItemState.DONE, ItemState.DEAD)
            ],
            **(self._asked_of_it() if self.state in AT_WORK else {}),
        }

    def _asked_of_it(self) -> dict[str, Any]:
        """What it waits for, and what was asked of it while it is at work."""
        run, answer = self.run, Asked.of(self.run.orders.get("answer"))
        changed = changed_limits(run).items()
        return {
            "question": run.question if run.status == RunStatus.WAITING.value else "",
            "answer": answer,
            "answered": in_words(yes_or_no(answer.to)) if answer else "",
            "answer_url": self._action_url("answer"),
            "changed": [(name, in_words(bound_in_words(run.limits.get(name))), asked) for name, asked in changed],
        }

    def actions(self) -> dict[str, Any]:
        """What the reader may do about it as it is."""
        return {"actions": [action for action in ACTIONS.values() if self._action_url(action.name)]}

    def _action_url(self, name: str) -> str:
        """The address of an action; empty where the run cannot have it, or the reader may not."""
        action = ACTIONS[name]
        if not action.fits(self.run, self.state) or not may(self._request.user, action.needs, self.run.command):
            return ""
        return reverse("admin:async_commander_run_action", args=[self.run.pk, name])

    def figures(self) -> dict[str, Any]:
        """The pictures and tables of how it went."""
        timeline = timeline_of(self.run)
        may_read = self._may_view("runitem")
        slowest = list(self._slowest()) if may_read else []
        return {
            "timeline": timeline,
            "over_time": over_time(timeline) if timeline.points else None,
            "most": max((point.done + point.errors for point in timeline.points), default=0),
            "latencies": latencies_of(self.run),
            "kinds": list(self.run.error_kinds.order_by("-count", "kind")[:KINDS_SHOWN]),
            "may_read_items": may_read,
            "items_url": _items_of(self.run),
            "retry_url": self._action_url("retry"),
            "slowest": {"first": slowest[:SLOW_SHOWN], "rest": slowest[SLOW_SHOWN:]} if slowest else None,
            "stages": STAGES[1:],
            "steps": steps_of(self.run, STEPS_SHOWN) if may_read and self._may_view("runlog") else [],
        }

    def _slowest(self) -> Iterator[dict[str, Any]]:
        row = RunSlowest.objects.using(self.run._state.db).filter(pk=self.run.pk).first()
        items: list[dict[str, Any]] = row.items if row else []
        longest = max((item["ms"] for item in items), default=0)
        for item in items:
            url = reverse("admin:async_commander_runitem_changelist")
            yield {
                **item,
                "lane": lane(item, longest),
                "url": f"{url}?{urlencode({'run__id__exact': self.run.pk, 'key': item['key']})}",
            }

    def ending(self) -> dict[str, Any]:
        """What it came to."""
        would = [(label, [rows.get(verb, "") for verb in _VERBS]) for label, rows in sorted(self.run.would.items())]
        return {"would": would, "has_value": self.run.value is not None}

    def objects(self) -> dict[str, Any]:
        """How many of which model it has touched, each with the way to them."""
        if not self._may_view("objectlog"):
            return {"touched": None}
        counts = touched_by(self.run)
        kinds = ContentType.objects.using(self.run._state.db).in_bulk({kind for kind, _, _ in counts})
        touched: dict[str, list[tuple[str, int, str]]] = {}
        for kind, action, number in counts:
            if kind in kinds:
                wanted = {"run__id__exact": self.run.pk, "content_type__id__exact": kind, "action__exact": action}
                url = f"{reverse('admin:async_commander_objectlog_changelist')}?{urlencode(wanted)}"
                touched.setdefault(str(kinds[kind]), []).append((action, number, url))
        many = sum(number for _, _, number in counts) >= COUNTED
        return {"touched": sorted(touched.items()), "counted": COUNTED if many else None}

    def request(self) -> dict[str, Any]:
        """What was asked of it, as tables."""
        run = self.run
        tables: list[tuple[str, Mapping[str, Any]]] = [
            (gettext("Arguments"), run.parameters),
            (gettext("Options"), run.options),
            (gettext("Limits"), run.limits),
        ]
        return {"tables": [(title, list(values.items())) for title, values in tables if values]}

    def _log(self, after: int | None = None) -> tuple[int, list[RunLog]]:
        """The last lines from a level on, or those after one; and the number of the newest."""
        if not self._may_view("runlog"):
            return 0, []
        lines = self.run.logs.filter(level__gte=self._level) if self._level > logging.DEBUG else self.run.logs.all()
        if after is not None:
            lines = lines.filter(pk__gt=after)
        found = list(lines.order_by("-pk")[:LINES_SHOWN])[::-1]
        return (found[-1].pk if found else 0), found


_PARTS: dict[str, Callable[[RunPage], dict[str, Any]]] = {
    "now": RunPage.now,
    "actions": RunPage.actions,
    "figures": RunPage.figures,
    "ending": RunPage.ending,
    "objects": RunPage.objects,
    "request": RunPage.request,
}
"""In the order of the page."""


def _items_of(run: Run, state: str | None = None) -> str:
    wanted = {"run__id__exact": run.pk} | ({"state__exact": state} if state else {})
    return f"{reverse('admin:async_commander_runitem_changelist')}?{urlencode(wanted)}"
