"""python -m benchmarks.prune: old rows of the ledger removed, and what a run beside that feels of it.

The ledger is filled with the rows of old runs, one in a hundred of them dead. A run that commits some thousand items a
second is measured alone, and then beside `aruns prune`, in a process of its own. What it feels is the time from the end
of an item's work until its commit.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import subprocess
import sys
import time
from contextlib import redirect_stdout
from datetime import timedelta
from typing import Any

from .databases import measured_in_a_process

RUNS = 10
THREADS = 20
AT_ONCE = 250_000
"""Rows of one INSERT."""
ALONE_SECONDS = 8.0
LEASE_SECONDS = 2.0
"""So that the run beside hears soon that it is to end."""


def main() -> None:
    """Measures on one database, and prints a line for each figure."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.prune", description=__doc__)
    parser.add_argument("--database", choices=("sqlite", "postgres"), default="sqlite")
    parser.add_argument("--rows", type=int, default=1_000_000, help="of the ledger that are old")
    parser.add_argument("--alone", type=float, default=ALONE_SECONDS, help="seconds that the run is measured alone")
    parser.add_argument("--beside", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.beside:
        _run_until_cancelled()
    elif "BENCHMARK_DATABASE" in os.environ:
        _measure(options.rows, options.alone)
    else:
        measured_in_a_process("prune", options.database)


def _measure(rows: int, alone: float) -> None:
    import django
    from django.core.management import call_command

    django.setup()
    with redirect_stdout(sys.stderr):
        call_command("migrate", run_syncdb=True, verbosity=0)
    from django.db import connection
    from django.utils import timezone

    from async_commander.history.pruning import Before, Pruning
    from async_commander.models import RunItem

    began = time.perf_counter()
    _fill(rows)
    print(
        f"on {connection.vendor}: {rows:,} rows of {RUNS} runs made in {time.perf_counter() - began:.0f} s", flush=True
    )

    beside = _begin()
    time.sleep(alone)
    _told("the run alone", _end(beside))

    beside, ago = _begin(), timezone.now() - timedelta(days=30)
    pruning = Pruning("default", Before(ago, ago, ago - timedelta(days=335)))
    cpu, began = time.process_time(), time.perf_counter()
    pruning.carry_out()
    seconds, cpu = time.perf_counter() - began, time.process_time() - cpu
    _told("the run beside the prune", _end(beside))
    removed, left = pruning.removed["RunItem"], RunItem.objects.filter(run__command="old").count()
    print(
        f"prune: {removed:,} rows in {seconds:.0f} s, {removed / seconds:,.0f} a second, {cpu:.0f} s of CPU; "
        f"the longest transaction took {pruning.longest * 1000:.0f} ms; {left:,} dead rows are left"
    )


def _fill(rows: int) -> None:
    """Runs that ended long ago, and their items, by the database itself."""
    from django.db import connection
    from django.utils import timezone

    from async_commander.models import Run, RunItem

    ago, each = timezone.now() - timedelta(days=60), rows // RUNS
    table = connection.ops.quote_name(RunItem._meta.db_table)
    names = "run_id, key, label, state, attempts, crashes, reason, error_kind, error, started, by_follow, shard"
    if connection.vendor == "postgresql":
        series = "generate_series(1, {count}) AS n"
        key, no = "gen_random_uuid()", "FALSE"
    else:
        series = "(WITH RECURSIVE s(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM s WHERE n < {count}) SELECT n FROM s)"
        key, no = "lower(hex(randomblob(16)))", "0"
    for number in range(RUNS):
        run = Run.objects.create(
            command="old", identity=str(number), status="partial", source_ended=True, started=ago, finished=ago,
            taken=each, done=each - each // 100, dead=each // 100,
        )  # fmt: skip
        for start in range(0, each, AT_ONCE):
            state = "CASE WHEN n %% 100 = 0 THEN 'dead' ELSE 'done' END"
            values = f"%s, {key}, 'item number ' || n, {state}, 1, 0, '', '', '', %s, {no}, 0"
            count = min(AT_ONCE, each - start)
            with connection.cursor() as cursor:
                cursor.execute(
                    f"INSERT INTO {table} ({names}) SELECT {values} FROM {series.format(count=count)}",
                    [run.pk, connection.ops.adapt_datetimefield_value(ago)],
                )
    with connection.cursor() as cursor:
        cursor.execute("ANALYZE")


# -- the run beside ----------------------------------------------------------------------------------------------------


def _begin() -> subprocess.Popen[str]:
    process = subprocess.Popen(
        [sys.executable, "-m", "benchmarks.prune", "--beside"], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    process.stdout.readline()  # it has begun
    return process


def _end(process: subprocess.Popen[str]) -> dict[str, float]:
    from async_commander.models import Run

    Run.objects.get(status="running").cancel()
    told, _ = process.communicate(timeout=60)
    figures: dict[str, float] = json.loads(told)
    return figures


def _told(name: str, figures: dict[str, float]) -> None:
    print(
        f"{name}: {figures['rate']:,.0f} items a second; until the commit {figures['median']} ms (median), "
        f"{figures['p99']} ms (99th), {figures['maximum']} ms at most",
        flush=True,
    )


def _run_until_cancelled() -> None:
    import django

    django.setup()
    import async_commander as ac
    from async_commander.models import RunItem
    from benchmarks.commands.durable import Steady

    async def work() -> Any:
        return await ac.arun(Steady(), threads=THREADS, lease_seconds=LEASE_SECONDS)

    result = asyncio.run(work())
    times = sorted(RunItem.objects.filter(run_id=result.run_id, state="done").values_list("save_ms", flat=True))
    figures = {
        "rate": result.counts["done"] / result.duration,
        "median": times[len(times) // 2],
        "p99": times[len(times) * 99 // 100],
        "maximum": times[-1],
    }
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
