"""The end of a run, for a person or for a program."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from rich.text import Text

from async_commander.results import ErrorKind, RunResult, RunStatus, items_in_words, per_second
from async_commander.text.amounts import count, duration, rate
from async_commander.text.clean import plain
from async_commander.text.redactor import Redactor, no_credentials
from async_commander.text.values import redacted_value

from .formatting import would_delete, would_write
from .steps import Invocation, next_steps

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .progress import Meter

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
_OUTCOMES = (
    ("done", "done", ""),
    ("skipped", "skipped", ""),
    ("dead", "dead", "bold red"),
    ("retry", "to be tried again", "yellow"),
    ("claimed", "left in hand", "yellow"),
)


@dataclass(frozen=True, slots=True)
class Summary:
    """What the end of a run shows."""

    result: RunResult
    before: int = 0
    """Items that an earlier part of the run had settled."""
    retried: int = 0
    """Attempts after the first."""
    steps: Sequence[tuple[str, str]] = ()
    """Pairs of a word and the command line that it stands for."""
    counts_items: bool = True
    cut: bool = False
    """As many items were taken as `--max-items` allows."""
    dead_before: int = 0
    """Items that were dead when this part of the run began."""

    def lines(self, *, unicode: bool = True, width: int | None = None) -> list[Text]:
        """The summary, line by line; `width` is the terminal's, None where nobody cuts lines."""
        result = self.result
        has_items = self.counts_items and "taken" in result.counts and result.status is not RunStatus.SKIPPED
        sign, style = _LOCKED if result.locked else _LOOKS.get(result.status, _FAILED)
        head = Text.assemble(
            (f"{sign} " if unicode else "", style),
            ("locked" if result.locked else str(result.status), style),
            ("  " + plain(result.command), "bold"),
            (f"  run {result.run_id}" if result.run_id is not None else "", "dim"),
            ("  dry run" if result.dry_run else "", "bold yellow"),
        )
        if not has_items and result.status is not RunStatus.SKIPPED:
            head.append(f"  in {duration(result.duration)}", "dim")
        value = (
            "" if result.value is None else f"value {plain(json.dumps(result.value, ensure_ascii=False), VALUE_WIDTH)}"
        )
        longest = max((len(label) for label, _ in self.steps), default=0)
        blocks = [
            [head, *(Text(MARGIN + line) for line in (plain(result.error or result.reason), value) if line)],
            self._items() if has_items else [],
            self._would(),
            self._errors(width) if result.errors else [],
            [Text.assemble(MARGIN, (label.ljust(longest), "dim"), "  ", (line, "cyan")) for label, line in self.steps],
        ]
        return [line for block in blocks if block for line in (Text(), *block)] + [Text()]

    def _items(self) -> list[Text]:
        counts, seconds = self.result.counts, self.result.duration
        settled = sum(counts.get(name, 0) for name in ("done", "skipped", "dead"))
        head = Text.assemble(MARGIN, (items_in_words(settled - self.before), "bold"), f" in {duration(seconds)}")
        if speed := rate(per_second(settled - self.before, seconds)):
            head.append("   ").append(speed, "cyan")
        if self.before:
            head.append(f"   {count(settled)} in all", "dim")
        lines = [head]
        if counts["taken"]:
            figures = [(name, counts.get(key, 0), style, key in {"done", "dead"}) for key, name, style in _OUTCOMES]
            figures.append(("retried", self.retried, "", False))
            parts = [
                Text.assemble((f"{name} ", "dim"), (count(number), style if number else ""))
                for name, number, style, always in figures
                if number or always
            ]
            lines.append(Text.assemble(MARGIN, Text("   ").join(parts)))
        if self.cut:
            lines.append(Text(f"{MARGIN}ended by --max-items: the source was not asked for more"))
        if self.dead_before:
            before = f"{items_in_words(self.dead_before)} dead before"
            lines.append(Text(f"{MARGIN}{before}: --resume does not try such items again, --retry-failed does"))
        return lines

    def _would(self) -> list[Text]:
        """What was not written: in a dry run nothing was, without `--delete` nothing was deleted."""
        lines, would = [], self.result.would
        if self.result.dry_run:
            written = would_write(would)
            lines.append(Text(f"{MARGIN}nothing was kept; it would" + ("" if written else " have written nothing")))
            lines += [Text(MARGIN + MARGIN + plain(line)) for line in written]
        if deleted := would_delete(would):
            lines.append(Text(f"{MARGIN}nothing was deleted; --delete would delete"))
            lines += [Text(MARGIN + MARGIN + plain(line)) for line in deleted]
        return lines

    def _errors(self, width: int | None) -> list[Text]:
        kinds, counts = self.result.errors[:KINDS_SHOWN], self.result.counts
        unsettled = counts.get("retry", 0) + counts.get("claimed", 0)
        title = errors_title(self.result.errors, dead=counts.get("dead", 0) - self.dead_before, unsettled=unsettled)
        lines = [Text.assemble(MARGIN, (title, "bold"))]
        figures = [count(kind.count) for kind in kinds]
        names = [plain(kind.kind, None if width is None else KIND_WIDTH) for kind in kinds]
        first, second = max(map(len, figures)), max(map(len, names))
        room = None if width is None else max(width - first - second - 8, 20)
        for kind, figure, name in zip(kinds, figures, names, strict=True):
            lead = f"{MARGIN}{MARGIN}{figure.rjust(first)}  "
            lines.append(Text.assemble(lead, (name.ljust(second), "red"), "  ", plain(kind.example, room)))
            if kind.item:
                lines.append(Text(" " * (len(lead) + second + 2)).append(plain(f"item {kind.item}", room), "dim"))
        if hidden := len(self.result.errors) - len(kinds):
            more = f"and {hidden} more {'kind' if hidden == 1 else 'kinds'}"
            lines.append(Text.assemble(MARGIN, MARGIN, (more, "dim")))
        return lines


def summary_of(
    result: RunResult,
    meter: Meter | None,
    invocation: Invocation,
    *,
    counts_items: bool,
    kept_steps: bool = False,
    is_trial: bool = False,
) -> Summary:
    """The summary of a result with its next steps, and without secrets in its value. `meter`: of a run that began.

    `kept_steps`: a `handle()` would go on after these.
    """
    total = meter.tally.total if meter else None
    if not (counts_items or kept_steps):
        invocation = replace(invocation, can_resume=False)
    steps = next_steps(result, invocation, total=total, is_trial=is_trial)
    result = replace(result, value=redacted_value(result.value, invocation.redact))
    summary = Summary(result, steps=steps, counts_items=counts_items)
    if meter is None:
        return summary
    return replace(
        summary, before=meter.before, retried=meter.tally.retried, cut=meter.cut, dead_before=meter.dead_before
    )


_OF_NO_ITEM = re.compile(r" in (?:committed|iterate|handle|lifespan)\(\)$")


def errors_title(kinds: Sequence[ErrorKind], *, dead: int, unsettled: int) -> str:
    """How errors by kind are headed: some are those of attempts that others followed, or failed no item at all."""
    of_attempts = sum(kind.count for kind in kinds if not _OF_NO_ITEM.search(kind.kind))
    if dead or unsettled:
        return "Errors, those of earlier attempts included" if of_attempts > dead else "Errors"
    whole = all(not _OF_NO_ITEM.search(kind.kind) for kind in kinds)
    return "Errors of attempts that succeeded later" if whole else "Errors that failed no item"


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
    if result.reason:
        document["reason"] = result.reason
    if result.dry_run:
        document["dry_run"] = True
    if result.dry_run or result.would:
        document["would"] = result.would
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
