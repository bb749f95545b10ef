"""What the database says after a fault, and whether that adds up."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from uuid import UUID

from django.db import connection, transaction
from django.db.models import Q

from async_commander.command.identity import item_key, key_uuid
from async_commander.models import Run, RunClaim, RunItem
from tests.faults.behaviour import Behaviour
from tests.testapp.models import Effect, Party


def run_of(label: str) -> Run | None:
    """The only run of this label."""
    runs = list(Run.objects.filter(parameters__label=label))
    assert len(runs) < 2, f"{len(runs)} runs of {label}"
    return runs[0] if runs else None


def has_ended(label: str) -> bool:
    """Whether the run came to its own end, so that a resume would begin another one."""
    run = run_of(label)
    return run is not None and run.status in ("succeeded", "partial")


def effects_of(label: str) -> Counter[str]:
    """Whoever wrote them: `run` is the label, or the label and a process."""
    mine = Q(run=label) | Q(run__startswith=f"{label} ")
    return Counter(Effect.objects.filter(mine).values_list("key", flat=True))


def states_of(run: Run) -> dict[UUID, str]:
    return dict(RunItem.objects.filter(run=run).values_list("key", "state"))


def numbers_by_key(behaviour: Behaviour, count: int) -> dict[UUID, int]:
    return {key_uuid(item_key(number)): number for number in behaviour.numbers(count)}


@contextmanager
def snapshot() -> Iterator[None]:
    """All that is read inside is of one moment: the server may still be finishing what a dead process asked for."""
    with transaction.atomic():
        if connection.vendor == "postgresql":
            with connection.cursor() as cursor:
                cursor.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
        yield


def check_accounts(label: str, behaviour: Behaviour, count: int) -> None:
    """The run row agrees with itself, with the ledger and its claims, and each item's effects with its ledger row."""
    with snapshot():
        run = run_of(label)
        if run is None:
            return
        states = states_of(run)
        claimed = {UUID(key) for claim in RunClaim.objects.filter(run=run) for key in claim.keys}
        effects = effects_of(label)
        check_recorded(run, label)
    told = {name: getattr(run, name) for name in ("done", "skipped", "dead", "retry", "claimed")}
    with_outcome = {key for key, state in states.items() if state != "claimed"}
    found = {name: sum(state == name for state in states.values()) for name in told}
    found["claimed"] = len((claimed | states.keys()) - with_outcome)
    assert run.taken == sum(told.values()), (run.taken, told)
    assert told == found, (told, found)
    numbers = numbers_by_key(behaviour, count)
    done = [numbers[key] for key, state in states.items() if state == "done"]
    assert effects == Counter(effect for number in done for effect in behaviour.effects(number))


def check_recorded(run: Run, label: str) -> None:
    """Of a run that records what it writes: all that is there was created by it, once; and nothing else is told."""
    if run.command == "recorded":
        told = Counter(run.object_logs.values_list("content_type__model", "object_id", "action"))
        effects = Effect.objects.filter(run=label).values_list("pk", flat=True)
        parties = Party.objects.filter(name__startswith=f"{label} ").values_list("pk", flat=True)
        there = [("effect", str(key), "created") for key in effects] + [
            ("party", str(key), "created") for key in parties
        ]
        assert told == Counter(there), (told - Counter(there), Counter(there) - told)


def check_complete(label: str, behaviour: Behaviour, count: int) -> None:
    """Nothing lost, nothing doubled, exactly the right items dead."""
    check_accounts(label, behaviour, count)
    run = run_of(label)
    assert run is not None
    assert run.status == ("partial" if behaviour.dead(count) else "succeeded"), (run.status, run.error)
    effects, expected = effects_of(label), behaviour.all_effects(count)
    lost, doubled = expected - effects, effects - expected
    assert not lost, f"lost: {lost}"
    assert not doubled, f"doubled: {doubled}"
    numbers = numbers_by_key(behaviour, count)
    dead = {numbers[key] for key, state in states_of(run).items() if state == "dead"}
    assert dead == behaviour.dead(count)
    assert run.done == len(numbers) - len(dead)
    assert not RunClaim.objects.filter(run=run).exists()
