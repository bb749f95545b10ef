"""The event loop ends under a run, or its task is cancelled: the run ends in order, and its row says what happened."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager, suppress
from typing import Any

import pytest
from asgiref.sync import sync_to_async
from django.db import connections

import async_commander as ac
from async_commander.models import Run, RunItem
from tests.faults.counts import chance, count
from tests.testapp.models import Effect


class Slow(ac.IterateDownloadCommand[int, int]):
    """Slow in each hook, and with a unit of each kind."""

    limits = ac.Limits(threads=4, batch_size=3)
    began = cleaned = False
    retry = ac.Retry(attempts=3, initial=0.001, maximum=0.002)

    @asynccontextmanager
    async def lifespan(self):
        await asyncio.sleep(0.01)
        yield
        await asyncio.sleep(0.01)

    async def iterate(self):
        self.began = True
        for number in range(24):
            await asyncio.sleep(0.001)
            yield number

    async def download(self, item: int) -> int:
        await asyncio.sleep(0.01)
        return item

    async def parse_and_save(self, item: int, payload: int) -> None:
        if item % 2:
            await Effect.objects.acreate(key=str(item))
        else:
            self.db.add(Effect(key=str(item)))

    async def cleanup(self) -> None:
        self.cleaned = True
        await asyncio.sleep(0.01)


pytestmark = pytest.mark.filterwarnings(
    # anyio makes the coroutine before the task that may be cancelled before its first step
    "ignore:coroutine .* was never awaited:RuntimeWarning",
    r"ignore:Exception ignored in. <coroutine object:pytest.PytestUnraisableExceptionWarning",
)


def end_the_loop_after(
    seconds: float, command: ac.AsyncCommand, *, hastily: bool = False, begun: asyncio.Event | None = None
) -> None:
    """Begin a run in a task, and leave the loop while it is under way: so long after its start, or after this event."""

    async def main() -> None:
        await sync_to_async(connections.close_all)()
        task = asyncio.create_task(ac.arun(command, grace=5))
        if begun is not None:
            await begun.wait()
        await asyncio.sleep(seconds)
        if hastily:
            task.cancel()
            await asyncio.sleep(0.002)

    with suppress(ac.RunFailed):
        asyncio.run(main())


def assert_true_end(run: Run | None) -> None:
    if run is None:
        return
    assert run.status in ("interrupted", "succeeded"), print(run.traceback) or (run.status, run.error)
    assert run.accounts
    assert (run.claimed, run.dead) == (0, 0)
    assert Effect.objects.count() == RunItem.objects.filter(run=run, state="done").count() == run.done


@pytest.mark.django_db(transaction=True)
@pytest.mark.timeout(3600)
def test_a_loop_that_ends_at_any_moment_interrupts_the_run_and_a_resume_completes_it() -> None:
    randomly = chance()
    ends = set()
    for _ in range(count("P11_CANCELS")):
        Effect.objects.all().delete()
        Run.objects.all().delete()
        command = Slow()
        end_the_loop_after(randomly.uniform(0, 0.3), command, hastily=randomly.random() < 0.5)
        assert_true_end(run := Run.objects.first())
        assert command.cleaned or not command.began
        ends.add(run.status if run else None)
        if run is not None and run.status == "succeeded":
            continue
        result = ac.run(Slow(), resume=True)
        assert result.status == "succeeded"
        assert run is None or result.run_id == run.pk
        assert Run.objects.get(pk=result.run_id).done == Effect.objects.count() == 24
    assert "interrupted" in ends


@pytest.mark.django_db(transaction=True)
def test_a_plain_command_may_clean_up_when_its_loop_ends() -> None:
    told: list[str] = []
    begun = asyncio.Event()

    class Command(ac.AsyncCommand):
        async def handle(self) -> None:
            begun.set()
            try:
                await asyncio.sleep(30)
            finally:
                told.append("left")

        async def cleanup(self) -> None:
            await asyncio.sleep(0.01)
            told.append("cleaned up")

    end_the_loop_after(0, Command(), begun=begun)
    assert told == ["left", "cleaned up"]
    assert Run.objects.get().status == "interrupted"


@pytest.mark.django_db(transaction=True)
def test_cancelling_every_task_of_the_loop_again_and_again_leaves_no_run_running() -> None:
    class Command(Slow):
        async def cleanup(self) -> None: ...

    async def main() -> None:
        await sync_to_async(connections.close_all)()
        run = asyncio.create_task(ac.arun(Command(), grace=5))
        for _ in range(12):
            await asyncio.sleep(0.02)
            for task in asyncio.all_tasks() - {asyncio.current_task()}:
                task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await run

    asyncio.run(main())
    assert_true_end(Run.objects.first())


@pytest.mark.django_db(transaction=True)
@pytest.mark.asyncio
async def test_a_scope_around_the_call_stops_the_run_in_order() -> None:
    import anyio

    class Command(ac.AsyncCommand):
        async def handle(self) -> None:
            while not self.stopping:
                await asyncio.sleep(0.005)

    with anyio.move_on_after(0.3) as scope:
        await ac.arun(Command())
    assert scope.cancelled_caught
    run: Any = await Run.objects.aget()
    assert (run.status, run.error) == ("interrupted", "")
    await sync_to_async(connections.close_all)()
