"""`manage.py aworker` as a process: killed, stopped, and several at once."""

from __future__ import annotations

import signal
from typing import Any

import pytest

import async_commander as ac
from async_commander.models import Run
from tests.integration.runner.ledger import assert_ledger_adds_up
from tests.queued.effects import assert_once, effects
from tests.queued.processes import manage, wait_until, workers

AWORKER = manage("aworker", "--interval", "0.1", "-v", "2")


def test_a_worker_that_is_killed_leaves_its_run_to_the_next_one(transactional_db: None) -> None:
    handle = ac.dispatch("effects", label="killed", count=60, pause=0.05)
    with workers(*AWORKER) as begin:
        first = begin()
        wait_until(lambda: 8 <= len(effects("killed")) < 50, 60, "the first effects")
        first.kill()
        done = len(effects("killed"))
        begin()
        result = handle.result_sync(timeout=60)
    assert (result.status, result.counts["done"]) == (ac.RunStatus.SUCCEEDED, 60)
    assert 8 <= done < 60
    assert_once("killed", 60)
    assert_ledger_adds_up(Run.objects.get())


def test_a_worker_that_is_stopped_gives_its_run_back(transactional_db: None) -> None:
    handle = ac.dispatch("effects", label="stopped", count=60, pause=0.05)
    with workers(*AWORKER) as begin:
        first = begin()
        wait_until(lambda: 8 <= len(effects("stopped")) < 50, 60, "the first effects")
        first.signal(signal.SIGTERM)
        assert first.wait() == 0
        row = Run.objects.get()
        assert (row.status, row.sent, row.finished) == ("queued", None, None)
        begin()
        assert handle.result_sync(timeout=60).counts["done"] == 60
    assert_once("stopped", 60)


def test_a_cancelled_run_ends_and_is_not_taken_up_again(transactional_db: None) -> None:
    handle = ac.dispatch("effects", label="cancelled", count=200, pause=0.05, lease_seconds=2)
    with workers(*AWORKER) as begin:
        begin()
        wait_until(lambda: effects("cancelled"), 60, "the first effects")
        assert handle.cancel_sync(user="ada") is True
        assert handle.result_sync(timeout=30).status is ac.RunStatus.INTERRUPTED
    assert 0 < len(effects("cancelled")) < 200


def test_several_workers_share_the_queue(transactional_db: None) -> None:
    handles = [ac.dispatch("effects", label=f"shared {number}", count=5, pause=0.01) for number in range(12)]
    with workers(*AWORKER, "--burst") as begin:
        processes = [begin(), begin()]
        assert [process.wait(60) for process in processes] == [0, 0]
    assert {handle.status_sync().value for handle in handles} == {"succeeded"}
    for number in range(12):
        assert_once(f"shared {number}", 5)


@pytest.mark.asyncio
async def test_a_detached_call_waits_for_the_worker(arun_db: None) -> None:
    with workers(*AWORKER) as begin:
        begin()
        result: Any = await ac.arun("answers", what="detached", detach=True)
        assert (result.status, result.value["what"]) == (ac.RunStatus.SUCCEEDED, "detached")
        with pytest.raises(ac.RunFailed, match="as it was told"):
            await ac.arun("answers", what="error", detach=True)
