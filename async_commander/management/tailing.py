"""`manage.py aruns tail ID`: the log of a run, as it comes, and how it stands, until its end."""

from __future__ import annotations

import logging
import shutil
import time
from typing import TYPE_CHECKING

from async_commander.history.moments import moment
from async_commander.history.runs import is_orphan, mark_crashed
from async_commander.models import Run, RunLog
from async_commander.results import AT_WORK, EXIT_FAILED, EXIT_OK, EXIT_PARTIAL, RunStatus
from async_commander.text.amounts import rate
from async_commander.text.clean import plain, plain_block, shorten

from .progress import PLAIN_REFRESH
from .run_page import MARGIN, figures
from .runs import state_of, took

if TYPE_CHECKING:
    from collections.abc import Iterator

    from django.core.management.base import OutputWrapper
    from django.db.models import QuerySet

LOOK_SECONDS = 0.5
LINES = 10
"""Of the log that are shown of what was before."""
_LATE = 200
"""Rows of the log, of all runs, among which one is still looked for that was committed after a later one."""
_CLEAR = "\r\x1b[K"
_CODES = {
    RunStatus.SUCCEEDED.value: EXIT_OK,
    RunStatus.SKIPPED.value: EXIT_OK,
    RunStatus.PARTIAL.value: EXIT_PARTIAL,
}


class Tail:
    """Follows one run on `out`. On a terminal its state stays in the last line, elsewhere it comes now and then."""

    def __init__(self, alias: str, run_id: int, out: OutputWrapper) -> None:
        self._alias = alias
        self._run_id = run_id
        self._out = out
        self._moves = out.isatty()
        self._seen: set[int] = set()
        self._told = ("", 0.0)
        """The state that was shown last, and when."""

    def follow(self) -> int:
        """Show what comes until the run has ended. Returns the exit code that says how: 0, 1, or 3 for partial."""
        before = list(self._logs().order_by("-pk").values_list("pk", flat=True)[: LINES + _LATE])
        self._seen.update(before[LINES:])
        try:
            while True:
                run = self._run()  # before its log: what is written before the end is there when the end is
                for line in self._new_lines():
                    self._write(line)
                if run.status not in (*AT_WORK, RunStatus.QUEUED.value):
                    self._write(f"Run {run.pk}  {plain(run.command)}  {self._state(run)}")
                    return _CODES.get(run.status, EXIT_FAILED)
                self._show(run)
                time.sleep(LOOK_SECONDS)
        finally:
            if self._moves:
                self._out.write(_CLEAR, ending="")

    def _run(self) -> Run:
        runs = Run.objects.using(self._alias).defer("output", "traceback")
        run = runs.get(pk=self._run_id)
        if run.status in AT_WORK and is_orphan(self._alias, run) and mark_crashed(self._alias, run):
            run = runs.get(pk=self._run_id)
        return run

    def _logs(self) -> QuerySet[RunLog]:
        return RunLog.objects.using(self._alias).filter(run_id=self._run_id)

    def _new_lines(self) -> Iterator[str]:
        last = max(self._seen, default=0)
        for one in self._logs().filter(pk__gt=last - _LATE).exclude(pk__in=self._seen).order_by("pk"):
            self._seen.add(one.pk)
            said, *rest = plain_block(one.message) or [""]
            yield f"{moment(one.at)}  {logging.getLevelName(one.level):<8}{said}"
            yield from (MARGIN + line for line in rest)
        self._seen = {pk for pk in self._seen if pk > max(self._seen) - _LATE}

    def _state(self, run: Run) -> str:
        paused = f"paused by {plain(run.paused.by)}" if run.paused and run.paused.by else ""
        asks = f"asks: {plain(run.question)}" if run.question else ""
        told = [paused or state_of(run), figures(run), rate(run.rate) if run.taken else "", took(run), asks]
        return ", ".join(filter(None, [*told, plain(run.error)]))

    def _show(self, run: Run) -> None:
        state, now = self._state(run), time.monotonic()
        if self._moves:
            width = shutil.get_terminal_size().columns
            self._out.write(_CLEAR + shorten(state, width - 1), ending="")
            self._out.flush()
        elif now - self._told[1] >= PLAIN_REFRESH or not self._told[0]:
            self._told = state, now
            self._write(state)

    def _write(self, line: str) -> None:
        self._out.write((_CLEAR if self._moves else "") + line)
        self._out.flush()
