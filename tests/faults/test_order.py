"""P1 for items that go one after another, and for those that are saved by one call: killed anywhere, and resumed."""

from __future__ import annotations

import itertools
import time
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.faults.behaviour import FOLLOWED
from tests.faults.commands.in_lines import line_of
from tests.faults.counts import chance, count
from tests.faults.test_kills import AT_MOST_IN_A_ROW
from tests.faults.truth import check_accounts, check_complete, has_ended, snapshot
from tests.faults.victims import Template, Trial
from tests.testapp.models import Effect

ITEMS = 150


def check_order(trial: Trial) -> None:
    """The rows of each line have the order of the source."""
    with snapshot():
        keys = list(Effect.objects.filter(run=trial.label).order_by("pk").values_list("key", flat=True))
    written: defaultdict[int, list[int]] = defaultdict(list)
    for number in [int(key.partition("/")[0]) for key in keys]:
        if number < FOLLOWED:
            written[line_of(number)].append(number)
    for line, numbers in written.items():
        assert numbers == sorted(numbers), f"line {line} was committed as {numbers}"


@pytest.mark.django_db(transaction=True)
@pytest.mark.timeout(3600)
@pytest.mark.parametrize(
    ("command", "kills", "check"),
    [("in_lines", "P1_ORDER_KILLS", check_order), ("together", "P1_TOGETHER_KILLS", lambda trial: None)],
)
def test_a_killed_run_loses_nothing_doubles_nothing_and_keeps_the_order(
    template: Template, tmp_path: Path, command: str, kills: str, check: Callable[[Trial], None]
) -> None:
    random, killed = chance(), 0
    for number in itertools.count():
        if killed >= count(kills):
            break
        arguments = {"seed": random.randrange(2**32)}
        limits = {"threads": random.choice((1, 4, 20)), "batch_size": 20}
        trial = Trial(template, tmp_path, f"{command}{number}", command, ITEMS, arguments, limits)
        for seconds in (*(random.uniform(0.0, 0.4) for _ in range(AT_MOST_IN_A_ROW)), None):
            victim = trial.start()
            trial.wait_for(victim, "began")
            if seconds is None:
                assert victim.wait() in (0, 3), victim.said()
            else:
                time.sleep(seconds)
                killed += victim.kill()
            check_accounts(trial.label, trial.behaviour, ITEMS)
            check(trial)
            if has_ended(trial.label):
                break
        check_complete(trial.label, trial.behaviour, ITEMS)
