"""One run in full: what it was asked, what it did, what failed and why."""

from __future__ import annotations

import json
import logging
from dataclasses import asdict, dataclass
from itertools import dropwhile
from typing import TYPE_CHECKING, Any

from django.contrib.contenttypes.models import ContentType
from django.core.exceptions import ImproperlyConfigured

from async_commander.command.declaration import declaration_of
from async_commander.command.options import KEPT
from async_commander.command.registry import get_command
from async_commander.exceptions import AsyncCommanderError
from async_commander.history.figures import latencies_of, speed_of
from async_commander.history.ledger_rows import cursor_of
from async_commander.history.moments import moment
from async_commander.history.orders import changed_limits
from async_commander.history.provenance import COUNTED, touched_by
from async_commander.history.reading import steps_of
from async_commander.history.shards import shards_of
from async_commander.results import AT_WORK, Asked, ErrorKind, ItemState, items_in_words
from async_commander.text.amounts import count, duration, rate
from async_commander.text.clean import plain, plain_block

from .formatting import columns, sparkline, would_delete, would_write
from .runs import SILENT, as_json, state_of, style_of, took
from .summary import errors_title

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from django.core.management.color import Style

    from async_commander.models import Run, RunItem, RunLog

ITEMS_SHOWN = 10
LOG_SHOWN = 10
MORE_SHOWN = 100
ERROR_WIDTH = 300
MARGIN = "  "
TRACEBACK = "Traceback (most recent call last):"

_NAMES = {"retry": "to be tried again", "claimed": "in hand"}


Section = tuple[str, list[str]]
"""A title, and the lines under it; none where there is nothing to show."""


