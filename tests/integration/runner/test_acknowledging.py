"""What no item may survive, raised by `committed()`: the item is done all the same, and the run ends in order."""

from __future__ import annotations

from typing import Any

import anyio
import pytest

import async_commander as ac
from tests.testapp.models import Effect

from .ledger import labels_of, row_of

ENDS = {one.__name__: one for one in (MemoryError, SystemExit, KeyboardInterrupt)}


class Acknowledged(ac.IterateDownloadCommand[str, str]):
    error: str = "MemoryError"
    limits = ac.Limits(threads=2)

    async def iterate(self):
        yield "a"
        yield "b"
        yield "c"

    async def download(self, item: str) -> str:
        return item

    async def parse_and_save(self, item: str, payload: str) -> None:
        if item == "c":
            await anyio.sleep_forever()  # in hand when the run ends
        self.db.add(Effect(key=item))

    async def committed(self, item: str) -> None:
        if item == "b":
            self.db.add(Effect(key="dropped"))
            raise ENDS[self.error]("enough")

    async def cleanup(self, result: ac.RunResult) -> None:
        self.db.add(Effect(key=f"tidied after {result.counts['done']}"))


class AcknowledgedOnALane(Acknowledged):
    def committed(self, item: str) -> None:
        if item == "b":
            raise ENDS[self.error]("enough")


@pytest.mark.parametrize("command", [Acknowledged, AcknowledgedOnALane])
@pytest.mark.parametrize("error", ENDS)
def test_the_item_is_done_and_the_run_ends_after_its_clean_up(run: Any, command: Any, error: str) -> None:
    with pytest.raises(ac.RunFailed) as raised:
        run(command(error=error))
    result = raised.value.result
    row = row_of(result)
    assert (row.status, row.error) == ("failed", f"{error}: enough")
    assert labels_of(result, state="done") == ["a", "b"]
    assert (row.taken, row.done, row.claimed) == (2, 2, 0)
    assert sorted(Effect.objects.values_list("key", flat=True)) == ["a", "b", "tidied after 2"]


def test_the_run_goes_on_from_there(run_on_lanes: Any) -> None:
    with pytest.raises(ac.RunFailed) as raised:
        run_on_lanes(Acknowledged())

    class Well(Acknowledged):
        async def parse_and_save(self, item: str, payload: str) -> None:
            self.db.add(Effect(key=item))

    Well.__module__, Well.__qualname__ = Acknowledged.__module__, Acknowledged.__qualname__
    result = run_on_lanes(Well(), resume=True)
    assert result.run_id == raised.value.result.run_id
    assert (result.status, result.counts["done"]) == ("succeeded", 3)
