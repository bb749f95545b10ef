"""One item's call in the process pool costs the others nothing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import anyio

import async_commander as ac

from . import work
from .ledger import items_of


class Searches(ac.IterateDownloadCommand[str, str]):
    """One item of forty is stuck for ever."""

    retry = ac.Retry(attempts=1)
    guilty: str = "17"

    async def iterate(self):
        return [str(number) for number in range(40)]

    async def download(self, item: str) -> str:
        return item

    async def parse_and_save(self, item: str, payload: str) -> None:
        await self.cpu(work.search_for_ever if item == self.guilty else work.length, payload)


def test_a_call_that_never_ends_costs_its_own_item_and_no_other(run: Any) -> None:
    result = run(Searches(), processes=1, threads=20, item_timeout=3)
    assert [(one.label, one.error_kind) for one in items_of(result, state="dead")] == [("17", "ItemTimeout")]
    assert result.counts["done"] == 39


def test_calls_that_end_their_process_cost_their_own_items_only(run: Any) -> None:
    class Command(Searches):
        async def parse_and_save(self, item: str, payload: str) -> None:
            await self.cpu(work.die if item in ("3", "4", "5") else work.length, payload)

    result = run(Command(), processes=2, threads=20)
    dead = items_of(result, state="dead")
    assert sorted((one.label, one.reason) for one in dead) == [(label, "crashed") for label in "345"]
    assert result.counts["done"] == 37


def test_an_item_that_waits_behind_its_own_endless_call_runs_out_of_time(run: Any) -> None:
    class Command(Searches):
        async def parse_and_save(self, item: str, payload: str) -> None:
            async with anyio.create_task_group() as calls:
                if item == self.guilty:
                    calls.start_soon(self.cpu, work.search_for_ever, payload)
                for _ in range(3):
                    calls.start_soon(self.cpu, work.length, payload)

    result = run(Command(), processes=1, threads=20, item_timeout=3)
    assert [(one.label, one.error_kind) for one in items_of(result, state="dead")] == [("17", "ItemTimeout")]
    assert result.counts["done"] == 39


def test_each_run_keeps_to_its_own_number_of_processes(run: Any, tmp_path: Path) -> None:
    class Command(ac.AsyncCommand):
        calls: int = 20

        async def handle(self) -> int:
            crowds = [0]

            async def call() -> None:
                while max(crowds) < 2 and len(crowds) < self.calls:
                    crowds.append(await self.cpu(work.crowd, str(tmp_path)))

            async with anyio.create_task_group() as tasks:
                for _ in range(5):
                    tasks.start_soon(call)
            return max(crowds)

    assert run(Command(calls=3_000), processes=2).value == 2  # the second process may take a while to start
    assert run(Command(), processes=1).value == 1
