"""What is asked of a run from outside: in its row, where its owner looks each second, and in its log, with who asked.

Whoever asks has the row's lock from his first statement to his COMMIT, so that of two the later one sees what the
earlier one asked for. The owner reads `Run.orders` and does as it says now: what was asked and taken back between two
of its looks has happened in the log only.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from django.db import router
from django.db.models import F

from async_commander.command.declaration import declaration_of
from async_commander.command.registry import get_command
from async_commander.database.connections import beside_loop
from async_commander.engine.limits import BOUNDS, Limits
from async_commander.exceptions import AsyncCommanderError, InvalidCommand
from async_commander.results import AT_WORK, NOT_OVER, Asked, RunStatus
from async_commander.text.clean import plain

if TYPE_CHECKING:  # else when it is called: these names are there before Django is set up
    from async_commander.models import Run


class Cancelled(StrEnum):
    """What a request to end came to."""

    ASKED = "asked"
    """Its owner hears of it within a second, or has heard of an earlier request."""
    NOT_BEGUN = "not begun"
    """It was waiting for a worker, and none begins it."""
    OWNERLESS = "ownerless"
    """Nobody worked on it any more: it is marked as crashed, or as its owner left word of its end."""
    ENDED = "ended"
    """It had come to its end before."""


@dataclass(frozen=True, slots=True)
class Desk:
    """A run at work, its row locked until the transaction ends, and who asks something of it."""

    run: Run
    by: str
    at: datetime

    @property
    def who(self) -> str:
        """` by ada`, or nothing."""
        return f" by {self.by}" if self.by else ""

    def asked(self, to: Any) -> Asked:
        """What is asked for now."""
        return Asked(to=to, by=self.by, at=self.at)

    def order(self, line: str, **orders: Any) -> None:
        """Ask this of the run, and say so in its log."""
        from .lease import Ownership
        from .notes import write_line

        self.run.orders = {**self.run.orders, **orders}
        self.run.save(update_fields=["orders", "limits", "cancel_requested_at"])
        write_line(Ownership(self.run._state.db or "", self.run.pk, epoch=0), line)


def cancel_run(run_id: int, *, by: str = "", user: str = "", using: str | None = None) -> Cancelled:
    """Ask for the end of a run, in order, as a first Ctrl-C does. `by` is who asks, for its log; so is `user`.

    Raises InvalidCommand where there is no such run, AsyncCommanderError for one of a plain Django command, which
    nobody can interrupt in order.
    """
    from async_commander.models import Run

    from .runs import is_orphan, mark_crashed
    from .shards import ask_to_end
    from .telling import tell_ended_later

    alias = using or router.db_for_write(Run)
    run = Run.objects.using(alias).numbered(run_id)
    if run.shard is not None:
        raise InvalidCommand(f"Run {run_id} is shard {run.shard} of run {run.parent_id}: ask for the end of that one.")
    if run.status in AT_WORK and is_orphan(alias, run) and mark_crashed(alias, run):
        run.refresh_from_db(using=alias, fields=["status"])
        if run.status != RunStatus.QUEUED.value:  # else it went back to its queue, and the next worker is not to begin
            return Cancelled.OWNERLESS
    with _locked(run_id, by or user, alias, among=NOT_OVER) as desk:
        if desk is None:
            return Cancelled.ENDED
        if desk.run.status == RunStatus.QUEUED.value:
            desk.run.status, desk.run.finished, desk.run.once_key = RunStatus.INTERRUPTED.value, desk.at, None
            desk.run.error = f"Cancelled{desk.who} before it {'went on' if desk.run.heartbeat else 'began'}."
            desk.run.save(update_fields=["status", "finished", "once_key", "error"])
            tell_ended_later(alias, run_id)
            return Cancelled.NOT_BEGUN
        _check_ours(desk.run)
        if desk.run.cancel_requested_at is None:
            desk.run.cancel_requested_at = desk.at
            cancel = desk.asked(True).stored()
            desk.order(f"The end of this run was asked for{desk.who}.", cancel=cancel)
            ask_to_end(alias, run_id)
    return Cancelled.ASKED


def pause_run(run_id: int, *, by: str = "", using: str | None = None) -> bool:
    """Have a run begin nothing new, until `continue_run()`: what it has in hand is finished and committed.

    It keeps its process, its pool and its connections; its time-out stands still. True where that was asked for now,
    False where it was before. `by` is who asks, for its log.

    Raises InvalidCommand where there is no such run; AsyncCommanderError where it is not at work, is being ended, or is
    one `handle()` in which nothing could wait.
    """
    with _at_work(run_id, by, using) as desk:
        _check_whole(desk.run)
        if desk.run.paused is not None:
            return False
        if not desk.run.pausable:
            raise AsyncCommanderError(
                f"Run {run_id} cannot be paused: its handle() has begun no self.step() and no tick of ac.every(), "
                "before which it could wait. Cancel it, or divide its work into steps."
            )
        if desk.run.cancel_requested_at is not None:
            raise AsyncCommanderError(f"Run {run_id} is being ended: there is nothing to pause any more.")
        desk.order(f"A pause of this run was asked for{desk.who}.", pause=desk.asked(True).stored())
        return True


def continue_run(run_id: int, *, by: str = "", using: str | None = None) -> bool:
    """Let a paused run go on. True where that was asked for now, False where it is not paused.

    Raises as `pause_run` does.
    """
    with _at_work(run_id, by, using) as desk:
        _check_whole(desk.run)
        if desk.run.paused is None:
            return False
        desk.order(f"This run was asked to go on{desk.who}.", pause=desk.asked(False).stored())
        return True


def change_limits(run_id: int, *, by: str = "", using: str | None = None, **limits: Any) -> dict[str, Any]:
    """Change bounds of a run at work, as `change_limits(17, threads=10, per_second=None)`; returns all that it has now.

    They are kept: a resume of the run has them, too, but for those that it is given itself. Items in hand are finished
    under the old ones; a `timeout` that has passed already ends the run at once, in order.

    Raises InvalidCommand for a bound that is unknown, out of range, not to be changed while a run is at work, or
    without effect on this one; else as `pause_run` does.
    """
    wanted = changeable(limits)
    with _at_work(run_id, by, using) as desk:
        _check_whole(desk.run)
        acting = acting_bounds(desk.run)
        if idle := [name for name in wanted if name not in acting]:
            raise InvalidCommand(f"{idle[0]} is for items, and {desk.run.command} has none.")
        before: dict[str, Any] = desk.run.limits
        asked = desk.run.orders.get("limits", {})
        changed = {name: value for name, value in wanted.items() if before.get(name) != value}
        if not changed:
            return before
        told = ", ".join(
            f"{name} {bound_in_words(before.get(name))} → {bound_in_words(value)}" for name, value in changed.items()
        )
        now = desk.run.limits = before | changed
        orders = {name: desk.asked(value).stored() for name, value in changed.items()}
        desk.order(f"Limits of this run were changed{desk.who}: {told}.", limits=asked | orders)
        return now


def answer_run(
    run_id: int,
    answer: bool,  # noqa: FBT001 - it is what is said
    *,
    by: str = "",
    question: str | None = None,
    using: str | None = None,
) -> None:
    """Answer the question that a run waits with, which is `Run.question`.

    `question` is the one that is meant: where the run asks another one by now, nothing is answered.

    Raises InvalidCommand where there is no such run, or the answer is neither True nor False; AsyncCommanderError where
    it waits for no answer, or has one.
    """
    if not isinstance(answer, bool):
        raise InvalidCommand(f"answer={answer!r:.80}: True or False is needed")
    with _at_work(run_id, by, using) as desk:
        run = desk.run
        if run.status != RunStatus.WAITING.value:
            raise AsyncCommanderError(f"Run {run_id} waits for no answer: it is {run.status}.")
        if question is not None and question != run.question:
            raise AsyncCommanderError(f"Run {run_id} asks something else by now: “{run.question}”")
        if given := Asked.of(run.orders.get("answer")):
            raise AsyncCommanderError(f"Run {run_id} was answered before: {yes_or_no(given.to)}{given.who}.")
        told = f"“{run.question}” was answered with {yes_or_no(answer)}{desk.who}."
        desk.order(told, answer=desk.asked(answer).stored())


async def acancel_run(run_id: int, *, by: str = "", using: str | None = None) -> Cancelled:
    """`cancel_run` on a running event loop."""
    return await beside_loop(cancel_run, run_id, by=by, using=using)


async def apause_run(run_id: int, *, by: str = "", using: str | None = None) -> bool:
    """`pause_run` on a running event loop."""
    return await beside_loop(pause_run, run_id, by=by, using=using)


async def acontinue_run(run_id: int, *, by: str = "", using: str | None = None) -> bool:
    """`continue_run` on a running event loop."""
    return await beside_loop(continue_run, run_id, by=by, using=using)


async def achange_limits(run_id: int, *, by: str = "", using: str | None = None, **limits: Any) -> dict[str, Any]:
    """`change_limits` on a running event loop."""
    return await beside_loop(change_limits, run_id, by=by, using=using, **limits)


async def aanswer_run(
    run_id: int,
    answer: bool,  # noqa: FBT001 - it is what is said
    *,
    by: str = "",
    question: str | None = None,
    using: str | None = None,
) -> None:
    """`answer_run` on a running event loop."""
    await beside_loop(answer_run, run_id, answer, by=by, question=question, using=using)


def yes_or_no(answer: bool) -> str:  # noqa: FBT001 - it is what is said
    """An answer in words."""
    return "yes" if answer else "no"


def changeable(limits: Mapping[str, Any]) -> dict[str, Any]:
    """The bounds as they are kept. InvalidCommand for what is none, and for one that a run at work keeps as it is."""
    if not limits:
        raise InvalidCommand(f"Name a bound to change: {', '.join(CHANGEABLE)}.")
    try:
        given = Limits(**limits).given
    except (TypeError, ValueError) as error:
        raise InvalidCommand(str(error)) from error
    for name in given:
        if fixed := BOUNDS[name].fixed:
            raise InvalidCommand(
                f"{name} cannot be changed while a run is at work: {fixed}. What can be: {', '.join(CHANGEABLE)}."
            )
    return given


CHANGEABLE = tuple(name for name, bound in BOUNDS.items() if not bound.fixed)
"""Bounds of a run at work that may be changed."""


def acting_bounds(run: Run) -> tuple[str, ...]:
    """Those of a run that have an effect on it. One whose command cannot be imported here may have items."""
    try:
        has_items = declaration_of(get_command(run.command)).has_items
    except Exception:  # noqa: BLE001 - whatever the author's module raises; the run has it, and is at work
        has_items = True
    return tuple(name for name in CHANGEABLE if has_items or not BOUNDS[name].items)


def bound_in_words(value: Any) -> str:
    """The value of a bound; "none" where there is none."""
    return "none" if value is None else f"{value:.15g}" if isinstance(value, float) else f"{value}"


def changed_limits(run: Run) -> dict[str, Asked]:
    """Who changed which of its bounds while it was at work."""
    orders = run.orders.get("limits", {})
    return {name: asked for name, one in orders.items() if (asked := Asked.of(one))}


@contextmanager
def _at_work(run_id: int, by: str, using: str | None) -> Iterator[Desk]:
    """For the block the run's row is ours. Raises where nobody is at work on it who would hear of anything."""
    from async_commander.models import Run

    from .runs import is_orphan, mark_crashed

    alias = using or router.db_for_write(Run)
    run = Run.objects.using(alias).numbered(run_id)
    if run.status in AT_WORK and is_orphan(alias, run):
        mark_crashed(alias, run)
    with _locked(run_id, by, alias) as desk:
        if desk is None:
            run.refresh_from_db(using=alias, fields=["status"])
            raise AsyncCommanderError(f"Run {run_id} is not at work: it is {run.status}.")
        _check_ours(desk.run)
        yield desk


