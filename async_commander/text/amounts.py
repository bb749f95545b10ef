"""Counts, rates, sizes and stretches of time as people read them, in a terminal and on a page."""

from __future__ import annotations


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
