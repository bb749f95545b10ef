"""python -m benchmarks.durable: items that cost nothing but their ledger row, and upserts of one row an item.

Both contenders upsert into an empty table, and then the same rows once more; the garbage collector works for both as
`manage.py arun` has it. They take turns in each of the rounds, and the median of the ratios within a round is printed.
With `--grown N` the cost of an item is measured in a run of N items, too, under fresh statistics.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
import time
from collections.abc import Callable
from contextlib import redirect_stdout
from statistics import median
from typing import Any

from .databases import measured_in_a_process
from .loops import new_event_loop

THREADS = 200
BULK_CREATE_BATCH = 1_000


def main() -> None:
    """Measures on one database, and prints a line for each figure."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.durable", description=__doc__)
    parser.add_argument("--database", choices=("sqlite", "postgres"), default="sqlite")
    parser.add_argument("--items", type=int, default=20_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--grown", type=int, default=0)
    options = parser.parse_args()
    if "BENCHMARK_DATABASE" in os.environ:
        _prepare()
        from async_commander.runner.entry import collected_less_often

        with collected_less_often():
            _measure(options.items, options.rounds, options.grown)
        return
    measured_in_a_process("durable", options.database)


def _prepare() -> None:
    import django
    from django.core.management import call_command

    django.setup()
    with redirect_stdout(sys.stderr):
        call_command("migrate", run_syncdb=True, verbosity=0)
        call_command("flush", interactive=False, verbosity=0)


def _measure(items: int, rounds: int, grown: int) -> None:
    from benchmarks.commands import durable

    _run(durable.NoOps(count=items // 10, name="warm-up"))
    from django.db import connection

    print(f"on {connection.vendor}, {rounds} rounds of {items:,} items")
    noops = 0.0
    ratios: dict[str, list[tuple[float, float]]] = {}
    for _ in range(rounds):
        noops = _timed("durable no-ops", items, lambda: _run(durable.NoOps(count=items)))[0]
        by_state: dict[str, list[tuple[float, float]]] = {}
        for name, work in (
            ("bulk_create, all at once", lambda: durable.upsert_in_bulk(items, BULK_CREATE_BATCH)),
            ("upserts, one an item", lambda: _run(durable.Upserts(count=items))),
        ):
            _empty_table()
            for state in ("rows that are new", "rows that are there"):
                by_state.setdefault(state, []).append(_timed(f"{name}, {state}", items, work))
        for state, ((by_hand, its_cpu), (ours, our_cpu)) in by_state.items():
            ratios.setdefault(state, []).append((ours / by_hand, our_cpu / its_cpu))
    for state, found in ratios.items():
        times, cpu = (median(one) for one in zip(*found, strict=True))
        print(f"upserts / bulk_create, {state}: {times:.1f}, in CPU {cpu:.1f}")
    if grown:
        _analyze()
        long, _ = _timed("the same in a long run", grown, lambda: _run(durable.NoOps(count=grown, name="grown")))
        print(f"an item of a long run / of a short one: {long / grown / (noops / items):.2f}")


def _empty_table() -> None:
    from django.core.management.color import no_style
    from django.db import connection

    from benchmarks.models import Page

    connection.ops.execute_sql_flush(connection.ops.sql_flush(no_style(), [Page._meta.db_table]))


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


def _timed(name: str, items: int, work: Callable[[], None]) -> tuple[float, float]:
    """Seconds, and seconds of CPU."""
    cpu, began = time.process_time(), time.perf_counter()
    work()
    seconds, cpu = time.perf_counter() - began, time.process_time() - cpu
    print(f"{name}: {items / seconds:,.0f} a second, {cpu / items * 1e6:.0f} µs of CPU each", flush=True)
    return seconds, cpu


if __name__ == "__main__":
    main()
