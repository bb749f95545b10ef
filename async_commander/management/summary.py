"""The end of a run, for a person or for a program."""

from __future__ import annotations

import json
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from rich.text import Text

from async_commander.engine.results import ErrorKind, RunResult, RunStatus, items_in_words
from async_commander.text.redactor import Redactor, no_credentials
from async_commander.text.values import redacted_value

from .text import count, duration, plain, rate

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from .pace import Meter

KINDS_SHOWN = 8
KIND_WIDTH = 32
VALUE_WIDTH = 200
MARGIN = "  "

_LOOKS = {
    RunStatus.SUCCEEDED: ("✓", "bold green"),
    RunStatus.SKIPPED: ("–", "bold"),
    RunStatus.PARTIAL: ("!", "bold yellow"),
    RunStatus.INTERRUPTED: ("!", "bold yellow"),
}
_FAILED = ("✗", "bold red")
_LOCKED = ("!", "bold yellow")
_WORDS = (("done", ""), ("skipped", ""), ("dead", "bold red"), ("retry", "yellow"), ("claimed", "yellow"))
_NAMES = {"retry": "to be tried again", "claimed": "left in hand"}


@dataclass(frozen=True, slots=True)
class Summary:
    """What the end of a run shows.

    `before` are items that an earlier part of the run had settled, `retried` attempts after the first (None: unknown),
    `steps` pairs of a word and the command line that it stands for.
    """

    result: RunResult
    before: int = 0
    retried: int | None = None
    steps: Sequence[tuple[str, str]] = field(default=())
    counts_items: bool = True
    cut: bool = False
    """As many items were taken as `--max-items` allows."""
    dead_before: int = 0
    """Items that were dead when this part of the run began."""

    @property
    def settled(self) -> int:
        """Items with an outcome, of this part and of earlier ones."""
        return sum(self.result.counts.get(name, 0) for name in ("done", "skipped", "dead"))

    @property
    def per_second(self) -> float | None:
        """Items settled per second of this part of the run."""
        return (self.settled - self.before) / self.result.duration if self.result.duration > 0 else None

    def lines(self, *, unicode: bool = True, width: int | None = None) -> list[Text]:
        """The summary, line by line; `width` is the terminal's, None where nobody cuts lines."""
        blocks = [self._head(unicode=unicode), self._counts(), self._errors(width), self._next_steps()]
        lines = [line for block in blocks for line in ([Text(), *block] if block else [])]
        return [*lines, Text()]

    def _head(self, *, unicode: bool) -> list[Text]:
        sign, style = _LOCKED if self.result.locked else _LOOKS.get(self.result.status, _FAILED)
        state = "locked" if self.result.locked else str(self.result.status)
        head = Text().append(f"{sign} " if unicode else "", style).append(state, style)
        head.append("  ").append(plain(self.result.command), "bold")
        if self.result.run_id is not None:
            head.append(f"  run {self.result.run_id}", "dim")
        if not self._has_items and self.result.status is not RunStatus.SKIPPED:
            head.append(f"  in {duration(self.result.duration)}", "dim")
        return [head, *(Text(f"{MARGIN}{line}") for line in (plain(self.result.error), self._value()) if line)]

    def _value(self) -> str:
        value = self.result.value
        return "" if value is None else f"value {plain(to_json(value), VALUE_WIDTH)}"

    @property
    def _has_items(self) -> bool:
        return self.counts_items and "taken" in self.result.counts and self.result.status is not RunStatus.SKIPPED

    def _counts(self) -> list[Text]:
        if not self._has_items:
            return []
        now = items_in_words(self.settled - self.before)
        head = Text.assemble(MARGIN, (now, "bold"), f" in {duration(self.result.duration)}")
        if speed := rate(self.per_second):
            head.append("   ").append(speed, "cyan")
        if self.before:
            head.append(f"   {count(self.settled)} in all", "dim")
        outcomes = [self._outcomes()] if self.result.counts["taken"] else []
        cut = [Text(f"{MARGIN}ended by --max-items: the source was not asked for more")] if self.cut else []
        return [head, *outcomes, *cut, *self._left_dead()]

    def _left_dead(self) -> list[Text]:
        if not self.dead_before:
            return []
        before = f"{items_in_words(self.dead_before)} dead before"
        return [Text(f"{MARGIN}{before}: --resume does not try such items again, a new run does")]

    def _outcomes(self) -> Text:
        line = Text(MARGIN)
        for name, style in _WORDS:
            number = self.result.counts.get(name, 0)
            if number or name in {"done", "dead"}:
                line.append(f"{_NAMES.get(name, name)} ", "dim").append(count(number), style if number else "").append(
                    "   "
                )
        if self.retried:
            line.append("retried ", "dim").append(count(self.retried))
        line.rstrip()
        return line

    def _errors(self, width: int | None) -> list[Text]:
        kinds = self.result.errors[:KINDS_SHOWN]
        if not kinds:
            return []
        figures = [count(kind.count) for kind in kinds]
        names = [plain(kind.kind, None if width is None else KIND_WIDTH) for kind in kinds]
        first, second = max(map(len, figures)), max(map(len, names))
        room = None if width is None else max(width - first - second - 8, 20)
        counts = self.result.counts
        unsettled = counts.get("retry", 0) + counts.get("claimed", 0)
        title = errors_title(self.result.errors, dead=counts.get("dead", 0) - self.dead_before, unsettled=unsettled)
        lines = [Text.assemble(MARGIN, (title, "bold"))]
        for kind, figure, name in zip(kinds, figures, names, strict=True):
            lines += _kind(kind, f"{MARGIN}{MARGIN}{figure.rjust(first)}  ", name.ljust(second), room)
        hidden = len(self.result.errors) - len(kinds)
        return [*lines, Text.assemble(MARGIN, MARGIN, (f"and {hidden} more kinds", "dim"))] if hidden > 0 else lines

    def _next_steps(self) -> list[Text]:
        if not self.steps:
            return []
        longest = max(len(label) for label, _ in self.steps)
        return [
            Text.assemble(MARGIN, (label.ljust(longest), "dim"), "  ", (line, "cyan")) for label, line in self.steps
        ]


