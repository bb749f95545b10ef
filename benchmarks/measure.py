"""python -m benchmarks.measure CONTENDER: one contender, once, in this process; one line of JSON on stdout."""

from __future__ import annotations

import argparse
import json
import os
import resource
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass

from .job import Job

WARM_UP_FROM = 1_000_000_000
"""Warm-up pages have numbers of their own, from here on."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Measurement:
    """One contender's job: wall and CPU seconds (of this process, all its threads), peak memory in MiB."""

    contender: str
    pages: int
    seconds: float
    cpu_seconds: float
    peak_mib: float

    @property
    def rate(self) -> float:
        """Pages per second."""
        return self.pages / self.seconds

    @property
    def cpu_ms(self) -> float:
        """Milliseconds of CPU per page."""
        return self.cpu_seconds / self.pages * 1000

    def to_json(self) -> str:
        """One line."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, line: str) -> Measurement:
        """The opposite of `to_json`."""
        return cls(**json.loads(line))


def measure(contender: str, run: Callable[[Job], None], job: Job) -> Measurement:
    """Runs the job. Wall time from the call to the last row committed."""
    cpu, start = time.process_time(), time.perf_counter()
    run(job)
    seconds, cpu_seconds = time.perf_counter() - start, time.process_time() - cpu
    return Measurement(
        contender=contender, pages=job.pages, seconds=seconds, cpu_seconds=cpu_seconds, peak_mib=peak_mib()
    )


def peak_mib() -> float:
    """The most memory this process has had resident, in MiB."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss  # KiB on Linux, bytes on macOS
    return peak / (1024 * 1024 if sys.platform == "darwin" else 1024)


def main() -> None:
    """Empties the tables, warms up, measures, and checks that every page has its row."""
    options = _options()
    _prepare()
    from benchmarks.contenders.registry import load
    from benchmarks.models import Page

    run = load(options.contender)
    run(Job(options.server, WARM_UP_FROM, options.warm_up, options.threads))
    result = measure(options.contender, run, Job(options.server, 0, options.pages, options.threads))
    written = Page.objects.count()
    if written != options.pages + options.warm_up:
        raise SystemExit(f"{options.contender} wrote {written} rows, {options.pages + options.warm_up} expected")
    print(result.to_json())


def _prepare() -> None:
    import django
    from django.core.management import call_command

    os.environ["DJANGO_SETTINGS_MODULE"] = "benchmarks.settings"
    django.setup()
    call_command("migrate", run_syncdb=True, verbosity=0)
    call_command("flush", interactive=False, verbosity=0)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.measure", description=__doc__)
    parser.add_argument("contender")
    parser.add_argument("--server", required=True, help="the page server's address")
    parser.add_argument("--pages", type=int, default=2000)
    parser.add_argument("--warm-up", type=int, default=200, help="pages before the measured ones")
    parser.add_argument("--threads", type=int, default=50)
    return parser.parse_args()


if __name__ == "__main__":
    main()
