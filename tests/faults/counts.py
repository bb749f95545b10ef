"""How often each fault is injected: `FAULTS=pr|night|rel`, or one count by its own name (`P1_KILLS=5`)."""

from __future__ import annotations

import os
import random

LEVELS = ("pr", "night", "rel")
LEVEL = os.environ.get("FAULTS", "pr")
if LEVEL not in LEVELS:
    raise ValueError(f"FAULTS={LEVEL!r}: one of {', '.join(LEVELS)}")

_COUNTS = {
    "P1_KILLS": (100, 1_000, 10_000),
    "P1_SHELL_KILLS": (10, 10, 10),
    "P1_STEP_KILLS": (10, 200, 1_000),
    "P1_CURSOR_KILLS": (5, 200, 1_000),
    "P2_STEP_POINTS": (8, 1_000, 1_000),
    "P1_ORDER_KILLS": (3, 200, 1_000),
    "P1_TOGETHER_KILLS": (3, 200, 1_000),
    "P1_RETRY_KILLS": (3, 100, 1_000),
    "P3_KILLERS": (5, 5, 5),
    "P3_ITEMS": (1_000, 1_000, 1_000),
    "P4_PAUSES": (10, 200, 1_000),
    "P5_RACES": (25, 300, 1_000),
    "P6_KILLS": (50, 500, 1_000),
    "P6_PARENT_KILLS": (2, 30, 100),
    "P7_TERMINATED": (20, 300, 500),
    "P7_RESTARTS": (1, 10, 20),
    "P7_CUT_COMMITS": (20, 300, 1_000),
    "P11_CANCELS": (100, 1_000, 10_000),
    "P12_QUESTIONS": (300, 100_000, 100_000),
    "P12_KILLS": (1, 5, 5),
    "P12_RESTARTS": (1, 10, 10),
    "P16_KILLS": (50, 1_000, 10_000),
    "P18_REQUESTS": (100, 1_000, 1_000),
    "P19_KILLS": (3, 20, 200),
    "P24_INCREMENTS": (25, 1_000, 1_000),
    "P10_BURSTS": (30, 490, 990),
    "P10_SHELL_BURSTS": (10, 10, 10),
    "STORIES": (20, 400, 4_000),
    "STORIES_UNDER_FAULTS": (4, 60, 400),
}


def count(name: str) -> int:
    """The count of this level, unless the environment says otherwise."""
    return int(os.environ.get(name, _COUNTS[name][LEVELS.index(LEVEL)]))


def chance() -> random.Random:
    """A random generator whose seed is printed, and taken back by FAULT_SEED."""
    seed = int(os.environ.get("FAULT_SEED", random.randrange(2**32)))
    print(f"FAULT_SEED={seed}")
    return random.Random(seed)
