"""The bounds of a run: the pace of a host, how many items may fail, how many are taken, how long all may take."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections import Counter
from typing import Any

import anyio
import httpx
import pytest

import async_commander as ac

from .failing import QUICK, Items, failed, http_error, tags
from .ledger import items_of, row_of


def test_retry_after_is_obeyed_and_capped(run: Any) -> None:
    """A thousand seconds are asked for, two thousandths are the cap."""
    tries: Counter[str] = Counter()

    class Command(Items):
        retry = ac.Retry(attempts=2, initial=0.001, retry_after_cap=0.002)

        def fail(self, item: str) -> None:
            tries[item] += 1
            if item == "a" and tries[item] == 1:
                raise http_error(503, **{"Retry-After": "1000"})

    result = run(Command())
    assert result.status is ac.RunStatus.SUCCEEDED
    assert tries["a"] == 2


def test_a_pause_that_a_server_asks_for_costs_no_attempt(run: Any) -> None:
    tries: Counter[str] = Counter()

    class Command(Items):
        retry = ac.Retry(attempts=1, initial=0.001, maximum=0.002)

        def fail(self, item: str) -> None:
            tries[item] += 1
            if tries[item] < 4:
                raise http_error(429, **({"Retry-After": "0"} if item in "abc" else {}))

    result = run(Command())
    assert result.counts["done"] == 6
    assert {one.attempts for one in items_of(result, state="done")} == {1}


@pytest.mark.parametrize("wrapped", [False, True])
def test_a_host_that_refuses_after_a_pause_is_approached_step_by_step(run: Any, wrapped: bool) -> None:
    """With a client of the command's own, of which the run sees the errors only: a 404 is an answer."""
    busy = Counter[str]()

    class Command(ac.IterateDownloadCommand[int, str]):
        limits = ac.Limits(threads=10, max_failures=None)
        retry = ac.Retry(attempts=2, initial=0.001, maximum=0.002)

        async def iterate(self):
            return range(60)

        def throttle_key(self, item: int) -> str:
            return "shop.example"

        async def download(self, item: int) -> str:
            first, behind_the_pause = not busy["asked"], busy["asked"] >= 10
            busy["asked"] += 1
            busy["now"] += 1
            await asyncio.sleep(0.002)
            if behind_the_pause:
                busy["most"] = max(busy["most"], busy["now"])
            busy["now"] -= 1
            request = httpx.Request("GET", "https://shop.example/")
            response = httpx.Response(429, headers={"Retry-After": "0"}) if first else httpx.Response(404)
            try:
                raise httpx.HTTPStatusError("no", request=request, response=response)
            except httpx.HTTPStatusError as error:
                if wrapped and not first:
                    raise ac.SkipItem("gone") from error
                raise

        async def parse_and_save(self, item: int, payload: str) -> None: ...

    with contextlib.suppress(ac.RunFailed):
        run(Command())
    assert busy["asked"] == 61
    assert busy["most"] > 2


def test_a_host_that_answers_nobody_is_given_up_with_a_reason_of_its_own(run: Any) -> None:
    class Command(ac.IterateDownloadCommand[str, str]):
        limits = ac.Limits(threads=5, max_failures=None)
        retry = ac.Retry(attempts=100, initial=0.01, maximum=0.05, host_budget=0.3)

        async def iterate(self):
            return [f"https://{host}.example.org/{number}" for number in range(40) for host in ("gone", "good")]

        async def download(self, item: str) -> str:
            if "gone" in item:
                request = httpx.Request("GET", item)
                raise httpx.HTTPStatusError("503", request=request, response=httpx.Response(503))
            return item

        async def parse_and_save(self, item: str, payload: str) -> None: ...

    result = run(Command())
    dead = items_of(result, state="dead")
    assert (len(dead), result.counts["done"]) == (40, 40)
    assert {one.reason for one in dead} == {"throttled"}
    logs = row_of(result).logs
    assert logs.filter(message__contains="gone.example.org asks for time").exists()
    assert logs.filter(message__contains="its items are given up").exists()


def test_items_of_one_host_are_paced_and_others_go_on(run: Any) -> None:
    in_hand: Counter[str] = Counter()
    most: Counter[str] = Counter()

    class Command(ac.IterateDownloadCommand[str, str]):
        limits = ac.Limits(threads=10, per_host=2)

        async def iterate(self):
            return [f"https://{host}.example.org/{number}" for number in range(6) for host in "ab"]

        async def download(self, item: str) -> str:
            host = item[8]
            in_hand[host] += 1
            most[host] = max(most[host], in_hand[host])
            await anyio.sleep(0.005)
            in_hand[host] -= 1
            return item

        async def parse_and_save(self, item: str, payload: str) -> None: ...

    assert row_of(run(Command())).done == 12
    assert most == Counter(a=2, b=2)


def test_max_failures_as_a_number_ends_the_run(run: Any) -> None:
    class Command(ac.IterateDownloadCommand[int, int]):
        limits = ac.Limits(threads=1, batch_size=1, max_failures=2)

        async def iterate(self):
            return range(1000)

        async def download(self, item: int) -> int:
            raise ValueError("none of them")

        async def parse_and_save(self, item: int, payload: int) -> None: ...

    result = failed(run, Command())
    assert result.counts["dead"] < 10
    row = row_of(result)
    assert "items failed, 2 allowed (max_failures=2" in row.error


