"""python -m benchmarks.requests: what a small run in a view costs the event loop that other requests share.

All contenders do the same: twelve items that wait a little, one of which fails for good, and a row for each of the
others, on one event loop in one process. The
loop's CPU is that of its thread, the process's that of all threads; a ping is a task that sleeps 20 ms again and again
and notes how much later it came. Each process takes part in `--rounds` rounds, in which the contenders take turns.
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import os
import sys
import time
from collections import defaultdict
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from statistics import median

from .databases import measured_in_a_process

What = Callable[[], Awaitable[None]]
Figures = tuple[float, float, float]

AT_ONCE, ROUNDS, RUNS = 20, 5, 3
PING = 0.02


def main() -> None:
    """Measures on one database, and prints a line for each contender."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.requests", description=__doc__)
    parser.add_argument("--database", choices=("sqlite", "postgres"), default="sqlite")
    parser.add_argument("--at-once", type=int, default=AT_ONCE)
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    options = parser.parse_args()
    if "BENCHMARK_DATABASE" in os.environ:
        _measure(options)
        return
    measured_in_a_process("requests", options.database)


def _measure(options: argparse.Namespace) -> None:
    import django
    from django.core.management import call_command

    django.setup()
    logging.getLogger().addHandler(logging.NullHandler())  # the terminal is for the figures
    call_command("migrate", run_syncdb=True, verbosity=0, stdout=sys.stderr)
    from .commands.requests import by_hand, run

    contenders = (
        ("a loop by hand, one", by_hand, 1),
        (f"a loop by hand, {options.at_once} at once", by_hand, options.at_once),
        ("await ac.arun(), one", run, 1),
        (f"await ac.arun(), {options.at_once} at once", run, options.at_once),
    )
    found = asyncio.run(_rounds(contenders, options.rounds))
    print(f"{options.database}: {options.rounds} rounds; medians")
    alone = found["await ac.arun(), one"]
    for name, *_ in contenders:
        loop, whole, late = (median(column) for column in zip(*found[name], strict=True))
        ratio = median(mine[0] / its[0] for mine, its in zip(found[name], alone, strict=True))
        print(
            f"{name:<32}{loop:>7.1f} ms CPU on the loop ×{ratio:.2f} {whole:>7.1f} ms in all"
            f"   a ping comes {late:>6.1f} ms late (p99)"
        )


async def _rounds(contenders: Sequence[tuple[str, What, int]], rounds: int) -> dict[str, list[Figures]]:
    found = defaultdict(list)
    for number in range(rounds + 1):  # the first is to warm up
        first = number % len(contenders)
        for name, what, at_once in (*contenders[first:], *contenders[:first]):
            figures = await _measured(what, at_once)
            if number:
                found[name].append(figures)
    return found


async def _measured(what: What, at_once: int) -> Figures:
    """Milliseconds: of CPU for one, on the loop's thread and on all; and how late a ping came, p99."""

    async def some() -> None:
        for _ in range(RUNS):
            await what()

    late: list[float] = []
    pings = asyncio.create_task(_ping(late))
    await asyncio.sleep(0)
    on_loop, in_all = time.thread_time(), time.process_time()
    await asyncio.gather(*(some() for _ in range(at_once)))
    number = RUNS * at_once / 1000
    figures = (time.thread_time() - on_loop) / number, (time.process_time() - in_all) / number
    pings.cancel()
    with suppress(asyncio.CancelledError):
        await pings
    return *figures, sorted(late)[int(0.99 * len(late))]


async def _ping(late: list[float]) -> None:
    while True:
        due = time.perf_counter() + PING
        await asyncio.sleep(PING)
        late.append((time.perf_counter() - due) * 1000)


if __name__ == "__main__":
    main()
