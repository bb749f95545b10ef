"""The options that every command has beside its own."""

from __future__ import annotations

import argparse
import math
import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

_STRETCH = re.compile(r"(?:(\d+(?:\.\d+)?)h)?(?:(\d+(?:\.\d+)?)m)?(?:(\d+(?:\.\d+)?)s?)?")

PROGRESS = ("auto", "bar", "plain", "none")

RUN = "run options"
RARE = "rare run options"


def seconds(text: str) -> float:
    """Seconds from "90", "1.5", "90s", "5m" or "1h30m"."""
    match = _STRETCH.fullmatch(text.strip().lower())
    if match is None or not any(match.groups()):
        raise argparse.ArgumentTypeError(f"{text!r} is no stretch of time: write 90, 90s, 5m or 1h30m")
    hours, minutes, rest = (float(part or 0) for part in match.groups())
    return hours * 3600 + minutes * 60 + rest


def whole(text: str) -> int:
    """A whole number from 1."""
    try:
        number = int(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is no whole number") from None
    if number < 1:
        raise argparse.ArgumentTypeError(f"{number}: at least 1")
    return number


def above_zero(text: str) -> float:
    """A finite number above 0."""
    try:
        number = float(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is no number") from None
    if not (number > 0 and math.isfinite(number)):
        raise argparse.ArgumentTypeError(f"{text}: a number above 0")
    return number


@dataclass(frozen=True, slots=True)
class SharedOption:
    """One option of every run. `items`: it acts only where a command has items."""

    name: str
    help: str
    short: str | None = None
    metavar: str | None = None
    kind: Callable[[str], Any] | None = None
    choices: tuple[str, ...] | None = None
    items: bool = False
    rare: bool = False

    @property
    def flags(self) -> list[str]:
        """How it is written on the command line."""
        long = "--" + self.name.replace("_", "-")
        return [self.short, long] if self.short else [long]

    @property
    def takes_value(self) -> bool:
        """False for a switch."""
        return self.metavar is not None or self.choices is not None

    def add_to(self, group: Any, *, hidden: bool) -> None:
        """Declare it on an argparse parser or group."""
        words: dict[str, Any] = {"dest": self.name, "default": None, "help": argparse.SUPPRESS if hidden else self.help}
        if self.takes_value:
            words |= {"metavar": self.metavar, "type": self.kind, "choices": self.choices}
        else:
            words["action"] = "store_true"
        group.add_argument(*self.flags, **words)


_N: dict[str, Any] = {"metavar": "N", "kind": whole}
_TIME: dict[str, Any] = {"metavar": "TIME", "kind": seconds}
_BATCH = "items saved in one transaction, at most"
_FAILURES = "end the run when more items failed: a number, or a share of those finished as in 5%%"
_FORCE = "self.force is true: what that means is up to the command"
_JSON = "print the result as one JSON document on stdout, everything else on stderr"
_PROGRESS = "on stderr: auto, bar (a bar on a terminal, else lines), plain (a line now and then), none"
_RESUME = "go on with the newest unfinished run of these arguments, if there is one"

BOUNDS = (
    SharedOption("threads", "items in hand at once", **_N),
    SharedOption("processes", "processes for self.cpu", **_N),
    SharedOption("max_failures", _FAILURES, metavar="N", kind=str, items=True),
    SharedOption("timeout", "end the run after this time: 90, 90s, 5m, 1h30m", rare=True, **_TIME),
    SharedOption("item_timeout", "give one attempt at an item this much time", items=True, rare=True, **_TIME),
    SharedOption("per_host", "requests to one host at once", rare=True, **_N),
    SharedOption("per_second", "requests begun per second and host", metavar="N", kind=above_zero, rare=True),
    SharedOption("db_lanes", "threads with a database connection each", rare=True, **_N),
    SharedOption("batch_size", _BATCH, items=True, rare=True, **_N),
)

SHARED = (
    *BOUNDS,
    SharedOption("max_items", "take no more than N items", items=True, **_N),
    SharedOption("resume", _RESUME, items=True),
    SharedOption("resume_run", "go on with this run", metavar="ID", kind=whole, items=True, rare=True),
    SharedOption("yes", "answer every question with yes"),
    SharedOption("force", _FORCE, rare=True),
    SharedOption("progress", _PROGRESS, metavar="HOW", choices=PROGRESS),
    SharedOption("json", _JSON),
    SharedOption("grace", "time for the items in hand after Ctrl-C (default 10 s)", rare=True, **_TIME),
    SharedOption("database", "where ledger and lanes live", metavar="ALIAS", kind=str, rare=True),
)

_PLAIN_HELP = {"threads": "requests of self.http at once"}
"""What an option means to a command without items, where that is something else."""

NAMES = frozenset(option.name for option in SHARED)


def acting(*, has_items: bool) -> list[SharedOption]:
    """The options that have an effect on a command with or without items."""
    if has_items:
        return list(SHARED)
    return [replace(one, help=_PLAIN_HELP.get(one.name, one.help)) for one in SHARED if not one.items]


def add_shared(parser: argparse.ArgumentParser, options: Iterable[SharedOption], *, rare: bool) -> None:
    """Declare `options`, grouped; the rare ones are shown in the help only where `rare` is true."""
    groups = {RUN: parser.add_argument_group(RUN), RARE: parser.add_argument_group(RARE)}
    for option in options:
        option.add_to(groups[RARE if option.rare else RUN], hidden=option.rare and not rare)


def bounds_in(values: Mapping[str, Any]) -> dict[str, Any]:
    """The bounds among `values` that were given, as keywords of `Limits`."""
    return {option.name: values[option.name] for option in BOUNDS if values.get(option.name) is not None}


def requests_in(values: Mapping[str, Any]) -> dict[str, Any]:
    """What was given of the other shared options that a `RunRequest` knows."""
    names = NAMES - {option.name for option in BOUNDS} - {"progress"}
    return {name: values[name] for name in sorted(names) if values.get(name) is not None}


def check_together(values: Mapping[str, Any]) -> None:
    """ValueError where two options that were given contradict each other."""
    if values.get("resume") and values.get("resume_run") is not None:
        raise ValueError("--resume and --resume-run contradict each other: the newest unfinished run, or that one")
