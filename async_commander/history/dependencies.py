"""Whether the runs that a command depends on have succeeded.

Every function uses the calling thread's connection of `alias`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass

from django.db.models import Max

from async_commander.command.needs import Need, circle_around
from async_commander.exceptions import MissingDependency
from async_commander.models import Run
from async_commander.results import RunStatus
from async_commander.text.durations import duration_in_words

from .lease import database_now

LOOKED_AT = 200
"""The newest runs of a command among which is looked for why none of them will do."""
READ_AT_ONCE = 500


@dataclass(frozen=True, slots=True)
class Lacking:
    """A run that is missing, and what there is in its place."""

    need: Need
    instead: str

    def __str__(self) -> str:
        return f"{self.need} ({self.instead})"


class Unmet(MissingDependency):
    """Runs are missing that the run to begin depends on."""

    def __init__(self, command: str, lacking: Sequence[Lacking]) -> None:
        self.command = command
        self.lacking = lacking
        self.circle = next(filter(None, (circle_around(each.need.command_class) for each in lacking)), [])
        """Commands that need one another, so that there is no order to run them in."""
        runs = "a run that succeeded" if len(lacking) == 1 else "runs that succeeded"
        if self.circle:
            remedy = f"They need one another in a circle: {' → '.join(self.circle)}. Take one out, or "
        else:
            remedy = f"Run first: {'; then '.join(each.need.line for each in lacking)}. "
            remedy += "Or let that be done by --run-dependencies (run_dependencies=True in code), or "
        super().__init__(
            f"{command} depends on {runs}, and there is none: {'; '.join(map(str, lacking))}. {remedy}"
            f"begin all the same by --ignore-dependencies."
        )

    def __reduce__(self) -> tuple[type[MissingDependency], tuple[str]]:
        return MissingDependency, (str(self),)


def unmet(alias: str, needs: Iterable[Need]) -> list[Lacking]:
    """Those needs that no run satisfies, in their order."""
    return [Lacking(need, _instead(alias, need)) for need in needs if not _is_met(alias, need)]


def _is_met(alias: str, need: Need) -> bool:
    """Of runs with one identity the newest is looked at: what differs between them makes no difference here."""
    succeeded = Run.objects.using(alias).whole().filter(command=need.command, status=RunStatus.SUCCEEDED.value)
    whole = succeeded.filter(dry_run=False, testing=False).exclude(options__has_key="max_items")
    if need.within is not None:
        with suppress(OverflowError):  # longer than time itself: however old
            whole = whole.filter(finished__gte=database_now(alias) - need.within)
    if whole.filter(identity=need.known_by.digest).exists():  # all parameters are named, as they mostly are
        return True
    newest = whole.order_by().values("identity").annotate(newest=Max("pk")).values("newest")
    found = Run.objects.using(alias).filter(pk__in=newest).only("identity", "parameters", "options").order_by("-pk")
    return any(_fits(run, need) for run in found.iterator(READ_AT_ONCE))


def _fits(run: Run, need: Need) -> bool:
    return need.known_by.compare(run.parameters, run.options, run.identity).is_same


def _instead(alias: str, need: Need) -> str:
    """The newest run with these parameters, and why it will not do."""
    runs = Run.objects.using(alias).whole().filter(command=need.command).order_by("-pk")
    runs = runs.defer("output", "traceback", "value")
    run = next((run for run in runs[:LOOKED_AT] if _fits(run, need)), None)
    if run is None:
        others = " with these parameters" if need.known_by.parameters else ""
        return f"there was no run{others}"
    if run.status != RunStatus.SUCCEEDED.value:
        return f"run {run.pk} is {run.status}"
    for is_so, told in ((run.testing, "was a trial"), (run.dry_run, "was a dry run")):
        if is_so:
            return f"run {run.pk} {told}"
    if "max_items" in run.options:
        return f"run {run.pk} was cut by --max-items"
    age = database_now(alias) - run.finished if run.finished else None
    return f"run {run.pk} ended {duration_in_words(age)} ago" if age else f"run {run.pk} is too old"
