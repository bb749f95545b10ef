"""P3: items that kill their process are found out and given up; all the others are done."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest

from async_commander.models import RunItem
from tests.faults.counts import count
from tests.faults.truth import check_accounts, effects_of, numbers_by_key, run_of
from tests.faults.victims import Template, Trial

RESTARTS = 25


@pytest.mark.django_db(transaction=True)
@pytest.mark.timeout(600)
def test_items_that_kill_their_process_are_given_up_and_the_others_done(template: Template, tmp_path: Path) -> None:
    items, killers = count("P3_ITEMS"), count("P3_KILLERS")
    every = items // killers
    arguments = {"every": every, "permanent": 0, "transient": 0, "following": 0}
    trial = Trial(template, tmp_path, "loop", "killers", count=items, arguments=arguments)
    starts = 1
    while (code := trial.start().wait()) == -signal.SIGKILL:
        check_accounts(trial.label, trial.behaviour, items)
        starts += 1
        assert starts <= RESTARTS
    assert code == 3
    print(f"P3: {killers} killers among {items}: {starts} starts, {trial.repeated()} items begun again")
    run = run_of(trial.label)
    assert run is not None
    assert (run.status, run.done, run.dead) == ("partial", items - killers, killers)
    check_accounts(trial.label, trial.behaviour, items)
    numbers = numbers_by_key(trial.behaviour, items)
    dead = RunItem.objects.filter(run=run, state="dead")
    assert {numbers[row.key] for row in dead} == {number for number in range(items) if number % every == every // 2}
    assert {(row.reason, row.crashes) for row in dead} == {("crashed", 3)}
    assert max(effects_of(trial.label).values()) == 1
