"""What to type after a run."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from async_commander.command.line import LEFT_OUT, typed
from async_commander.command.options import BRINGS_ARGUMENTS, BY_NAME
from async_commander.exceptions import AsyncCommanderError, TooManyFailures
from async_commander.results import RunResult, RunStatus
from async_commander.text.redactor import HIDDEN, Redactor, no_credentials

from .options import flags_of

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Sequence

_UNFINISHED = {RunStatus.INTERRUPTED, RunStatus.FAILED}
_WITH_DEAD = {RunStatus.PARTIAL, RunStatus.FAILED}
_HOPELESS = "RowRejected"
"""The kind of errors that another try does not help: the row itself does not fit."""
_BRINGS_ARGUMENTS = frozenset(flags_of(BY_NAME[name]) for name in BRINGS_ARGUMENTS)
_ASKED_TO_GO_ON = _BRINGS_ARGUMENTS | {"--resume"}
_PLACES = frozenset({"--settings", "--pythonpath"})
"""Options of Django's that say which project it is."""
_ABOUT_ITEMS = ("--max-items", "--only-kind")
"""Options that say which items of this time were meant."""
_FLAGS = frozenset({"--resume"})
"""Of the options that are left out of a line, those that take no value."""


@dataclass(frozen=True, slots=True)
class Invocation:
    """How the run was asked for: program (`manage.py arun`) and what followed. Secrets are never shown."""

    prog: str
    tokens: Sequence[str]
    redact: Redactor = no_credentials
    database: str | None = None
    """Where the run is recorded, if that was said."""
    can_resume: bool = True
    """Whether a run of the command can be resumed."""

    def line_to_show(self, run_id: object) -> str:
        """The command line that shows a run where this one is recorded."""
        options, _ = self._parts()
        places: list[str] = []
        value_follows = False
        for token in options:
            if value_follows or _option(token) in _PLACES:
                places.append(token)
                value_follows = not value_follows and "=" not in token
        if self.database:
            places += ["--database", self.database]
        return " ".join([self.prog.rpartition(" ")[0], "aruns", "show", str(run_id), *map(self._shown, places)])

    def line(self, *more: str, without: Iterable[str] = ()) -> str:
        """The same command line with `more` after its options, in the place of what it says of these, and `without`."""
        options, positionals = self._parts()
        kept = _left(options, {*_ASKED_TO_GO_ON, *map(_option, more), *without})
        return " ".join([self.prog, *map(self._shown, [*kept, *more, *positionals])])

    def line_to_resume(self, *more: str, run_id: object = None) -> str:
        """The command line that goes on with the run. It has no `--max-items`: that would take so many once more.

        Where the line has its arguments from a run, the run to go on with is named by its number.
        """
        named = run_id is not None and not _BRINGS_ARGUMENTS.isdisjoint(map(_option, self._parts()[0]))
        how = ("--resume-run", str(run_id)) if named else ("--resume",)
        return self.line(*how, *more, without=_ABOUT_ITEMS)

    def line_to_retry(self, run_id: object) -> str:
        """The command line that opens the run again for its dead items, all of them."""
        return self.line("--retry-failed", str(run_id), without=_ABOUT_ITEMS)

    def _parts(self) -> tuple[Sequence[str], Sequence[str]]:
        end = self.tokens.index("--") if "--" in self.tokens else len(self.tokens)
        return self.tokens[:end], self.tokens[end:]

    def _shown(self, token: str) -> str:
        name, equals, value = token.partition("=") if token.startswith("--") else ("", "", token)
        hidden = self.redact.within(value)
        return typed(name + equals + (hidden.replace(HIDDEN, LEFT_OUT) if HIDDEN in hidden else value))


def next_steps(
    result: RunResult, invocation: Invocation, *, total: int | None = None, is_trial: bool = False
) -> list[tuple[str, str]]:
    """Pairs of a word and a command line that helps; none after a run that went well or was never recorded.

    `total` is how many items there are, where that is known: a run that took all of them has none left to resume.
    Those of a trial that are dead are not tried again.
    """
    if result.run_id is None or result.status in {RunStatus.SUCCEEDED, RunStatus.SKIPPED}:
        return []
    page = invocation.line_to_show(result.run_id)
    steps = [("details", page)]
    if result.failure is not None and not isinstance(result.failure, AsyncCommanderError):
        steps.append(("traceback", f"{page} -v 2"))
    counts, out_of_failures = result.counts, isinstance(result.failure, TooManyFailures)
    all_taken = total is not None and counts.get("taken", 0) >= total
    unsettled = counts.get("retry", 0) + counts.get("claimed", 0)
    has_something_left = not result.complete and (unsettled or not (out_of_failures and all_taken))
    if invocation.can_resume and result.status in _UNFINISHED and not result.locked and has_something_left:
        more = ["--max-failures", "100%"] if out_of_failures else []
        steps.append(("resume", invocation.line_to_resume(*more, run_id=result.run_id)))
    has_dead = counts.get("dead", 0) > sum(kind.count for kind in result.errors if kind.kind == _HOPELESS)
    if invocation.can_resume and not is_trial and not result.locked and result.status in _WITH_DEAD and has_dead:
        steps.append(("retry dead", invocation.line_to_retry(result.run_id)))
    return steps


def _option(token: str) -> str:
    """The name of an option, in the spelling of the documentation."""
    return token.partition("=")[0].replace("_", "-")


def _left(tokens: Iterable[str], left_out: Collection[str]) -> list[str]:
    """The tokens but for the options of these names and their values."""
    kept: list[str] = []
    skip = False
    for token in tokens:
        if skip:
            skip = False
        elif _option(token) in left_out:
            skip = "=" not in token and _option(token) not in _FLAGS
        else:
            kept.append(token)
    return kept
