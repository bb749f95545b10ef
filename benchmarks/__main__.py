"""python -m benchmarks: every contender on every database, in turns; writes benchmarks/RESULTS.md."""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from .contenders.registry import CONTENDERS
from .databases import DATABASES, NoDatabaseError, environment, postgres_version
from .machine import cores, versions
from .measure import Measurement
from .report import Conditions, Round, Series, results

_RESULTS = Path(__file__).parent / "RESULTS.md"
_ROOT = Path(__file__).parent.parent


def main() -> None:
    """Measures and writes the report. A database that cannot be reached is left out, and the report says so."""
    options = _options()
    with tempfile.TemporaryDirectory(prefix="benchmarks-") as folder:
        reachable, left_out = _environments(options.databases, Path(folder))
        series = [
            _measure_series(options, database, variables, latency)
            for database, variables in reachable.items()
            for latency in options.latencies
        ]
    server = [postgres_version()] if "postgres" in reachable else []
    conditions = Conditions(
        command=" ".join(["python -m benchmarks", *sys.argv[1:]]) if sys.argv[1:] else "make bench",
        cores=cores(),
        versions=[*versions(), *server],
        pages=options.pages,
        warm_up=options.warm_up,
        threads=options.threads,
        rounds=options.rounds,
        left_out=left_out,
    )
    memory = json.loads(_output_of(["benchmarks.memory", "--items", str(options.items)], {}))
    options.output.write_text(results(conditions, series, memory), encoding="utf-8")
    _say(f"written to {options.output}")


def _environments(databases: Sequence[str], folder: Path) -> tuple[dict[str, dict[str, str]], list[str]]:
    """What to set for each database that is there, and why the others are left out."""
    reachable: dict[str, dict[str, str]] = {}
    left_out: list[str] = []
    for database in databases:
        try:
            reachable[database] = environment(database, folder)
        except NoDatabaseError as error:
            left_out.append(f"Left out: {error}")
            _say(left_out[-1])
    return reachable, left_out


def _measure_series(options: argparse.Namespace, database: str, variables: dict[str, str], latency: float) -> Series:
    with _page_server(latency) as server:
        rounds = [
            _measure_round(
                options, server, variables, f"{database}, {latency * 1000:.0f} ms, round {number + 1}", number
            )
            for number in range(options.rounds)
        ]
    return Series({"sqlite": "SQLite", "postgres": "PostgreSQL"}[database], latency, rounds)


def _measure_round(
    options: argparse.Namespace, server: str, variables: dict[str, str], label: str, number: int
) -> Round:
    """Every contender once; each round begins with another one."""
    names = list(CONTENDERS)
    turn = number % len(names)
    measured: dict[str, Measurement] = {}
    for name in names[turn:] + names[:turn]:
        arguments = ["benchmarks.measure", name, "--server", server]
        for option in ("pages", "warm_up", "threads"):
            arguments += [f"--{option.replace('_', '-')}", str(getattr(options, option))]
        measured[name] = Measurement.from_json(_output_of(arguments, variables))
        _say(f"{label}: {name:<10} {measured[name].rate:8,.0f} pages/s {measured[name].cpu_ms:6.2f} ms CPU each")
    return measured


@contextmanager
def _page_server(latency: float) -> Iterator[str]:
    """The server in a process of its own; it is ended with the block."""
    command = [sys.executable, "-m", "benchmarks.server", "--latency", str(latency)]
    with subprocess.Popen(command, cwd=_ROOT, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        try:
            yield server.stdout.readline().strip() or sys.exit("the page server did not start")
        finally:
            server.terminate()


def _output_of(arguments: Sequence[str], variables: dict[str, str]) -> str:
    """The last line that the module prints. A failure ends the benchmarks: half a table would mislead."""
    settings = {"NO_PROXY": "127.0.0.1", "no_proxy": "127.0.0.1", **variables}
    done = subprocess.run(
        [sys.executable, "-m", *arguments],
        cwd=_ROOT,
        env=os.environ | settings,
        stdout=subprocess.PIPE,
        text=True,
        check=True,
        timeout=600,
    )
    return done.stdout.strip().splitlines()[-1]


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--pages", type=_whole, default=1000, help="per contender and round (default: %(default)s)")
    parser.add_argument("--rounds", type=_whole, default=5, help="default: %(default)s")
    parser.add_argument(
        "--warm-up", type=_whole, default=300, help="pages before the measured ones (default: %(default)s)"
    )
    parser.add_argument("--threads", type=_whole, default=50, help="pages at once (default: %(default)s)")
    parser.add_argument("--latencies", type=_seconds, nargs="+", default=[0, 0.03], help="seconds (default: 0 0.03)")
    parser.add_argument("--databases", choices=DATABASES, nargs="+", default=list(DATABASES), help="default: all")
    parser.add_argument("--items", type=_whole, default=1_000_000, help="for the memory figure (default: %(default)s)")
    parser.add_argument("--output", type=Path, default=_RESULTS, help="default: benchmarks/RESULTS.md")
    return parser.parse_args()


def _whole(text: str) -> int:
    """A whole number from 1: of nothing there is no rate."""
    number = int(text) if text.isdecimal() else 0
    if number < 1:
        raise argparse.ArgumentTypeError(f"found {text!r}, allowed: a whole number from 1")
    return number


def _seconds(text: str) -> float:
    try:
        number = float(text)
    except ValueError:
        number = -1
    if not 0 <= number < 60:
        raise argparse.ArgumentTypeError(f"found {text!r}, allowed: seconds from 0 to 60")
    return number


def _say(text: str) -> None:
    print(text, flush=True)


if __name__ == "__main__":
    main()
