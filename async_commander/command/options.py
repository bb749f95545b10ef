"""The options that every run has beside its command's own: one table, from which all that knows them is made.

The parser and its help, the checks of a call and of `option_defaults`, the names that no argument may take, and the
reference in the documentation. Bounds come from `engine.limits.BOUNDS`: a new one is declared there, and is everywhere.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Any

from async_commander.engine.limits import BOUNDS, LONGEST, Bound
from async_commander.text.values import text_of_value

from .values import UNSTORABLE, is_seconds, is_whole

PROGRESS = ("auto", "bar", "plain", "none")
ASK = ("wait", "fail")
ITEMS, KEPT, CACHED, TURNS = "items", "ledger", "cached methods", "run_once or single_instance"
KEPT_ITEMS, DELETES = "items in a ledger", "`deletes = True`"
"""What a command may have or lack, and some options need."""
FEATURES = frozenset({ITEMS, KEPT, KEPT_ITEMS, CACHED, TURNS, DELETES})
PROCESSES = "processes"
"""What carries the shards of a run, but for the workers of an engine."""
MOST_SHARDS = 1000
TRIGGER_LENGTH = 20
USER_LENGTH = 150
"""Characters that the run row has room for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SharedOption:
    """One option of every run.

    `written` is how the command line writes its value: "N", "ID", "TIME", "RATE", "SHARE", "ALIAS", "HOW", "KIND"; ""
    for a switch, None for what only code gives. `fits` says whether a value is one, `needed` what is. `needs`: it acts
    only where a command has such, as ITEMS or CACHED; `plain_help` is what it means to one that has no items.
    `brings_arguments`: its value is a run whose arguments are taken. `repeated`: it may be given several times.
    """

    name: str
    help: str = ""
    written: str | None = None
    fits: Callable[[object], bool] = lambda value: isinstance(value, bool)
    needed: str = "True or False is needed"
    needs: str = ""
    rare: bool = False
    plain_help: str = ""
    choices: tuple[str, ...] | None = None
    bound: Bound | None = None
    brings_arguments: bool = False
    repeated: bool = False

    def acts_on(self, features: Collection[str]) -> bool:
        """Whether it has an effect on a command that has these."""
        return not self.needs or self.needs in features

    def lacks(self, value: object) -> str:
        """What is needed in the place of a value that does not fit; empty where it fits."""
        if self.bound is None:
            return "" if self.fits(value) else self.needed
        try:
            self.bound.check(value)
        except (TypeError, ValueError) as error:
            return str(error)
        return ""

    def problem(self, value: object) -> str:
        """What is wrong with a value that is given in code; empty where nothing is."""
        needed = self.lacks(value)
        return f"{self.name}={text_of_value(value):.80}: {needed}" if needed else ""


def _or_none(fits: Callable[[object], bool]) -> Callable[[object], bool]:
    return lambda value: value is None or fits(value)


def kinds_in(value: Any) -> tuple[Any, ...]:
    """What `only_kind` names: a text is one."""
    return () if value is None else tuple(value) if isinstance(value, list | tuple) else (value,)


def _text(longest: int) -> Callable[[object], bool]:
    return lambda value: isinstance(value, str) and len(value) <= longest and not UNSTORABLE.search(value)


_WRITABLE: dict[str, Any] = {
    "fits": lambda value: value is None or callable(getattr(value, "write", None)),
    "needed": "a file to write text to is needed",
}

