"""P1 and P2 for steps: a plain command that is killed anywhere and resumed does each once, kept with its rows."""

from __future__ import annotations

import itertools
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from async_commander.models import RunItem
from tests.faults.counts import LEVEL, chance, count
from tests.faults.traps import KINDS
from tests.faults.truth import effects_of, run_of, snapshot
from tests.faults.victims import Template, Trial

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.timeout(3600)]

STEPS = 30
FEW = 6
RESUMES = 3


def trial_of(template: Template, folder: Path, label: str, steps: int, seed: int = 0) -> Trial:
    arguments = {"seed": seed}
    return Trial(template, folder, label, "stepped", count=steps, arguments=arguments, limits={"db_lanes": 2})


def check_steps(trial: Trial) -> None:
    """Each step that is kept has all of its effects, once, and no other has any; nothing was counted as an item."""
    with snapshot():
        run = run_of(trial.label)
        if run is None:
            return
        kept = list(RunItem.objects.filter(run=run).values_list("label", "state", "reason"))
        effects = effects_of(trial.label)
    assert {(state, reason) for _, state, reason in kept} <= {("done", "step")}
    numbers = [int(label.removeprefix("effects(").removesuffix(")")) for label, _, _ in kept]
    assert len(numbers) == len(set(numbers))
    assert effects == Counter(effect for number in numbers for effect in trial.behaviour.effects(number))
    assert run.accounts
    assert run.taken == 0


def check_complete(trial: Trial) -> None:
    check_steps(trial)
    run = run_of(trial.label)
    assert run is not None
    assert (run.status, run.value) == ("succeeded", sum(2 * number for number in range(trial.count))), run.error
    assert RunItem.objects.filter(run=run).count() == trial.count


def has_succeeded(trial: Trial) -> bool:
    run = run_of(trial.label)
    return run is not None and run.status == "succeeded"


def test_killed_runs_do_each_step_once(template: Template, tmp_path: Path) -> None:
    random, killed, repeated = chance(), 0, 0
    for number in itertools.count():
        if killed >= count("P1_STEP_KILLS"):
            break
        trial = trial_of(template, tmp_path, f"stepped{number}", STEPS, random.randrange(2**32))
        while not has_succeeded(trial):
            victim = trial.start()
            trial.wait_for(victim, "began")
            time.sleep(random.uniform(0.0, 0.1))
            killed += victim.kill()
            check_steps(trial)
        check_complete(trial)
        repeated += trial.repeated()
    print(f"P1: {killed} kills of plain commands, {repeated} steps begun again")


def places_of(trial: Trial) -> list[tuple[str, str, int]]:
    """Before and after each statement and commit of an unharmed run."""
    victim = trial.start(trap={"kind": "kill", "place": "statement", "when": "before", "number": 0})
    assert victim.wait() == 0, victim.said()
    words = next(line for line in victim.said().splitlines() if line.startswith("PLACES")).split()
    check_complete(trial)
    numbers = {"statement": int(words[1]), "commit": int(words[2])}
    whens = ("before", "after")
    return [(place, when, one + 1) for place in numbers for when in whens for one in range(numbers[place])]


@pytest.mark.parametrize("kind", KINDS if LEVEL != "pr" else ["kill"])
def test_a_fault_at_any_statement_or_commit_costs_no_step(kind: str, template: Template, tmp_path: Path) -> None:
    random, places = chance(), places_of(trial_of(template, tmp_path, "whole", FEW))
    for number, (place, when, at) in enumerate(random.sample(places, min(len(places), count("P2_STEP_POINTS")))):
        trap: dict[str, Any] = {"kind": kind, "place": place, "when": when, "number": at}
        trial = trial_of(template, tmp_path, f"point{number}", FEW)
        victim = trial.start(trap=trap)
        for _ in range(RESUMES):
            victim.wait()
            check_steps(trial)
            if has_succeeded(trial):
                break
            victim = trial.start()
        victim.wait()
        assert has_succeeded(trial), f"{trap}: {victim.said()}"
        check_complete(trial)
