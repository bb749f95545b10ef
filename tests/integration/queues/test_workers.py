"""`manage.py aworker` as a process: killed, stopped, and several at once."""

from __future__ import annotations

import signal
import threading
from contextlib import aclosing
from typing import Any

import pytest
from django.db import connection

import async_commander as ac
from async_commander.models import Run
from async_commander.queues import rescue
from async_commander.queues.carrying import acarry, carry
from tests.integration.runner.ledger import assert_ledger_adds_up
from tests.queued.effects import assert_once, effects
from tests.queued.engines import Dying
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


@pytest.mark.asyncio
async def test_a_detached_stream_has_the_runs_number_before_a_worker_begins(arun_db: None) -> None:
    async with aclosing(ac.astream("effects", label="early", count=3, detach=True)) as events:
        first = await anext(events)
        assert isinstance(first, ac.RunStarted)
        assert (first.command, first.parameters["label"]) == ("effects", "early")
        run = await Run.objects.aget()
        assert (run.pk, run.status) == (first.run_id, "queued")
        await acarry(run.pk)
        names = [event.name async for event in events]
    assert names.count("started") == 0
    assert names[-1] == "finished"


@pytest.mark.asyncio
async def test_a_detached_stream_tells_of_the_workers_run_and_leaving_it_stops_nothing(arun_db: None) -> None:
    with workers(*AWORKER) as begin:
        begin()
        async with aclosing(ac.astream("effects", label="left", count=30, pause=0.05, detach=True)) as events:
            started = await anext(events)
        assert isinstance(started, ac.RunStarted)
        assert isinstance(started.run_id, int)
        told = [event async for event in ac.awatch(started.run_id, after=started.id)]
    assert not any(isinstance(event, ac.RunStarted) for event in told)
    last = told[-1]
    assert isinstance(last, ac.RunFinished)
    assert (last.result.status, last.result.counts["done"]) == (ac.RunStatus.SUCCEEDED, 30)


@pytest.mark.asyncio
async def test_a_watch_sees_a_run_change_hands(arun_db: None) -> None:
    handle = await ac.adispatch("effects", label="moved", count=60, pause=0.05)
    with workers(*AWORKER) as begin:
        first, killed, told = begin(), False, list[ac.RunEvent]()
        async for event in ac.awatch(handle.run_id):
            told.append(event)
            if isinstance(event, ac.Progress) and event.done > 5 and not killed:
                first.kill()
                killed = True
                begin()
    last = told[-1]
    assert isinstance(last, ac.RunFinished)
    assert (killed, last.result.status, last.result.counts["done"]) == (True, ac.RunStatus.SUCCEEDED, 60)
    assert sum(isinstance(event, ac.RunStarted) for event in told) == 1


def test_a_sender_that_dies_between_commit_and_sending_loses_no_run(transactional_db: None) -> None:
    engine = "tests.queued.engines.Dying"
    with workers(*manage("arun", "answers", "--detach"), QUEUED_ENGINE=engine, QUEUED_DIES="1") as begin:
        assert begin().wait(60) == -signal.SIGKILL
    row = Run.objects.get()
    assert (row.status, row.engine, row.sent) == ("queued", engine, None)
    Run.objects.update(started=row.started - rescue.YOUNG)
    assert rescue.rescue("default") == 1
    assert Dying.sent == [row.pk]
    assert carry(row.pk) is not None
    assert Run.objects.get().status == "succeeded"


def test_workers_carry_the_shards_of_a_run_and_one_of_them_dies(transactional_db: None) -> None:
    with workers(*AWORKER) as begin:
        first = begin()
        begin()

        def kill() -> None:
            try:
                wait_until(lambda: len(effects("cut")) > 8, 120, "the first effects")
            finally:
                connection.close()
            first.kill()

        killer = threading.Thread(target=kill)
        killer.start()
        result = ac.run("effects", label="cut", count=60, pause=0.1, distribute="worker", shards=2)
        killer.join()
    assert (result.status, result.counts["done"]) == (ac.RunStatus.SUCCEEDED, 60)
    assert_once("cut", 60)
    run = Run.objects.get(shard=None)
    assert [row.status for row in run.children.order_by("shard")] == ["succeeded", "succeeded"]
    assert run.done == sum(row.done for row in run.children.all()) == 60
