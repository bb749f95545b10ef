"""async_commander, with its ledger and its history."""

from __future__ import annotations

import time

from benchmarks.contenders import product
from benchmarks.job import Job


def run(job: Job) -> float:
    """Seconds for all pages."""
    start = time.perf_counter()
    product.run(job)
    return time.perf_counter() - start
