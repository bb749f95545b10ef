"""Trial runs of every command that says what one is, in the order of their dependencies."""

from __future__ import annotations

import io
import os
import sys
import time
from collections import Counter
from contextlib import contextmanager
from dataclasses import dataclass, replace
from graphlib import TopologicalSorter
from pathlib import Path
from typing import TYPE_CHECKING, Any

from async_commander.command.base import AsyncCommand, redactor_of
from async_commander.command.declaration import declaration_of, filled_in
from async_commander.command.needs import check_dependency, circles_in, graph_of
from async_commander.command.registry import find_clashes, get_runnable, load_command, name_of
from async_commander.exceptions import AsyncCommanderError
from async_commander.results import RunStatus, items_in_words
from async_commander.text.amounts import duration
from async_commander.text.clean import plain
from async_commander.text.redactor import no_credentials

if TYPE_CHECKING:
    from collections.abc import Iterator

    from async_commander.results import RunResult
    from async_commander.runner.signals import StopRequests

OK, FAILED, SKIPPED = OUTCOMES = ("ok", "failed", "skipped")
WIDTH = 300


@dataclass(frozen=True, slots=True)
class Trial:
    """What became of one command: `why` it failed or was skipped; `seconds` and `run` where there was a run."""

    name: str
    outcome: str
    why: str = ""
    seconds: float | None = None
    run: Any = None

    def line(self, width: int) -> str:
        """In one line, whose names take so much room."""
        took = "" if self.seconds is None else duration(self.seconds)
        return f"{self.outcome.ljust(7)}  {self.name.ljust(width)}  {took.rjust(8)}  {plain(self.why, WIDTH)}".rstrip()

    def as_json(self) -> dict[str, Any]:
        """The same for programs."""
        seconds = None if self.seconds is None else round(self.seconds, 3)
        return {"name": self.name, "outcome": self.outcome, "why": self.why, "seconds": seconds, "run": self.run}


class Trials:
    """Tries the commands one after another as it is iterated over. Nobody is asked anything meanwhile.

    `stops` are the signal handlers of a shell: a request to stop ends the run in hand, and the others are skipped. In
    other places there are none.
    """

    def __init__(self, *, stops: StopRequests | None, output: Any, database: str | None) -> None:
        self.stops = stops
        self._output = output
        self._database = database
        clashing = [file for files in find_clashes().values() for file in files]
        counted = Counter(file.full_name for file in clashing)
        self._unusable: list[Trial] = [
            Trial(file.full_name, FAILED, f"another file gives this name too, rename one: {file.path}")
            for file in clashing
            if counted[file.full_name] > 1  # else it is run by its full name
        ]
        self._classes: dict[str, type[AsyncCommand]] = {}
        for name, file in get_runnable().items():
            try:
                cls = load_command(file)
                for dependency in declaration_of(cls).dependencies:
                    check_dependency(cls, dependency)
                if declaration_of(cls).has_test_values:
                    self._classes[name_of(cls)] = cls
                else:
                    self._unusable.append(Trial(name, SKIPPED, "it has neither test_parameters nor test_options"))
            except AsyncCommanderError as error:
                self._unusable.append(Trial(name, FAILED, str(error)))

    @property
    def names(self) -> list[str]:
        """Of all commands that are reported."""
        return [*(trial.name for trial in self._unusable), *self._classes]

    def __iter__(self) -> Iterator[Trial]:
        yield from self._unusable
        graph = graph_of(self._classes.values())
        circle_of = {name: circle for circle in circles_in(graph) for name in circle}
        missing = {trial.name for trial in self._unusable if trial.outcome == FAILED}
        # Who is needed first, else by name; what goes in a circle has no order.
        needed = {name: [] if name in circle_of else sorted(graph[name]) for name in sorted(graph)}
        for name in [*TopologicalSorter(needed).static_order()]:
            if name not in self._classes:
                continue
            lacking = sorted(missing.intersection(graph[name]))
            if name in circle_of:
                trial = Trial(name, FAILED, f"it depends on itself, in a circle: {' → '.join(circle_of[name])}")
            elif self.stops is not None and self.stops.count:
                trial = Trial(name, SKIPPED, "it was stopped before")
            elif lacking:
                trial = Trial(name, SKIPPED, f"it depends on {lacking[0]}, which did not succeed")
            else:
                trial = self._tried(name, self._classes[name])
            if trial.outcome != OK:
                missing.add(name)
            yield trial

    def _tried(self, name: str, cls: type[AsyncCommand]) -> Trial:
        from async_commander.runner.verdicts import kind_of, text_of

        began, redact = time.monotonic(), no_credentials
        try:
            with _nobody_there():
                command, request = self._prepared(cls)
                redact = redactor_of(command)
                result = self._run(command, request)
        except Exception as error:  # noqa: BLE001 - whatever it is, the report says so and goes on
            told = "" if isinstance(error, AsyncCommanderError) else f"{kind_of(error)}: "
            return Trial(name, FAILED, f"{told}{text_of(error, redact)}", time.monotonic() - began)
        outcome = SKIPPED if result.status is RunStatus.SKIPPED else FAILED if result.exit_code else OK
        why = "" if outcome == OK else _why(result)
        return Trial(name, outcome, why, time.monotonic() - began, result.run_id)

    def _prepared(self, cls: type[AsyncCommand]) -> tuple[AsyncCommand, Any]:
        from async_commander.runner.request import split_call

        asked = {name: value for name, value in filled_in(cls, {"test": True}).items() if name != "progress"}
        request, own = split_call(asked, declaration_of(cls).names)
        streams: dict[str, Any] = dict.fromkeys(("stdout", "stderr"), self._output or io.StringIO())
        trigger = "call" if self.stops is None else "terminal"
        database = self._database or request.database
        return cls(**own), replace(request, trigger=trigger, database=database, json=False, **streams)

    def _run(self, command: AsyncCommand, request: Any) -> RunResult:
        from async_commander.runner.entry import drive_from_call, drive_from_shell
        from async_commander.runner.reporting import Silent

        if self.stops is None:
            return drive_from_call(command, request, Silent())
        return drive_from_shell(command, request, Silent(), stops=self.stops)


def _why(result: RunResult) -> str:
    dead = result.counts.get("dead", 0)
    items = f", {items_in_words(dead)} dead" if dead and result.status is RunStatus.PARTIAL else ""
    kinds = f" {result.errors[0].kind}: {result.errors[0].example}" if result.errors and result.failure is None else ""
    return f"{result.status}{items}: {result.error}{kinds}".rstrip(": ")


@contextmanager
def _nobody_there() -> Iterator[None]:
    """For the block stdin is no terminal: a question that nobody sees would wait for ever."""
    before = sys.stdin
    with Path(os.devnull).open() as nothing:
        sys.stdin = nothing
        try:
            yield
        finally:
            sys.stdin = before


def counts_in_words(trials: list[Trial]) -> str:
    """`3 ok, 1 failed, 2 skipped`."""
    return ", ".join(f"{number} {outcome}" for outcome, number in counted(trials).items())


def counted(trials: list[Trial]) -> dict[str, int]:
    """How many had each outcome."""
    return {outcome: sum(trial.outcome == outcome for trial in trials) for outcome in OUTCOMES}
