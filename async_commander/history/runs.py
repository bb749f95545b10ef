"""The run row from its first line to its last: begun, resumed, found crashed, closed.

Every function is synchronous and uses the calling thread's connection of `alias`; those that write are called inside
a transaction, except `sweep`, which makes its own.
"""

from __future__ import annotations

import math
import os
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import datetime, timedelta
from itertools import islice
from typing import Any, TypeVar

from django.db import transaction
from django.db.models import Q

from async_commander.command.run_identity import Comparison
from async_commander.database.chunks import chunks
from async_commander.exceptions import InvalidCommand, RunFenced, RunLocked, RunTaken
from async_commander.models import FORMAT_VERSION, Lease, Run, RunQuerySet
from async_commander.results import AT_WORK, RunStatus, items_in_words

from . import retrying, unstored_ends
from .lease import (
    Ownership,
    database_now,
    epoch_of,
    establish,
    fence,
    holds,
    lease_name,
    leave_name,
    owner_of,
    release,
    take_over,
)
from .moments import as_stored
from .notes import mark_gap
from .ownership import NOBODY, Owner, host_name, this_host
from .recorder import Ending, Opening
from .shards import COUNTS, ledger_of, to_carry
from .telling import tell_ended_later
from .unstored_ends import UnstoredEnd

T = TypeVar("T")

UNFINISHED = (
    RunStatus.INTERRUPTED.value,
    RunStatus.CRASHED.value,
    RunStatus.FAILED.value,
    *AT_WORK,
)
TEXT_CAP = 100_000
"""Characters kept of a run's output, error and traceback each."""
COMPARED = 200
"""The newest runs of a command among which one of the same arguments is looked for under another digest."""
NAMED = 3
MOST_DEATHS = 5
"""Of workers that carry a queued run, one after another, with nothing settled in between."""
SWEPT_AT_ONCE = 100


class OthersUnfinished(InvalidCommand):
    """There is no run to resume by these arguments, and others of the command are unfinished."""


def begin(alias: str, opening: Opening, seconds: float, once_key: str | None = None) -> Ownership:
    """A new run, or one that was queued, running, owned by this process. IntegrityError where another one has the key.

    RunTaken where another process has begun it meanwhile, or it was cancelled.
    """
    now = database_now(alias)
    at_work = {
        "once_key": once_key,
        "limits": opening.limits,
        "pausable": opening.pausable,
        "status": RunStatus.RUNNING.value,
        "host": host_name(),
        "pid": os.getpid(),
        "started": now,
        "heartbeat": now,
        "expires": now + timedelta(seconds=seconds),
    }
    if opening.queued is None:
        return establish(alias, add(alias, opening, **at_work).pk)
    waiting = Run.objects.using(alias).filter(pk=opening.queued, status=RunStatus.QUEUED.value)
    if not waiting.update(**as_asked(opening), **at_work):
        raise RunTaken(f"Run {opening.queued} does not wait in its queue any more.")
    return establish(alias, opening.queued)


def add(alias: str, opening: Opening, **columns: Any) -> Run:
    """The row of a new run, with what is known before it begins; `columns` say how far it is."""
    return Run.objects.using(alias).create(
        trigger=opening.trigger, user=opening.user, parent_id=opening.parent, **as_asked(opening), **columns
    )


def as_asked(opening: Opening) -> dict[str, Any]:
    """The columns that say what is run."""
    return {
        "command": opening.command,
        "identity": opening.identity,
        "parameters": opening.parameters,
        "options": opening.options,
        "testing": opening.testing,
        "dry_run": opening.dry_run,
    }


