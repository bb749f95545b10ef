"""How the options that every run has are read from a command line."""

from __future__ import annotations

import argparse
from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from async_commander.command.options import ITEMS, ON_THE_LINE, REQUESTS, SHARED, SharedOption
from async_commander.engine.limits import BOUNDS
from async_commander.text.durations import duration_in

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Mapping

RUN = "run options"
RARE = "rare run options"


def seconds(text: str) -> float:
    """Seconds from "90", "1.5", "90s", "5m" or "1h30m": whatever an argument takes that is a `timedelta`."""
    try:
        found = duration_in(text)
        if found < timedelta():
            raise ValueError(f"{text!r} is less than nothing")
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{error}: write 90, 90s, 5m or 1h30m") from None
    return found.total_seconds()


def whole(text: str) -> int:
    """A whole number from 1."""
    try:
        number = int(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is no whole number") from None
    if number < 1:
        raise argparse.ArgumentTypeError(f"{number}: at least 1")
    if number >= 2**63:
        raise argparse.ArgumentTypeError(f"{text[:40]}: less than {2**63} is needed")
    return number


def number(text: str) -> float:
    """A number."""
    try:
        return float(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is no number") from None


_READERS: dict[str, Callable[[str], Any]] = {"N": whole, "ID": whole, "TIME": seconds, "RATE": number}
"""How the text of a value is read; any other way of writing is taken as it is. What it may be is the table's to say."""
_METAVARS = {"RATE": "N", "SHARE": "N"}
_FORMS = {"TIME": " (90, 90s, 5m or 1h30m)"}
"""How such values are written, for the help."""


def reader_of(option: SharedOption) -> Callable[[str], Any]:
    """What makes a value of an option's text, and refuses one that the option cannot have."""

    def read(text: str) -> Any:
        value = _READERS.get(option.written or "", str)(text)
        if needed := option.lacks(value):
            raise argparse.ArgumentTypeError(f"{text!r}: {needed}")
        return value

    return str if option.choices else read


def flags_of(option: SharedOption) -> str:
    """How an option is written on the command line."""
    return "--" + option.name.replace("_", "-")


def metavar_of(option: SharedOption) -> str:
    """How the help writes its value."""
    return _METAVARS.get(option.written or "", option.written or "")


def acting(features: Collection[str], lives_by: Collection[str] = ()) -> list[SharedOption]:
    """The options that have an effect on a command that has these features; rare are none of those that it lives by."""
    shared = [option for option in SHARED if option.written is not None and option.acts_on(features)]
    shared = [replace(one, rare=False) if one.name in lives_by else one for one in shared]
    if ITEMS in features:
        return shared
    return [replace(one, help=one.plain_help or one.help) for one in shared]


def add_shared(parser: argparse.ArgumentParser, options: Iterable[SharedOption]) -> None:
    """Declare `options`, the rare ones in a group of their own."""
    groups = {RUN: parser.add_argument_group(RUN), RARE: parser.add_argument_group(RARE)}
    for option in options:
        shown = f"{option.help}{_FORMS.get(option.written or '', '')}".replace("%", "%%")
        words: dict[str, Any] = {"dest": option.name, "default": None, "help": shown}
        if option.written:
            words |= {"metavar": metavar_of(option), "type": reader_of(option), "choices": option.choices}
            words |= {"action": "append"} if option.repeated else {}
        else:
            words["action"] = "store_true"
        groups[RARE if option.rare else RUN].add_argument(flags_of(option), **words)


def bounds_in(values: Mapping[str, Any]) -> dict[str, Any]:
    """The bounds among `values` that were given, as keywords of `Limits`."""
    return {name: values[name] for name in BOUNDS if values.get(name) is not None}


def requests_in(values: Mapping[str, Any]) -> dict[str, Any]:
    """What was given of the other shared options that a `RunRequest` knows."""
    names = ON_THE_LINE & REQUESTS.keys()
    return {name: values[name] for name in sorted(names) if values.get(name) is not None}