@dataclass(frozen=True, slots=True)
class RunPage:
    """What `aruns show` shows of a run. `more`: longer lists, the output and the traceback as well."""

    run: Run
    style: Style
    resumed: bool = False
    more: bool = False
    width: int | None = None
    """Of the terminal; None where nobody breaks lines."""
    bars: bool = True
    """Whether the terminal has characters for bars."""

    def lines(self) -> Iterator[str]:
        """The page, line by line."""
        run, state = self.run, state_of(self.run)
        command = self.style.MIGRATE_LABEL(plain(run.command))
        yield f"Run {run.pk}  {command}  {style_of(state, self.style)(state)}{_marks(run)}"
        yield ""
        for line in columns([[name, value] for name, value in self._facts().items() if value]):
            yield f"{MARGIN}{line}"
        sections = [
            self._latencies(),
            self._steps(),
            self._shards(),
            self._objects(),
            *self._would(),
            self._errors(),
            self._dead(),
            self._log(),
        ]
        if self.more:
            sections += [("Output", plain_block(run.output)), ("Traceback", plain_block(run.traceback))]
        for title, lines in sections:
            if lines:
                yield ""
                yield self.style.MIGRATE_LABEL(title)
                yield from (f"{MARGIN}{line}".rstrip() for line in lines)

    def _facts(self) -> dict[str, str]:
        """What was asked, and how it went; empty values are not shown."""
        run, speeds = self.run, speed_of(self.run)
        after = f"after {took(run)}"
        if self.resumed:
            after = f"{took(run)} after its first start; it was resumed, the pauses count"
        if run.finished:
            end = f"{moment(run.finished)}, {after}"
        elif state_of(run) == SILENT:
            takes_over = "; --resume takes the run over" if _can_be_resumed(run) else ""
            end = f"no sign of life since {moment(run.heartbeat)}{takes_over}"
        else:
            end = f"not yet, {after}" if run.status in AT_WORK else ""
        return {
            "started": f"{moment(run.started)}{origin(run)}",
            "finished": end,
            "items": figures(run),
            "removed": f"the rows of items that are done, on {moment(run.pruned)}" if run.pruned else "",
            "source": f"settled up to item {count(safe.place)}" if (safe := cursor_of(run)) else "",
            "rate": rate(run.rate) if run.taken and not self.resumed else "",
            "speed": f"{sparkline(speeds)}  up to {rate(max(speeds))}" if self.bars and any(speeds) else "",
            "question": plain(run.question),
            "paused": f"{asked_in_words(run.paused)}; aruns resume {run.pk} lets it go on" if run.paused else "",
            "arguments": pairs(run.parameters),
            "options": pairs(run.options),
            "limits": pairs(run.limits),
            "changed": ", ".join(f"{name} {asked_in_words(one)}" for name, one in changed_limits(run).items()),
            "value": shown(run.value) if run.value is not None else "",
            "error": plain(run.error),
        }

    def _latencies(self) -> Section:
        head = ["stage", "count", "median", "95th", "at most"]
        rows = [
            [plain(one.stage), count(one.count), *map(in_milliseconds, (one.median, one.p95, one.maximum))]
            for one in latencies_of(self.run)
        ]
        return "Latencies", columns([head, *rows], right=frozenset({1, 2, 3, 4})) if rows else []

    def _steps(self) -> Section:
        limit = MORE_SHOWN if self.more else ITEMS_SHOWN
        steps = steps_of(self.run, limit)
        rows = [[plain(one.label), in_milliseconds(one.parse_ms or 0), moment(one.started)] for one in steps]
        number = self.run.items.count() if len(steps) == limit else len(steps)
        title = "Steps that are kept"
        title += f", the last {limit} of {count(number)}" if number > limit else ""
        return title, columns(rows, right=frozenset({1})) if rows else []

    def _shards(self) -> Section:
        rows = [
            [str(one.shard), state_of(one), figures(one), f"run {one.pk}", plain(one.error, ERROR_WIDTH)]
            for one in shards_of(self.run._state.db or "default", self.run.pk)
        ]
        return "Shards", columns(rows, right=frozenset({0})) if rows else []

    def _objects(self) -> Section:
        counts = touched_by(self.run)
        kinds = ContentType.objects.using(self.run._state.db).in_bulk({kind for kind, _, _ in counts})
        rows = [
            [f"{of.app_label}.{of.model}", ", ".join(f"{count(n)} {done}" for one, done, n in counts if one == kind)]
            for kind, of in kinds.items()
        ]
        most = sum(number for *_, number in counts) >= COUNTED
        return f"Objects{f', of the first {count(COUNTED)}' if most else ''}", columns(sorted(rows)) if rows else []

    def _would(self) -> list[Section]:
        written = would_write(self.run.would)
        return [
            ("It would", written or (["write nothing"] if self.run.dry_run and self.run.finished else [])),
            ("--delete would delete", would_delete(self.run.would)),
        ]

    def _errors(self) -> Section:
        kinds = list(self.run.error_kinds.order_by("-count", "kind"))
        title = errors_title(
            [ErrorKind(one.kind, one.count) for one in kinds],
            dead=self.run.dead,
            unsettled=self.run.retry + self.run.claimed,
        )
        rows = [[count(one.count), plain(one.kind), plain(one.example, ERROR_WIDTH)] for one in kinds]
        return title, columns(rows, right=frozenset({0})) if rows else []

    def _dead(self) -> Section:
        limit, number = MORE_SHOWN if self.more else ITEMS_SHOWN, self.run.dead
        title = f"Dead items, the first {limit} of {count(number)}" if number > limit else "Dead items"
        rows = [[plain(one.label), plain(one.reason), told(one)] for one in dead_items(self.run, limit)]
        lines = columns(rows) if rows else []
        if self.width is not None and any(len(MARGIN) + len(line) > self.width for line in lines):
            lines = [line for label, *why in rows for line in (label, f"{MARGIN}{'  '.join(why)}")]
        return title, lines

    def _log(self) -> Section:
        limit, number, title = MORE_SHOWN if self.more else LOG_SHOWN, self.run.logs.count(), "Log"
        if number > limit:
            more = "" if self.more else f"; -v 2 has {'all' if number <= MORE_SHOWN else f'{MORE_SHOWN} of them'}"
            title = f"Log, the last {limit} of {count(number)} lines{more}"
        lines = []
        for one in last_log(self.run, limit):
            said, *rest = plain_block(one.message) or [""] if self.more else [plain(in_short(one.message), ERROR_WIDTH)]
            lines.append(f"{moment(one.at)}  {logging.getLevelName(one.level):<8}{said}")
            lines += (MARGIN + line for line in rest)
        return title, lines


def _marks(run: Run) -> str:
    return (" (dry)" if run.dry_run else "") + (" (test)" if run.testing else "")