def resumable(alias: str, opening: Opening) -> Run | None:
    """The run that `--resume`, `--resume-run` or `--retry-failed` means; None where there is nothing to resume.

    Raises InvalidCommand where the run that was named cannot go on as this command, or in this way.
    """
    runs = Run.objects.using(alias)
    if opening.queued is not None and runs.filter(pk=opening.queued, shard__isnull=False).exists():
        return to_carry(alias, opening.queued)
    if opening.queued is not None:
        return _begun(runs.filter(pk=opening.queued).first(), opening.queued)
    if opening.carries is not None:
        return to_carry(alias, opening.carries)
    if opening.retry_failed is not None:
        named = _named(runs, opening.retry_failed, opening)
        retrying.check(named, opening)
        _check_shards(named, opening)
        return named
    if opening.resume_run is not None:
        named = _named(runs, opening.resume_run, opening)
        _check_unfinished(named, opening)
        _check_shards(named, opening)
        return named
    runs = runs.filter(dry_run=False, shard=None)
    unfinished = runs.filter(Q(command=opening.command) | Q(identity=opening.identity), status__in=UNFINISHED)
    unfinished = unfinished.filter(Q(source_ended=True) | Q(pruned=None), testing=opening.testing)
    unfinished = unfinished.order_by("-id").defer("output", "traceback")
    newest = list(unfinished[:COMPARED])
    exact = unfinished.filter(identity=opening.identity).first()  # however old
    if exact is not None and exact not in newest:
        newest.append(exact)
    same = [(run, how) for run in newest if (how := _compared(run, opening)).is_same]
    run = next((run for run, how in same if not how.gone), None)
    if run is None and all(how.gone == same[0][1].gone for _, how in same):
        run = next((run for run, _ in same), None)
    if run is not None:
        _check_format(run)
        _check_shards(run, opening)
    return run


def others_unfinished(alias: str, opening: Opening) -> str:
    """The unfinished runs of the command with other arguments, in words: the newest few; those at work are none."""
    now = database_now(alias)
    runs = Run.objects.using(alias).whole()
    runs = runs.filter(command=opening.command, dry_run=False, status__in=UNFINISHED)
    runs = runs.filter(testing=opening.testing)
    runs = runs.exclude(status__in=AT_WORK, expires__gt=now).order_by("-id").defer("output", "traceback")
    told = [
        f"run {run.pk} ({run.status}, "
        + (f"{run.done:,} of {run.total:,} done" if run.total is not None else f"{items_in_words(run.done)} done")
        + f": {_compared(run, opening).in_words()})"
        for run in runs[:NAMED]
    ]
    more = runs.count() - len(told)
    return ", ".join(told) + (f" and {more} more" if more > 0 else "")


def _compared(run: Run, opening: Opening) -> Comparison:
    if run.identity == opening.identity:
        return Comparison({}, {})
    if opening.known_by is None:
        return Comparison({"identity": (run.identity, opening.identity)}, {})
    return opening.known_by.compare(run.parameters, run.options, run.identity)


def left_out(run: Run, opening: Opening) -> str:
    """What a resumed run was begun with and its command does not take any more, in words; empty where there is none."""
    gone = ", ".join(f"{name}={value!r:.80}" for name, value in _compared(run, opening).gone.items())
    told = f"Run {run.pk} was begun with {gone}, which {opening.command} does not take any more"
    return f"{told}: it goes on without." if gone else ""


def known_identity(alias: str, opening: Opening) -> str:
    """The digest of an earlier run of the same arguments, which another class may have given them; else their own."""
    runs = Run.objects.using(alias)
    if runs.filter(identity=opening.identity).exists():
        return opening.identity
    earlier = runs.whole().filter(command=opening.command).only("identity", "parameters", "options").order_by("-id")
    compared = ((run, _compared(run, opening)) for run in earlier[:COMPARED])
    return next((run.identity for run, how in compared if how.is_same and not any(how.gone.values())), opening.identity)


def _begun(run: Run | None, number: int) -> Run | None:
    """A queued run that a worker has begun before; None for one that nobody has begun."""
    if run is None or run.status != RunStatus.QUEUED.value:
        raise RunTaken(f"Run {number} is {run.status}." if run else f"There is no run {number}.")
    _check_format(run)
    return None if epoch_of(run._state.db or "", run.pk) is None else run


def _named(runs: RunQuerySet, number: int, opening: Opening) -> Run:
    run = runs.numbered(number)
    if run.shard is not None:
        raise InvalidCommand(
            f"Run {run.pk} is shard {run.shard} of run {run.parent_id}: name that one, it goes on with all."
        )
    if run.dry_run:
        raise InvalidCommand(
            f"Run {run.pk} is a dry run, which keeps nothing that could be gone on with. Begin a new one; --again "
            f"{run.pk} takes its arguments."
        )
    if run.command != opening.command and run.identity != opening.identity:
        raise InvalidCommand(f"Run {run.pk} is one of {run.command}: it cannot be resumed as {opening.command}.")
    if not (how := _compared(run, opening)).is_same:
        raise InvalidCommand(
            f"Run {run.pk} was begun with other arguments: {how.in_words()}. Leave these out: the run knows its own."
        )
    _check_format(run)
    return run


