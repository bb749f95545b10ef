"""P10: Ctrl-C, SIGTERM and SIGHUP, once and twice, at any moment: the row is true, nothing is lost, nobody is left."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path
from random import Random

import pytest

from tests.faults.commands.stages import STAGES
from tests.faults.counts import chance, count
from tests.faults.test_pool_kills import lives_in
from tests.faults.truth import check_accounts, check_complete, run_of
from tests.faults.victims import ShellVictim, Template, Trial, Victim, wait_until

GRACE = 1.0
LENIENCE = 6.0
"""Promised is one second; a machine with much else to do gets five more."""
ENDED = ("succeeded", "partial", "interrupted")


def live_session(leader: int) -> list[int]:
    return [int(one.name) for one in Path("/proc").iterdir() if one.name.isdigit() and lives_in(int(one.name), leader)]


def burst(victim: Victim, chance: Random, *, to_group: bool) -> tuple[int, int, float]:
    """One or two signals. Returns the first one, how many, and when the first was sent."""
    number, times = chance.choice([signal.SIGINT, signal.SIGTERM, signal.SIGHUP]), chance.randint(1, 2)
    send = os.killpg if to_group else os.kill
    sent = time.monotonic()
    for turn in range(times):
        if turn:
            time.sleep(chance.uniform(0, 0.3))
        if victim.poll() is None:
            send(victim.pid, number)
    return number, times, sent


def interrupt(trial: Trial, kind: type[Victim], chance: Random, stage: str) -> None:
    victim = trial.start(kind)
    trial.wait_for(victim, {"cleanup": "cleanup", "start": "ready", "iterate": "began"}.get(stage, "run"))
    time.sleep(chance.uniform(0, {"start": 0.08, "pool": 1.2}.get(stage, 0.4)))
    to_group = chance.random() < 0.5
    number, times, sent = burst(victim, chance, to_group=to_group)
    code = victim.wait()
    took = time.monotonic() - sent
    story = f"{trial.label} {stage}: {times} x {number}, group {to_group}: {code} after {took:.2f} s; {victim.said()}"
    print(story.splitlines()[0])
    assert code in (128 + number, 0, 3), story
    assert took < GRACE + LENIENCE, story
    wait_until(lambda: not live_session(victim.pid), 2, f"the end of all processes of {story}")
    check_end(trial, code, story)


def check_end(trial: Trial, code: int, story: str) -> None:
    run = run_of(trial.label)
    if run is None:
        assert code > 128, story
        return
    assert run.status in ENDED, (run.status, story)
    assert (run.status == "interrupted") == (code > 128), (run.status, story)
    assert run.claimed == 0, story
    check_accounts(trial.label, trial.behaviour, trial.count)


def interrupt_runs(template: Template, folder: Path, kind: type[Victim], bursts: int, stages: tuple[str, ...]) -> None:
    randomly = chance()
    for number in range(bursts):
        stage = stages[number % len(stages)]
        trial = Trial(
            template,
            folder,
            f"run{number}",
            "stages",
            count=60,
            arguments={"seed": randomly.randrange(2**32), "stage": stage},
            limits={"threads": 4, "batch_size": 10, "processes": 2},
            request={"grace": GRACE},
        )
        interrupt(trial, kind, randomly, stage)
        if run_of(trial.label) is None or run_of(trial.label).status == "interrupted":
            trial.calm_down()
            last = trial.start()
            assert last.wait() in (0, 3), last.said()
        check_complete(trial.label, trial.behaviour, trial.count)


@pytest.mark.django_db(transaction=True)
@pytest.mark.timeout(3600)
def test_signals_stop_a_run_in_order(template: Template, tmp_path: Path) -> None:
    interrupt_runs(template, tmp_path, Victim, count("P10_BURSTS"), STAGES)


@pytest.mark.django_db(transaction=True)
@pytest.mark.timeout(600)
def test_signals_stop_a_command_line_in_order(template: Template, tmp_path: Path) -> None:
    interrupt_runs(
        template, tmp_path, ShellVictim, count("P10_SHELL_BURSTS"), tuple(stage for stage in STAGES if stage != "start")
    )


@pytest.mark.django_db(transaction=True)
@pytest.mark.timeout(120)
@pytest.mark.parametrize(
    ("number", "times", "to_group"),
    [
        (signal.SIGTERM, 1, False),
        (signal.SIGTERM, 2, True),  # as systemd does with KillMode=control-group, children of the pool included
        (signal.SIGHUP, 1, True),
        (signal.SIGINT, 2, False),
    ],
)
def test_a_clean_up_that_ignores_everything_is_left_in_bounded_time(
    template: Template, tmp_path: Path, number: signal.Signals, times: int, to_group: bool
) -> None:
    """The items are done and stay so; the run has failed, as its clean-up has."""
    trial = Trial(
        template, tmp_path, "stubborn", "stages", count=20,
        arguments={"seed": 1, "stage": "stubborn"}, limits={"processes": 2}, request={"grace": GRACE},
    )  # fmt: skip
    victim = trial.start(ShellVictim)
    assert trial.wait_for(victim, "cleanup"), victim.said()
    sent = time.monotonic()
    for turn in range(times):
        time.sleep(0.2 * turn)
        (os.killpg if to_group else os.kill)(victim.pid, number)
    code = victim.wait()
    assert time.monotonic() - sent < 3 * GRACE + LENIENCE, victim.said()
    wait_until(lambda: not live_session(victim.pid), 2, f"the end of all processes of {victim.said()}")
    run = run_of(trial.label)
    assert (code, run.status, run.claimed, run.done + run.dead) == (1, "failed", 0, run.taken), victim.said()
    assert "cleanup() went on when it was cancelled" in run.error
    trial.calm_down()
    last = trial.start()
    assert last.wait() in (0, 3), last.said()
    check_complete(trial.label, trial.behaviour, trial.count)
