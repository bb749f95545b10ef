"""`manage.py aruns`: the runs that were, one of them in full, and what is to become of one."""

from __future__ import annotations

import shutil
import sys
from argparse import ArgumentParser, ArgumentTypeError
from typing import TYPE_CHECKING, Any, TypeVar

from django.core.exceptions import ImproperlyConfigured
from django.core.management import call_command, get_commands
from django.core.management.base import CommandError, CommandParser
from django.db import DatabaseError, InterfaceError, OperationalError, connections, router

from async_commander.command.registry import find_command
from async_commander.exceptions import AsyncCommanderError, CommandNotFound, InvalidCommand
from async_commander.history.cancelling import Cancelled, cancel_run
from async_commander.history.heartbeat import BEATS_PER_LEASE
from async_commander.history.ownership import host_name
from async_commander.history.reading import notice_crashes, recorded_names, resumed_among
from async_commander.history.runs import lease_length
from async_commander.management.commands.arun import Command as Arun
from async_commander.management.options import whole
from async_commander.management.parsers import did_you_mean
from async_commander.management.pruning import Pruned, before_of, days, question, since
from async_commander.management.run_page import RunPage, page_json
from async_commander.management.runs import as_json, narrowed, table
from async_commander.management.summary import to_json
from async_commander.management.terminal_command import TerminalCommand, agreed
from async_commander.models import Run
from async_commander.results import EXIT_FAILED, EXIT_USAGE, RunStatus
from async_commander.runner.plan import login_of, missing_tables
from async_commander.text.clean import plain

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from django.db.models import QuerySet

T = TypeVar("T")

LIMIT = 20
_WHAT = {
    "list": ("command", "status", "limit"),
    "show": ("command", "status"),
    "retry": ("only_kind",),
    "cancel": (),
    "requeue": (),
    "prune": ("command", "days", "before", "keep_runs", "dry_run", "yes"),
}
"""What may be done, and the options that have an effect on it, beside those that have one on all."""
_OF_ONE = ("retry", "cancel", "requeue")
"""What is done to one run, which has to be named."""
_WRITING = (*_OF_ONE, "prune")