def _check_unfinished(run: Run, opening: Opening) -> None:
    if opening.testing and not run.testing:
        raise InvalidCommand(f"Run {run.pk} is no trial run: leave --test out to go on with it.")
    if run.status not in UNFINISHED:
        remedy = (
            f"--retry-failed {run.pk} tries its dead items again" if run.dead else "A new run takes all items again"
        )
        resumed = ", ".join(status for status in UNFINISHED if status != RunStatus.WAITING.value)
        raise InvalidCommand(f"Run {run.pk} is {run.status}: only {resumed} runs are resumed. {remedy}.")


def _check_shards(run: Run, opening: Opening) -> None:
    stored = run.options.get("shards")
    if opening.shards is not None and opening.shards != stored:
        cut = "is not cut into shards" if stored is None else f"is cut into {stored}"
        raise InvalidCommand(
            f"Run {run.pk} {cut}, and {opening.shards} shards were asked for: a run goes on as it was begun. Leave "
            "--shards out, or begin a new run."
        )


def _check_format(run: Run) -> None:
    if run.format_version > FORMAT_VERSION:
        raise InvalidCommand(
            f"Run {run.pk} was written by a newer release (format {run.format_version}, this one reads up to "
            f"{FORMAT_VERSION}). Upgrade async_commander to resume it, or start without --resume."
        )


def seconds_until_free(alias: str, run: Run) -> float:
    """0.0 where the run may be taken over now, else the seconds until its lease runs out.

    Raises RunLocked where its owner is alive on this host and has renewed the lease.
    """
    if run.status not in AT_WORK:
        return 0.0
    owner = owner_of(alias, run.pk)
    if owner.is_gone() or _unstored_end(alias, run) is not None:
        return 0.0
    left = (run.expires - database_now(alias)).total_seconds() if run.expires else 0.0
    left = min(left, lease_length(run))  # a clock that was set back since does not make it longer
    if left > 0 and owner.host == this_host():
        raise RunTaken(f"Run {run.pk} is being worked on by {owner}. Wait for its end, or stop it first.")
    return max(0.0, left)


def lease_length(run: Run) -> float:
    """For how many seconds each sign of life keeps a run for its owner."""
    return (run.expires - run.heartbeat).total_seconds() if run.expires and run.heartbeat else math.inf


def reopen(
    alias: str, run: Run, opening: Opening, seconds: float, once_key: str | None = None
) -> tuple[Ownership, bool]:
    """Take a run over under a new epoch and let it run again; and whether its last owner ended without a word.

    The caller has found it free, as `run` says. Raises RunLocked where another one took it meanwhile, IntegrityError
    where another run has the key.
    """
    seen, found_free = epoch_of(alias, run.pk), run.expires
    run.refresh_from_db(using=alias)
    if run.expires != found_free and seconds_until_free(alias, run) > 0:
        raise RunTaken(f"Run {run.pk} was taken over by {owner_of(alias, run.pk)} just now.")
    ended = _unstored_end(alias, run)
    ownership = take_over(alias, run.pk, seen=seen).of(run)
    if ended is not None:
        transaction.on_commit(ended.forget, using=alias)
    elif run.status in AT_WORK:
        mark_gap(ownership)
    now = database_now(alias)
    if opening.retry_failed is None and run.status == RunStatus.FAILED.value and run.pruned is None:
        run.source_ended = False  # all of it is dead: who resumes it asks the source for what is new
    mine = Run.objects.using(alias).filter(pk=run.pk)
    if opening.queued is not None and run.shard is None:
        mine = mine.filter(status=RunStatus.QUEUED.value)  # else it was cancelled since
    # Limits that were changed from outside apply still, but for those that this sitting was given; a pause does not.
    changed = {name: one for name, one in run.orders.get("limits", {}).items() if name not in opening.given}
    taken = mine.update(
        status=RunStatus.RUNNING.value,
        source_ended=run.source_ended,
        once_key=once_key,
        limits=opening.limits | {name: one["to"] for name, one in changed.items()},
        orders={"limits": changed} if changed else {},
        question="",
        pausable=opening.pausable,
        host=host_name(),
        pid=os.getpid(),
        heartbeat=now,
        expires=now + timedelta(seconds=seconds),
        finished=None,
        error="",
        traceback="",
        cancel_requested_at=None,
        changes=0,
    )
    if not taken:
        raise RunLocked(f"Run {run.pk} was cancelled or removed just now.")
    left_at_work = (*AT_WORK, RunStatus.CRASHED.value, RunStatus.QUEUED.value)
    return ownership, ended is None and run.status in left_at_work  # who gave it back in order has left no claim


