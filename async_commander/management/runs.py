"""The runs that were, as a table or as JSON."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.utils import timezone

from async_commander.engine.results import RunStatus

from .text import columns, count, duration, plain, rate

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from datetime import datetime

    from django.core.management.color import Style
    from django.db.models import QuerySet

    from async_commander.models import Run

HEAD = ["run", "command", "status", "started", "took", "items", "failed", "rate"]
_FLUSH_RIGHT = frozenset({0, 4, 5, 6, 7})
_STATUS = HEAD.index("status")
COMMAND_WIDTH = 40
SILENT = "no sign of life"

_ROLES = {
    RunStatus.SUCCEEDED.value: "SUCCESS",
    RunStatus.PARTIAL.value: "WARNING",
    RunStatus.INTERRUPTED.value: "WARNING",
    RunStatus.FAILED.value: "ERROR",
    RunStatus.CRASHED.value: "ERROR",
    SILENT: "ERROR",
}


def newest(runs: QuerySet[Run], *, command: str | None, status: str | None, limit: int) -> list[Run]:
    """The newest runs, of one command and in one state where these are given."""
    wanted = {name: value for name, value in {"command": command, "status": status}.items() if value}
    return list(runs.filter(**wanted).order_by("-pk")[:limit])


def state_of(run: Run) -> str:
    """The status; for a run that says it is running but has missed its heartbeats, that."""
    if run.status == RunStatus.RUNNING.value and run.expires is not None and run.expires < timezone.now():
        return SILENT
    return run.status


def style_of(state: str, style: Style) -> Callable[[str], str]:
    """How a state looks."""
    function: Callable[[str], str] = getattr(style, _ROLES.get(state, "HTTP_INFO"))
    return function


def table(runs: Sequence[Run], style: Style) -> list[str]:
    """One line a run, under a heading."""
    head, *lines = columns([HEAD, *map(cells, runs)], right=_FLUSH_RIGHT)
    return [style.MIGRATE_LABEL(head), *(_coloured(line, run, style) for line, run in zip(lines, runs, strict=True))]


def cells(run: Run) -> list[str]:
    """What the table says of one run."""
    return [
        str(run.pk),
        plain(run.command, COMMAND_WIDTH),
        state_of(run) + (" (dry)" if run.dry_run else ""),
        moment(run.started),
        took(run),
        count(run.taken) if run.taken else "",
        count(run.dead) if run.dead else "",
        rate(run.rate) if run.taken else "",
    ]


def took(run: Run) -> str:
    """How long the run lasted, or has lasted so far."""
    return duration(run.duration.total_seconds()) if run.duration is not None else ""


def moment(at: datetime | None) -> str:
    """A point in time in the project's time zone, to the second."""
    if at is None:
        return ""
    return (timezone.localtime(at) if timezone.is_aware(at) else at).strftime("%Y-%m-%d %H:%M:%S")


def as_json(run: Run) -> dict[str, Any]:
    """The same facts for programs; times in ISO 8601, `duration` in seconds."""
    return {
        "run": run.pk,
        "command": run.command,
        "status": run.status,
        "parameters": run.parameters,
        "started": run.started,
        "finished": run.finished,
        "duration": run.duration.total_seconds() if run.duration is not None else None,
        "total": run.total,
        "counts": {name: getattr(run, name) for name in ("taken", "done", "skipped", "dead", "retry", "claimed")},
        "error": run.error,
    }


def _coloured(line: str, run: Run, style: Style) -> str:
    state = state_of(run)
    before, found, after = line.partition(f"  {state}")
    return f"{before}  {style_of(state, style)(state)}{after}" if found else line
