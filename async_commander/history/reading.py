"""What readers of the history see beside the rows: runs that died unnoticed, that are silent, that were resumed."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from contextlib import suppress

from django.apps import apps
from django.core.exceptions import ImproperlyConfigured
from django.db import DatabaseError, transaction
from django.utils import timezone

from async_commander.command.registry import find_clashes, find_command
from async_commander.engine.threads import loop_is_running
from async_commander.exceptions import AsyncCommanderError
from async_commander.models import Lease, Run, RunItem
from async_commander.results import AT_WORK, RunStatus

from .lease import lease_name
from .recorder import STEP
from .runs import orphans, orphans_among, sweep


def notice_crashes(alias: str) -> None:
    """Mark runs whose owner is gone as crashed. Where the database may only be read, they stay as they are.

    As long as there are none it takes a query, and one or two for each hundred that are running: no transaction, no
    lock.
    """
    if next(orphans(alias), None) is not None:
        with suppress(DatabaseError), transaction.atomic(using=alias):
            sweep(alias)


def notice_crashes_now(alias: str) -> None:
    """The same, where the database may be asked: not on the thread of a running event loop."""
    if not loop_is_running():
        notice_crashes(alias)


def recorded_names(name: str) -> set[str]:
    """What a command's runs may be recorded under: `life` and `jobs.life` are one, unless two apps have a `life`.

    Those of plain Django commands have the app's label in any case.
    """
    plain = set() if "." in name else {f"{app.label}.{name}" for app in apps.get_app_configs()}
    try:
        clashes = find_clashes()
        if name in clashes:
            return {name, *(file.full_name for file in clashes[name])}
        file = find_command(name)
    except (AsyncCommanderError, ImproperlyConfigured):  # it may be gone, or the settings be wrong: its runs are there
        return {name, *plain}
    return {name, file.full_name, *plain} if file.name in clashes else {name, file.full_name, file.name, *plain}


def state_seen(run: Run) -> str:
    """The status of a run as it is, also where its row does not have it yet: whose owner is gone has crashed."""
    return states_seen(run._state.db or "default", [run])[run.pk]


def states_seen(alias: str, runs: Collection[Run]) -> dict[int, str]:
    """The same of many runs, by their ids: two queries, where any of them is running."""
    running = [run for run in runs if run.status in AT_WORK]
    crashed = orphans_among(alias, running) if running else set()
    return {
        run.pk: RunStatus.CRASHED.value
        if run.pk in crashed
        else f"{run.status}, no sign of life"
        if is_silent(run)
        else run.status
        for run in runs
    }


def is_silent(run: Run) -> bool:
    """Whether a run says that it is running and has missed its heartbeats."""
    return run.status in AT_WORK and run.expires is not None and run.expires < timezone.now()


def resumed_among(alias: str, runs: Iterable[Run]) -> set[int]:
    """The ids of those runs that had more than one sitting: their durations hold the pauses between these.

    Each sitting has its epoch, and so has who marked a crash.
    """
    by_lease = {lease_name(run.pk): run for run in runs}
    leases = Lease.objects.using(alias).filter(name__in=by_lease, epoch__gt=1).values_list("name", "epoch")
    crashed = {name for name, run in by_lease.items() if run.status == RunStatus.CRASHED.value}
    return {by_lease[name].pk for name, epoch in leases if epoch > 1 + (name in crashed)}


def steps_of(run: Run, limit: int) -> list[RunItem]:
    """The last steps of its `handle()` that are kept, the oldest first; none of a run of items.

    A run has the ones or the others, so that one row tells: no page reads the ledger for it.
    """
    one = next(iter(run.items.all()[:1]), None)
    if one is None or one.reason != STEP:
        return []
    return list(run.items.order_by("-pk")[:limit])[::-1]
