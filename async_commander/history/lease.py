"""Who may write into a run: the lease with its epoch, the fence before each commit, and the take-over.

Every function here is synchronous, runs on whichever thread calls it, and uses that thread's connection of `alias`.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any

from django.db import IntegrityError, connections
from django.db.models import F
from django.utils import timezone

from async_commander.exceptions import RunFenced, RunTaken
from async_commander.models import Lease, Run
from async_commander.results import AT_WORK

from .ownership import NOBODY, Owner, this_process
from .recorder import Orders

LEASE_SECONDS = 30.0

_SHARE_LOCK = {"postgresql": " FOR SHARE", "mysql": " LOCK IN SHARE MODE"}
"""SQLite needs none: inside BEGIN IMMEDIATE nobody else writes."""


@dataclass(frozen=True, slots=True)
class Ownership:
    """The right to write into one run, as long as the lease's epoch is this one."""

    alias: str
    run_id: int
    epoch: int
    single: str = ""
    """The command whose name it has as well, so that no other run of it begins."""
    parent: int | None = None
    """Of a shard: the run whose ledger and log it writes."""
    shard: int = 0
    """Which of them it is."""

    @property
    def name(self) -> str:
        """The lease's name."""
        return lease_name(self.run_id)

    @property
    def ledger(self) -> int:
        """The run whose items these are: its own, or its parent's."""
        return self.run_id if self.parent is None else self.parent

    def of(self, run: Run) -> Ownership:
        """The same, of this run: a shard's is for the ledger of its parent."""
        return self if run.shard is None else replace(self, parent=run.parent_id, shard=run.shard)


@dataclass(frozen=True, slots=True)
class Renewal:
    """What a heartbeat found."""

    held: bool
    orders: Orders = field(default_factory=Orders)


def lease_name(run_id: int) -> str:
    """The name under which a run is owned."""
    return f"run:{run_id}"


def database_now(alias: str) -> datetime:
    """The time by the database's own clock where it has one, so that a host with a wrong clock expires nothing.

    Like what a DateTimeField gives it is naive, in TIME_ZONE, with USE_TZ off.
    """
    connection = connections[alias]
    if connection.vendor != "postgresql":
        return timezone.now()
    with connection.cursor() as cursor:
        cursor.execute("SELECT clock_timestamp()")
        moment: datetime = cursor.fetchone()[0]
    return moment


class SteadyClock:
    """The database's clock as it was when it was asked first, and the time that has passed since then.

    A clock that somebody sets, back or forward, while a run is at it changes nothing for what waits in it.
    """

    def __init__(self, alias: str) -> None:
        self._alias = alias
        self._began: tuple[datetime, float] | None = None

    def now(self) -> datetime:
        """To be called where the database may be asked."""
        if self._began is None:
            self._began = database_now(self._alias), time.monotonic()
        moment, monotonic = self._began
        return moment + timedelta(seconds=time.monotonic() - monotonic)


def inserts_lock_the_run(alias: str) -> bool:
    """Whether a row that refers to the run share-locks the run's row, as MariaDB does.

    Two who insert, and change the run's row after that, would wait for each other: it has to be changed first there.
    """
    return connections[alias].vendor == "mysql"


def establish(alias: str, run_id: int) -> Ownership:
    """The first lease of a new run."""
    Lease.objects.using(alias).create(name=lease_name(run_id), epoch=1, **this_process().columns)
    return Ownership(alias, run_id, epoch=1)


def take_over(alias: str, run_id: int, *, seen: int | None = None) -> Ownership:
    """Make this process the owner under a new epoch; the caller has made sure that the old owner may be deposed.

    `seen` is the epoch that was read before that; None where nobody else can be about to do the same. Raises
    RunTaken where somebody else was faster.
    """
    lease, _ = Lease.objects.using(alias).get_or_create(name=lease_name(run_id))
    epoch = lease.epoch if seen is None else seen
    taken = (
        Lease.objects.using(alias)
        .filter(pk=lease.pk, epoch=epoch)
        .update(epoch=F("epoch") + 1, **this_process().columns)
    )
    if not taken:
        raise RunTaken(f"Run {run_id} was taken over by another process just now. Look with `aruns show {run_id}`.")
    return Ownership(alias, run_id, epoch + 1)


def holds(ownership: Ownership) -> bool:
    """Whether this process has the lease, in just this epoch."""
    mine = this_process().columns
    return Lease.objects.using(ownership.alias).filter(name=ownership.name, epoch=ownership.epoch, **mine).exists()


