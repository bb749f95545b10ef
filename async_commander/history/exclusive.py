"""Run once, and one at a time: whether a run may begin now, has to wait, or need not happen at all.

What is to happen once is known by `Run.once_key`, which is unique: a run has it from the transaction that begins it,
and keeps it where it succeeds. What happens one at a time has a Lease by its command's name. Both live as the run that
has them does: when its owner is gone, another run may begin.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from async_commander.exceptions import AsyncCommanderError, RunLocked
from async_commander.models import Lease, Run
from async_commander.results import AT_WORK

from . import runs
from .lease import Ownership, take_name
from .moments import moment
from .recorder import Opening
from .runs import is_orphan, mark_crashed

ATTEMPTS = 5
"""To begin, or to take over, where others do the same at that moment."""
FIRST_NAP, LONGEST_NAP = 0.1, 2.0
"""Seconds between two looks at the run that is waited for."""


def naps_while_waiting() -> Iterator[float]:
    """How long to wait before each look at the run that is in the way: longer and longer."""
    nap = FIRST_NAP
    while True:
        yield nap
        nap = min(LONGEST_NAP, 1.5 * nap)


class OnceMet(AsyncCommanderError):
    """A run that was to happen once has happened."""

    def __init__(self, command: str, run_id: int, when: str = "") -> None:
        super().__init__(
            f"{command} is to run once, and run {run_id} succeeded{f' on {when}' if when else ''} already: nothing was "
            "done. --force (force=True in code) runs it again."
        )


@dataclass(frozen=True, slots=True)
class Place:
    """What a run that may begin is to take, in the same transaction."""

    once_key: str | None = None
    name: str = ""
    lease: Lease | None = None
    """Of that name, as it was found free."""

    def taken_by(self, ownership: Ownership) -> Ownership:
        """Take the name. Raises IntegrityError where somebody else was faster."""
        return take_name(ownership, self.name, self.lease) if self.name else ownership


def begin(alias: str, opening: Opening, seconds: float) -> Ownership:
    """A new run that may begin now. In a transaction; raises as `admit` does.

    IntegrityError where another process begins the same at this moment: the next try sees its run.
    """
    place = admit(alias, opening)
    return place.taken_by(runs.begin(alias, opening, seconds, place.once_key))


def admit(alias: str, opening: Opening, *, resumed: int = 0) -> Place:
    """What a run takes that may begin now. `resumed` is the run that it goes on with, if any, which is in nobody's way.

    Raises RunLocked where another run is at it, OnceMet where it has happened. A run in the way whose owner is gone is
    marked as crashed. To be called in the transaction in which the run begins.
    """
    once_key, lease = opening.identity if opening.once else None, None
    if once_key is not None:
        holders = Run.objects.using(alias).filter(once_key=once_key).exclude(pk=resumed)
        run = holders.first()
        if run is not None and run.status in AT_WORK:
            _make_way(alias, run, "is to run once")
            run = holders.first()  # where it has succeeded, and could say so on this machine only
        if run is not None and not opening.force:
            raise OnceMet(run.command, run.pk, moment(run.finished))
        if run is not None:
            once_key = None  # it stays with the run that has succeeded
    if opening.single:
        lease = Lease.objects.using(alias).select_related("run").filter(name=opening.command).first()
        if lease is not None and (holder := lease.run) is not None and holder.pk != resumed:
            _make_way(alias, holder, "runs one at a time")
    if opening.dry_run:
        return Place()
    return Place(once_key, opening.command if opening.single else "", lease)


def _make_way(alias: str, run: Run, rule: str) -> None:
    """See to it that a run is at work no more. Raises RunLocked where it is."""
    if run.status not in AT_WORK or (is_orphan(alias, run) and mark_crashed(alias, run)):
        return
    raise RunLocked(
        f"{run.command} {rule}, and run {run.pk} is at it: process {run.pid} on {run.host}, since "
        f"{moment(run.started)}. Wait for its end, or start with --wait (wait=True in code)."
    )
