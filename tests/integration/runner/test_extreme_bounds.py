"""The smallest and the largest value of each bound: what is allowed works."""

from __future__ import annotations

from typing import Any

import pytest

import async_commander as ac
from async_commander.engine.limits import LONGEST, Limits, Retry
from tests.testapp.models import Effect

from .ledger import row_of

HUGE = 2**63 - 1
EXTREMES = [
    *({name: HUGE} for name in ("threads", "processes", "db_lanes", "batch_size", "per_host", "max_failures")),
    {"per_host": 1},
    {"per_second": 2.0**62},
    {"per_second": 1 / LONGEST, "per_host": 1},
    {"item_timeout": LONGEST},
    {"timeout": LONGEST},
    {"max_body": HUGE},
    {"max_body": "4000000000 GB"},
]


class Carried(ac.IterateDownloadCommand[str, str]):
    async def iterate(self):
        return list("abc")

    async def download(self, item: str) -> str:
        return item

    async def parse_and_save(self, item: str, payload: str) -> None:
        if item == "b":
            await Effect.objects.acreate(key=item)
        else:
            self.db.add(Effect(key=item))


@pytest.mark.timeout(60)
@pytest.mark.parametrize("bounds", EXTREMES, ids=" ".join)
def test_a_run_with_an_extreme_bound_does_its_work(run: Any, bounds: dict[str, Any]) -> None:
    result = run(Carried(), **bounds)
    assert result.counts["done"] == 3
    row_of(result)


@pytest.mark.timeout(60)
@pytest.mark.parametrize("name", ["initial", "factor", "maximum", "retry_after_cap", "host_budget", "attempts"])
def test_a_run_with_an_extreme_retry_keeps_its_failed_item(run: Any, name: str) -> None:
    """The next attempt is so far away that the run is stopped before it."""
    extreme: Any = HUGE if name in ("attempts", "factor") else LONGEST

    class Failing(Carried):
        retry = Retry(**{"initial": LONGEST, "maximum": LONGEST, "attempts": 5, name: extreme})

        async def download(self, item: str) -> str:
            raise TimeoutError("never")

    with pytest.raises(ac.RunFailed):
        run(Failing(), timeout=1.0, grace=0.5)


@pytest.mark.parametrize("name", ["lease_seconds", "grace"])
def test_a_run_with_an_extreme_time_of_its_own_does_its_work(run: Any, name: str) -> None:
    assert run(Carried(), **{name: LONGEST}).counts["done"] == 3


def test_the_extremes_are_the_extremes() -> None:
    for bounds in EXTREMES:
        Limits(**bounds)