def opened_once(function: Callable[[], tuple[Ownership, T]]) -> Callable[[], tuple[Ownership, T]]:
    """What begins or takes over, to be called again where its COMMIT was in doubt: the lease tells whether it was done.

    The heartbeat is compared as well: what was rolled back leaves its run's number to others.
    """
    made: list[tuple[tuple[Ownership, T], datetime | None]] = []

    def guarded() -> tuple[Ownership, T]:
        if made and holds(made[0][0][0]) and last_heartbeat(made[0][0][0]) == made[0][1]:
            return made[0][0]
        opened = function()
        made[:] = [(opened, last_heartbeat(opened[0]))]
        return opened

    return guarded


def last_heartbeat(ownership: Ownership) -> datetime | None:
    """When the run gave its last sign of life."""
    return Run.objects.using(ownership.alias).filter(pk=ownership.run_id).values_list("heartbeat", flat=True).first()


def this_and_previous(ownership: Ownership) -> tuple[Run, Run | None]:
    """The run's row, and that of the last run of this identity that succeeded with all of its items."""
    runs = Run.objects.using(ownership.alias)
    run = runs.get(pk=ownership.ledger)
    earlier = runs.filter(identity=run.identity, status=RunStatus.SUCCEEDED.value, dry_run=False, testing=False)
    return run, next((one for one in earlier.filter(pk__lt=run.pk).order_by("-id")[:20] if is_whole(one.options)), None)


def is_whole(options: Mapping[str, Any]) -> bool:
    """Whether a run of these options that succeeds has taken all of its items."""
    return "max_items" not in options


def _unstored_end(alias: str, run: Run) -> UnstoredEnd | None:
    """How a run has ended that says it is running, where its owner could say so on this machine only."""
    if run.status not in AT_WORK:
        return None
    owner = owner_of(alias, run.pk)
    return None if owner.nobody else unstored_ends.find(Ownership(alias, run.pk, epoch_of(alias, run.pk) or 0), owner)


def close(
    ownership: Ownership, ending: Ending, *, add_output: bool, whole: bool, finished: datetime | None = None
) -> dict[str, int]:
    """The last line: status and end, with the lease released. Returns the stored counts.

    A run that was to happen once has happened where it succeeded, `whole`; else another may begin.
    """
    release(ownership)
    has_happened = whole and ending.status is RunStatus.SUCCEEDED
    goes_back = ending.status is RunStatus.QUEUED
    runs = Run.objects.using(ownership.alias).filter(pk=ownership.run_id)
    before, would = runs.values_list("output", "would").get() if add_output else ("", {})
    runs.update(
        status=ending.status.value,
        question="",
        finished=None if goes_back else as_stored(finished) or database_now(ownership.alias),
        value=ending.value,
        would={
            label: dict(Counter(would.get(label, {})) + Counter(ending.would.get(label, {})))
            for label in sorted(would.keys() | ending.would.keys())
        },
        output=(before + ending.output)[-TEXT_CAP:],
        error=ending.error[:TEXT_CAP],
        traceback=ending.traceback[-TEXT_CAP:],
        **({"source_ended": True} if ending.source_ended else {}),
        **({"sent": None} if goes_back else {}),
        **({} if has_happened else {"once_key": None}),
    )
    if goes_back:  # unless somebody asked for its end, which nobody has heard of in time
        cancelled = runs.filter(cancel_requested_at__isnull=False)
        if cancelled.update(status=RunStatus.INTERRUPTED.value, finished=database_now(ownership.alias)):
            tell_ended_later(ownership.alias, ownership.run_id)
    return stored_counts(ownership)


def asks(ownership: Ownership, question: str) -> None:
    """The run waits for an answer to this, or with an empty text for none. An answer to an earlier question is gone."""
    runs = Run.objects.using(ownership.alias).filter(pk=ownership.run_id)
    status = RunStatus.WAITING if question else RunStatus.RUNNING
    runs.update(status=status.value, question=question)  # which locks the row: nobody writes its orders meanwhile
    orders = runs.values_list("orders", flat=True).get()
    if orders.pop("answer", None) is not None:
        runs.update(orders=orders)
    fence(ownership)