class Command(TerminalCommand):
    """Lists runs, newest first, shows one, tries its failed items again, asks for its end; removes what is old."""

    help = "List the runs of async commands, newest first; show one, retry its dead items, cancel it; prune old ones."
    requires_system_checks: Any = ()

    def run_from_argv(self, argv: list[str]) -> None:
        """See TerminalCommand. `retry ID` is `arun NAME --retry-failed ID`, with all options of that."""
        tokens = argv[2:]
        if tokens[:1] == ["retry"] and tokens[1:2] and tokens[1].isdecimal():
            asked = ArgumentParser(add_help=False, allow_abbrev=False)
            asked.add_argument("--database")
            try:
                name = self._command_of(
                    self._alias(asked.parse_known_args(tokens)[0].database, writes=True), int(tokens[1])
                )
            except CommandError as error:
                self.stderr.write(str(error))
                sys.exit(error.returncode)
            Arun().run_from_argv([argv[0], "arun", name, "--retry-failed", *tokens[1:]])
        else:
            super().run_from_argv(argv)

    def add_arguments(self, parser: CommandParser) -> None:
        """See BaseCommand."""
        parser.usage = "%(prog)s [list | [show] [ID] | retry ID | cancel ID | requeue [ID] | prune] [options]"
        parser.add_argument(
            "what",
            nargs="?",
            type=_what,
            default="list",
            help="list, which is the default; show, or the ID to show; retry the dead items of one, with the options "
            "of arun; cancel one; requeue: send one to a worker once more, or all that wait and were sent to none; "
            "prune: remove what is older than KEEP_DAYS says",
        )
        parser.add_argument(
            "run", nargs="?", type=whole, metavar="ID", help="of the run; of those to show, without it, the newest one"
        )
        parser.add_argument("--command", metavar="NAME", help="runs of this command only, by name or app_label.name")
        parser.add_argument("--status", choices=[status.value for status in RunStatus], help="runs in this state only")
        parser.add_argument("--limit", type=whole, metavar="N", help=f"at most N runs (default {LIMIT})")
        parser.add_argument(
            "--only-kind", action="append", metavar="KIND", help="retry only items with such errors, or of this reason"
        )
        old = parser.add_argument_group("prune")
        number, day = _read(days, "a number of days from 1"), _read(since, "a date, as 2026-01-31,")
        old.add_argument("--days", type=number, metavar="N", help="done items and logs that are older than N days")
        old.add_argument(
            "--before", type=day, metavar="DATE", help="done items and logs from before this day or moment"
        )
        old.add_argument("--keep-runs", type=number, metavar="DAYS", help="whole runs that ended longer ago")
        old.add_argument("--dry-run", "--dry_run", action="store_true", help="only count what would be removed")
        old.add_argument("--yes", action="store_true", help="remove without asking")
        parser.add_argument(
            "--json", action="store_true", help="print JSON; -v 2 adds the output and the traceback to show"
        )
        parser.add_argument("--database", metavar="ALIAS", help="where the runs are kept")

    def handle(self, *args: Any, **options: Any) -> None:
        """See BaseCommand."""
        del args
        if options["what"].isdecimal():
            if options["run"] is not None:
                raise CommandError(f"one argument too many: '{options['run']}'", returncode=EXIT_USAGE)
            options |= {"what": "show", "run": whole(options["what"])}
        _check_together(options)
        alias = self._alias(options["database"], writes=options["what"] in _WRITING)
        tell = getattr(self, f"_{options['what']}")
        try:
            notice_crashes(alias)
            if options["command"]:
                _check_name(alias, options["command"])
            self.write_lines(tell(alias, options))
        except DatabaseError as error:
            missing = missing_tables(error, alias)
            if missing is None:
                raise
            raise CommandError(str(missing)) from error

    def _list(self, alias: str, options: dict[str, Any]) -> Iterable[str]:
        found = narrowed(_runs(alias), command=options["command"], status=options["status"])
        runs = list(found[: options["limit"] or LIMIT])
        resumed = resumed_among(alias, runs)
        if options["json"]:
            return [to_json([as_json(run, resumed=run.pk in resumed) for run in runs])]
        return table(runs, self.style, resumed, self._width()) if runs else ["No runs."]

    def _show(self, alias: str, options: dict[str, Any]) -> Iterable[str]:
        run, more = self._find(alias, options), options["verbosity"] >= 2
        resumed = bool(resumed_among(alias, [run]))
        if options["json"]:
            return [to_json(page_json(run, resumed=resumed, more=more))]
        return RunPage(run, self.style, resumed=resumed, more=more, width=self._width()).lines()

    def _retry(self, alias: str, options: dict[str, Any]) -> Iterable[str]:
        """By `call_command`: as `arun`, with what both know."""
        known = {name: options[name] for name in ("json", "verbosity", "no_color", "force_color", "only_kind")}
        given = {**known, "stdout": self.stdout, "stderr": self.stderr, "database": alias}
        call_command("arun", self._command_of(alias, options["run"]), retry_failed=options["run"], **given)
        return []

    def _cancel(self, alias: str, options: dict[str, Any]) -> Iterable[str]:
        user = f"{login_of('terminal')} on {host_name()}".removeprefix(" on ")
        try:
            came_to = cancel_run(options["run"], user=user, using=alias)
        except AsyncCommanderError as error:
            code = EXIT_USAGE if isinstance(error, InvalidCommand) else EXIT_FAILED
            raise CommandError(str(error), returncode=code) from error
        run = _runs(alias).get(pk=options["run"])
        if options["json"]:
            return [to_json({"run": run.pk, "asked": came_to is Cancelled.ASKED, "status": run.status})]
        owner, seconds = f"process {run.pid} on {run.host}", lease_length(run) / BEATS_PER_LEASE
        told = {
            Cancelled.ASKED: f"is asked to end: {owner} hears of it within {seconds:.0f} s",
            Cancelled.NOT_BEGUN: "had not begun, and does not",
            Cancelled.OWNERLESS: f"had no owner any more: it is {run.status}",
            Cancelled.ENDED: f"had ended before: it is {run.status}",
        }
        return [f"Run {run.pk} {told[came_to]}."]

    def _requeue(self, alias: str, options: dict[str, Any]) -> Iterable[str]:
        from async_commander.queues.rescue import requeue, rescue

        if options["run"] is None:
            sent = rescue(alias)
            return [to_json({"sent": sent})] if options["json"] else [f"Runs sent again: {sent}."]
        try:
            run = requeue(alias, options["run"])
        except AsyncCommanderError as error:
            code = EXIT_USAGE if isinstance(error, InvalidCommand) else EXIT_FAILED
            raise CommandError(str(error), returncode=code) from error
        if options["json"]:
            return [to_json({"run": run.pk, "status": run.status, "engine": run.engine})]
        return [f"Run {run.pk} of {plain(run.command)} is queued ({run.engine})."]

    def _prune(self, alias: str, options: dict[str, Any]) -> Iterable[str]:
        if options["days"] and options["before"]:
            raise CommandError("--days and --before contradict each other: give one of them.", returncode=EXIT_USAGE)
        try:
            before = before_of(alias, options)
        except ImproperlyConfigured as error:
            raise CommandError(str(error), returncode=EXIT_USAGE) from error
        asked = question(before)
        if asked and not options["dry_run"] and not agreed(asked, self.stderr, yes=options["yes"]):
            return [to_json({"removed": {}})] if options["json"] else ["Nothing was removed."]
        pruned = Pruned(
            alias,
            before,
            commands=recorded_names(options["command"]) if options["command"] else (),
            dry=options["dry_run"],
            terminal=self.stderr if self.stderr.isatty() else None,
        )
        pruned.carry_out()
        return [to_json(pruned.as_json())] if options["json"] else pruned.lines()

    def _command_of(self, alias: str, run_id: int) -> str:
        """The name of a run's command."""
        name = _runs(alias).filter(pk=run_id).values_list("command", flat=True).first()
        if name is None:
            raise CommandError(f"There is no run {run_id}. `manage.py aruns` lists the runs.", returncode=EXIT_USAGE)
        return name

    def _find(self, alias: str, options: dict[str, Any]) -> Run:
        if options["run"] is not None:
            run = Run.objects.using(alias).filter(pk=options["run"]).first()
        else:
            run = narrowed(_runs(alias), command=options["command"], status=options["status"]).first()
        if run is None:
            if options["run"] is None and not _runs(alias).exists():
                raise CommandError("There are no runs yet.", returncode=EXIT_FAILED)
            what = f"run {options['run']}" if options["run"] is not None else "such run"
            code = EXIT_FAILED if options["run"] is None else EXIT_USAGE
            raise CommandError(f"There is no {what}. The newest are listed by: manage.py aruns", returncode=code)
        return run

    def _width(self) -> int | None:
        return shutil.get_terminal_size().columns if self.stdout.isatty() else None

    def _alias(self, asked: str | None, *, writes: bool = False) -> str:
        """The database to read, or to write to, which can be reached."""
        alias = asked or (router.db_for_write(Run) if writes else router.db_for_read(Run))
        if alias not in connections:
            known = ", ".join(connections)
            raise CommandError(f"There is no database {alias!r}, only {known}.", returncode=EXIT_USAGE)
        try:
            connections[alias].ensure_connection()
        except (OperationalError, InterfaceError) as error:
            raise CommandError(
                f"The database {alias!r} cannot be reached ({str(error).strip()}). "
                f"See that it is up, and that DATABASES[{alias!r}] names the right address and user."
            ) from error
        return alias


