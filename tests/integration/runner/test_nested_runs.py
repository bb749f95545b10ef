"""A run that a hook of another run begins: it stops with that one, in order, and has it as its parent."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from asgiref.sync import sync_to_async

import async_commander as ac
from async_commander.models import Run
from async_commander.runner.signals import StopRequests
from async_commander.testing import InMemoryRecorder

from .test_endings import Numbers, failed, shell


class Inner(Numbers):
    """Its items take their time; the third asks the outer run to stop."""

    count = 200
    _stops: StopRequests | None = None
    _requests = 1

    async def download(self, item: int) -> int:
        if self._stops is not None and item == 2:
            for _ in range(self._requests):
                self._stops.ask()
        await asyncio.sleep(0.002)
        return item


def inner_of(stops: StopRequests, requests: int = 1) -> Inner:
    inner = Inner()
    inner._stops, inner._requests = stops, requests
    return inner


def ends() -> dict[str, str]:
    return {run.command.rpartition(".")[2]: run.status for run in Run.objects.all()}


@pytest.mark.parametrize("requests", [1, 2])
@pytest.mark.usefixtures("transactional_db")
def test_what_stops_a_run_stops_the_run_inside_of_it(requests: int) -> None:
    stops = StopRequests()
    results: list[ac.RunResult] = []

    class Outer(ac.AsyncCommand):
        async def handle(self) -> None:
            results.append(await ac.arun(inner_of(stops, requests)))

    result = shell(Outer(), stops)
    assert ends() == {"Outer": "interrupted", "Inner": "interrupted"}
    assert result.status == "interrupted"
    inner = Run.objects.get(command__endswith="Inner")
    assert inner.done < 20
    assert inner.claimed == inner.retry == 0
    assert inner.parent_id == result.run_id
    if requests == 1:  # in order: the hook is let finish, and sees how the inner run ended
        assert [one.status for one in results] == ["interrupted"]


@pytest.mark.usefixtures("transactional_db")
def test_the_run_inside_a_plain_hook_stops_too() -> None:
    stops = StopRequests()

    class Outer(ac.AsyncCommand):
        def handle(self) -> str:
            return str(ac.run(inner_of(stops)).status)

    result = shell(Outer(), stops)
    assert result.value == "interrupted"
    assert Run.objects.get(command__endswith="Inner").parent_id == result.run_id


@pytest.mark.usefixtures("transactional_db")
def test_the_run_inside_an_item_stops_too() -> None:
    stops = StopRequests()

    class Outer(Numbers):
        count = 50

        async def download(self, item: int) -> int:
            result = await ac.arun(inner_of(stops))
            return result.counts["done"]

    assert shell(Outer(), stops).counts["taken"] == 1
    assert ends() == {"Outer": "interrupted", "Inner": "interrupted"}


@pytest.mark.usefixtures("transactional_db")
def test_the_time_out_of_a_run_stops_the_run_inside_of_it() -> None:
    class Outer(ac.AsyncCommand):
        limits = ac.Limits(timeout=0.3)

        async def handle(self) -> None:
            await ac.arun(Inner())

    assert "time-out of 0.3 s" in failed(ac.run, Outer()).error
    assert ends() == {"Outer": "failed", "Inner": "interrupted"}


@pytest.mark.usefixtures("transactional_db")
def test_a_run_that_begins_when_the_one_around_it_is_stopping_takes_nothing() -> None:
    stops = StopRequests()

    class Outer(ac.AsyncCommand):
        async def handle(self) -> None:
            stops.ask()
            while not self.stopping:
                await asyncio.sleep(0)
            await ac.arun(Inner(), grace=0.1)

    shell(Outer(), stops)
    assert ends()["Outer"] == "interrupted"
    assert all(run.done == 0 for run in Run.objects.filter(command__endswith="Inner"))


@pytest.mark.usefixtures("transactional_db")
def test_runs_side_by_side_in_one_hook_are_both_stopped() -> None:
    stops = StopRequests()

    class Outer(ac.AsyncCommand):
        async def handle(self) -> list[Any]:
            return await asyncio.gather(ac.arun(inner_of(stops)), ac.arun(Inner()))

    result = shell(Outer(), stops)
    assert [run.status for run in Run.objects.filter(parent_id=result.run_id)] == ["interrupted"] * 2


def test_a_run_inside_a_test_s_transaction_has_its_parent(run: Any) -> None:
    class Outer(ac.AsyncCommand):
        def handle(self) -> int | None:
            result = ac.run(Leaf())
            return Run.objects.get(pk=result.run_id).parent_id

    class Leaf(ac.AsyncCommand):
        async def handle(self) -> None: ...

    result = run(Outer())
    assert result.value == result.run_id


@pytest.mark.usefixtures("transactional_db")
def test_a_run_that_is_not_kept_is_nobody_s_parent() -> None:
    class Outer(ac.AsyncCommand):
        async def handle(self) -> Any:
            result = await ac.arun(Leaf())
            return (await Run.objects.aget(pk=result.run_id)).parent_id

    class Leaf(ac.AsyncCommand):
        async def handle(self) -> None: ...

    assert ac.run(Outer(), recorder=InMemoryRecorder()).value is None


@pytest.mark.usefixtures("transactional_db")
def test_the_runs_after_it_have_no_parent_and_hear_nothing_of_it() -> None:
    stops = StopRequests()

    class Outer(ac.AsyncCommand):
        async def handle(self) -> None:
            await sync_to_async(lambda: None)()

    shell(Outer(), stops)
    stops.ask()
    after = ac.run(Numbers())
    assert after.status == "succeeded"
    assert Run.objects.get(pk=after.run_id).parent is None
