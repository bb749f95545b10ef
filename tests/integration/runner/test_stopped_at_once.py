"""A stop that comes while a run is being opened: it is not begun, or it is closed."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from django.db import OperationalError

import async_commander as ac
from async_commander.history import runs
from async_commander.models import Run
from async_commander.runner.plan import make_plan
from async_commander.runner.reporting import Silent
from async_commander.runner.request import RunRequest
from async_commander.runner.run import execute
from async_commander.runner.signals import StopRequests


class Idle(ac.AsyncCommand):
    async def handle(self) -> None:
        return


@pytest.mark.asyncio
@pytest.mark.parametrize("requests", [1, 2])
@pytest.mark.usefixtures("arun_db")
async def test_a_run_that_was_just_being_begun_is_closed(monkeypatch: Any, requests: int) -> None:
    stops, loop, begin = StopRequests(), asyncio.get_running_loop(), runs.begin

    def begin_while_stops_arrive(*arguments: Any) -> Any:
        ownership = begin(*arguments)
        for _ in range(requests):
            asyncio.run_coroutine_threadsafe(asked(), loop).result(10)
        return ownership

    async def asked() -> None:
        stops.ask()
        await asyncio.sleep(0)

    monkeypatch.setattr(runs, "begin", begin_while_stops_arrive)
    result = await execute(make_plan(Idle(), RunRequest(), shared=False), Silent(), stops)
    run = await Run.objects.aget()
    assert (result.status, run.status, result.run_id) == ("interrupted", "interrupted", run.pk)


@pytest.mark.asyncio
@pytest.mark.usefixtures("arun_db")
async def test_a_run_whose_ledger_is_locked_is_interrupted_by_a_stop_and_has_not_failed(monkeypatch: Any) -> None:
    stops, loop = StopRequests(), asyncio.get_running_loop()

    def locked(*_: Any) -> Any:
        loop.call_soon_threadsafe(stops.ask)
        raise OperationalError("database is locked")

    monkeypatch.setattr(runs, "begin", locked)
    result = await execute(make_plan(Idle(), RunRequest(), shared=False), Silent(), stops)
    assert (result.status, result.run_id) == ("interrupted", None)
    assert not await Run.objects.aexists()
