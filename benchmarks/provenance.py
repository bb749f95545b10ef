"""python -m benchmarks.provenance: what it costs to record which run has written which object.

Each way of recording takes turns with the same writing without it, on new rows and on rows that are there. What is
printed is the difference, for one object: statements sent to the database, and CPU. Savepoints count as statements.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from statistics import median
from typing import Any
from unittest.mock import patch

from .databases import measured_in_a_process
from .durable import _analyze, _prepare
from .loops import new_event_loop

THREADS = 50


def main() -> None:
    """Measures on one database, and prints a table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.provenance", description=__doc__)
    parser.add_argument("--database", choices=("sqlite", "postgres"), default="sqlite")
    parser.add_argument("--objects", type=int, default=5_000)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    if "BENCHMARK_DATABASE" in os.environ:
        _prepare()
        _measure(options.objects, options.rounds)
        return
    measured_in_a_process("provenance", options.database)


def _measure(objects: int, rounds: int) -> None:
    from django.db import connection

    from benchmarks.commands import provenance as by

    def run(command: type[Any], in_an_item: int) -> Callable[[int, int], None]:
        return lambda count, born: _run(command(count=count, born=born, in_an_item=in_an_item))

    few = max(100, objects // 10)
    ways: list[tuple[str, Callable[[int, int], None], Callable[[int, int], None], int]] = [
        ("self.db.upsert(), 1 an item", run(by.QueuedLogged, 1), run(by.Queued, 1), objects),
        ("self.db.upsert(), 25 an item", run(by.QueuedLogged, 25), run(by.Queued, 25), objects),
        ("update_or_create(), 25 an item", run(by.SavedLogged, 25), run(by.Saved, 25), few),
        ("update_or_create(), 1 an item", run(by.SavedLogged, 1), run(by.Saved, 1), few),
        ("create_or_update(log=), 25 an item", run(by.CreatedOrUpdated, 25), run(by.Saved, 25), few),
        ("by hand: one row for each save", by.saved_with_one_row_each, by.saved_without, few),
        ("by hand: two tables a model", by.linked_by_two_tables, by.saved_without, few),
    ]
    found: dict[tuple[str, str], list[tuple[float, float]]] = defaultdict(list)
    _run(by.QueuedLogged(count=few, born=1900, in_an_item=25))
    for _ in range(rounds):
        for name, recorded, plain, count in ways:
            for state, born in (("new", 1970), ("there", 1971)):
                if state == "new":
                    _empty_tables()
                with_it, without = _cost(recorded, count, born), _cost(plain, count, born)
                found[name, state].append((with_it[0] - without[0], with_it[1] - without[1]))
                _analyze()
    print(f"on {connection.vendor}, {rounds} rounds, {objects:,} queued objects and {few:,} others; for one object:")
    print("| recorded by | new: statements more | CPU µs more | there: statements more | CPU µs more |")
    print("|---|---|---|---|---|")
    for name, *_ in ways:
        new, there = ([median(one) for one in zip(*found[name, state], strict=True)] for state in ("new", "there"))
        print(f"| {name} | {new[0]:.3f} | {new[1]:.0f} | {there[0]:.3f} | {there[1]:.0f} |")


def _cost(work: Callable[[int, int], None], count: int, born: int) -> tuple[float, float]:
    """Statements and microseconds of CPU, for one object."""
    with _statements() as sent:
        cpu = time.process_time()
        work(count, born)
        cpu = time.process_time() - cpu
    return len(sent) / count, cpu / count * 1e6


@contextmanager
def _statements() -> Iterator[list[None]]:
    """One entry for each that is sent meanwhile, on whichever connection."""
    from django.db.backends.utils import CursorWrapper

    sent: list[None] = []

    def counting(method: Any) -> Any:
        def counted(*args: Any, **kwargs: Any) -> Any:
            sent.append(None)
            return method(*args, **kwargs)

        return counted

    with (
        patch.object(CursorWrapper, "execute", counting(CursorWrapper.execute)),
        patch.object(CursorWrapper, "executemany", counting(CursorWrapper.executemany)),
    ):
        yield sent


def _run(command: Any) -> None:
    import async_commander as ac

    with asyncio.Runner(loop_factory=new_event_loop) as runner:
        result = runner.run(ac.arun(command, threads=THREADS))
    if result.status != "succeeded":
        raise RuntimeError(str(result))


def _empty_tables() -> None:
    from async_commander.models import ObjectLog
    from benchmarks.models import LinkedPerson, LoggedPerson, Person, SavedBy, SavedPerson

    links = LinkedPerson.command_logs.through, LinkedPerson.commands.through
    for model in (*links, LinkedPerson, LoggedPerson, Person, SavedBy, SavedPerson, ObjectLog):
        model._base_manager.all().delete()


if __name__ == "__main__":
    main()
