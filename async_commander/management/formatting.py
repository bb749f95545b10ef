"""Lines and columns as a terminal shows them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from async_commander.results import CREATED, DELETED, UNDELETED, UPDATED, UPSERTED
from async_commander.text.amounts import count

_VERBS = {CREATED: "create", UPSERTED: "upsert", UPDATED: "update", DELETED: "delete"}


BARS = "▁▂▃▄▅▆▇█"


def sparkline(figures: Sequence[float]) -> str:
    """Figures as a row of bars, the highest of which is full; a space where there is nothing."""
    highest = max(figures, default=0)
    if highest <= 0:
        return ""
    places = [min(int(figure / highest * len(BARS)), len(BARS) - 1) for figure in figures]
    return "".join(BARS[place] if figure > 0 else " " for place, figure in zip(places, figures, strict=True))


def would_write(would: Mapping[str, Mapping[str, int]]) -> list[str]:
    """A line for each model of which a dry run would have written rows."""
    verbs = [verb for verb in _VERBS if any(verb in figures for figures in would.values())]
    rows = [
        [label, *(f"{_VERBS[verb]} {count(figures[verb])}" if verb in figures else "" for verb in verbs)]
        for label, figures in would.items()
        if figures.keys() & _VERBS.keys()
    ]
    return columns(rows) if rows else []


def would_delete(would: Mapping[str, Mapping[str, int]]) -> list[str]:
    """A line for each model of which `--delete` would delete rows."""
    rows = [[label, count(figures[UNDELETED])] for label, figures in would.items() if UNDELETED in figures]
    return columns(rows, right=frozenset({1})) if rows else []


def columns(rows: list[list[str]], *, right: frozenset[int] = frozenset()) -> list[str]:
    """Lines in which the cells of `rows` stand under each other; the columns named in `right` are flush right."""
    widths = [max(map(len, cells)) for cells in zip(*rows, strict=True)]
    return [
        "  ".join(
            cell.rjust(width) if index in right else cell.ljust(width)
            for index, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]
