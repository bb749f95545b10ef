"""What the tables say about a run, with a look at whether it adds up."""

from __future__ import annotations

import os
from collections import Counter
from datetime import timedelta
from typing import Any

from django.db.models import F
from django.utils import timezone

from async_commander.command.identity import item_key, key_uuid
from async_commander.history.lease import lease_name
from async_commander.history.ownership import process_start, this_boot, this_host
from async_commander.models import Lease, Run, RunClaim, RunItem
from async_commander.results import RunResult


def row_of(result: RunResult) -> Run:
    """The row of a run that has ended; its books balance and nobody owns it any more."""
    run = Run.objects.get(pk=result.run_id)
    assert run.accounts, counts_of(run)
    assert run.status == result.status.value
    assert counts_of(run) == result.counts
    assert not RunClaim.objects.filter(run=run).exists()
    assert Lease.objects.get(name=lease_name(run.pk)).pid is None
    assert run.finished is not None
    assert_ledger_adds_up(run)
    return run


def counts_of(run: Run) -> dict[str, int]:
    return {name: getattr(run, name) for name in ("taken", "done", "skipped", "dead", "retry", "claimed")}


def assert_ledger_adds_up(run: Run) -> None:
    """The counts of the run row are those of its items; of the skipped, duplicates have no row."""
    states = Counter(RunItem.objects.filter(run=run).values_list("state", flat=True))
    assert states["done"] == run.done
    assert states["dead"] == run.dead
    assert states["retry"] == run.retry
    assert states["skipped"] <= run.skipped
    assert states["claimed"] == run.claimed


def items_of(result: RunResult, **lookups: Any) -> list[RunItem]:
    return list(RunItem.objects.filter(run_id=result.run_id, **lookups).order_by("label"))


def labels_of(result: RunResult, **lookups: Any) -> list[str]:
    return [item.label for item in items_of(result, **lookups)]


def end_without_a_word(run_id: Any, *items: Any, source_ended: bool = False) -> None:
    """Make it look as if the run's process had been killed with these items in hand, and the source not at its end."""
    run = Run.objects.get(pk=run_id)
    lease = Lease.objects.get(name=lease_name(run.pk))
    keys = [key_uuid(item_key(item)) for item in items]
    fresh = len(keys) - RunItem.objects.filter(run=run, key__in=keys).count()
    Run.objects.filter(pk=run.pk).update(
        status="running",
        source_ended=source_ended,
        finished=None,
        taken=F("taken") + fresh,
        claimed=F("claimed") + fresh,
        expires=timezone.now() + timedelta(hours=1),
    )
    RunClaim.objects.create(run=run, epoch=lease.epoch, keys=[key.hex for key in keys])
    give_lease(run.pk, process_start=1)


def give_lease(run_id: Any, **columns: Any) -> None:
    """Give the run to this process, except for what `columns` say."""
    us = {"host": this_host(), "boot_id": this_boot(), "pid": os.getpid(), "process_start": process_start(os.getpid())}
    Lease.objects.filter(name=lease_name(run_id)).update(**{**us, **columns})
