"""What to type after a run."""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from typing import TYPE_CHECKING

from async_commander.engine.results import RunResult, RunStatus
from async_commander.exceptions import TooManyFailures

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Sequence

_UNFINISHED = {RunStatus.INTERRUPTED, RunStatus.FAILED}
_ASKED_TO_GO_ON = ("--resume", "--resume-run")
HIDDEN = "…"


@dataclass(frozen=True, slots=True)
class Invocation:
    """How the run was asked for: program (`manage.py arun`) and what followed; `secrets` are never shown."""

    prog: str
    tokens: Sequence[str]
    secrets: Collection[str] = ()

    def line(self, *more: str) -> str:
        """The same command line with `more` at its end."""
        return " ".join([self.prog, *(self._shown(token) for token in [*_without_resume(self.tokens), *more])])

    def _shown(self, token: str) -> str:
        for secret in self.secrets:
            if secret and secret in token:
                return token.partition("=")[0] + "=" + HIDDEN if token.startswith("--") and "=" in token else HIDDEN
        return shlex.quote(token)


def next_steps(result: RunResult, invocation: Invocation, *, resumable: bool) -> list[tuple[str, str]]:
    """Pairs of a word and a command line; none after a run that went well or was never recorded."""
    if result.run_id is None or result.status in {RunStatus.SUCCEEDED, RunStatus.SKIPPED}:
        return []
    manage = invocation.prog.rpartition(" ")[0]
    steps = [("details", f"{manage} aruns show {result.run_id}")]
    if resumable and result.status in _UNFINISHED and not result.locked:
        more = ["--max-failures", "100%"] if isinstance(result.failure, TooManyFailures) else []
        steps.append(("resume", invocation.line("--resume", *more)))
    return steps


def _without_resume(tokens: Iterable[str]) -> list[str]:
    kept: list[str] = []
    skip = False
    for token in tokens:
        if skip:
            skip = False
        elif token.partition("=")[0] in _ASKED_TO_GO_ON:
            skip = token == "--resume-run"  # noqa: S105 - a token of the command line
        else:
            kept.append(token)
    return kept
