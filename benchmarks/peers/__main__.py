"""python -m benchmarks.peers: the job as a plain command, as Celery tasks, as a Scrapy spider, and as a command here.

Each writes what its own guide would have it write. Every contender is a process of its own and begins cold: the time is
from its first request, or the first task sent, to the last row. The plain command, one page after another, has a tenth
of the pages. Prints a table; `make bench-peers` installs Scrapy first.
"""

from __future__ import annotations

import argparse
import importlib
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median

from benchmarks.databases import environment
from benchmarks.job import Job

CONTENDERS = {
    "product": "async_commander",
    "spider": "Scrapy, a pipeline with `asave()`",
    "tasks": "Celery on Redis, a worker with 50 threads, `save()`",
    "plain": "a plain command, one page after another, `save()`",
}


def main() -> None:
    """Measures all, or, in a process that this one has begun, one."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.peers", description=__doc__)
    parser.add_argument("--database", choices=("sqlite", "postgres"), default="postgres")
    parser.add_argument("--pages", type=int, default=200)
    parser.add_argument("--threads", type=int, default=50)
    parser.add_argument("--latency", type=float, default=0.1, help="seconds before each answer (default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--contender", choices=CONTENDERS, help=argparse.SUPPRESS)
    parser.add_argument("--server", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.contender:
        print(_measured(options.contender, Job(options.server, 0, options.pages, options.threads)))
        return
    rates = {name: list[float]() for name in CONTENDERS}
    with tempfile.TemporaryDirectory(prefix="benchmarks-") as folder, _page_server(options.latency) as server:
        variables = environment(options.database, Path(folder))
        for _ in range(options.rounds):
            for name in CONTENDERS:
                pages = options.pages // 10 if name == "plain" else options.pages
                rates[name].append(pages / _seconds(name, server, pages, options.threads, variables))
                print(f"{name}: {rates[name][-1]:,.0f} pages a second", file=sys.stderr, flush=True)
    print(f"{options.database}, {options.latency * 1000:.0f} ms latency, {options.threads} at once; pages a second\n")
    print("| | median | least to greatest |\n|---|---|---|")
    for name, found in rates.items():
        print(f"| {CONTENDERS[name]} | {median(found):,.0f} | {min(found):,.0f} to {max(found):,.0f} |")


def _seconds(name: str, server: str, pages: int, threads: int, variables: dict[str, str]) -> float:
    line = [sys.executable, "-m", "benchmarks.peers", "--contender", name, "--server", server]
    line += ["--pages", str(pages), "--threads", str(threads)]
    environ = os.environ | variables | {"NO_PROXY": "127.0.0.1", "no_proxy": "127.0.0.1"}
    done = subprocess.run(line, env=environ, stdout=subprocess.PIPE, text=True, check=True, timeout=300)
    return float(done.stdout.split()[-1])


def _measured(name: str, job: Job) -> float:
    """Seconds. SystemExit if a page has no row."""
    import django
    from django.core.management import call_command

    os.environ["DJANGO_SETTINGS_MODULE"] = "benchmarks.settings"
    django.setup()
    call_command("migrate", run_syncdb=True, verbosity=0)
    call_command("flush", interactive=False, verbosity=0)
    from benchmarks.models import Page

    seconds: float = importlib.import_module(f"benchmarks.peers.{name}").run(job)
    if Page.objects.count() != job.pages:
        raise SystemExit(f"{name} wrote {Page.objects.count()} rows, {job.pages} expected")
    return seconds


@contextmanager
def _page_server(latency: float) -> Iterator[str]:
    command = [sys.executable, "-m", "benchmarks.server", "--latency", str(latency)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        try:
            yield server.stdout.readline().strip() or sys.exit("the page server did not start")
        finally:
            server.terminate()


if __name__ == "__main__":
    main()
