"""P2: a fault before or after any statement and any commit of a small run costs nothing.

A killed run is complete when it was resumed; after any other fault it is so by itself.
"""

from __future__ import annotations

import itertools
import signal
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.faults.behaviour import FOLLOWED, Behaviour
from tests.faults.counts import LEVEL
from tests.faults.traps import KINDS
from tests.faults.truth import check_accounts, check_complete, run_of
from tests.faults.victims import Template, Trial, Victim

ITEMS = 14
SHARES = {"permanent": 80, "transient": 160, "following": 160}
SIDE_BY_SIDE = 3
RESUMES = 3
"""What a fault leaves behind is brought to its end by the next start, or by the one after."""

REACHED = 0.8
"""The least share of the points: a run that writes its units in fewer batches has fewer places than the first one."""


def varied_seed() -> int:
    """The first seed under which items of each kind are there: permanent, transient, late, early, followed."""

    def is_varied(seed: int) -> bool:
        behaviour = Behaviour(seed, **SHARES)
        failing = [n for n in range(ITEMS) if behaviour.is_transient(n) and not behaviour.is_permanent(n)]
        kinds = {(n % 2, behaviour.fails_late(n)) for n in failing}
        followed = [n for n in range(ITEMS) if behaviour.follows(n)]
        return (
            len(behaviour.dead(ITEMS)) == 1
            and len(kinds) > 2
            and any(behaviour.is_transient(n + FOLLOWED) for n in followed)
        )

    return next(seed for seed in itertools.count() if is_varied(seed))


SEED = varied_seed()


def trial_at(template: Template, folder: Path, label: str) -> Trial:
    return Trial(
        template,
        folder,
        label,
        count=ITEMS,
        arguments={"seed": SEED, **SHARES},
        limits={"threads": 3, "batch_size": 4, "db_lanes": 2, "max_failures": None},
    )


def passed_places(trial: Trial) -> dict[str, int]:
    """How many statements and commits an unharmed run has."""
    victim = trial.start(trap={"kind": "kill", "place": "statement", "when": "before", "number": 0})
    assert victim.wait() == 3, victim.said()
    words = next(line for line in victim.said().splitlines() if line.startswith("PLACES")).split()
    check_complete(trial.label, trial.behaviour, trial.count)
    return {"statement": int(words[1]), "commit": int(words[2])}


@dataclass
class Point:
    """One fault at one place, and the run that it hits."""

    trial: Trial
    trap: dict[str, Any]
    victim: Victim | None = None

    def begin(self) -> None:
        self.victim = self.trial.start(trap=self.trap)

    def end(self) -> None:
        """Wait for the process that was hit or resumed, and see what it left."""
        assert self.victim is not None
        self.victim.wait()
        check_accounts(self.trial.label, self.trial.behaviour, ITEMS)

    @property
    def complete(self) -> bool:
        run = run_of(self.trial.label)
        return run is not None and run.status in ("succeeded", "partial")

    @property
    def sprung(self) -> bool:
        assert self.victim is not None
        return self.victim.code == -signal.SIGKILL or "TRAPPED" in self.victim.said()

    @property
    def was_survived(self) -> bool:
        return self.victim is not None and self.victim.code in (0, 3)


def spring(points: list[Point]) -> int:
    """Some faults side by side; the killed runs are resumed. Returns how many places were reached."""
    for point in points:
        point.begin()
    for point in points:
        point.end()
    sprung = sum(point.sprung for point in points)
    for point in points:
        assert point.was_survived or point.trap["kind"] == "kill", f"not waited out: {point.trap}"
    for _ in range(RESUMES):
        unfinished = [point for point in points if not point.complete]
        for point in unfinished:
            point.victim = point.trial.start()
        for point in unfinished:
            point.end()
    for point in points:
        check_complete(point.trial.label, point.trial.behaviour, ITEMS)
    return sprung


def points_of(template: Template, folder: Path, kind: str, places: dict[str, int]) -> Iterator[Point]:
    for place, when in itertools.product(places, ("before", "after")):
        for number in range(1, places[place] + 1):
            trap = {"kind": kind, "place": place, "when": when, "number": number}
            yield Point(trial_at(template, folder, f"{place}-{when}-{number}"), trap)


@pytest.mark.parametrize("kind", KINDS if LEVEL != "pr" else ["kill"])
@pytest.mark.django_db(transaction=True)
@pytest.mark.timeout(3600)
def test_a_fault_at_any_statement_or_commit_costs_nothing(kind: str, template: Template, tmp_path: Path) -> None:
    places = passed_places(trial_at(template, tmp_path, "whole"))
    points = points_of(template, tmp_path, kind, places)
    sprung = 0
    while some := list(itertools.islice(points, SIDE_BY_SIDE)):
        try:
            sprung += spring(some)
        except AssertionError as error:
            said = "\n".join(f"{point.trap}: {point.victim.said() if point.victim else ''}" for point in some)
            raise AssertionError(f"{error}\n{said}") from error
    print(f"P2: {kind}: {places}, {sprung} points of {2 * sum(places.values())}")
    assert sprung > REACHED * 2 * sum(places.values())
