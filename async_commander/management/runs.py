"""The runs that were, as a table or as JSON."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from async_commander.history.moments import moment
from async_commander.history.reading import is_silent, recorded_names
from async_commander.results import RunStatus
from async_commander.text.amounts import count, duration, rate
from async_commander.text.clean import plain, shorten

from .formatting import columns

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Sequence

    from django.core.management.color import Style
    from django.db.models import QuerySet

    from async_commander.models import Run

HEAD = ["run", "command", "status", "started", "took", "items", "dead", "rate"]
_FLUSH_RIGHT = frozenset({"run", "took", "items", "dead", "rate"})
_LEAST_WANTED = ("rate", "took", "items", "started", "dead")
_COMMAND, _STARTED = HEAD.index("command"), HEAD.index("started")
COMMAND_WIDTH = 40
NAME_WIDTH = 12
"""A command's name is not cut shorter for the other columns' sake."""
SILENT, PAUSED = "no sign of life", "paused"

_ROLES = {
    RunStatus.SUCCEEDED.value: "SUCCESS",
    RunStatus.PARTIAL.value: "WARNING",
    RunStatus.INTERRUPTED.value: "WARNING",
    RunStatus.FAILED.value: "ERROR",
    RunStatus.CRASHED.value: "ERROR",
    SILENT: "ERROR",
    PAUSED: "WARNING",
    RunStatus.WAITING.value: "WARNING",
}


def narrowed(runs: QuerySet[Run], *, command: str | None, status: str | None) -> QuerySet[Run]:
    """Newest first, of one command and in one state where these are given. A command is named as `arun` takes it."""
    runs = runs.filter(command__in=recorded_names(command)) if command else runs
    return (runs.filter(status=status) if status else runs).order_by("-pk")


def state_of(run: Run) -> str:
    """The status; for a run that says it is at work but has missed its heartbeats, or is paused, that."""
    return SILENT if is_silent(run) else PAUSED if run.paused else run.status


def style_of(state: str, style: Style) -> Callable[[str], str]:
    """How a state looks."""
    function: Callable[[str], str] = getattr(style, _ROLES.get(state, "HTTP_INFO"))
    return function


def table(runs: Sequence[Run], style: Style, resumed: Collection[int] = (), width: int | None = None) -> list[str]:
    """One line a run, under a heading; none is wider than `width`, the terminal's, None where nobody breaks lines."""
    rows = [HEAD, *(cells(run, resumed=run.pk in resumed) for run in runs)]
    head, *lines = fitted(rows, width)
    return [style.MIGRATE_LABEL(head), *(_coloured(line, run, style) for line, run in zip(lines, runs, strict=True))]


def fitted(rows: list[list[str]], width: int | None) -> list[str]:
    """The rows in columns. Where there is not enough room the year goes, then the ends of long names, then columns."""
    shown, lines = list(HEAD), _lines(rows, HEAD, COMMAND_WIDTH)
    if width is None or _widest(lines) <= width:
        return lines
    rows = [
        [re.sub(r"^\d{4}-", "", cell) if place == _STARTED else cell for place, cell in enumerate(row)] for row in rows
    ]
    empty = [title for place, title in enumerate(HEAD) if not any(row[place] for row in rows[1:])]
    for leave_out in (None, *dict.fromkeys([*empty, *_LEAST_WANTED])):
        if leave_out is not None:
            shown.remove(leave_out)
        lines = _lines(rows, shown, COMMAND_WIDTH)
        longest = max(len(shorten(row[_COMMAND], COMMAND_WIDTH)) for row in rows)
        lines = _lines(rows, shown, max(longest - max(_widest(lines) - width, 0), NAME_WIDTH))
        if _widest(lines) <= width:
            return lines
    return [shorten(line, width) for line in lines]


def _widest(lines: Sequence[str]) -> int:
    return max(map(len, lines))


def _lines(rows: list[list[str]], shown: Sequence[str], names: int) -> list[str]:
    places = [HEAD.index(title) for title in shown]
    cut = [[shorten(row[place], names) if place == _COMMAND else row[place] for place in places] for row in rows]
    return columns(cut, right=frozenset(number for number, title in enumerate(shown) if title in _FLUSH_RIGHT))


def cells(run: Run, *, resumed: bool = False) -> list[str]:
    """One run's row of the table. The duration of a resumed run includes its pauses, so that it has no rate."""
    return [
        str(run.pk),
        plain(run.command),
        state_of(run) + (" (dry)" if run.dry_run else "") + (" (test)" if run.testing else ""),
        moment(run.started),
        took(run),
        count(run.settled) if run.taken else "",
        count(run.dead) if run.dead else "",
        "resumed" if resumed else rate(run.rate) if run.taken else "",
    ]


def took(run: Run) -> str:
    """How long the run lasted, or has lasted so far."""
    return duration(run.duration.total_seconds()) if run.duration is not None else ""


def as_json(run: Run, *, resumed: bool) -> dict[str, Any]:
    """The same facts for programs; times in ISO 8601, `duration` in seconds, with the pauses of a resumed run."""
    return {
        "run": run.pk,
        "command": run.command,
        "status": run.status,
        "parameters": run.parameters,
        "test": run.testing,
        "dry_run": run.dry_run,
        "would": run.would,
        "started": run.started,
        "finished": run.finished,
        "duration": run.duration.total_seconds() if run.duration is not None else None,
        "resumed": resumed,
        "total": run.total,
        "counts": {name: getattr(run, name) for name in ("taken", "done", "skipped", "dead", "retry", "claimed")},
        "error": run.error,
        "paused": None if run.paused is None else {"by": run.paused.by, "since": run.paused.at},
        "question": run.question,
    }


def _coloured(line: str, run: Run, style: Style) -> str:
    state = state_of(run)
    before, found, after = line.partition(f"  {state}")
    return f"{before}  {style_of(state, style)(state)}{after}" if found else line