@contextmanager
def _locked(run_id: int, by: str, alias: str, among: Iterable[str] = AT_WORK) -> Iterator[Desk | None]:
    """For the block the row of a run in one of these states is locked; None where it is in none of them."""
    from async_commander.database.lanes import must_share
    from async_commander.database.transaction import LaneTransaction
    from async_commander.models import Run

    from .lease import database_now

    with LaneTransaction(alias, shared=must_share(alias)):
        runs = Run.objects.using(alias).filter(pk=run_id)
        # It is written before it is read: that locks it everywhere, also on SQLite, which has no lock for a row.
        locked = runs.filter(status__in=among).update(orders=F("orders"))
        yield Desk(runs.get(), plain(by or ""), database_now(alias)) if locked else None


def _check_whole(run: Run) -> None:
    """InvalidCommand for a shard, which does as its run is asked to."""
    if run.shard is not None:
        raise InvalidCommand(f"Run {run.pk} is shard {run.shard} of run {run.parent_id}: ask this of that one.")


def _check_ours(run: Run) -> None:
    """AsyncCommanderError for a run whose process hears of nothing."""
    from async_commander.models import FORMAT_VERSION

    if not run.limits:  # no bounds: it is not one of ours that runs there
        raise AsyncCommanderError(
            f"Run {run.pk} is one of a plain Django command, which hears of no request: end its process, "
            f"{run.pid} on {run.host}."
        )
    if run.format_version > FORMAT_VERSION:
        raise AsyncCommanderError(
            f"Run {run.pk} is one of a newer release (format {run.format_version}, this one knows {FORMAT_VERSION}): "
            "ask this of it from where that is installed."
        )