SHARED = (
    *(
        SharedOption(
            name=name,
            help=each.help,
            written=each.written,
            needs=ITEMS if each.items else "",
            rare=each.rare,
            plain_help=each.plain_help,
            bound=each,
        )
        for name, each in BOUNDS.items()
    ),
    SharedOption(
        name="max_items",
        help="take no more than N items",
        written="N",
        needs=ITEMS,
        fits=_or_none(is_whole),
        needed="a whole number from 1 is needed; leave it out to take all items",
    ),
    SharedOption(
        name="resume",
        help="go on with the newest unfinished run of these arguments, if there is one",
        written="",
        needs=KEPT,
    ),
    SharedOption(
        name="resume_run",
        help="go on with this run, which brings its arguments",
        written="ID",
        needs=KEPT,
        rare=True,
        fits=_or_none(is_whole),
        needed="the number of a run is needed",
        brings_arguments=True,
    ),
    SharedOption(
        name="retry_failed",
        help="open this run again for its dead items; it brings its arguments",
        written="ID",
        needs=KEPT_ITEMS,
        fits=_or_none(is_whole),
        needed="the number of a run is needed",
        brings_arguments=True,
    ),
    SharedOption(
        name="only_kind",
        help="with --retry-failed: only items with errors of this kind, or dead for this reason; may be given again",
        written="KIND",
        needs=KEPT_ITEMS,
        rare=True,
        fits=_or_none(lambda value: all(isinstance(one, str) and one for one in kinds_in(value))),
        needed="the name of an error, as ValueError, or a reason, as crashed, or a list of such is needed",
        repeated=True,
    ),
    SharedOption(
        name="again",
        help="a new run with the arguments and options of this one",
        written="ID",
        rare=True,
        fits=_or_none(is_whole),
        needed="the number of a run is needed",
        brings_arguments=True,
    ),
    SharedOption(
        name="distribute",
        help="cut the run into shards, which others carry: `processes` of this machine, or the workers of an engine",
        written="ENGINE",
        needs=KEPT_ITEMS,
        rare=True,
        fits=_or_none(lambda value: isinstance(value, str) and value != ""),
        needed=f"{PROCESSES}, or the name of an engine, is needed",
    ),
    SharedOption(
        name="shards",
        help="into how many (default: as many as there are CPUs)",
        written="N",
        needs=KEPT_ITEMS,
        rare=True,
        fits=_or_none(lambda value: is_whole(value) and value <= MOST_SHARDS),  # type: ignore[operator]  # it is whole
        needed=f"a whole number from 1 to {MOST_SHARDS} is needed; leave it out for a run in one process",
    ),
    SharedOption(
        name="run_dependencies",
        help="where runs are missing that this one depends on, run them first",
        written="",
        rare=True,
    ),
    SharedOption(
        name="ignore_dependencies",
        help="run also where runs are missing that this one depends on",
        written="",
        rare=True,
    ),
    SharedOption(name="yes", help="answer every question with yes", written=""),
    SharedOption(
        name="ask",
        help="where no person is at a terminal, a question waits for `aruns answer` (wait), or is an error (fail)",
        written="HOW",
        choices=ASK,
        rare=True,
        fits=lambda value: value is None or value in ASK,
        needed=f"one of {', '.join(ASK)} is needed",
    ),
    SharedOption(
        name="test",
        help="a trial run: the command's test values stand for what is not given, and self.testing is true",
        written="",
    ),
    SharedOption(
        name="dry_run",
        help="do everything, keep nothing: what is written to databases is counted and rolled back",
        written="",
    ),
    SharedOption(
        name="delete",
        help="delete what the command finds to be deleted; without it nothing is",
        written="",
        needs=DELETES,
    ),
    SharedOption(
        name="force",
        help="run also where run_once is met; self.force is true: what that means is up to the command",
        written="",
        rare=True,
    ),
    SharedOption(
        name="wait",
        help="wait for the end of another process's run, rather than be refused for it",
        written="",
        needs=TURNS,
    ),
    SharedOption(
        name="detach",
        help="have a worker do it: put the run into the queue of ASYNC_COMMANDER['ENGINE'], say its number, and end",
        written="",
    ),
    SharedOption(
        name="refresh_cache",
        help="make anew what cached methods have kept, and keep that",
        written="",
        needs=CACHED,
    ),
    SharedOption(
        name="progress",
        help="on stderr: auto, bar (a bar on a terminal, else lines), plain (a line now and then), none",
        written="HOW",
        choices=PROGRESS,
        fits=lambda value: value in PROGRESS,
        needed=f"one of {', '.join(PROGRESS)} is needed",
    ),
    SharedOption(
        name="json",
        help="print the result as one JSON document on stdout, everything else on stderr",
        written="",
    ),
    SharedOption(
        name="grace",
        help="time for the items in hand after Ctrl-C (default 10 s)",
        written="TIME",
        rare=True,
        fits=is_seconds,
        needed=f"at least 0 seconds are needed, and at most {LONGEST:g}, 31 years",
    ),
    SharedOption(
        name="database",
        help="where ledger and lanes live",
        written="ALIAS",
        rare=True,
        fits=_or_none(lambda value: isinstance(value, str) and value != ""),
        needed="an alias of DATABASES is needed",
    ),
    SharedOption(
        name="verbosity", fits=lambda value: is_whole(value, 0) and value in range(4), needed="0, 1, 2 or 3 is needed"
    ),
    SharedOption(
        name="trigger",
        fits=_text(TRIGGER_LENGTH),
        needed=f"a text of at most {TRIGGER_LENGTH} characters is needed",
    ),
    SharedOption(
        name="request",
        fits=_or_none(lambda value: hasattr(value, "META")),
        needed="a request of Django is needed",
    ),
    SharedOption(name="user", fits=_text(USER_LENGTH), needed=f"a text of at most {USER_LENGTH} characters is needed"),
    SharedOption(name="stdout", **_WRITABLE),
    SharedOption(name="stderr", **_WRITABLE),
    SharedOption(name="no_color"),
    SharedOption(name="force_color"),
    SharedOption(
        name="lease_seconds",
        fits=lambda value: is_seconds(value) and value != 0,
        needed=f"more than 0 seconds are needed, and at most {LONGEST:g}, 31 years",
    ),
)
"""In the order of the help."""

BY_NAME = {option.name: option for option in SHARED}
BRINGS_ARGUMENTS = tuple(option.name for option in SHARED if option.brings_arguments)
"""Options that name a run, whose arguments are taken."""
ALSO_CALLED = {"testing": "test"}
"""Other names that a call may give options by."""
REQUESTS = {name: option for name, option in BY_NAME.items() if option.bound is None and name != "progress"}
"""What a call takes beside its command's own arguments and bounds; `progress` is the terminal's."""

RESERVED = frozenset({"help_all", "check", "test_all"})
"""Options of the terminal."""

# fmt: off
DJANGO_OPTIONS = frozenset({
    "version", "verbosity", "settings", "pythonpath", "traceback", "no_color", "force_color", "skip_checks",
    "stdout", "stderr", "args",
})
"""Options that every command of Django has, by the names of their values; `args` is taken out by Django itself."""
# fmt: on

ON_THE_LINE = frozenset(option.name for option in SHARED if option.written is not None)
"""What the command line has options for."""

SHARED_OPTIONS = ON_THE_LINE | RESERVED
"""Names that no argument of a command may have."""

OF_A_CALL = frozenset({*BOUNDS, *ALSO_CALLED, "reporter", "recorder"})
"""What `ac.arun()` takes beside a command's arguments: what it takes it does not hand on."""

GIVEN_BY_DJANGO = DJANGO_OPTIONS - {"version", "stdout", "stderr", "args"}
"""Those that a command of Django finds in its `handle(self, *args, **options)`, whether or not they were given."""

ALWAYS_GIVEN = frozenset({"force", "yes"})
"""Shared options that are found there, too."""
