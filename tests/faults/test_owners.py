"""P4: one owner. Whoever was paused past its lease writes nothing any more; whoever is alive keeps its run."""

from __future__ import annotations

import signal
import time
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any

import pytest
from django.db import connection

from async_commander.history.lease import database_now
from async_commander.models import RunClaim
from async_commander.results import EXIT_LOCKED
from tests.faults.counts import chance, count
from tests.faults.truth import check_complete, run_of
from tests.faults.victims import Template, Trial, Victim
from tests.testapp.models import Effect

LEASE = 0.5
PATIENCE = 2.0
"""A paused process may hold what the heir needs: SQLite's write lock, or the lease row of a commit under way."""
KEPT = ("status", "pid", "started", "finished", "error", "traceback", "output", "value")


def trial_of(template: Template, folder: Path, label: str, *, items: int = 300, lease: float = LEASE) -> Trial:
    return Trial(
        template,
        folder,
        label,
        "holders",
        count=items,
        arguments={"permanent": 0, "transient": 0, "following": 0},
        limits={"threads": 4, "batch_size": 20},
        request={"lease_seconds": lease},
    )


def with_arguments(trial: Trial, **more: Any) -> Victim:
    job = trial.job
    return trial.start(arguments={**job["arguments"], **more})


@dataclass
class Deposed:
    """What the old owner had written when the heir began."""

    trial: Trial
    owner: Victim
    effects: list[int] = field(default_factory=list)
    row: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.effects, self.row = self.written(), self.kept()

    def written(self) -> list[int]:
        mine = Effect.objects.filter(run=f"{self.trial.label} {self.owner.pid}")
        return sorted(mine.values_list("pk", flat=True))

    def kept(self) -> dict[str, Any]:
        run = run_of(self.trial.label)
        return {name: getattr(run, name) for name in KEPT}

    def check(self) -> None:
        """It ends as locked, and has written nothing since: no effect, no claim, no word in the run row."""
        assert self.owner.wait(20) == EXIT_LOCKED, self.owner.said()
        assert self.written() == self.effects
        assert self.kept() == self.row
        assert self.row["status"] == "running"
        assert not RunClaim.objects.filter(run__parameters__label=self.trial.label, epoch=1).exists()


def take_over(trial: Trial) -> Victim | None:
    """Start heirs until one begins. None where what it needs is held by the paused process."""
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end:
        heir = trial.start()
        while not began(trial, heir) and heir.poll() is None and (time.monotonic() < end or has_it(trial, heir)):
            time.sleep(0.01)
        if began(trial, heir):
            return heir
        if heir.poll() is not None:
            assert heir.code == EXIT_LOCKED, heir.said()
            continue
        heir.kill()
        if not has_it(trial, heir):
            return None
        end = time.monotonic() + PATIENCE  # it took over just then: for the next one to inherit
    raise AssertionError(f"the lease of {LEASE} s did not run out in {PATIENCE} s")


def has_it(trial: Trial, victim: Victim) -> bool:
    return bool(run_of(trial.label).pid == victim.pid)


def began(trial: Trial, victim: Victim) -> bool:
    return any(line[:2] == [str(victim.pid), "began"] for line in trial.lines())


def pause(trial: Trial, randomly: Random) -> bool:
    """Pause an owner until somebody else has its run. False where that could not be, for what it held."""
    owner = trial.start()
    assert trial.wait_for(owner, "began"), owner.said()
    time.sleep(randomly.uniform(0.02, 0.5))
    owner.signal(signal.SIGSTOP)
    heir = take_over(trial)
    if heir is None:
        owner.signal(signal.SIGCONT)
        assert owner.wait() == 0, owner.said()
    else:
        deposed = Deposed(trial, owner)
        owner.signal(signal.SIGCONT)
        deposed.check()
        assert heir.wait() == 0, heir.said()
    check_complete(trial.label, trial.behaviour, trial.count)
    return heir is not None


@pytest.mark.django_db(transaction=True)
@pytest.mark.timeout(3600)
def test_an_owner_that_was_paused_past_its_lease_writes_nothing(template: Template, tmp_path: Path) -> None:
    randomly, pauses = chance(), count("P4_PAUSES")
    taken_over = tried = 0
    while taken_over < pauses:
        taken_over += pause(trial_of(template, tmp_path, f"run{tried}"), randomly)
        tried += 1
        assert tried <= 4 * pauses
    print(f"P4: {taken_over} pauses with a take-over, {tried - taken_over} in which the paused process held a lock")


