"""python -m benchmarks.memory: items that only yield to the loop, in the engine alone; one line of JSON on stdout."""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import os
import time
from collections.abc import Hashable, Sequence
from pathlib import Path

from async_commander.engine.limits import Limits, Retry
from async_commander.engine.pipeline import Pipeline
from async_commander.engine.ports import Due, Ticket, Verdict
from async_commander.results import ItemState, Tally

from .loops import new_event_loop
from .measure import peak_mib

THREADS = 50
WARM_UP = 50_000


class Idle:
    """Ports that claim nothing, do nothing and confirm at once."""

    has_ledger = calls_back = False

    def __init__(self, tally: Tally) -> None:
        self.tally = tally
        self.pipeline: Pipeline[int] = Pipeline(self, limits=Limits(threads=THREADS), retry=Retry(), tally=tally)

    async def admit(self, items: Sequence[int], /) -> Sequence[Ticket[int]]:
        """Takes them all."""
        self.tally.taken += len(items)
        return [Ticket(item) for item in items]

    async def work(self, ticket: Ticket[int], /) -> None:
        """Lets the others have their turn, as any real work does, and is done."""
        await asyncio.sleep(0)
        ticket.state = ItemState.DONE
        self.pipeline.settled([ticket])

    def verdict(self, _ticket: Ticket[int], _error: BaseException, /) -> Verdict:
        """Nothing can fail here, so whatever does ends it all."""
        return Verdict("fatal")

    async def give_up(self, ticket: Ticket[int], error: BaseException, verdict: Verdict, /) -> None:
        """Never called: see `verdict`."""

    async def postpone(self, ticket: Ticket[int], delay: float, error: BaseException | None, /) -> None:
        """Never called: see `verdict`."""

    async def release(self, tickets: Sequence[Ticket[int]], /) -> None:
        """Never called: nobody stops it."""

    async def due(self, _room: int, _called: Sequence[Hashable] = (), /) -> Due[int]:
        """Nothing, and nothing later."""
        return Due()


async def carry(items: int) -> None:
    """Carries so many items through a pipeline of its own."""
    tally = Tally()
    await Idle(tally).pipeline.run(range(items))
    if tally.done != items:
        raise RuntimeError(f"{tally.done} items done, {items} expected")


def resident_kib() -> float:
    """Memory resident now; where the system does not say, the most that ever was."""
    statm = Path("/proc/self/statm")
    if not statm.exists():
        return peak_mib() * 1024
    return int(statm.read_text().split()[1]) * os.sysconf("SC_PAGESIZE") / 1024


def measure(items: int) -> dict[str, float]:
    """Items carried, growth of the process in KiB, and microseconds per item, after a warm-up."""
    with asyncio.Runner(loop_factory=new_event_loop) as runner:
        runner.run(carry(WARM_UP))
        gc.collect()
        before, start = resident_kib(), time.perf_counter()
        runner.run(carry(items))
        seconds = time.perf_counter() - start
        gc.collect()
        return {
            "items": items,
            "growth_kib": max(0.0, resident_kib() - before),
            "microseconds": seconds / items * 1e6,
        }


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.memory", description=__doc__)
    parser.add_argument("--items", type=int, default=1_000_000)
    print(json.dumps(measure(parser.parse_args().items)))


if __name__ == "__main__":
    main()
