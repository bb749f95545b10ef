"""`manage.py aruns pause | resume | limits | answer | cancel ID`: what is asked of a run, and what came of it."""

from __future__ import annotations

from argparse import SUPPRESS
from typing import TYPE_CHECKING, Any

from django.core.management.base import CommandError

from async_commander.command.options import BY_NAME
from async_commander.engine.limits import BOUNDS
from async_commander.exceptions import AsyncCommanderError, InvalidCommand
from async_commander.history.heartbeat import BEATS_PER_LEASE, LOOK_SECONDS
from async_commander.history.orders import (
    Cancelled,
    answer_run,
    cancel_run,
    change_limits,
    changed_limits,
    continue_run,
    pause_run,
    yes_or_no,
)
from async_commander.history.ownership import host_name
from async_commander.history.reading import is_silent
from async_commander.history.runs import UNFINISHED, lease_length
from async_commander.models import Run
from async_commander.results import AT_WORK, EXIT_FAILED, EXIT_USAGE, RunStatus
from async_commander.runner.plan import login_of
from async_commander.text.clean import plain

from .formatting import columns
from .options import flags_of, metavar_of, reader_of
from .run_page import asked_in_words, shown
from .summary import to_json

if TYPE_CHECKING:
    from argparse import ArgumentParser
    from collections.abc import Callable, Iterable

NONE = "none"
"""How the line takes a bound away that may be absent."""


def add_limits(parser: ArgumentParser) -> None:
    """An option for each bound of a run. Those that stay as they are once it is at work are read, to say why."""
    for name, bound in BOUNDS.items():
        option = BY_NAME[name]
        if option.written is not None:
            of = "" if option.lacks(None) else f"; `{NONE}` for no limit"
            shown = SUPPRESS if bound.fixed else f"{option.help}{of}".replace("%", "%%")
            parser.add_argument(flags_of(option), dest=name, type=_read(name), metavar=metavar_of(option), help=shown)


def _read(name: str) -> Callable[[str], Any]:
    option, read = BY_NAME[name], reader_of(BY_NAME[name])
    # argparse leaves a value out that is None: the text stands for it until it is asked for.
    return lambda text: NONE if text == NONE and not option.lacks(None) else read(text)


def at_terminal() -> str:
    """Who sits there: `ada on web1`."""
    return f"{login_of('terminal')} on {host_name()}".removeprefix(" on ")


def steered(alias: str, what: str, options: dict[str, Any]) -> Iterable[str]:
    """Carry out one of these actions on one run; the lines that say so. CommandError where it is refused."""
    asked: dict[str, Any] = {"by": at_terminal(), "using": alias}
    carry_out = {"cancel": _cancelled, "limits": _limits, "answer": _answered}.get(what, _paused)
    try:
        return carry_out(alias, options, asked)
    except AsyncCommanderError as error:
        code = EXIT_USAGE if isinstance(error, InvalidCommand) else EXIT_FAILED
        raise CommandError(f"{error}{_hint(alias, what, options['run'])}", returncode=code) from error


def _paused(alias: str, options: dict[str, Any], asked: dict[str, Any]) -> Iterable[str]:
    pauses = options["what"] == "pause"
    new = (pause_run if pauses else continue_run)(options["run"], **asked)
    run = Run.objects.using(alias).numbered(options["run"])
    if options["json"]:
        paused = None if run.paused is None else {"by": run.paused.by, "since": run.paused.at}
        return [to_json({"run": run.pk, "asked": new, "status": run.status, "paused": paused})]
    if new:
        return [f"Run {run.pk} is asked to {'pause' if pauses else 'go on'}: {_hears(run)}."]
    if run.paused is not None:
        return [f"Run {run.pk} is paused already, {asked_in_words(run.paused)}."]
    return [f"Run {run.pk} is not paused: it is {run.status}."]


def _hint(alias: str, what: str, number: int) -> str:
    """`resume` is also what people call going on with a run that has ended."""
    run = Run.objects.using(alias).filter(pk=number).only("status", "command").first()
    if what != "resume" or run is None or run.status in AT_WORK or run.status not in UNFINISHED:
        return ""
    return f" To go on with it: manage.py arun {run.command} --resume-run {number}"


def _cancelled(alias: str, options: dict[str, Any], asked: dict[str, Any]) -> Iterable[str]:
    came_to = cancel_run(options["run"], **asked)
    run = Run.objects.using(alias).numbered(options["run"])
    if options["json"]:
        return [to_json({"run": run.pk, "asked": came_to is Cancelled.ASKED, "status": run.status})]
    told = {
        Cancelled.ASKED: f"is asked to end: {_hears(run)}",
        Cancelled.NOT_BEGUN: "waited for a worker, and none begins it any more",
        Cancelled.OWNERLESS: f"had no owner any more: it is {run.status}",
        Cancelled.ENDED: f"had ended before: it is {run.status}",
    }
    return [f"Run {run.pk} {told[came_to]}."]


def _limits(alias: str, options: dict[str, Any], asked: dict[str, Any]) -> Iterable[str]:
    given = {name: options[name] for name in BOUNDS if options.get(name) is not None}
    wanted: dict[str, Any] = {name: None if value == NONE else value for name, value in given.items()}
    if wanted:
        change_limits(options["run"], **(asked | wanted))
    run = Run.objects.using(alias).numbered(options["run"])
    changed = changed_limits(run)
    if options["json"]:
        who = {name: one.stored() for name, one in changed.items()}
        return [to_json({"run": run.pk, "status": run.status, "limits": run.limits, "changed": who})]
    if not run.limits:
        raise CommandError(f"Run {run.pk} is one of a plain Django command: it has no limits.", returncode=EXIT_FAILED)
    rows = [
        [name, "none" if value is None else shown(value), asked_in_words(changed[name]) if name in changed else ""]
        for name, value in run.limits.items()
        if name in BOUNDS
    ]
    return [*columns(rows), *([f"Run {run.pk} is at work: {_hears(run)}."] if wanted else [])]


def _answered(alias: str, options: dict[str, Any], asked: dict[str, Any]) -> Iterable[str]:
    answer = options["answer"]
    if answer is not None:
        answer_run(options["run"], answer == "yes", **asked)
    run = Run.objects.using(alias).numbered(options["run"])
    if options["json"]:
        return [to_json({"run": run.pk, "status": run.status, "question": run.question, "answer": answer})]
    if answer is not None:
        return [f"Run {run.pk} is answered with {yes_or_no(answer == 'yes')}: {_hears(run)}."]
    if run.status != RunStatus.WAITING.value:
        return [f"Run {run.pk} asks nothing: it is {run.status}."]
    return [plain(run.question), f"aruns answer {run.pk} yes, or no, answers that."]


def _hears(run: Run) -> str:
    """Who hears of it, and when."""
    owner = f"process {run.pid} on {run.host}"
    if is_silent(run):
        return f"{owner} has given no sign of life for a while, and hears of it when it does"
    return f"{owner} hears of it within {min(LOOK_SECONDS, lease_length(run) / BEATS_PER_LEASE):.0f} s"
