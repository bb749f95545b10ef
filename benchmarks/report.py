"""From measurements to RESULTS.md."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import median

from .contenders.registry import CONTENDERS, OPTIMUM
from .measure import Measurement

Round = Mapping[str, Measurement]
"""One measurement of each contender, by its name."""


@dataclass(frozen=True, slots=True)
class Series:
    """All rounds on one database with one latency (in seconds)."""

    database: str
    latency: float
    rounds: Sequence[Round]


@dataclass(frozen=True, slots=True, kw_only=True)
class Conditions:
    """How the figures were made."""

    command: str
    cores: int
    versions: Sequence[str]
    pages: int
    warm_up: int
    threads: int
    rounds: int
    left_out: Sequence[str] = ()
    """Why a database is missing, a sentence each."""


def results(conditions: Conditions, series: Iterable[Series], memory: Mapping[str, float]) -> str:
    """The whole file, as Markdown."""
    parts = [_introduction(conditions), *map(_section, series), _memory_section(memory)]
    return "\n\n".join(parts) + "\n"


def spread(values: Iterable[float], form: str) -> str:
    """The median, and in brackets the least and the greatest value."""
    numbers = sorted(values)
    return f"{median(numbers):{form}} ({numbers[0]:{form}} to {numbers[-1]:{form}})"


def ratios(rounds: Sequence[Round], contender: str) -> list[float]:
    """The contender's rate over the optimum's, round by round: what slows both in one round cancels out."""
    return [measured[contender].rate / measured[OPTIMUM].rate for measured in rounds]


def cpu_ratios(rounds: Sequence[Round], contender: str) -> list[float]:
    """The contender's CPU over the optimum's, round by round: other load on the machine moves this figure least."""
    return [measured[contender].cpu_ms / measured[OPTIMUM].cpu_ms for measured in rounds]


def _introduction(conditions: Conditions) -> str:
    lines = [
        "# Results",
        "",
        f"Made by `{conditions.command}`; do not edit. Read the ratios, not the records.",
        "",
        f"* {conditions.cores} cores, shared with the page server and the database",
        f"* {', '.join(conditions.versions)}",
        f"* The job: {conditions.pages:,} pages of 20 KB from a server on 127.0.0.1, {conditions.threads} at once;",
        "  title and links of each are parsed, and one row is written. async_commander also writes its ledger.",
        f"* Each contender in a process of its own, {conditions.warm_up} pages to warm up; {conditions.rounds} rounds,",
        "  in which the contenders take turns, each round beginning with another one.",
        "* Median, and in brackets the least and the greatest value. Ratios are taken within a round. CPU is the",
        "  contender's own (not the server's, not the database's).",
        *(f"* {reason}" for reason in conditions.left_out),
    ]
    return "\n".join(lines)


def _section(series: Series) -> str:
    latency = f"{series.latency * 1000:.0f} ms latency" if series.latency else "no latency"
    lines = [
        f"## {series.database}, {latency}",
        "",
        "| contender | pages/s | ratio to the optimum | CPU ms per page | ratio to the optimum | peak memory, MiB |",
        "|---|---|---|---|---|---|",
        *(_row(series.rounds, contender) for contender in CONTENDERS),
    ]
    return "\n".join(lines)


def _row(rounds: Sequence[Round], contender: str) -> str:
    def of(figure: Callable[[Measurement], float], form: str) -> str:
        return spread((figure(measured[contender]) for measured in rounds), form)

    cells = [
        CONTENDERS[contender],
        of(lambda one: one.rate, ",.0f"),
        spread(ratios(rounds, contender), ".2f"),
        of(lambda one: one.cpu_ms, ".2f"),
        spread(cpu_ratios(rounds, contender), ".2f"),
        of(lambda one: one.peak_mib, ".0f"),
    ]
    return f"| {' | '.join(cells)} |"


def _memory_section(memory: Mapping[str, float]) -> str:
    lines = [
        "## Memory and overhead of the engine",
        "",
        f"{memory['items']:,.0f} items that only yield to the event loop once, carried by the engine alone:",
        f"the process grew by {memory['growth_kib']:,.0f} KiB, {memory['microseconds']:.1f} µs per item.",
    ]
    return "\n".join(lines)