def end_all_connections_but_ours() -> None:
    if connection.vendor == "postgresql":
        with connection.cursor() as cursor:
            cursor.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                "WHERE datname = current_database() AND pid <> pg_backend_pid()"
            )


@pytest.mark.django_db(transaction=True)
@pytest.mark.timeout(3600)
def test_an_owner_that_was_paused_for_longer_than_it_waits_for_its_database_goes_on(
    template: Template, tmp_path: Path
) -> None:
    """It had no chance to do anything meanwhile, and nobody took over."""
    randomly = chance()
    for number in range(max(4, count("P4_PAUSES") // 4)):
        trial = trial_of(template, tmp_path, f"paused{number}", items=150, lease=30.0)
        owner = trial.start(outage_budget=0.8)
        assert trial.wait_for(owner, "began"), owner.said()
        time.sleep(randomly.uniform(0.02, 0.3))
        owner.signal(signal.SIGSTOP)
        end_all_connections_but_ours()
        time.sleep(1.5)
        owner.signal(signal.SIGCONT)
        assert owner.wait() == 0, owner.said()
        check_complete(trial.label, trial.behaviour, trial.count)


@pytest.mark.django_db(transaction=True)
def test_an_owner_whose_loop_was_blocked_past_its_lease_writes_nothing(template: Template, tmp_path: Path) -> None:
    trial = trial_of(template, tmp_path, "blocked", items=600)  # the heir is at it when the owner wakes up
    owner = with_arguments(trial, block=4 * LEASE)
    assert trial.wait_for(owner, "blocks"), owner.said()
    trial.calm_down()
    heir = take_over(trial)
    assert heir is not None
    Deposed(trial, owner).check()
    assert heir.wait() == 0, heir.said()
    check_complete(trial.label, trial.behaviour, trial.count)


@pytest.mark.django_db(transaction=True)
def test_an_owner_whose_loop_was_blocked_goes_on_where_nobody_took_over(template: Template, tmp_path: Path) -> None:
    trial = trial_of(template, tmp_path, "blocked", items=100)
    owner = with_arguments(trial, block=3 * LEASE)
    assert owner.wait() == 0, owner.said()
    check_complete(trial.label, trial.behaviour, trial.count)


@pytest.mark.django_db(transaction=True)
def test_the_run_of_a_living_owner_is_refused_at_once(template: Template, tmp_path: Path) -> None:
    trial = trial_of(template, tmp_path, "alive", items=200, lease=30.0)
    owner = trial.start()
    assert trial.wait_for(owner, "began"), owner.said()
    for _ in range(3):
        asked = time.monotonic()
        assert trial.start().wait() == EXIT_LOCKED
        assert time.monotonic() - asked < 20  # it would wait for the 30 s of the lease
    assert owner.wait() == 0, owner.said()
    check_complete(trial.label, trial.behaviour, trial.count)


@pytest.mark.django_db(transaction=True)
@pytest.mark.timeout(600)
def test_of_many_heirs_one_gets_the_run(template: Template, tmp_path: Path) -> None:
    for number in range(count("P4_PAUSES") // 2):
        trial = trial_of(template, tmp_path, f"heirs{number}", items=200)
        owner = trial.start()
        assert trial.wait_for(owner, "began"), owner.said()
        owner.kill()
        heirs = [trial.start() for _ in range(4)]
        assert sorted(heir.wait() for heir in heirs) == [0, *[EXIT_LOCKED] * 3], heirs[0].said()
        check_complete(trial.label, trial.behaviour, trial.count)


@pytest.mark.django_db(transaction=True)
@pytest.mark.skipif(connection.vendor == "sqlite", reason="on SQLite an item that keeps the write gate is rolled back")
def test_a_lane_that_holds_its_transaction_does_not_starve_the_renewal(template: Template, tmp_path: Path) -> None:
    trial = trial_of(template, tmp_path, "held", items=200, lease=1.0)
    owner = with_arguments(trial, hold=3.0)
    assert trial.wait_for(owner, "holds"), owner.said()
    while owner.poll() is None:
        run = run_of(trial.label)
        assert run is not None
        assert run.status != "running" or run.expires is None or run.expires > database_now(connection.alias)
        time.sleep(0.05)
    assert owner.code == 0, owner.said()
    assert Effect.objects.filter(key="held").count() == 1