def errors_title(kinds: Sequence[ErrorKind], *, dead: int, unsettled: int) -> str:
    """How errors by kind are headed: some are those of attempts that others followed, or failed no item at all."""
    of_attempts = sum(kind.count for kind in kinds if not kind.kind.endswith(" in committed()"))
    if dead or unsettled:
        return "Errors, those of earlier attempts included" if of_attempts > dead else "Errors"
    whole = all(not kind.kind.endswith(" in committed()") for kind in kinds)
    return "Errors of attempts that succeeded later" if whole else "Errors that failed no item"


def _kind(kind: ErrorKind, lead: str, name: str, room: int | None) -> list[Text]:
    lines = [Text.assemble(lead, (name, "red"), "  ", plain(kind.example, room))]
    if kind.item:
        lines.append(Text.assemble(" " * (len(lead) + len(name) + 2), (plain(f"item {kind.item}", room), "dim")))
    return lines


def summariser(
    steps: Callable[[RunResult, int | None], Sequence[tuple[str, str]]],
    *,
    redact: Redactor = no_credentials,
    unicode: bool,
    width: int | None,
    counts_items: bool,
) -> Callable[[RunResult, Meter | None], list[Text]]:
    """A function that tells a result with its next steps, and no secrets in its value."""

    def summarise(result: RunResult, meter: Meter | None) -> list[Text]:
        result = replace(result, value=redacted_value(result.value, redact))
        total = meter.tally.total if meter else None
        summary = Summary(result, steps=steps(result, total), counts_items=counts_items)
        return (_measured(summary, meter) if meter else summary).lines(unicode=unicode, width=width)

    return summarise


def _measured(summary: Summary, meter: Meter) -> Summary:
    return replace(
        summary, before=meter.before, retried=meter.tally.retried, cut=meter.cut, dead_before=meter.dead_before
    )


def json_document(result: RunResult, redact: Redactor = no_credentials) -> str:
    """The result as one JSON document in plain ASCII, without the secrets that `redact` finds in its values."""
    document = {
        "run": result.run_id,
        "command": result.command,
        "status": str(result.status),
        "exit_code": result.exit_code,
        "counts": result.counts,
        "errors": [
            {"kind": kind.kind, "count": kind.count, "example": kind.example, "item": kind.item}
            for kind in result.errors
        ],
        "duration": round(result.duration, 3),
        "error": result.error,
        "value": redacted_value(result.value, redact),
    }
    if result.values:
        document["values"] = redacted_value(result.values, redact)
    return to_json(document)


def to_json(document: Any) -> str:
    """`document` as strict JSON: NaN and the infinities, which JSON lacks, become null."""
    return json.dumps(redacted_value(document, no_credentials), indent=2, allow_nan=False)


def refusal_document(command: str, code: int, error: str) -> str:
    """The same document where no run came to be."""
    document = json.loads(json_document(RunResult(run_id=None, command=command, status=RunStatus.FAILED, error=error)))
    return to_json(document | {"exit_code": code, "error": no_credentials(error)})
