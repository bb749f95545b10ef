"""What a test sees of a run that it made: its result, and what is stored of it."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, Any, cast
from uuid import UUID

from async_commander.command.identity import item_key, item_label, key_uuid
from async_commander.history.recorder import STEP
from async_commander.history.shards import COUNTS
from async_commander.models import Run, RunClaim, RunItem, RunLog
from async_commander.results import ItemState, RunResult, RunStatus

from .recorder import InMemoryRecorder

if TYPE_CHECKING:
    from .points import Tested


@dataclass(frozen=True, slots=True)
class LedgerItem:
    """What the ledger says of one item, or of one step of `handle()`."""

    label: str
    state: ItemState
    attempts: int = 0
    reason: str = ""
    """Why it was skipped or given up: `permanent`, `exhausted`, `crashed`, …"""
    error_kind: str = ""
    error: str = ""
    key: UUID | None = None

    def __str__(self) -> str:
        told = ": ".join(filter(None, (self.error_kind, self.error)))
        return f"{self.label}: {self.state}{f' ({self.reason})' * bool(self.reason)}{f' {told}' * bool(told)}"


@dataclass(frozen=True, slots=True, kw_only=True)
class CommandRun(RunResult):
    """A `RunResult`, and what was stored of the run when it had ended, earlier sittings of a resumed one included.

    `status` is `crashed` where the test crashed it. What a row of the command holds, ask its model.
    """

    ledger: list[LedgerItem] = field(default_factory=list)
    """Its items, in the order in which their outcomes were written; claimed ones, in hand at a crash, come last."""
    steps: list[LedgerItem] = field(default_factory=list)
    """The steps of its `handle()` that are kept."""
    output: str = ""
    """What it wrote to `self.stdout` and `self.stderr`."""
    log: list[str] = field(default_factory=list)
    """Its log lines."""

    @property
    def dead(self) -> list[LedgerItem]:
        """The items that were given up."""
        return [item for item in self.ledger if item.state is ItemState.DEAD]

    def of(self, item: Any) -> LedgerItem | None:
        """What the ledger says of an item, given as it is, or by its key or its label; of a step, by its label."""
        keys = {item} if isinstance(item, str) else set()
        with suppress(TypeError, ValueError):  # only `item_key()` of its command gives it a key: the label has to do
            keys.add(item_key(item))
        wanted, label = {key_uuid(key) for key in keys}, item_label(item)
        return next((one for one in [*self.ledger, *self.steps] if one.key in wanted or one.label == label), None)


def crashed(tested: Tested) -> CommandRun:
    """What a crash has left, after this process has let go of it: the row says `running` until somebody resumes."""
    assert tested.run is not None  # noqa: S101 - it has come to a place
    tested.disown()
    context = tested.run.context
    row = Run.objects.using(tested.alias).get(pk=cast("int", context.run_id))
    counts = {name: getattr(row, name) for name in COUNTS}
    told = f"Crashed at {tested.crash_at}, as the test asked for."
    result = RunResult(run_id=row.pk, command=context.command, status=RunStatus.CRASHED, counts=counts, error=told)
    return stored(result, tested)


def stored(result: RunResult, tested: Tested) -> CommandRun:
    """Read what is stored of a run. On the thread, and in the transaction, in which its record was written."""
    named = {one.name: getattr(result, one.name) for one in fields(RunResult)}
    recorder = None if tested.run is None else tested.run.recorder
    if isinstance(recorder, InMemoryRecorder):
        kept = [
            LedgerItem(one.label, one.state, one.attempts, one.reason, one.error_kind, one.error, key)
            for each in (recorder.items, recorder.steps)
            for key, one in each.items()
        ]
        return CommandRun(
            **named,
            ledger=kept[: len(recorder.items)],
            steps=kept[len(recorder.items) :],
            output="" if recorder.ending is None else recorder.ending.output,
            log=[line.message for line in recorder.logs],
        )
    if not isinstance(result.run_id, int) or tested.run is None:
        return CommandRun(**named)
    alias, run_id = tested.alias, result.run_id
    rows = RunItem.objects.using(alias).filter(run=run_id).order_by("pk")
    kept = [
        LedgerItem(row.label, ItemState(row.state), row.attempts, row.reason, row.error_kind, row.error, row.key)
        for row in rows
    ]
    claims = RunClaim.objects.using(alias).filter(run=run_id).order_by("pk").values_list("keys", flat=True)
    in_hand = {UUID(key) for keys in claims for key in keys} - {one.key for one in kept}
    claimed = [LedgerItem(tested.labels.get(key, str(key)), ItemState.CLAIMED, key=key) for key in in_hand]
    return CommandRun(
        **named,
        ledger=[one for one in kept if one.reason != STEP] + claimed,
        steps=[one for one in kept if one.reason == STEP],
        output=Run.objects.using(alias).values_list("output", flat=True).get(pk=run_id),
        log=list(RunLog.objects.using(alias).filter(run=run_id).order_by("pk").values_list("message", flat=True)),
    )
