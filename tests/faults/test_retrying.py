"""P1 for failed items: a retry that is killed, and resumed, has tried each dead item, and none twice with effect."""

from __future__ import annotations

import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from async_commander.models import Run
from async_commander.results import EXIT_LOCKED
from tests.faults.counts import chance, count
from tests.faults.truth import check_accounts, check_complete, effects_of, run_of
from tests.faults.victims import Template, Trial

LIMITS = {"threads": 10, "batch_size": 10, "max_failures": None}


def with_dead_items(template: Template, folder: Path, label: str, seed: int) -> tuple[Trial, Run]:
    """A run that has come to its end, with two in five of its items dead; from now on they would not fail."""
    arguments = {"seed": seed, "permanent": 400}
    trial = Trial(template, folder, label, count=100, arguments=arguments, limits=LIMITS, request={"resume": False})
    first = trial.start()
    assert first.wait() == 3, first.said()
    check_complete(trial.label, trial.behaviour, trial.count)
    trial.heal()
    run = run_of(label)
    assert run is not None
    return trial, run


def check_all_done(trial: Trial) -> None:
    check_accounts(trial.label, trial.behaviour, trial.count)
    run = run_of(trial.label)
    assert run is not None
    numbers = trial.behaviour.numbers(trial.count)
    assert (run.status, run.done, run.dead) == ("succeeded", len(numbers), 0)
    assert effects_of(trial.label) == Counter(
        effect for number in numbers for effect in trial.behaviour.effects(number)
    )


@pytest.mark.django_db(transaction=True)
@pytest.mark.timeout(3600)
def test_a_retry_that_is_killed_loses_and_doubles_nothing(template: Template, tmp_path: Path) -> None:
    random = chance()
    for number in range(count("P1_RETRY_KILLS")):
        trial, run = with_dead_items(template, tmp_path, f"retried{number}", random.randrange(2**32))
        request: dict[str, Any] = {"resume": False, "retry_failed": run.pk}
        victim = trial.start(request=request)
        if trial.wait_for(victim, "began"):
            time.sleep(random.uniform(0, 0.06))
            victim.kill()
        check_accounts(trial.label, trial.behaviour, trial.count)
        last = trial.start(request={"resume": True} if run_of(trial.label).status == "running" else request)  # type: ignore[union-attr]
        assert last.wait() == 0, last.said()
        check_all_done(trial)


@pytest.mark.django_db(transaction=True)
@pytest.mark.timeout(600)
def test_of_two_retries_at_one_moment_one_is_made(template: Template, tmp_path: Path) -> None:
    trial, run = with_dead_items(template, tmp_path, "both", 7)
    trial.request = {"resume": False, "retry_failed": run.pk}
    barrier = tmp_path / "barrier"
    victims = [trial.start(barrier=str(barrier), output=str(tmp_path / f"{number}.output")) for number in range(2)]
    for victim in victims:
        assert trial.wait_for(victim, "ready"), victim.said()
    barrier.touch()
    codes = sorted(victim.wait() for victim in victims)
    assert codes in ([0, EXIT_LOCKED], [0, 0])  # who came when all was done has found nothing to do
    check_all_done(trial)
    assert Run.objects.get().logs.filter(message__startswith="Opened again").count() == 1
