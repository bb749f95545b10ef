"""The history in projects with other ideas of time: USE_TZ off, TIME_ZONE far from UTC."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import datetime, timedelta
from io import StringIO
from typing import Any

import pytest
from django.core.management import call_command
from django.db import connections
from django.utils import timezone

import async_commander as ac
from async_commander.history.lease import database_now
from async_commander.history.moments import as_stored
from async_commander.models import Run, RunBucket, RunItem, RunLog
from tests.integration.runner.ledger import end_without_a_word, row_of
from tests.testapp.models import Effect

SECONDS = timedelta(seconds=90)


@pytest.fixture(
    params=[(False, "UTC"), (False, "Asia/Kathmandu"), (False, "America/New_York"), (True, "Asia/Kathmandu")],
    ids=lambda param: f"USE_TZ={param[0]}-{param[1]}",
)
def project(request: pytest.FixtureRequest, transactional_db: None, settings: Any) -> Iterator[None]:
    connections.close_all()
    settings.USE_TZ, settings.TIME_ZONE = request.param
    yield
    connections.close_all()


class Late(ac.IterateDownloadCommand[str, str]):
    """Fails once for each item, so that most of them wait in the ledger."""

    limits = ac.Limits(threads=1)
    retry = ac.Retry(attempts=3, initial=0.05, factor=1.0, maximum=0.1)

    async def iterate(self):
        return [f"item {number}" for number in range(40)]

    async def download(self, item: str) -> str:
        if item not in vars(self).setdefault("seen", set()):
            vars(self)["seen"].add(item)
            self.log.info("not yet: %s", item)
            raise ConnectionError("not yet")
        return ""

    async def parse_and_save(self, item: str, payload: str) -> None:
        self.db.add(Effect(key=item))


def test_items_that_wait_in_the_ledger_are_run_when_their_time_has_come(project: None) -> None:
    began = timezone.now()
    result = ac.run(Late())
    assert (result.status, result.counts["done"], result.counts["retry"]) == ("succeeded", 40, 0)
    run = row_of(result)
    moments = [
        *RunItem.objects.values_list("started", flat=True),
        *RunLog.objects.values_list("at", flat=True),
        run.started, run.finished, run.heartbeat,
    ]  # fmt: skip
    assert len(moments) > 83
    assert all(began - timedelta(seconds=1) <= moment <= timezone.now() + SECONDS for moment in moments)
    assert all(began - SECONDS <= moment <= timezone.now() for moment in RunBucket.objects.values_list("at", flat=True))
    assert run.duration is not None
    assert timedelta(0) < run.duration < SECONDS


def test_a_run_is_resumed_after_a_crash(project: None) -> None:
    first = ac.run(Late(), max_items=20)
    Run.objects.filter(pk=first.run_id).update(options={}, taken=20, done=20)
    end_without_a_word(first.run_id, "item 30")
    second = ac.run(Late(), resume=True)
    assert second.run_id == first.run_id
    assert (second.status, second.counts["done"]) == ("succeeded", 40)
    row_of(second)
    assert Effect.objects.count() == 40


def test_items_that_a_stopped_run_leaves_waiting_have_their_time(project: None) -> None:
    class Stopped(Late):
        retry = ac.Retry(attempts=3, initial=200.0, maximum=300.0)
        limits = ac.Limits(threads=1, timeout=1.0)

    with pytest.raises(ac.RunFailed) as raised:
        ac.run(Stopped())
    run = Run.objects.get(pk=raised.value.result.run_id)
    waiting = list(RunItem.objects.filter(run=run, state="retry").values_list("next_at", flat=True))
    assert waiting
    assert all(timezone.now() - SECONDS < moment < timezone.now() + timedelta(seconds=400) for moment in waiting)


def test_a_run_is_shown(project: None) -> None:
    result = ac.run(Late())
    shown, out = StringIO(), StringIO()
    call_command("aruns", "show", str(result.run_id), stdout=shown)
    call_command("aruns", "list", "--json", stdout=out)
    assert "succeeded" in shown.getvalue()
    assert json.loads(out.getvalue())[0]["status"] == "succeeded"


def test_the_database_tells_the_time_as_its_rows_do(project: None) -> None:
    now = database_now("default")
    assert abs(now - timezone.now()) < SECONDS
    later = as_stored(datetime.now().astimezone())
    assert abs(later - now) < SECONDS
