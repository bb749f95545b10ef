"""What `self.progress()` takes, and what the run says where it is given something else."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import Any

import anyio
import pytest

import async_commander as ac
from async_commander.models import Run

from .ledger import row_of

pytestmark = pytest.mark.timeout(120)


class Counts(ac.AsyncCommand):
    """Tells its progress by hand: first what is right, then what the test gives."""

    told = ()

    async def handle(self) -> None:
        self.progress(1, 5)
        self.progress(*self.told)


def telling(*told: Any) -> ac.AsyncCommand:
    command = Counts()
    command.told = told
    return command


@pytest.mark.parametrize(
    ("told", "shown"),
    [
        ((True,), "True, None"),
        ((1, True), "1, True"),
        ((-1,), "-1, None"),
        ((0, -5), "0, -5"),
        ((1.0,), "1.0, None"),
        ((1, 2.5), "1, 2.5"),
        (("3",), "'3', None"),
        ((None, 3), "None, 3"),
        ((4, 3), "4, 3"),
        ((2**63,), f"{2**63}, None"),
    ],
)
def test_what_is_no_progress_is_refused_with_the_remedy(run: Any, told: tuple[Any, ...], shown: str) -> None:
    with pytest.raises(ac.RunFailed) as raised:
        run(telling(*told))
    assert isinstance(raised.value.__cause__, ac.InvalidCommand)
    row = Run.objects.get(pk=raised.value.result.run_id)
    assert row.error.startswith(f"self.progress({shown}): allowed are whole numbers from 0, and no more done than")
    assert row.error.endswith("leave `total` out where it is not known.")
    assert (row.status, row.done, row.total, row.accounts) == ("failed", 1, 5, True)


@pytest.mark.parametrize(
    ("told", "kept"),
    [((0,), (0, 5)), ((3, 3), (3, 3)), ((0, 0), (0, 0)), ((2**31, 2**32), (2**31, 2**32))],
)
def test_whole_numbers_from_nothing_to_all_are_taken(run: Any, told: tuple[int, ...], kept: tuple[int, int]) -> None:
    row = Run.objects.get(pk=run(telling(*told)).run_id)
    assert (row.status, row.done, row.total, row.accounts) == ("succeeded", *kept, True)


@pytest.mark.parametrize("hook", ["download", "parse_and_save"])
def test_an_item_has_no_progress_of_its_own(run: Any, hook: str) -> None:
    class Command(ac.IterateDownloadCommand[str, str]):
        async def iterate(self):
            return ["a"]

        async def download(self, item: str) -> str:
            self.tell("download")
            return item

        async def parse_and_save(self, item: str, payload: str) -> None:
            self.tell("parse_and_save")

        def tell(self, here: str) -> None:
            if here == hook:
                self.progress(1, 2)

    with pytest.raises(ac.RunFailed, match="the items of this command count themselves") as raised:
        run(Command())
    assert row_of(raised.value.result).taken == 0


def test_progress_may_go_back_to_nothing(run_on_lanes: Any) -> None:
    class Command(ac.AsyncCommand):
        async def handle(self) -> None:
            self.progress(5, 9)
            while not await Run.objects.filter(done=5).aexists():
                await anyio.sleep(0.01)
            self.progress(0)

    result = run_on_lanes(Command())
    assert (row_of(result).done, result.counts["done"]) == (0, 0)


@pytest.mark.parametrize("hook", ["lifespan", "iterate", "total", "item_key", "cleanup"])
def test_no_hook_of_a_command_with_items_has_a_progress_of_its_own(run: Any, hook: str) -> None:
    class Command(ac.IterateDownloadCommand[str, str]):
        @asynccontextmanager
        async def lifespan(self):
            self.tell("lifespan")
            yield

        async def iterate(self):
            self.tell("iterate")
            return ["a", "b"]

        async def total(self) -> int:
            self.tell("total")
            return 2

        def item_key(self, item: str) -> str:
            self.tell("item_key")
            return item

        async def download(self, item: str) -> str:
            return item

        async def parse_and_save(self, item: str, payload: str) -> None: ...

        async def cleanup(self) -> None:
            self.tell("cleanup")

        def tell(self, here: str) -> None:
            if here == hook:
                self.progress(7, 9)

    with pytest.raises(ac.RunFailed, match="the items of this command count themselves"):
        run(Command())
