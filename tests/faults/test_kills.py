"""P1: killed at any moment and resumed, a run loses no item, doubles none, and its accounts hold throughout."""

from __future__ import annotations

import signal
import time
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

import pytest

from tests.faults.counts import chance, count
from tests.faults.truth import check_accounts, check_complete, has_ended
from tests.faults.victims import ShellVictim, Template, Trial, Victim

THREADS, BATCH = 20, 20
AT_MOST_IN_A_ROW = 2
"""The third crash in a row would make the items in hand dead, as it should."""


@dataclass
class Campaign:
    """Runs that are killed a few times each and then brought to their end."""

    template: Template
    folder: Path
    chance: Random
    kind: type[Victim] = Victim
    kills: int = 0
    repeated: list[int] = field(default_factory=list)

    def carry_on(self, kills: int) -> None:
        number = 0
        while self.kills < kills:
            self.one_run(f"run{number}", ("effects", "plain_effects", "recorded")[number % 3])
            number += 1

    def one_run(self, label: str, command: str) -> None:
        trial = Trial(
            self.template,
            self.folder,
            label,
            command,
            count=300,
            arguments={"seed": self.chance.randrange(2**32)},
            limits={"threads": THREADS, "batch_size": BATCH},
        )
        print(trial.label, trial.command, trial.arguments)
        killed = 0
        for _ in range(self.chance.randint(1, AT_MOST_IN_A_ROW)):
            killed += self._kill(trial)
        if not has_ended(label):
            last = trial.start(self.kind)
            assert last.wait() in (0, 3), last.said()
        check_complete(label, trial.behaviour, trial.count)
        assert trial.repeated() <= killed * (THREADS + 2 * BATCH)
        self.repeated.append(trial.repeated())
        self.kills += killed

    def _kill(self, trial: Trial) -> bool:
        """Begin or resume the run and kill it; False where it came to its end before that, on a fast machine."""
        if has_ended(trial.label):
            return False
        victim = trial.start(self.kind)
        trial.wait_for(victim, "began")
        time.sleep(self.chance.uniform(0.010, 0.250))
        victim.kill()
        assert victim.code in (-signal.SIGKILL, 0, 3), victim.said()
        check_accounts(trial.label, trial.behaviour, trial.count)
        return not has_ended(trial.label)


@pytest.mark.django_db(transaction=True)
@pytest.mark.timeout(3600)
def test_killed_runs_lose_and_double_nothing(template: Template, tmp_path: Path) -> None:
    campaign = Campaign(template, tmp_path, chance())
    campaign.carry_on(count("P1_KILLS"))
    print(f"P1: {campaign.kills} kills, {sum(campaign.repeated)} items begun again")


@pytest.mark.django_db(transaction=True)
@pytest.mark.timeout(600)
def test_runs_of_the_command_line_that_are_killed_lose_and_double_nothing(template: Template, tmp_path: Path) -> None:
    campaign = Campaign(template, tmp_path, chance(), ShellVictim)
    campaign.carry_on(count("P1_SHELL_KILLS"))
    print(f"P1: {campaign.kills} kills, {sum(campaign.repeated)} items begun again")
