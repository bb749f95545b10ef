"""What a run tells its watchers, as values: the same from the process that runs it and from its rows."""

from __future__ import annotations

import re
from dataclasses import dataclass, field, fields
from datetime import UTC, datetime
from typing import Any, ClassVar

from .results import RunResult

_PLACE = re.compile(r"(?P<run_id>.+)\.(?P<line>[0-9]{1,18})", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Place:
    """How far a reader has come with a run: `line` is the number of the last line of its log that was read.

    Its text is the `id` of events. None of the run was read where there is no place; of its log nothing at line 0.
    """

    run_id: int | str | None
    line: int = 0

    def __str__(self) -> str:
        return f"{self.run_id}.{self.line}"

    @classmethod
    def of(cls, run_id: int | str | None, text: str | None) -> Place | None:
        """The place that an event's `id` says; None where it says none in this run: a client may send anything."""
        found = _PLACE.fullmatch(text) if isinstance(text, str) else None
        return cls(run_id, int(found["line"])) if found and found["run_id"] == str(run_id) else None


def _now() -> datetime:
    return datetime.now(UTC)


@dataclass(frozen=True, slots=True, kw_only=True)
class RunEvent:
    """What all events have.

    `id`: who has read this event, and those before it, goes on after this `id`. Events that are sent again and again
    (`Progress`) have that of the line before them. `at` is when it happened, or was told.
    """

    name: ClassVar[str] = ""

    run_id: int | str | None
    id: str
    at: datetime = field(default_factory=_now)

    def as_dict(self) -> dict[str, Any]:
        """The event as JSON has it; `event` is its name, as server-sent events have it."""
        values = {each.name: getattr(self, each.name) for each in fields(self)}
        return {"event": self.name, **values, "at": self.at.isoformat()}


@dataclass(frozen=True, slots=True, kw_only=True)
class RunStarted(RunEvent):
    """The run is open. `parameters` are without secrets."""

    name = "started"

    command: str
    parameters: dict[str, Any] = field(default_factory=dict)
    dry_run: bool = False
    testing: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress(RunEvent):
    """How far the run is, in items: `taken = done + skipped + dead + retry + claimed`.

    `total` is None where nobody knows it; `seconds` is the time since the start; `stage` says what the run does beside
    its items (`stopping: 3 items in hand`), and is mostly empty.
    """

    name = "progress"

    total: int | None = None
    taken: int = 0
    done: int = 0
    skipped: int = 0
    dead: int = 0
    retry: int = 0
    claimed: int = 0
    seconds: float = 0.0
    stage: str = ""

    @property
    def settled(self) -> int:
        """Items with an outcome."""
        return self.done + self.skipped + self.dead

    @property
    def share(self) -> float | None:
        """From 0 to 1; None where the total is not known."""
        return None if not self.total else min(self.settled / self.total, 1.0)

    def says_more_than(self, other: Progress | None) -> bool:
        """Whether anything but the time is another one."""
        return other is None or any(
            getattr(self, name) != getattr(other, name)
            for name in ("total", "taken", "done", "skipped", "dead", "retry", "claimed", "stage")
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class ItemFailed(RunEvent):
    """An attempt at an item failed: for good where `final`, else it is tried again."""

    name = "item_failed"

    label: str
    kind: str
    error: str
    attempt: int
    final: bool
    item_key: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class LogLine(RunEvent):
    """A line of the run's log; `level` is a number as in `logging`."""

    name = "log"

    level: int
    logger: str
    message: str
    item_key: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class LeftOut(RunEvent):
    """So many lines of the log, failures of items among them, were more than this reader could take.

    They are in the run's log.
    """

    name = "left_out"

    count: int


@dataclass(frozen=True, slots=True, kw_only=True)
class RunFinished(RunEvent):
    """The run has ended, and how: the last event. Of a stored run `result.value` is what the row keeps of it."""

    name = "finished"

    result: RunResult
    value: Any = None
    """`result.value` as JSON has it, without secrets."""

    def as_dict(self) -> dict[str, Any]:
        """See RunEvent."""
        result = self.result
        return {
            "event": self.name,
            "run_id": self.run_id,
            "id": self.id,
            "at": self.at.isoformat(),
            "command": result.command,
            "status": str(result.status),
            "counts": result.counts,
            "errors": [
                {"kind": one.kind, "count": one.count, "example": one.example, "item": one.item}
                for one in result.errors
            ],
            "seconds": round(result.duration, 3),
            "error": result.error,
            "reason": result.reason,
            "value": self.value,
            "dry_run": result.dry_run,
            "would": result.would,
        }
