"""Figures and columns as a terminal shows them."""

from __future__ import annotations

from collections.abc import Mapping

from async_commander.results import CREATED, DELETED, UNDELETED, UPDATED, UPSERTED

_VERBS = {CREATED: "create", UPSERTED: "upsert", UPDATED: "update", DELETED: "delete"}


def count(number: int) -> str:
    """A count with thousands set apart: 12,345."""
    return f"{number:,}"


def rate(per_second: float | None) -> str:
    """Items per second in three figures, per minute where a second is too short to show one; empty where unknown."""
    if per_second is None or per_second <= 0:
        return ""
    if per_second < 0.1:
        return f"{per_second * 60:.2g}/min"
    if per_second < 10:
        return f"{per_second:.1f}/s"
    return f"{per_second:,.0f}/s"


def duration(seconds: float) -> str:
    """A stretch of time, as short as it can be read: 0.84 s, 12 s, 3:07 min, 2:05:09 h, 3 d 2:05 h."""
    if seconds < 1:
        return f"{max(seconds, 0):.2f} s"
    if seconds < 10:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    minutes, second = divmod(whole, 60)
    if minutes < 60:
        return f"{minutes}:{second:02} min"
    hours, minute = divmod(minutes, 60)
    if hours < 48:
        return f"{hours}:{minute:02}:{second:02} h"
    return f"{hours // 24} d {hours % 24}:{minute:02} h"


def size(number: int) -> str:
    """Bytes as they are counted: 512 B, 3.4 KiB, 12 MiB."""
    if number < 1024:
        return f"{number} B"
    units = ["KiB", "MiB", "GiB", "TiB"]
    scaled = number / 1024
    while scaled >= 1000 and len(units) > 1:
        scaled /= 1024
        del units[0]
    return f"{scaled:.1f} {units[0]}" if scaled < 10 else f"{scaled:,.0f} {units[0]}"


def clock(seconds: float) -> str:
    """Hours, minutes and seconds, as a clock shows them: 0:03:07."""
    minutes, second = divmod(max(int(seconds), 0), 60)
    hours, minute = divmod(minutes, 60)
    return f"{hours}:{minute:02}:{second:02}"


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