def _read(reader: Callable[[str], T], needed: str) -> Callable[[str], T]:
    """As argparse wants it: an error says what is needed."""

    def read(text: str) -> T:
        try:
            return reader(text)
        except (ValueError, OverflowError):
            raise ArgumentTypeError(f"{text!r}: {needed} is needed") from None

    return read


def _what(text: str) -> str:
    if text.isdecimal():
        return str(whole(text))
    if text not in _WHAT:
        raise ArgumentTypeError(f"{text!r} is none of {', '.join(_WHAT)}, nor a number.{did_you_mean(text, _WHAT)}")
    return text


def _runs(alias: str) -> QuerySet[Run]:
    return Run.objects.using(alias).whole()


def _check_name(alias: str, name: str) -> None:
    """CommandError for a command that never was; one that is gone has its runs."""
    is_plain = name.rpartition(".")[2] in get_commands()  # Django's own kind, whose runs may be kept, too
    if is_plain or narrowed(_runs(alias), command=name, status=None).exists():
        return
    try:
        find_command(name)
    except CommandNotFound as error:
        raise CommandError(f"There are no runs of {name!r}, and {error}", returncode=EXIT_USAGE) from error
    except (InvalidCommand, ImproperlyConfigured):  # something else than the name is wrong
        return


def _check_together(options: dict[str, Any]) -> None:
    """CommandError for an option without effect: it would be a wrong answer to what was asked."""
    run, what = options["run"], options["what"]
    if run is not None and what not in ("show", *_OF_ONE):
        raise CommandError(f"To see one run: aruns show {run}", returncode=EXIT_USAGE)
    if run is None and what in _OF_ONE and what != "requeue":
        raise CommandError(f"Name the run: aruns {what} ID", returncode=EXIT_USAGE)
    acting = () if what == "show" and run is not None else _WHAT[what]
    known = dict.fromkeys(name for names in _WHAT.values() for name in names)
    idle = [name for name in known if options[name] not in (None, False) and name not in acting]
    if idle:
        told = "names its run" if run is not None else "shows one run" if what == "show" else "has no use for it"
        flag = f"--{idle[0].replace('_', '-')}"
        raise CommandError(f"{what} {run or ''} {told}: leave {flag} out.".replace("  ", " "), returncode=EXIT_USAGE)
