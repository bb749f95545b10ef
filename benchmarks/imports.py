"""python -m benchmarks.imports: one CSV file loaded by this package, by hand, and by django-import-export.

Each contender has a process of its own, which loads the file into an empty table and then once more, where all rows are
there. They take turns in each of the rounds; what is printed is the median, beside the hand-written loop's. Memory is
the peak of the process above what it had before the first row.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from pathlib import Path
from statistics import median
from typing import Any

from .databases import environment
from .durable import _prepare

BY_HAND = "Polars and bulk_create, by hand"
STATES = ("rows that are new", "rows that are there")


def main() -> None:
    """Measures on one database, and prints a table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.imports", description=__doc__)
    parser.add_argument("--database", choices=("sqlite", "postgres"), default="sqlite")
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--way", help=argparse.SUPPRESS)
    parser.add_argument("--file", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.way:
        _prepare()
        print(json.dumps(_one(options.way, options.file)))
        return
    with tempfile.TemporaryDirectory(prefix="benchmarks-") as folder:
        file = Path(folder) / "people.csv"
        with file.open("w") as lines:
            lines.write("name,born\n")
            lines.writelines(f"Person {number} of the file,{1900 + number % 100}\n" for number in range(options.rows))
        chosen = environment(options.database, Path(folder)) | {"DJANGO_SETTINGS_MODULE": "benchmarks.settings"}
        _report(options, file, chosen)


def _one(way: str, file: Path) -> dict[str, Any]:
    """In a process of its own: seconds, seconds of CPU for each state, and bytes."""
    from benchmarks.commands.imports import WAYS
    from benchmarks.models import Person

    Person.objects.all()._raw_delete("default")
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    found = []
    for _ in STATES:
        began, cpu = time.perf_counter(), time.process_time()
        WAYS[way](file)
        found.append((time.perf_counter() - began, time.process_time() - cpu))
    rows = Person.objects.count()
    peak = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024
    return {"times": found, "peak": peak, "rows": rows}


def _report(options: argparse.Namespace, file: Path, chosen: dict[str, str]) -> None:
    ways = [BY_HAND, "async_commander, ImportCommand", "django-import-export, bulk mode"]
    found: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for _ in range(options.rounds):
        for way in ways:
            command = [sys.executable, "-m", "benchmarks.imports", "--way", way, "--file", str(file)]
            ended = subprocess.run(command, env=os.environ | chosen, check=True, stdout=subprocess.PIPE, text=True)
            one = json.loads(ended.stdout.splitlines()[-1])
            if one["rows"] != options.rows:
                raise RuntimeError(f"{way} loaded {one['rows']} of {options.rows} rows")
            found[way].append(one)
    print(f"{options.rows:,} rows, on {options.database}, {options.rounds} rounds")
    print("| loaded by | rows | seconds | beside by hand | CPU s | memory MB |")
    print("|---|---|---|---|---|---|")
    for way in ways:
        for place, state in enumerate(STATES):
            seconds = median(one["times"][place][0] for one in found[way])
            cpu = median(one["times"][place][1] for one in found[way])
            ratio = median(
                one["times"][place][0] / other["times"][place][0]
                for one, other in zip(found[way], found[BY_HAND], strict=True)
            )
            peak = median(one["peak"] for one in found[way]) / 1e6
            print(f"| {way} | {state} | {seconds:.1f} | {ratio:.2f} | {cpu:.1f} | {peak:.0f} |")


if __name__ == "__main__":
    main()