def test_max_failures_as_a_share_counts_after_a_hundred_items(run: Any) -> None:
    class Command(ac.IterateDownloadCommand[int, int]):
        limits = ac.Limits(threads=4, max_failures="10%")
        every_nth = 5

        async def iterate(self):
            return range(400)

        async def download(self, item: int) -> int:
            if item % self.every_nth == 0:
                raise ValueError("every so often")
            return item

        async def parse_and_save(self, item: int, payload: int) -> None: ...

    result = failed(run, Command())
    assert 100 <= result.counts["done"] + result.counts["dead"] < 400
    row_of(result)
    tolerable = Command()
    tolerable.every_nth = 11
    assert run(tolerable).status is ac.RunStatus.PARTIAL


def test_a_run_that_failed_too_often_is_not_made_partial_by_a_resume_without_work(run_on_lanes: Any) -> None:
    class Command(ac.IterateDownloadCommand[int, int]):
        limits = ac.Limits(threads=1, batch_size=1, max_failures=1)
        retry = QUICK

        async def iterate(self):
            return range(2)

        async def download(self, item: int) -> int:
            raise ValueError("none of them")

        async def parse_and_save(self, item: int, payload: int) -> None: ...

    first = failed(run_on_lanes, Command())
    again = failed(run_on_lanes, Command(), resume=True)
    assert again.run_id == first.run_id
    assert again.error == "2 items failed, 1 allowed (max_failures=1, 2 items finished)"
    allowed = failed(run_on_lanes, Command(), resume=True, max_failures=2)
    assert (allowed.run_id, allowed.error) == (first.run_id, "No item is done: 2 items dead.")


def test_failures_below_a_hundred_items_count_at_the_end(run: Any) -> None:
    class Command(ac.IterateDownloadCommand[int, int]):
        limits = ac.Limits(threads=4, max_failures="10%")

        async def iterate(self):
            return range(120)

        async def download(self, item: int) -> int:
            if item < 50:
                raise ValueError("the first fifty")
            return item

        async def parse_and_save(self, item: int, payload: int) -> None: ...

    result = failed(run, Command())
    assert result.error == "50 items failed, 12 allowed (max_failures='10%', 120 items finished)"
    assert row_of(result).done == 70


def test_max_items_cuts_the_source(run: Any) -> None:
    result = run(Items(), max_items=4)
    assert (result.status, result.counts["done"]) == (ac.RunStatus.SUCCEEDED, 4)
    row = row_of(result)
    assert row.options["max_items"] == 4
    assert row.total == 4


def test_an_item_that_takes_too_long_is_tried_again(run: Any) -> None:
    tries: Counter[str] = Counter()

    class Command(Items):
        limits = ac.Limits(item_timeout=0.05)
        retry = ac.Retry(attempts=2, initial=0.001)

        async def download(self, item: str) -> str:
            tries[item] += 1
            if item == "a" or (item == "b" and tries[item] == 1):
                await anyio.sleep_forever()
            return item

    result = run(Command())
    assert tags() == "bcdef"
    dead = items_of(result, state="dead")[0]
    assert (dead.label, dead.reason, dead.attempts) == ("a", "exhausted", 2)
    assert "0.05 s" in dead.error
    row_of(result)


@pytest.mark.parametrize("with_hook", [True, False])
def test_a_run_that_takes_too_long_is_stopped_in_order(run: Any, with_hook: bool) -> None:
    told: list[str] = []
    begun: list[str] = []

    class Command(Items):
        """Its second item waits for the time-out of the run."""

        limits = ac.Limits(threads=1, timeout=0.1)

        async def download(self, item: str) -> str:
            begun.append(item)
            while len(begun) > 1 and not self.stopping:
                await anyio.sleep(0.001)
            return item

    class Told(Command):
        async def on_timeout(self) -> None:
            told.append("time is up")

    result = failed(run, Told() if with_hook else Command())
    assert told == ["time is up"] * with_hook
    row = row_of(result)
    assert (row.status, row.error) == ("failed", "The run passed its time-out of 0.1 s and was stopped in order.")
    assert len(tags()) == row.done == len(begun) < 6


class TakesTooLong(Items):
    """Each item waits for the time-out of the run."""

    limits = ac.Limits(threads=1, timeout=0.05)

    async def download(self, item: str) -> str:
        while not self.stopping:
            await anyio.sleep(0.001)
        return item


def test_an_error_in_on_timeout_stops_the_run_all_the_same(run: Any) -> None:
    class Command(TakesTooLong):
        async def on_timeout(self) -> None:
            raise ValueError("not now")

    row = row_of(failed(run, Command()))
    assert "time-out" in row.error
    assert row.logs.filter(message__startswith="on_timeout() failed").count() == 1


def test_a_run_is_stopped_though_on_timeout_never_ends(run: Any) -> None:
    class Command(TakesTooLong):
        async def on_timeout(self) -> None:
            await anyio.sleep_forever()

    row = row_of(failed(run, Command(), grace=0.05))
    assert "time-out" in row.error
    assert row.logs.filter(message__startswith="on_timeout() did not end within the grace of 0.05 s").count() == 1


def test_a_plain_on_timeout_is_called_on_a_lane(run_on_lanes: Any) -> None:
    called_on: list[str] = []

    class Command(TakesTooLong):
        def on_timeout(self) -> None:
            called_on.append(threading.current_thread().name)

    row_of(failed(run_on_lanes, Command()))
    assert called_on == ["async-commander-lane"]