def _can_be_resumed(run: Run) -> bool:
    """Whether it has something to go on with. A command that is gone, or broken, is none that is resumed now."""
    try:
        declared = declaration_of(get_command(run.command))
    except (AsyncCommanderError, ImproperlyConfigured):
        return False
    return not run.dry_run and KEPT in declared.features and (declared.has_items or bool(steps_of(run, 1)))


def in_short(message: str) -> str:
    """A message without the calls of its traceback: what was said, and the exception that it ends with."""
    said, begin, traceback = message.rpartition(TRACEBACK)
    if not begin:
        return message
    lines = traceback.strip("\n").splitlines()
    exception = [*dropwhile(lambda line: line.startswith(" "), lines)] or lines[-1:]
    return "\n".join([*said.partition(TRACEBACK)[0].splitlines(), *exception])


def page_json(run: Run, *, resumed: bool, more: bool = False) -> dict[str, Any]:
    """The page for programs."""
    limit = MORE_SHOWN if more else ITEMS_SHOWN
    page = as_json(run, resumed=resumed) | {
        "options": run.options,
        "limits": run.limits,
        "changed_limits": {name: one.stored() for name, one in changed_limits(run).items()},
        "speed": speed_of(run),
        "value": run.value,
        "latencies": [asdict(one) for one in latencies_of(run)],
        "errors": list(run.error_kinds.order_by("-count", "kind").values("kind", "count", "example", "item")),
        "dead": [
            {
                "label": one.label,
                "reason": one.reason,
                "kind": one.error_kind,
                "error": one.error,
                "attempts": one.attempts,
            }
            for one in dead_items(run, limit)
        ],
        "steps": [
            {"label": one.label, "started": one.started, "milliseconds": one.parse_ms} for one in steps_of(run, limit)
        ],
        "shards": [as_json(one, resumed=False) for one in shards_of(run._state.db or "default", run.pk)],
        "log": [{"at": one.at, "level": one.level, "message": one.message} for one in last_log(run, limit)],
    }
    return page | {"output": run.output, "traceback": run.traceback} if more else page


def dead_items(run: Run, limit: int) -> list[RunItem]:
    """The items that were given up, oldest first."""
    return list(run.items.filter(state=ItemState.DEAD.value).order_by("pk")[:limit])


def last_log(run: Run, limit: int) -> list[RunLog]:
    """The last log lines, oldest first."""
    return list(run.logs.order_by("-pk")[:limit])[::-1]


def figures(run: Run) -> str:
    """The counts of a run in words; nothing where it took no items."""
    if not run.taken:
        return ""
    known = {name: getattr(run, name) for name in ("done", "skipped", "dead", "retry", "claimed")}
    parts = [f"{count(number)} {_NAMES.get(name, name)}" for name, number in known.items() if number or name == "done"]
    of = f" of {count(run.total)}" if run.total is not None and run.total != run.taken else ""
    return f"{items_in_words(run.taken)}{of}: {', '.join(parts)}"


def asked_in_words(asked: Asked) -> str:
    """Who asked for something, and when: `by ada, 2026-01-31 12:00:00`."""
    return f"by {plain(asked.by)}, {moment(asked.at)}" if asked.by else moment(asked.at)


def in_milliseconds(milliseconds: float) -> str:
    """A latency: 12 ms, 3.4 s."""
    return f"{milliseconds:.0f} ms" if milliseconds < 1000 else duration(milliseconds / 1000)


def origin(run: Run) -> str:
    """Who started the run, and where."""
    parts = [
        f"by {plain(run.user)}" if run.user else "",
        f"on {plain(run.host)}" if run.host else "",
        f"({run.trigger})",
    ]
    return "  " + " ".join(filter(None, parts))


def told(item: RunItem) -> str:
    """Why an item was given up, and after how many attempts."""
    tries = f" ({item.attempts} attempts)" if item.attempts > 1 else ""
    return f"{plain(item.error_kind)} {plain(item.error, ERROR_WIDTH)}".strip() + tries


def pairs(values: Mapping[str, Any]) -> str:
    """Names and values as they are written on a command line."""
    return "  ".join(
        f"{plain(name)}={shown(value)}" for name, value in values.items() if value not in (None, "", [], {})
    )


def shown(value: Any) -> str:
    """A stored value, short."""
    return plain(value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str), ERROR_WIDTH)
