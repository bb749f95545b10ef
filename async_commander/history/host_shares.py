"""The pace of a run whose shards share it: what each may begin at a host, leased in its database a beat at a time.

A row for each host has the leases of all shards, and is locked while one is changed: together they never come to more
than the bound. Whoever is gone with a lease keeps it from the others until it has run out, and never adds to it.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import NamedTuple

from async_commander.command.identity import key_uuid
from async_commander.engine.leased_pace import Demand, Grant
from async_commander.models import HostShare

from .lease import Ownership, database_now, fence

LEASED_FOR = 10.0
"""Seconds for which a lease is good."""


@dataclass(frozen=True, slots=True)
class Bounds:
    """Of all shards together, for each host."""

    turns: int | None
    rate: float | None


class Leased(NamedTuple):
    """What a shard has of a host, and would have."""

    turns: int = 0
    rate: float = 0.0
    turns_kept: int = 0
    """As long as it may still use an earlier lease, or has not given its turns back, these are nobody else's."""
    rate_kept: float = 0.0
    turns_wanted: int = 0
    rate_wanted: float = 0.0
    until: float = 0.0


def exchange(ownership: Ownership, bounds: Bounds, demands: Mapping[str, Demand]) -> dict[str, Grant]:
    """Lease what a shard demands, as far as it may have it, and give back what it does not. In a transaction.

    Rows are locked in the order of their keys. RunFenced where the shard is somebody else's.
    """
    keys = {key_uuid(host): host for host in demands}
    shares = HostShare.objects.using(ownership.alias).filter(run_id=ownership.ledger, key__in=keys)
    rows = list(shares.select_for_update().order_by("key"))
    if lacking := keys.keys() - {row.key for row in rows}:
        new = [HostShare(run_id=ownership.ledger, key=key) for key in sorted(lacking)]
        HostShare.objects.using(ownership.alias).bulk_create(new, ignore_conflicts=True)
        rows = list(shares.select_for_update().order_by("key"))
    now, grants = database_now(ownership.alias).timestamp(), {}
    for row in rows:
        demand = demands[keys[row.key]]
        row.paused_until = max(row.paused_until, now + demand.paused if demand.paused else 0.0)
        leases = {int(index): Leased(*lease) for index, lease in row.leases.items()}
        turns, rate = lease(leases, ownership.shard, demand, bounds, now)
        row.leases = {str(index): list(one) for index, one in leases.items()}
        grants[keys[row.key]] = Grant(turns, rate, max(0.0, row.paused_until - now))
    HostShare.objects.using(ownership.alias).bulk_update(rows, ["leases", "paused_until"])
    fence(ownership)
    return grants


def lease(leases: dict[int, Leased], shard: int, demand: Demand, bounds: Bounds, now: float) -> tuple[float, float]:
    """Change the leases of a host as a shard demands it, at this time; the turns and the rate that it may use.

    Those that have run out are dropped. The turns of all never come to more than the bound, nor do the rates.
    """
    mine = leases.pop(shard, Leased())
    for index in [index for index, one in leases.items() if one.until <= now]:
        del leases[index]
    turns = 0 if bounds.turns is None else _turns(bounds.turns, demand, mine, leases.values())
    rate = 0.0 if bounds.rate is None else _rate(bounds.rate, demand, leases.values())
    if demand.turns:  # else it has let go of what it had before it asked
        leases[shard] = Leased(
            turns=turns,
            rate=rate,
            turns_kept=max(turns, mine.turns, demand.held),
            rate_kept=max(rate, mine.rate),
            turns_wanted=demand.turns,
            rate_wanted=0.0 if bounds.rate is None else demand.rate,
            until=now + LEASED_FOR,
        )
    return math.inf if bounds.turns is None else turns, math.inf if bounds.rate is None else rate


def _turns(bound: int, demand: Demand, mine: Leased, others: Collection[Leased]) -> int:
    """How many turns a shard may hold now.

    Where there are fewer turns than shards that want one, who has had one lets it go for those that have none.
    """
    free = bound - sum(one.turns_kept for one in others)
    fair = _fair(bound, demand.turns, [one.turns_wanted for one in others])
    if fair < 1 and mine.turns and any(one.turns_wanted and not one.turns_kept for one in others):
        return 0
    return max(0, min(demand.turns, math.ceil(fair), free))


def _rate(bound: float, demand: Demand, others: Collection[Leased]) -> float:
    free = bound - sum(one.rate_kept for one in others)
    return max(0.0, min(demand.rate, _fair(bound, demand.rate, [one.rate_wanted for one in others]), free))


def _fair(capacity: float, mine: float, others: Collection[float]) -> float:
    """One's part by max-min fairness: who wants less than an equal part leaves the rest to the others."""
    rest, wants = capacity, sorted([mine, *others])
    for place, want in enumerate(wants):
        part = rest / (len(wants) - place)
        if want >= mine:
            return min(mine, part)
        rest -= min(want, part)
    return rest


def forget(ownership: Ownership) -> None:
    """The run has ended: nobody shares anything."""
    HostShare.objects.using(ownership.alias).filter(run_id=ownership.ledger).delete()
