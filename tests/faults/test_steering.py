"""Orders from outside, while their run is in other processes that are killed, stand still, or end at that moment."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

import pytest
from django.db import connection, connections

import async_commander as ac
from async_commander.exceptions import AsyncCommanderError
from async_commander.models import RunItem, RunLog
from tests.faults.counts import count
from tests.faults.truth import check_complete, run_of
from tests.faults.victims import ShellVictim, Template, Trial, Victim, wait_until

PATIENCE = 60
Orders = list[tuple[Callable[..., Any], dict[str, Any]]]


def trial_of(template: Template, folder: Path, label: str, *, items: int = 300) -> Trial:
    return Trial(
        template,
        folder,
        label,
        "holders",
        count=items,
        arguments={"permanent": 0, "transient": 0, "following": 0},
        limits={"threads": 4, "batch_size": 20},
        request={"lease_seconds": 2.0},
    )


def begun(trial: Trial, victim: Victim, done: int = 20) -> int:
    """Wait until so many items are done; the run's number."""

    def is_so() -> bool:
        run = run_of(trial.label) if trial.lines() else None
        return run is not None and run.done >= done

    wait_until(lambda: is_so() or victim.poll() is not None, PATIENCE, f"{done} items: {victim.said()}")
    return run_of(trial.label).pk


def quiet(trial: Trial) -> list[list[str]]:
    """Wait until nothing is in hand; what was begun until then."""
    number = run_of(trial.label).pk

    def all_settled() -> bool:
        before = trial.tries()
        done = RunItem.objects.filter(run=number).exclude(state="retry").count()
        return len(before) == done and trial.tries() == before

    wait_until(all_settled, PATIENCE, "the items in hand are settled")
    return trial.lines()


def ended(trial: Trial, victim: Victim) -> None:
    assert victim.wait(PATIENCE) == 0, victim.said()
    check_complete(trial.label, trial.behaviour, trial.count)


@pytest.mark.django_db(transaction=True)
def test_a_paused_process_keeps_its_run_and_begins_nothing(template: Template, tmp_path: Path) -> None:
    trial = trial_of(template, tmp_path, "paused")
    victim = trial.start(ShellVictim, request={"resume": True})
    number = begun(trial, victim)
    assert ac.pause_run(number, by="ada")
    lines = quiet(trial)
    ac.change_limits(number, by="ada", threads=12)
    wait_until(lambda: "threads is 12" in victim.said(), PATIENCE, "it hears, while it is paused")
    assert trial.lines() == lines
    assert run_of(trial.label).paused is not None
    assert ac.continue_run(number, by="bob")
    ended(trial, victim)
    said = victim.said()
    assert "Paused by ada" in said
    assert "It goes on, as was asked for by bob" in said
    assert "threads is 12 from now on (it was 4), as was asked for by ada." in said


@pytest.mark.django_db(transaction=True)
def test_a_run_that_is_killed_in_a_pause_goes_on_without_it(template: Template, tmp_path: Path) -> None:
    trial = trial_of(template, tmp_path, "killed")
    victim = trial.start()
    number = begun(trial, victim)
    ac.pause_run(number, by="ada")
    quiet(trial)
    assert victim.kill()
    with pytest.raises(AsyncCommanderError, match="is not at work: it is crashed"):
        ac.continue_run(number)
    ended(trial, trial.start())
    assert run_of(trial.label).pk == number


@pytest.mark.django_db(transaction=True)
def test_a_process_that_stands_still_hears_of_all_of_it_later(template: Template, tmp_path: Path) -> None:
    trial = trial_of(template, tmp_path, "still")
    victim = trial.start(request={**trial.request, "resume": True, "lease_seconds": 30.0})
    number = begun(trial, victim)
    ac.pause_run(number, by="ada")
    quiet(trial)  # it holds no lock then
    victim.signal(signal.SIGSTOP)
    ac.change_limits(number, by="ada", threads=9)
    ac.continue_run(number, by="bob")
    ac.pause_run(number, by="bob")
    ac.cancel_run(number, by="eve")
    victim.signal(signal.SIGCONT)
    victim.wait(PATIENCE)
    run = run_of(trial.label)
    assert (run.status, run.limits["threads"]) == ("interrupted", 9)
    assert RunLog.objects.filter(run=number, message="The end of this run was asked for by eve.").count() == 1
    ended(trial, trial.start())


@pytest.mark.django_db(transaction=True)
def test_orders_of_many_at_once_are_all_kept(template: Template, tmp_path: Path) -> None:
    """Whatever two people ask for at one moment, both are in the log, and what the row says is what the last one asked.

    The run takes no harm of any of it: each item is done once.
    """
    dice = Random(count("P4_PAUSES"))
    for trial_number in range(max(1, count("P4_PAUSES") // 5)):
        trial = trial_of(template, tmp_path, f"many {trial_number}")
        victim = trial.start()
        number = begun(trial, victim, done=1)
        asked: list[str] = []

        def ask(name: str, orders: Orders, number: int = number, asked: list[str] = asked) -> None:
            try:
                for order, words in orders:
                    order(number, by=name, **words)
                    asked.append(name)
            except AsyncCommanderError:
                pass  # it had ended meanwhile
            finally:
                connections.close_all()

        def some() -> Orders:
            threads = {"threads": dice.randint(1, 20)}
            return [dice.choice([(ac.pause_run, {}), (ac.continue_run, {}), (ac.change_limits, threads)])]

        people = [threading.Thread(target=ask, args=(f"p{n}", some() + some() + some())) for n in range(4)]
        for one in people:
            one.start()
        for one in people:
            one.join(PATIENCE)
        if run_of(trial.label).status == "running":
            ask("last", [(ac.pause_run, {}), (ac.change_limits, {"threads": 7}), (ac.continue_run, {})])
        ended(trial, victim)
        run = run_of(trial.label)
        if "last" in asked[-1:]:
            assert run.limits["threads"] == 7
        assert run.paused is None
        changed = RunLog.objects.filter(run=number, message__startswith="Limits of this run").values_list("message")
        assert all(" by p" in text or " by last" in text for (text,) in changed)


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("first", [ac.pause_run, ac.cancel_run])
def test_a_pause_and_a_cancel_at_one_moment_end_the_run(
    template: Template, tmp_path: Path, first: Callable[..., Any]
) -> None:
    trial = trial_of(template, tmp_path, f"both {first.__name__}")
    victim = trial.start()
    number = begun(trial, victim)
    second = ac.cancel_run if first is ac.pause_run else ac.pause_run
    first(number)
    if first is ac.cancel_run:
        with pytest.raises(AsyncCommanderError, match=r"is being ended|is not at work"):
            second(number)
    else:
        second(number)
    victim.wait(PATIENCE)
    assert run_of(trial.label).status == "interrupted"
    ended(trial, trial.start())
    connection.close()
