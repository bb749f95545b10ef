"""What to type after a run."""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from typing import TYPE_CHECKING

from async_commander.engine.results import RunResult, RunStatus
from async_commander.exceptions import AsyncCommanderError, TooManyFailures

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Sequence

_UNFINISHED = {RunStatus.INTERRUPTED, RunStatus.FAILED}
_ASKED_TO_GO_ON = frozenset({"--resume", "--resume-run"})
_FLAGS = frozenset({"--resume"})
"""Of the options that are left out of a line, those that take no value."""
HIDDEN = "…"


@dataclass(frozen=True, slots=True)
class Invocation:
    """How the run was asked for: program (`manage.py arun`) and what followed; `secrets` are never shown."""

    prog: str
    tokens: Sequence[str]
    secrets: Collection[str] = ()

    @property
    def resumed(self) -> bool:
        """Whether the run was to go on with an earlier one."""
        return any(map(_ASKED_TO_GO_ON.__contains__, map(_option, self._parts()[0])))

    def line(self, *more: str, without: Iterable[str] = ()) -> str:
        """The same command line with `more` after its options, in the place of what it says of these, and `without`."""
        options, positionals = self._parts()
        kept = _left(options, {*_ASKED_TO_GO_ON, *map(_option, more), *without})
        return " ".join([self.prog, *map(self._shown, [*kept, *more, *positionals])])

    def line_to_resume(self, *more: str) -> str:
        """The command line that goes on with the run. It has no `--max-items`: that would take so many once more."""
        return self.line("--resume", *more, without=("--max-items",))

    def _parts(self) -> tuple[Sequence[str], Sequence[str]]:
        end = self.tokens.index("--") if "--" in self.tokens else len(self.tokens)
        return self.tokens[:end], self.tokens[end:]

    def _shown(self, token: str) -> str:
        for secret in self.secrets:
            if secret and secret in token:
                return token.partition("=")[0] + "=" + HIDDEN if token.startswith("--") and "=" in token else HIDDEN
        return shlex.quote(token)


def next_steps(result: RunResult, invocation: Invocation, *, resumable: bool) -> list[tuple[str, str]]:
    """Pairs of a word and a command line; none after a run that went well or was never recorded."""
    if result.run_id is None or result.status in {RunStatus.SUCCEEDED, RunStatus.SKIPPED}:
        return []
    page = f"{invocation.prog.rpartition(' ')[0]} aruns show {result.run_id}"
    steps = [("details", page)]
    if result.failure is not None and not isinstance(result.failure, AsyncCommanderError):
        steps.append(("traceback", f"{page} -v 2"))
    if resumable and result.status in _UNFINISHED and not result.locked and not result.complete:
        more = ["--max-failures", "100%"] if isinstance(result.failure, TooManyFailures) else []
        steps.append(("resume", invocation.line_to_resume(*more)))
    elif invocation.resumed and (result.status is RunStatus.PARTIAL or result.counts.get("dead")):
        steps.append(("new run", invocation.line()))
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
