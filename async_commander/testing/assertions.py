"""What a test says of a run, with failures that show its ledger."""

from __future__ import annotations

from typing import Any

from async_commander.results import ItemState, RunStatus

from .runs import CommandRun, LedgerItem

SHOWN = 20
"""Items that a failure shows of a ledger."""


def assert_succeeded(run: CommandRun) -> None:
    """The run succeeded: nothing of it is dead, or left to do."""
    if run.status is not RunStatus.SUCCEEDED:
        raise AssertionError(f"The run has {run.status}, not succeeded. {run.error}\n{_told(run)}".replace(" \n", "\n"))


def assert_done(run: CommandRun, *items: Any) -> None:
    """These items are done. An item is given as it is, or by its key, or by its label; a step by its name."""
    for item in items:
        _look(run, item, ItemState.DONE)


def assert_skipped(run: CommandRun, *items: Any, reason: str | None = None) -> None:
    """These items were skipped; for this reason, where one is given: that of `ac.SkipItem`, or `gone`."""
    for item in items:
        _look(run, item, ItemState.SKIPPED, reason=reason)


def assert_dead(run: CommandRun, *items: Any, reason: str | None = None, error: str | None = None) -> None:
    """These items were given up; for this reason (`permanent`, `exhausted`, …), with this error, where they are given.

    `error` is its kind, as the ledger has it (`ValueError`, `HTTPStatusError 404`), or a part of its text.
    """
    for item in items:
        found = _look(run, item, ItemState.DEAD, reason=reason)
        if error is not None and error != found.error_kind and error not in found.error:
            raise AssertionError(f"{item!r} is dead with another error than {error!r}: {found}\n{_told(run)}")


def _look(run: CommandRun, item: Any, state: ItemState, *, reason: str | None = None) -> LedgerItem:
    found = run.of(item)
    if found is None:
        raise AssertionError(f"{item!r:.200} is not in the ledger.\n{_told(run)}")
    if found.state is not state:
        raise AssertionError(f"{item!r:.200} is {found.state}, not {state}.\n{_told(run)}")
    if reason is not None and found.reason != reason:
        raise AssertionError(f"{item!r:.200} is {state} for another reason than {reason!r}.\n{_told(run)}")
    return found


def _told(run: CommandRun) -> str:
    lines = [str(one) for one in (*run.ledger, *run.steps)] or ["no items"]
    if len(lines) > SHOWN:
        lines[SHOWN:] = [f"… and {len(lines) - SHOWN} more"]
    return "\n  ".join([f"Run {run.run_id} of {run.command} ({run.status}) has:", *lines])
