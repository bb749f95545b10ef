"""P5: what is to happen once happens once, and of what runs one at a time there are never two."""

from __future__ import annotations

import json
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from django.db import connection

from async_commander.models import Lease, Run
from async_commander.results import EXIT_LOCKED
from tests.faults.counts import chance, count
from tests.faults.victims import Template, Trial, Victim, wait_until
from tests.testapp.models import Effect

AT_ONCE = (2, 8)


def trial_of(template: Template, folder: Path, command: str, label: str, **request: Any) -> Trial:
    return Trial(template, folder, label, command, request={"resume": False, **request})


def job_of(trial: Trial, number: int, **more: Any) -> dict[str, Any]:
    arguments = {"label": trial.label, "journal": str(trial.journal), **more}
    return {"arguments": arguments, "output": str(trial.folder / f"{trial.label}-{number}.output")}


def at_a_barrier(trial: Trial, processes: int, **more: Any) -> list[Victim]:
    """So many processes that begin the same at the same moment, all of them ended."""
    barrier = trial.folder / f"{trial.label}.barrier"
    victims = [trial.start(**job_of(trial, number), barrier=str(barrier), **more) for number in range(processes)]
    for victim in victims:
        assert trial.wait_for(victim, "ready"), victim.said()
    barrier.touch()
    for victim in victims:
        victim.wait()
    return victims


def statuses(victims: list[Victim]) -> Counter[str]:
    """How they ended: the status that they told, or `locked`; each with its exit code."""
    ended: Counter[str] = Counter()
    for victim in victims:
        told = json.loads(victim.said().strip().splitlines()[-1])
        status = "locked" if victim.code == EXIT_LOCKED else told["status"]
        assert victim.code in (0, EXIT_LOCKED), victim.said()
        ended[status] += 1
    return ended


def begin_and_kill(trial: Trial) -> Run:
    """A run whose process was killed in the middle; its row says that it is running."""
    holder = trial.start(**job_of(trial, 99, seconds=60))
    assert trial.wait_for(holder, "began"), holder.said()
    assert holder.kill()
    run = Run.objects.get(parameters__label=trial.label)
    assert run.status == "running"
    return run


def check_once(trial: Trial) -> None:
    """One effect, one succeeded run, which has the key; nothing is left running."""
    runs = Run.objects.filter(parameters__label=trial.label)
    assert Effect.objects.filter(key=trial.label).count() == 1
    succeeded = runs.get(status="succeeded")
    assert succeeded.once_key == succeeded.identity
    others = runs.exclude(pk=succeeded.pk)
    assert set(others.values_list("status", "once_key")) <= {("crashed", None)}


@pytest.mark.django_db(transaction=True)
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("processes", AT_ONCE)
@pytest.mark.parametrize("wait", [False, True], ids=["refused", "waiting"])
def test_of_many_that_begin_at_once_one_runs(template: Template, tmp_path: Path, processes: int, wait: bool) -> None:
    for number in range(max(3, count("P5_RACES") // processes)):
        trial = trial_of(template, tmp_path, "once", f"race{number}", wait=wait)
        ended = statuses(at_a_barrier(trial, processes))
        assert ended["succeeded"] == 1, ended
        assert not (wait and ended["locked"]), ended
        check_once(trial)


@pytest.mark.django_db(transaction=True)
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("processes", AT_ONCE)
@pytest.mark.parametrize("wait", [False, True], ids=["refused", "waiting"])
def test_of_many_heirs_of_a_killed_run_one_runs(template: Template, tmp_path: Path, processes: int, wait: bool) -> None:
    for number in range(max(3, count("P5_RACES") // processes)):
        trial = trial_of(template, tmp_path, "once", f"heirs{number}", wait=wait)
        killed = begin_and_kill(trial)
        ended = statuses(at_a_barrier(trial, processes))
        assert ended["succeeded"] == 1, ended
        assert not (wait and ended["locked"]), ended
        check_once(trial)
        assert Run.objects.get(pk=killed.pk).status == "crashed"


@pytest.mark.django_db(transaction=True)
@pytest.mark.timeout(3600)
def test_kills_at_any_time_leave_one_success_to_be_had(template: Template, tmp_path: Path) -> None:
    """Killed before, while and after it begins: whoever comes next runs, or is told truly that it has happened."""
    randomly = chance()
    for number in range(count("P5_RACES")):
        trial = trial_of(template, tmp_path, "once", f"any{number}")
        holder = trial.start(**job_of(trial, 0))
        assert trial.wait_for(holder, "ready"), holder.said()
        time.sleep(randomly.uniform(0, 0.15))
        holder.kill()
        heir = trial.start(**job_of(trial, 1))
        assert heir.wait() == 0, heir.said()
        runs = Run.objects.filter(parameters__label=trial.label)
        assert runs.filter(status="succeeded").count() == 1
        assert not runs.filter(status="running").exists()
        again = trial.start(**job_of(trial, 2))
        assert again.wait() == 0, again.said()
        assert statuses([again]) == {"skipped": 1}


@pytest.mark.django_db(transaction=True)
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("processes", AT_ONCE)
def test_one_at_a_time(template: Template, tmp_path: Path, processes: int) -> None:
    for number in range(max(2, count("P5_RACES") // processes // 2)):
        trial = trial_of(template, tmp_path, "single", f"turns{number}", wait=True)
        if number % 2:
            begin_and_kill(trial)
        ended = statuses(at_a_barrier(trial, processes))
        assert ended == {"succeeded": processes}
        words = [(pid, word) for pid, word, *_ in trial.lines() if word in ("began", "ends")]
        turns = words[number % 2 :]  # less the word of the process that was killed
        assert turns[::2] == [(pid, "began") for pid, _ in turns[1::2]], turns
        assert len(turns) == 2 * processes
        assert Effect.objects.filter(key=trial.label).count() == processes


@pytest.mark.django_db(transaction=True)
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("processes", AT_ONCE)
def test_who_does_not_wait_for_its_turn_is_refused(template: Template, tmp_path: Path, processes: int) -> None:
    for number in range(max(2, count("P5_RACES") // processes // 2)):
        trial = trial_of(template, tmp_path, "single", f"refused{number}")
        holder = trial.start(**job_of(trial, 99, seconds=60))
        assert trial.wait_for(holder, "began"), holder.said()
        assert statuses(at_a_barrier(trial, processes)) == {"locked": processes}
        assert Run.objects.filter(parameters__label=trial.label).count() == 1
        assert holder.kill()
        heir = trial.start(**job_of(trial, 98))
        assert heir.wait() == 0, heir.said()
        lease = Lease.objects.get(name="single")
        assert (lease.run_id, lease.pid) == (None, None)


@pytest.mark.django_db(transaction=True)
@pytest.mark.skipif(connection.vendor == "sqlite", reason="of an SQLite file all processes are on this host")
def test_a_holder_on_another_host_is_taken_over_when_its_lease_has_run_out(template: Template, tmp_path: Path) -> None:
    trial = trial_of(template, tmp_path, "once", "elsewhere", wait=True, lease_seconds=2.0)
    killed = begin_and_kill(trial)
    Lease.objects.filter(name=f"run:{killed.pk}").update(host="elsewhere")
    heir = trial.start(**job_of(trial, 1))
    wait_until(lambda: heir.poll() is not None, 20, "the heir of a holder on another host")
    assert heir.code == 0, heir.said()
    check_once(trial)
