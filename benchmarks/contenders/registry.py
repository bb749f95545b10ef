"""Who takes part, by the name on the command line."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import cast

from benchmarks.job import Job

OPTIMUM = "by_hand"
CONTENDERS = {
    "product": "async_commander",
    OPTIMUM: "hand-written optimum (no ledger)",
    "semaphore": "httpx, semaphore, `asave()`",
    "threads": "threads, requests, `save()`",
}


def load(contender: str) -> Callable[[Job], None]:
    """The contender's `run`. Imports what it needs, so each process carries its own contender only."""
    return cast("Callable[[Job], None]", importlib.import_module(f"benchmarks.contenders.{contender}").run)
