"""Stretches of time as people write them, and as they are kept."""

from __future__ import annotations

import re
from datetime import timedelta

from django.utils.dateparse import parse_duration

_SPELT = {
    "weeks": "w|weeks?", "days": "d|days?", "hours": "h|hours?", "minutes": "m|min|minutes?",
    "seconds": r"s|sec|seconds?|(?!\d)", "milliseconds": "ms",
}  # fmt: skip
_WORDS = re.compile(
    r"(?P<sign>-?)" + "".join(rf"(?:(?P<{unit}>\d+(?:\.\d+)?)\s*(?:{spelt})[\s,]*)?" for unit, spelt in _SPELT.items()),
    re.IGNORECASE,
)
_ISO_WEEKS = re.compile(r"(?P<sign>-?)P(?P<weeks>\d+)W", re.IGNORECASE)


def duration_in(text: str) -> timedelta:
    """The stretch of time that a text says; ValueError where it says none.

    "1d 2h", "90s", "1h30m" and "2 days, 3 hours" (units from weeks to milliseconds, the largest first, each once; a
    bare number at the end, or alone, is seconds); "1:30:00" and "1 2:00:00", hours and days; "P1DT2H" of ISO 8601.
    """
    text = text.strip()
    if re.search(r"\d", text) is None:
        raise ValueError(f"{text!r} is no stretch of time")
    try:
        found = parse_duration(text)
        if found is None and (words := _ISO_WEEKS.fullmatch(text) or _WORDS.fullmatch(text)):
            parts = {unit: float(number) for unit, number in words.groupdict().items() if number and unit != "sign"}
            found = timedelta(**parts) * (-1 if words["sign"] else 1)
    except OverflowError:
        raise ValueError(f"{text!r} is longer than a stretch of time can be") from None
    if found is None:
        raise ValueError(f"{text!r} is no stretch of time")
    return found


def duration_as_text(value: timedelta) -> str:
    """The shortest ISO 8601 of a stretch of time, exact: "P1DT2H", "PT1M30S", "-PT0.5S". `duration_in` reads it."""
    sign, value = ("-", -value) if value < timedelta() else ("", value)
    hours, rest = divmod(value.seconds, 3600)
    minutes, seconds = divmod(rest, 60)
    exact = f"{seconds}.{value.microseconds:06}".rstrip("0").rstrip(".") if value.microseconds else str(seconds)
    days = f"{value.days}D" if value.days else ""
    time = "".join(
        f"{number}{letter}" for number, letter in ((hours, "H"), (minutes, "M"), (exact, "S")) if number not in (0, "0")
    )
    return f"{sign}P{days}{'T' if time else ''}{time}" if days or time else "PT0S"


def duration_in_words(value: timedelta) -> str:
    """For people, to the second: 1 day, or 2 days 3 hours."""
    seconds, parts = value.days * 86_400 + value.seconds, []
    for unit, size in (("day", 86_400), ("hour", 3_600), ("minute", 60), ("second", 1)):
        number, seconds = divmod(seconds, size)
        if number:
            parts.append(f"{number:,} {unit}{'' if number == 1 else 's'}")
    return " ".join(parts) or f"{value.total_seconds():g} seconds"
