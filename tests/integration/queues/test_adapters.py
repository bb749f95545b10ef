"""Each queue with its own worker as a process: a run goes through it, and survives the worker's death and its stop."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from typing import Any

import pytest

import async_commander as ac
from async_commander.models import Run
from tests.integration.runner.ledger import assert_ledger_adds_up
from tests.queued.brokers import ENGINES, Queue, queue
from tests.queued.effects import assert_once, effects
from tests.queued.processes import wait_until

OTHERS = [name for name in ENGINES if name != "worker"]


@pytest.fixture(params=OTHERS)
def line(request: Any, transactional_db: None) -> Iterator[Queue]:
    with queue(request.param) as found:
        yield found


def test_a_run_survives_its_worker_s_stop_and_its_worker_s_death(line: Queue) -> None:
    handle = ac.dispatch("effects", label="one", count=160, pause=0.1, lease_seconds=3, engine=line.engine)
    answer = ac.dispatch("answers", what="beside", engine=line.engine)
    first = line.begin()
    try:
        wait_until(lambda: len(effects("one")) >= 8, 60, "the first effects")
        first.signal(signal.SIGTERM)
        assert first.wait() == 0
        stopped = len(effects("one"))
        assert stopped < 120
        assert Run.objects.get(pk=handle.run_id).status == "queued"
        second = line.begin()
        wait_until(lambda: len(effects("one")) >= stopped + 8, 60, "more effects")
        second.kill()
        assert len(effects("one")) < 160
        third = line.begin()
        assert handle.result_sync(timeout=60).counts["done"] == 160
        assert answer.result_sync(timeout=60).value["what"] == "beside"
    except BaseException as error:
        said = [process.said() for process in (first, locals().get("second"), locals().get("third")) if process]
        error.add_note("\n".join(said))
        raise
    assert_once("one", 160)
    assert_ledger_adds_up(Run.objects.get(pk=handle.run_id))
