"""python -m benchmarks.shards: one run on one process, with `self.cpu`, and in shards; and what fifty workers ask for.

The first part makes pages, parses them and writes a row each: as the main job has it, and with the page parsed forty
times, so that parsing dominates. The second part imitates the workers of fifty shards that share one host: their
heartbeats, and the exchange of their leases, with real statements.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import resource
import statistics
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import redirect_stdout
from typing import Any

from .databases import measured_in_a_process

ITEMS, PARSED_ITEMS = 20_000, 2_000
PARSED_OFTEN = 40
WORKERS, SECONDS, RATE = 50, 20.0, 200.0
WAYS = {
    "one process": {"shards": None, "processes": 1},
    "self.cpu, 2 processes": {"shards": None, "processes": 2},
    "2 shards": {"shards": 2, "processes": 1},
}


def main() -> None:
    """Measures on one database, and prints a line for each figure."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.shards", description=__doc__)
    parser.add_argument("--database", choices=("sqlite", "postgres"), default="postgres")
    parser.add_argument("--items", type=int, default=ITEMS, help="of the main job")
    parser.add_argument("--parsed", type=int, default=PARSED_ITEMS, help="items of the job that mostly parses")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--workers", type=int, default=WORKERS, help="whose leases are imitated; 0: none")
    parser.add_argument("--one", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        _run_once(**json.loads(options.one))
    elif "BENCHMARK_DATABASE" in os.environ:
        _measure(options)
    else:
        measured_in_a_process("shards", options.database)


def _measure(options: argparse.Namespace) -> None:
    import django
    from django.core.management import call_command

    django.setup()
    with redirect_stdout(sys.stderr):
        call_command("migrate", run_syncdb=True, verbosity=0)
    from django.db import connection

    print(f"on {connection.vendor}, {len(os.sched_getaffinity(0))} cores, load {os.getloadavg()[0]:.1f}", flush=True)
    for job, count, times in (("main job", options.items, 1), ("parsing dominates", options.parsed, PARSED_OFTEN)):
        took: dict[str, list[tuple[float, float]]] = {way: [] for way in WAYS}
        for _ in range(options.rounds):
            for way in WAYS:
                took[way].append(_one(count, times, way))
        for way, pairs in took.items():
            walls = [wall for wall, _ in pairs]
            ratios = [first[0] / wall for first, wall in zip(took["one process"], walls, strict=True)]
            cpu = statistics.median(cpu for _, cpu in pairs)
            print(
                f"{job}, {count:,} items, {way}: {statistics.median(walls):.1f} s "
                f"({min(walls):.1f} to {max(walls):.1f}), {1000 * cpu / count:.2f} ms of CPU an item, "
                f"{statistics.median(ratios):.2f} times as fast",
                flush=True,
            )
    if options.workers:
        _imitate(options.workers)


def _one(count: int, times: int, way: str) -> tuple[float, float]:
    """Seconds, and seconds of CPU, of one run in a process of its own."""
    words = json.dumps({"count": count, "times": times, "by_cpu": "cpu" in way, **WAYS[way]})
    line = [sys.executable, "-m", "benchmarks.shards", "--one", words]
    ended = subprocess.run(line, check=True, capture_output=True, text=True)
    wall, cpu = json.loads(ended.stdout.splitlines()[-1])
    return wall, cpu


def _run_once(*, count: int, times: int, by_cpu: bool, shards: int | None, processes: int) -> None:
    import django

    django.setup()
    from async_commander.models import Run

    from .models import Page
    from .sharded import Pages

    Page.objects.all().delete()
    Run.objects.all().delete()
    import async_commander as ac

    began = time.perf_counter()
    how = {} if shards is None else {"shards": shards}
    result = ac.run(Pages, count=count, times=times, by_cpu=by_cpu, processes=processes, **how)
    wall = time.perf_counter() - began
    assert result.counts["done"] == count == Page.objects.count()
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    print(json.dumps([wall, sum(one.ru_utime + one.ru_stime for one in used)]))


def _imitate(workers: int) -> None:
    from django.db import connection

    from async_commander.history.lease import establish
    from async_commander.models import Run

    Run.objects.all().delete()
    parent = Run.objects.create(command="imitated", status="running")
    rows = [Run(command="imitated", status="running", parent=parent, shard=index) for index in range(workers)]
    crowd = Crowd([establish("default", row.pk).of(row) for row in Run.objects.bulk_create(rows)])
    connection.close()
    asyncio.run(crowd.work())
    seconds, slow = SECONDS, sorted(crowd.exchanges)[int(0.95 * len(crowd.exchanges))]
    kinds = ", ".join(f"{number / seconds:.0f} {kind}" for kind, number in crowd.statements.most_common())
    late = [moment for moment in crowd.starts if moment > crowd.starts[-1] - seconds / 2]
    print(
        f"{workers} workers, one host: {crowd.statements.total() / seconds:.0f} statements a second ({kinds}), "
        f"{len(crowd.exchanges) / seconds / workers:.2f} exchanges a second and worker, "
        f"median {1000 * statistics.median(crowd.exchanges):.1f} ms, 95th {1000 * slow:.1f} ms; "
        f"{len(late) / (seconds / 2):.0f} starts a second of {RATE:.0f} allowed",
        flush=True,
    )


class Crowd:
    """Shards all of which would have more of one host than there is: their heartbeats, and their leases."""

    def __init__(self, shards: list[Any]) -> None:
        self.shards = shards
        self.statements: Counter[str] = Counter()
        self.exchanges: list[float] = []
        self.starts: list[float] = []
        self._threads = ThreadPoolExecutor(8)
        self._mutex = threading.Lock()

    async def work(self) -> None:
        """For some seconds."""
        tasks = [asyncio.ensure_future(self._one(shard)) for shard in self.shards]
        await asyncio.sleep(SECONDS)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self._threads.shutdown()

    async def _one(self, shard: Any) -> None:
        from async_commander.engine.leased_pace import LeasedPace

        pace = LeasedPace(None, RATE)
        await asyncio.gather(*(self._begin(pace) for _ in range(3)), self._beat(shard), self._keep(shard, pace))

    async def _begin(self, pace: Any) -> None:
        while True:
            await pace.acquire("host")
            self.starts.append(time.monotonic())
            pace.release("host")

    async def _beat(self, shard: Any) -> None:
        from async_commander.history.lease import LEASE_SECONDS, renew

        while True:
            await self._call(renew, shard, LEASE_SECONDS)
            await asyncio.sleep(LEASE_SECONDS / 4)

    async def _keep(self, shard: Any, pace: Any) -> None:
        from async_commander.history.host_shares import LEASED_FOR, Bounds, exchange

        while True:
            await asyncio.sleep(0.02)
            if demands := pace.demands():
                until = asyncio.get_running_loop().time() + LEASED_FOR
                grants, took = await self._call(exchange, shard, Bounds(None, RATE), demands)
                self.exchanges.append(took)
                pace.granted(grants, until)

    async def _call(self, work: Callable[..., Any], *arguments: Any) -> tuple[Any, float]:
        from django.db import connection, transaction

        def transacted() -> tuple[Any, float]:
            began = time.perf_counter()
            with connection.execute_wrapper(self._counted), transaction.atomic():
                found = work(*arguments)
            return found, time.perf_counter() - began

        return await asyncio.get_running_loop().run_in_executor(self._threads, transacted)

    def _counted(self, execute: Any, sql: str, *rest: Any) -> Any:
        with self._mutex:
            self.statements[sql.split(maxsplit=1)[0]] += 1
        return execute(sql, *rest)


if __name__ == "__main__":
    main()