def stored_counts(ownership: Ownership) -> dict[str, int]:
    """The six counts of the accounting, as the run's row has them."""
    counts: dict[str, int] = Run.objects.using(ownership.alias).values(*COUNTS).get(pk=ownership.run_id)
    return counts


def orphans(alias: str) -> Iterator[Run]:
    """Runs that say they are at work and have no owner any more, the newest first.

    One whose process still exists on this host is none, even if its lease ran out: it may be waiting for the database.
    Only `--resume` deposes it.
    """
    at_work = Run.objects.using(alias).filter(status__in=AT_WORK).order_by("-id")
    for runs in chunks(list(at_work), SWEPT_AT_ONCE):
        found = orphans_among(alias, runs)
        yield from (run for run in runs if run.pk in found)


def is_orphan(alias: str, run: Run) -> bool:
    """Whether nobody has a run that says it is at work."""
    return bool(orphans_among(alias, [run]))


def orphans_among(alias: str, runs: Iterable[Run]) -> set[int]:
    """The ids of those of these runs, all of which say that they are at work, that nobody has: two queries."""
    by_lease = {lease_name(run.pk): run for run in runs}
    leases = {lease.name: lease for lease in Lease.objects.using(alias).filter(name__in=by_lease)}
    found, silent = set[int](), list[Run]()
    for name, run in by_lease.items():
        lease = leases.get(name)
        owner = NOBODY if lease is None else Owner.of(lease)
        if lease is None or owner.is_gone() or unstored_ends.find(Ownership(alias, run.pk, lease.epoch), owner):
            found.add(run.pk)
        elif owner.host != this_host():
            silent.append(run)
    now = database_now(alias) if silent else None
    return found | {run.pk for run in silent if run.expires is None or (now is not None and run.expires <= now)}


def sweep(alias: str) -> int:
    """Mark runs without an owner as crashed, or as their owner says they ended. Returns how many.

    The newest hundred at most: whoever looks for the first time at a thousand of them does not wait for all.
    """
    return sum(mark_crashed(alias, run) for run in list(islice(orphans(alias), SWEPT_AT_ONCE)))


def mark_crashed(alias: str, run: Run) -> bool:
    """Close a run without an owner as crashed, or as its owner says it ended; False where it has one, or had an end.

    One that came from a queue goes back to it, for the next worker, as long as that gets it on, unless its end was
    asked for.
    """
    try:
        with transaction.atomic(using=alias):
            seen = epoch_of(alias, run.pk)
            run.refresh_from_db(using=alias)
            if not is_orphan(alias, run):
                return False
            ended = _unstored_end(alias, run)
            ownership = take_over(alias, run.pk, seen=seen).of(run)
            leave_name(alias, run.command, run.pk)
            if ended is not None:
                ledger_of(ownership, run).let_go()
                close(ownership, ended.ending, add_output=True, whole=is_whole(run.options), finished=ended.at)
                transaction.on_commit(ended.forget, using=alias)
                return True
            mark_gap(ownership)
            fence(ownership)
            Run.objects.using(alias).filter(pk=run.pk, status__in=AT_WORK).update(once_key=None, **_left_alone(run))
            release(ownership)
            tell_ended_later(alias, run.pk)  # unless it waits in its queue again
    except (RunLocked, RunFenced):
        return False
    return True


def _left_alone(run: Run) -> dict[str, Any]:
    """The columns of a run whose owner has ended without a word."""
    crashed = {"status": RunStatus.CRASHED.value, "error": "The process that owned this run ended without a word."}
    if not run.engine or run.cancel_requested_at is not None:
        return crashed
    so_far = run.settled or run.items.count()  # steps are rows, and counted nowhere
    left = run.asked.get("left", {})
    times = left.get("times", 0) + 1 if left.get("so_far") == so_far else 1
    asked = {**run.asked, "left": {"so_far": so_far, "times": times}}
    if times < MOST_DEATHS:
        return {"status": RunStatus.QUEUED.value, "asked": asked, "sent": None}
    told = (
        f"{times} processes, one after another, ended without a word in this run, and none of them got it on. No other "
        f"one begins with it by itself: `manage.py aruns requeue {run.pk}` sends it again."
    )
    return {**crashed, "asked": asked, "error": told}
