"""Each queue with its own worker as a process: stopped, killed, and given what is no message of ours."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator
from typing import Any

import pytest
from django.db import connection

import async_commander as ac
from async_commander.models import Run
from tests.integration.runner.ledger import assert_ledger_adds_up
from tests.queued.brokers import ENGINES, Queue, queue
from tests.queued.effects import assert_once, effects
from tests.queued.processes import wait_until

pytestmark = pytest.mark.skipif(
    connection.vendor != "postgresql", reason="on SQLite the worker is that of test_workers.py"
)


@pytest.fixture(params=[name for name in ENGINES if name != "worker"])
def line(request: Any, transactional_db: None) -> Iterator[Queue]:
    with queue(request.param) as found:
        yield found


def test_a_run_survives_the_stop_and_the_death_of_its_workers(line: Queue) -> None:
    line.send_junk()
    handle = ac.dispatch("effects", label="one", count=80, pause=0.1, lease_seconds=2, engine=line.engine)
    answers = [ac.dispatch("answers", what=what, engine=line.engine) for what in ("text", "object")]
    first = line.begin()
    wait_until(lambda: len(effects("one")) >= 8, 60, "the first effects")
    first.signal(signal.SIGTERM)
    assert first.wait() == 0
    stopped = len(effects("one"))
    assert stopped < 80
    assert Run.objects.get(pk=handle.run_id).status == "queued"
    second = line.begin()
    wait_until(lambda: len(effects("one")) >= stopped + 8, 60, "more effects")
    second.kill()
    assert len(effects("one")) < 80
    line.begin()
    assert handle.result_sync(timeout=60).counts["done"] == 80
    assert answers[0].result_sync(timeout=60).value["what"] == "text"
    assert answers[1].result_sync(timeout=60).value.startswith("<")  # what JSON cannot say is kept as text
    assert_once("one", 80)
    assert_ledger_adds_up(Run.objects.get(pk=handle.run_id))


def test_the_old_form_of_the_task_makes_its_run_once(transactional_db: None) -> None:
    with queue("celery-redis") as line:
        from async_commander.contrib.celery import run_command_task

        sent = [run_command_task.delay("answers", {"what": "old"})]
        for _ in range(3):  # the same message again
            sent.append(run_command_task.apply_async(("answers", {"what": "old"}), task_id=sent[0].id))
        run_command_task.delay("nothing_of_that_name", {})
        worker = line.begin()
        wait_until(lambda: Run.objects.filter(status="succeeded").exists(), 60, "the run")
        wait_until(lambda: "nothing_of_that_name" in worker.said(), 60, "the failure")
        wait_until(lambda: worker.said().count(f"[{sent[0].id}] succeeded") == 4, 60, "all messages")
    run = Run.objects.get()
    assert (run.command, run.parameters["what"], run.trigger, run.engine) == ("answers", "old", "celery", "celery")


@pytest.mark.parametrize("url", ["redis://127.0.0.1:1/0", "amqp://guest:guest@127.0.0.1:1//"])
def test_a_broker_that_is_not_there_costs_a_second_and_no_run(transactional_db: None, caplog: Any, url: str) -> None:
    from tests.queued.celery import application

    app = application(url, "nowhere")
    app.set_current()
    began = time.monotonic()
    handle = ac.dispatch("answers", engine="celery")
    assert time.monotonic() - began < 10
    app.close()
    assert f"Run {handle.run_id} is queued, and no worker could be told of it" in caplog.text
    row = Run.objects.get()
    assert (row.status, row.sent) == ("queued", None)
