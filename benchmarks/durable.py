"""python -m benchmarks.durable: items that cost nothing but their ledger row, and upserts of one row an item.

Prints ratios. With `--grown N` the cost of an item is measured in a run of N items, too, under fresh statistics.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

from .databases import environment
from .loops import new_event_loop

THREADS = 200
BULK_CREATE_BATCH = 1_000


def main() -> None:
    """Measures on one database, and prints a line for each figure."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.durable", description=__doc__)
    parser.add_argument("--database", choices=("sqlite", "postgres"), default="sqlite")
    parser.add_argument("--items", type=int, default=20_000)
    parser.add_argument("--grown", type=int, default=0)
    options = parser.parse_args()
    if "BENCHMARK_DATABASE" in os.environ:
        _prepare()
        _measure(options.items, options.grown)
        return
    with tempfile.TemporaryDirectory(prefix="benchmarks-") as folder:
        chosen = environment(options.database, Path(folder)) | {"DJANGO_SETTINGS_MODULE": "benchmarks.settings"}
        subprocess.run([sys.executable, "-m", "benchmarks.durable", *sys.argv[1:]], env=os.environ | chosen, check=True)


def _prepare() -> None:
    import django
    from django.core.management import call_command

    django.setup()
    with redirect_stdout(sys.stderr):
        call_command("migrate", run_syncdb=True, verbosity=0)
        call_command("flush", interactive=False, verbosity=0)


def _measure(items: int, grown: int) -> None:
    from benchmarks.commands import durable

    _run(durable.NoOps(count=items // 10, name="warm-up"))
    from django.db import connection

    print(f"on {connection.vendor}")
    noops = _timed("durable no-ops", items, lambda: _run(durable.NoOps(count=items)))
    upserts = _timed("upserts, one an item", items, lambda: _run(durable.Upserts(count=items)))
    by_hand = _timed("bulk_create, all at once", items, lambda: durable.upsert_in_bulk(items, BULK_CREATE_BATCH))
    print(f"upserts / bulk_create: {upserts / by_hand:.1f}")
    if grown:
        _analyze()
        long = _timed("the same in a long run", grown, lambda: _run(durable.NoOps(count=grown, name="grown")))
        print(f"an item of a long run / of a short one: {long / grown / (noops / items):.2f}")


def _run(command: Any) -> None:
    import async_commander as ac

    with asyncio.Runner(loop_factory=new_event_loop) as runner:
        result = runner.run(ac.arun(command, threads=THREADS))
    if result.status != "succeeded":
        raise RuntimeError(str(result))


def _analyze() -> None:
    from django.db import connection

    with connection.cursor() as cursor:
        cursor.execute("ANALYZE")


def _timed(name: str, items: int, work: Callable[[], None]) -> float:
    cpu, began = time.process_time(), time.perf_counter()
    work()
    seconds, cpu = time.perf_counter() - began, time.process_time() - cpu
    print(f"{name}: {items / seconds:,.0f} a second, {cpu / items * 1e6:.0f} µs of CPU each", flush=True)
    return seconds


if __name__ == "__main__":
    main()
