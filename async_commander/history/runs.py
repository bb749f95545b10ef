"""The run row from its first line to its last: begun, resumed, found crashed, closed.

Every function is synchronous and uses the calling thread's connection of `alias`; those that write are called inside
a transaction, except `sweep`, which makes its own.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from datetime import datetime, timedelta

from django.db import transaction

from async_commander.engine.results import RunStatus
from async_commander.exceptions import InvalidCommand, RunFenced, RunLocked
from async_commander.models import FORMAT_VERSION, Run, RunClaim

from .lease import Tenure, database_now, epoch_of, establish, fence, owner_of, release, take_over
from .notes import mark_gap
from .ownership import host_name, this_host
from .recorder import Ending, Opening

UNFINISHED = (
    RunStatus.INTERRUPTED.value,
    RunStatus.CRASHED.value,
    RunStatus.FAILED.value,
    RunStatus.RUNNING.value,
)
COUNTS = ("taken", "done", "skipped", "dead", "retry", "claimed")
TEXT_CAP = 100_000
"""Characters kept of a run's output, error and traceback each."""


def begin(alias: str, opening: Opening, seconds: float) -> Tenure:
    """A new run, running, owned by this process."""
    now = database_now(alias)
    run = Run.objects.using(alias).create(
        command=opening.command,
        identity=opening.identity,
        parameters=opening.parameters,
        options=opening.options,
        limits=opening.limits,
        trigger=opening.trigger,
        user=opening.user,
        testing=opening.testing,
        status=RunStatus.RUNNING.value,
        host=host_name(),
        pid=os.getpid(),
        started=now,
        heartbeat=now,
        expires=now + timedelta(seconds=seconds),
    )
    return establish(alias, run.pk)


def resumable(alias: str, opening: Opening) -> Run | None:
    """The run that `--resume` or `--resume-run ID` means; None where there is nothing to resume.

    Raises InvalidCommand where the run that was named cannot be resumed by this command.
    """
    runs = Run.objects.using(alias).filter(dry_run=False)
    if opening.resume_run is not None:
        return _named(runs.filter(pk=opening.resume_run).first(), opening)
    run = runs.filter(identity=opening.identity, status__in=UNFINISHED).order_by("-id").first()
    if run is not None:
        _check_format(run)
    return run


def _named(run: Run | None, opening: Opening) -> Run:
    if run is None:
        raise InvalidCommand(f"There is no run {opening.resume_run}. `manage.py aruns` lists the runs.")
    if run.identity != opening.identity:
        raise InvalidCommand(
            f"Run {run.pk} is one of {run.command} with {run.parameters or 'no parameters'}; "
            f"it cannot be resumed as {opening.command} with {opening.parameters or 'no parameters'}."
        )
    if run.status not in UNFINISHED:
        raise InvalidCommand(
            f"Run {run.pk} is {run.status}: only {', '.join(UNFINISHED)} runs are resumed. "
            "A new run, without --resume-run, takes all items again, those that are dead in this one too."
        )
    _check_format(run)
    return run


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
    if run.status != RunStatus.RUNNING.value:
        return 0.0
    owner = owner_of(alias, run.pk)
    if owner.is_gone():
        return 0.0
    left = (run.expires - database_now(alias)).total_seconds() if run.expires else 0.0
    if left > 0 and owner.host == this_host():
        raise RunLocked(f"Run {run.pk} is being worked on by {owner}. Wait for its end, or stop it first.")
    return max(0.0, left)


def reopen(alias: str, run: Run, opening: Opening, seconds: float) -> Tenure:
    """Take a run over under a new epoch and let it run again. Raises RunLocked where another one did so meanwhile."""
    seen = epoch_of(alias, run.pk)
    run.refresh_from_db(using=alias)
    if seconds_until_free(alias, run) > 0:
        raise RunLocked(f"Run {run.pk} was taken over by {owner_of(alias, run.pk)} just now.")
    tenure = take_over(alias, run.pk, seen=seen)
    if run.status == RunStatus.RUNNING.value:
        mark_gap(tenure)
    now = database_now(alias)
    Run.objects.using(alias).filter(pk=run.pk).update(
        status=RunStatus.RUNNING.value,
        limits=opening.limits,
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
    return tenure


def last_heartbeat(tenure: Tenure) -> datetime | None:
    """When the run gave its last sign of life."""
    return Run.objects.using(tenure.alias).filter(pk=tenure.run_id).values_list("heartbeat", flat=True).first()


def this_and_previous(tenure: Tenure) -> tuple[Run, Run | None]:
    """The run's row, and that of the last run of this identity that succeeded with all of its items."""
    runs = Run.objects.using(tenure.alias)
    run = runs.get(pk=tenure.run_id)
    earlier = runs.filter(identity=run.identity, status=RunStatus.SUCCEEDED.value, dry_run=False, testing=False)
    whole = (one for one in earlier.filter(pk__lt=run.pk).order_by("-id")[:20] if "max_items" not in one.options)
    return run, next(whole, None)


def close(tenure: Tenure, ending: Ending, *, add_output: bool) -> None:
    """The last line: status and end, with the claims dropped and the lease released, all or nothing."""
    release(tenure)
    RunClaim.objects.using(tenure.alias).filter(run_id=tenure.run_id).delete()
    runs = Run.objects.using(tenure.alias).filter(pk=tenure.run_id)
    before = runs.values_list("output", flat=True).get() if add_output else ""
    runs.update(
        status=ending.status.value,
        finished=database_now(tenure.alias),
        value=ending.value,
        output=(before + ending.output)[-TEXT_CAP:],
        error=ending.error[:TEXT_CAP],
        traceback=ending.traceback[-TEXT_CAP:],
    )


def orphans(alias: str) -> Iterator[Run]:
    """Runs that say `running` and have no owner any more.

    One whose process still exists on this host is none, even if its lease ran out: it may be waiting for the database.
    Only `--resume` deposes it.
    """
    for run in Run.objects.using(alias).filter(status=RunStatus.RUNNING.value).order_by("id"):
        if _is_orphan(alias, run):
            yield run


def _is_orphan(alias: str, run: Run) -> bool:
    owner = owner_of(alias, run.pk)
    return owner.is_gone() or (owner.host != this_host() and _has_expired(alias, run))


def _has_expired(alias: str, run: Run) -> bool:
    return run.expires is None or run.expires <= database_now(alias)


def sweep(alias: str) -> int:
    """Mark runs without an owner as crashed. Returns how many."""
    return sum(_mark_crashed(alias, run) for run in list(orphans(alias)))


def _mark_crashed(alias: str, run: Run) -> bool:
    try:
        with transaction.atomic(using=alias):
            seen = epoch_of(alias, run.pk)
            run.refresh_from_db(using=alias)
            if not _is_orphan(alias, run):
                return False
            tenure = take_over(alias, run.pk, seen=seen)
            mark_gap(tenure)
            fence(tenure)
            Run.objects.using(alias).filter(pk=run.pk, status=RunStatus.RUNNING.value).update(
                status=RunStatus.CRASHED.value,
                error="The process that owned this run ended without a word.",
            )
            release(tenure)
    except (RunLocked, RunFenced):
        return False
    return True
