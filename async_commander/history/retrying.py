"""Failed items again: which run is opened again for its dead items, and which of them are to be tried.

They wait in the ledger then, as others do that have to be tried again: whatever ends this sitting, a resume goes on
with them. Of one that JSON could not keep only the key is known: the source is read again for it, and where it is not
found there it stays dead.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from difflib import get_close_matches
from uuid import UUID

from django.db.models import Count, Q, QuerySet

from async_commander.exceptions import AsyncCommanderError, InvalidCommand
from async_commander.models import Run, RunItem
from async_commander.results import REJECTED, ItemState, RunStatus, items_in_words

from .lease import Ownership, database_now
from .moments import moment
from .notes import write_line
from .recorder import Opening

KINDS_NAMED = 20


class NothingToRetry(AsyncCommanderError):
    """No item of the run is dead that could be tried again."""


def check(run: Run, opening: Opening) -> None:
    """InvalidCommand where dead items of this run are not tried again, whatever they are."""
    if run.testing or opening.testing:
        which = f"Run {run.pk} was a trial run" if run.testing else "A trial run goes on with no other"
        raise InvalidCommand(f"{which}: its dead items are not tried again. A new trial takes all of them.")
    if run.status in (RunStatus.QUEUED.value, RunStatus.SKIPPED.value):
        raise InvalidCommand(f"Run {run.pk} is {run.status}: it has no items.")


def revive(ownership: Ownership, run: Run, opening: Opening, only_keys: Collection[UUID] = ()) -> int:
    """Have dead items wait for an attempt, as if they had had none, and say in the log how the run had ended.

    `run` is as it was before it was taken over, in this transaction. With `only_keys` no other items are meant. Counts
    are for who takes the ledger over. Returns how many items it is. Raises NothingToRetry where there is none,
    InvalidCommand for a kind that no dead item has.
    """
    dead = RunItem.objects.using(ownership.alias).filter(run_id=run.pk, state=ItemState.DEAD.value)
    kinds = set(opening.only_kinds)
    if kinds and (unknown := kinds - _kinds_of(dead).keys() - _kinds_of(dead, "reason").keys()):
        raise InvalidCommand(_told_of_kinds(run, dead, unknown))
    chosen = dead.filter(Q(error_kind__in=kinds) | Q(reason__in=kinds)) if kinds else dead
    if only_keys:
        chosen = chosen.filter(key__in=only_keys)
    now = database_now(ownership.alias)
    again = chosen.exclude(reason=REJECTED).update(
        state=ItemState.RETRY.value, next_at=now, attempts=0, crashes=0
    )  # the reason stays: it tells those that the source has to give again from those that were never tried
    if not again:
        raise NothingToRetry(_why_none(run, chosen.count()))
    waiting = RunItem.objects.using(ownership.alias).filter(run_id=run.pk, state=ItemState.RETRY.value)
    # The source gives these again, wherever they are; those of a line, so that they come in their order.
    if run.cursor and waiting.filter(Q(item__isnull=True) | Q(line__isnull=False, by_follow=False)).exists():
        Run.objects.using(ownership.alias).filter(pk=run.pk).update(cursor="")
    which = f" ({', '.join(sorted(kinds))})" if kinds else ""
    by = f" by {opening.user}" if opening.user else ""
    ended = f" on {moment(run.finished)}" if run.finished else ""
    error = f" {run.error}" if run.error else ""
    write_line(
        ownership,
        f"Opened again{by} for {again:,} of {items_in_words(run.dead)} dead{which}. Before that it was {run.status}"
        f"{ended}: {run.done:,} done, {run.skipped:,} skipped, {run.dead:,} dead.{error}",
    )
    return again


def _why_none(run: Run, rejected: int) -> str:
    if rejected:
        return (
            f"Run {run.pk} has no dead items but {items_in_words(rejected)} that did not fit, and do so no better now: "
            "nothing was done. Correct these rows, and import them."
        )
    unfinished = run.status in (RunStatus.INTERRUPTED.value, RunStatus.CRASHED.value, RunStatus.FAILED.value)
    hint = f" It is {run.status}: --resume-run {run.pk} goes on with it." if unfinished else ""
    return f"Run {run.pk} has no dead items: nothing was done.{hint}"


def _kinds_of(dead: QuerySet[RunItem], column: str = "error_kind") -> dict[str, int]:
    """Kinds of errors of dead items, or their reasons, with how many have it, the most frequent first."""
    counted = dead.order_by().exclude(**{column: ""}).values_list(column).annotate(Count("pk"))
    return dict(sorted(counted, key=lambda one: (-one[1], one[0])))


def _told_of_kinds(run: Run, dead: QuerySet[RunItem], unknown: Iterable[str]) -> str:
    kinds, reasons = _kinds_of(dead), _kinds_of(dead, "reason")
    if not (kinds or reasons):
        return f"Run {run.pk} has no dead items, of whatever kind."
    wrong = sorted(unknown)
    close = [match for one in wrong for match in get_close_matches(one, [*kinds, *reasons], n=1)]
    meant = f" Did you mean {close[0]!r}?" if close else ""
    there = [f"{what}: {_listed(found)}" for what, found in (("Errors", kinds), ("Reasons", reasons)) if found]
    return (
        f"No dead item of run {run.pk} is of the kind {' or '.join(map(repr, wrong))}.{meant} "
        f"{items_in_words(dead.count())} {'is' if dead.count() == 1 else 'are'} dead. {'. '.join(there)}."
    )


def _listed(found: dict[str, int]) -> str:
    named = ", ".join(f"{name} ({count:,})" for name, count in list(found.items())[:KINDS_NAMED])
    more = len(found) - KINDS_NAMED
    return f"{named} and {more} more" if more > 0 else named