def owner_of(alias: str, run_id: int) -> Owner:
    """The process that owns a run; NOBODY where it was released or never had a lease."""
    lease = Lease.objects.using(alias).filter(name=lease_name(run_id)).first()
    if lease is None:
        return NOBODY
    return Owner.of(lease)


def fence(ownership: Ownership) -> None:
    """Make sure that the epoch is still ours until this transaction ends. The last statement before COMMIT.

    A lease that was released is nobody's: a unit that is still on its way when its run is closed comes too late. Raises
    RunFenced, and then nothing of the transaction may be committed.
    """
    statement, parameters = fence_statement(ownership)
    with connections[ownership.alias].cursor() as cursor:
        cursor.execute(statement, parameters)
        if cursor.fetchone() is None:
            raise fenced(ownership)


def fence_statement(ownership: Ownership) -> tuple[str, list[Any]]:
    """The fence, for who has it within a statement: a row where the epoch is ours, which stays so, or none."""
    connection = connections[ownership.alias]
    table = connection.ops.quote_name(Lease._meta.db_table)
    lock = _SHARE_LOCK.get(connection.vendor, "")
    return (
        f"SELECT 1 FROM {table} WHERE name = %s AND epoch = %s AND pid IS NOT NULL{lock}",  # noqa: S608 - quoted by Django
        [ownership.name, ownership.epoch],
    )


def fenced(ownership: Ownership) -> RunFenced:
    """For who wrote into a run that is not ours any more."""
    return RunFenced(
        f"Run {ownership.run_id} was taken over while this process (epoch {ownership.epoch}) was working on "
        "it; nothing more is written here."
    )


def renew(ownership: Ownership, seconds: float) -> Renewal:
    """One heartbeat: alive now, and expired `seconds` later by the database's clock."""
    if epoch_of(ownership.alias, ownership.run_id) != ownership.epoch:
        return Renewal(held=False)
    now = database_now(ownership.alias)
    runs = Run.objects.using(ownership.alias).filter(pk=ownership.run_id, status__in=AT_WORK)
    if not runs.update(heartbeat=now, expires=now + timedelta(seconds=seconds)):
        return Renewal(held=False)
    return Renewal(held=True, orders=orders_of(ownership) or Orders())


def orders_of(ownership: Ownership) -> Orders | None:
    """What is asked of a run now, and of the run that it is a shard of: one read by the keys. None: it is not there."""
    wanted = Run.objects.using(ownership.alias).filter(pk__in=[ownership.run_id, ownership.ledger])
    found = {pk: Orders.of(*columns) for pk, *columns in wanted.values_list("pk", "orders", "cancel_requested_at")}
    mine, whole = found.get(ownership.run_id), found.get(ownership.ledger)
    return mine if mine is None or whole is None or mine is whole else mine.beside(whole)


def epoch_of(alias: str, run_id: int) -> int | None:
    """The epoch that a run's lease is in now; None where it never had one."""
    return Lease.objects.using(alias).filter(name=lease_name(run_id)).values_list("epoch", flat=True).first()


def release(ownership: Ownership) -> None:
    """Leave the run, and the name that it has, to nobody. Raises RunFenced where it is not ours any more."""
    released = (
        Lease.objects.using(ownership.alias).filter(name=ownership.name, epoch=ownership.epoch).update(**NOBODY.columns)
    )
    if not released:
        raise RunFenced(f"Run {ownership.run_id} was taken over before it could be closed here.")
    if ownership.single:
        leave_name(ownership.alias, ownership.single, ownership.run_id)


def take_name(ownership: Ownership, name: str, seen: Lease | None) -> Ownership:
    """Have a command's name for this run, too; the caller has found it free, as `seen` says.

    Raises IntegrityError where somebody else was faster.
    """
    mine = {"run_id": ownership.run_id, **this_process().columns}
    leases = Lease.objects.using(ownership.alias)
    if seen is None:
        leases.create(name=name, epoch=1, **mine)
    elif not leases.filter(name=name, epoch=seen.epoch).update(epoch=F("epoch") + 1, **mine):
        raise IntegrityError(f"another run of {name} began just now")
    return replace(ownership, single=name)


def leave_name(alias: str, name: str, run_id: int) -> None:
    """A run has ended: the command's name is nobody's, if it was this run's."""
    Lease.objects.using(alias).filter(name=name, run_id=run_id).update(run_id=None, **NOBODY.columns)
