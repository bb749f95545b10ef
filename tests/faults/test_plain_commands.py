"""Plain Django commands that run once, and their rows after every kind of end."""

from __future__ import annotations

import signal
from pathlib import Path
from typing import Any

import pytest

import async_commander as ac
from async_commander.models import Run
from async_commander.results import EXIT_LOCKED
from tests.faults.counts import count
from tests.faults.test_once import AT_ONCE, at_a_barrier
from tests.faults.victims import Template, Trial, Victim
from tests.testapp.models import Effect

ONCE, SEED = "testapp.plain_once", "testapp.plain_seed"


def start(trial: Trial, name: str, *words: str, **more: Any) -> Victim:
    return trial.start(line=[name, *words, "--skip-checks"], **more)


def begin_and_kill(trial: Trial) -> Run:
    holder = start(trial, "plain_once", "--journal", str(trial.journal), "--seconds", "60")
    assert trial.wait_for(holder, "began"), holder.said()
    assert holder.kill()
    return Run.objects.get(command=ONCE)


@pytest.mark.django_db(transaction=True)
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("processes", AT_ONCE)
@pytest.mark.parametrize("killed", [False, True], ids=["fresh", "holder killed"])
@pytest.mark.parametrize("wait", [False, True], ids=["refused", "waiting"])
def test_of_many_that_begin_at_once_one_runs(
    template: Template, tmp_path: Path, processes: int, killed: bool, wait: bool
) -> None:
    for number in range(max(2, count("P5_RACES") // processes // 2)):
        Run.objects.all().delete()
        trial = Trial(template, tmp_path, f"race{number}")
        before = int(killed)
        if killed:
            begin_and_kill(trial)
            Effect.objects.all().delete()
        line = ["plain_once", "--seconds", "0.02", "--skip-checks", *(["--wait"] if wait else [])]
        victims = at_a_barrier(trial, processes, line=line)
        codes = sorted(victim.code or 0 for victim in victims)
        assert set(codes) <= ({0} if wait else {0, EXIT_LOCKED}), [victim.said() for victim in victims]
        assert Effect.objects.count() == 1
        assert Run.objects.filter(status="succeeded", once_key__isnull=False).count() == 1
        assert Run.objects.count() == 1 + before
        assert Run.objects.filter(status="crashed").count() == before
        Effect.objects.all().delete()


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize(
    ("end", "code", "status", "error"),
    [
        ("", 0, "succeeded", ""),
        ("raise", 99, "failed", "ValueError: no good, "),
        ("exit0", 0, "succeeded", ""),
        ("exit7", 7, "failed", "SystemExit: 7"),
        ("kill", -signal.SIGKILL, "crashed", "The process that owned this run ended without a word."),
    ],
)
def test_every_end_is_told_truly(
    template: Template, tmp_path: Path, end: str, code: int, status: str, error: str
) -> None:
    trial = Trial(template, tmp_path, "ends")
    victim = start(trial, "plain_seed", "eu", f"--end={end}")
    assert victim.wait() == code, victim.said()
    run = ac.history(SEED).get()
    assert (run.status, run.error.strip(), run.pid) == (status, error.strip(), victim.pid)
    assert run.trigger == "terminal"


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_is_told_truly(template: Template, tmp_path: Path, number: int) -> None:
    trial = Trial(template, tmp_path, "signals")
    victim = start(trial, "plain_once", "--journal", str(trial.journal), "--seconds", "60")
    assert trial.wait_for(victim, "began"), victim.said()
    victim.signal(number)
    assert victim.wait() == 128 + number, victim.said()
    run = Run.objects.get()
    assert (run.status, run.once_key) == ("interrupted", None)
    assert start(trial, "plain_once").wait() == 0
    assert not ac.should_run(ONCE)


@pytest.mark.django_db(transaction=True)
def test_a_long_command_shows_that_it_lives(template: Template, tmp_path: Path) -> None:
    """Its lease is renewed, so that nobody on another host takes it for dead."""
    from tests.faults.victims import wait_until

    trial = Trial(template, tmp_path, "lives")
    victim = start(trial, "plain_once", "--journal", str(trial.journal), "--seconds", "60")
    assert trial.wait_for(victim, "began"), victim.said()
    first = Run.objects.get().expires
    wait_until(lambda: Run.objects.get().expires != first, 20, "a sign of life")
    assert victim.kill()
