"""`manage.py aruns`: the runs that were, one of them in full, and what is to become of one."""

from __future__ import annotations

import shutil
import sys
from argparse import ArgumentTypeError
from typing import TYPE_CHECKING, Any, TypeVar, cast

from django.core.exceptions import ImproperlyConfigured
from django.core.management import call_command, get_commands
from django.core.management.base import CommandError, CommandParser
from django.db import DatabaseError, InterfaceError, OperationalError, connections, router

from async_commander.command.options import DJANGO_OPTIONS
from async_commander.command.registry import find_command
from async_commander.exceptions import AsyncCommanderError, CommandNotFound, InvalidCommand
from async_commander.history.reading import notice_crashes, recorded_names, resumed_among
from async_commander.management.commands.arun import Command as Arun
from async_commander.management.options import whole
from async_commander.management.parsers import ActionsParser, django_options
from async_commander.management.pruning import Pruned, before_of, days, question, since
from async_commander.management.run_page import RunPage, page_json
from async_commander.management.runs import as_json, narrowed, table
from async_commander.management.steering import add_limits, steered
from async_commander.management.summary import to_json
from async_commander.management.tailing import Tail
from async_commander.management.terminal_command import TerminalCommand, agreed, program
from async_commander.models import Run
from async_commander.results import EXIT_FAILED, EXIT_OK, EXIT_USAGE, RunStatus
from async_commander.runner.plan import missing_tables
from async_commander.text.clean import plain

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable

    from django.db.models import QuerySet

T = TypeVar("T")

LIMIT = 20
ACTIONS = {
    "list": "list the runs, newest first; this is what is done where nothing is said",
    "show": "show one run in full; without a number, the newest one",
    "tail": "follow the log and the progress of a run until its end",
    "pause": "have a run begin nothing new; what it has in hand is finished",
    "resume": "let a paused run go on",
    "limits": "show the limits of a run, or change those of one at work",
    "answer": "answer the question that a run waits with; without an answer, show it",
    "cancel": "ask a run for its end, as a first Ctrl-C does",
    "retry": "try the dead items of a run again, with the options of arun",
    "requeue": "send a run to a worker once more, or all that wait and were sent to none",
    "prune": "remove what is older than KEEP_DAYS says",
}
_STEERING = ("pause", "resume", "limits", "answer", "cancel")
_OF_ONE = ("tail", *_STEERING, "retry", "requeue")
"""What is done to one run, which has to be named."""
_WRITING = (*_OF_ONE, "prune")


class Command(TerminalCommand):
    """Lists runs, newest first, shows one, follows it, steers it, tries its failed items again; removes what is old."""

    help = "List the runs of async commands, newest first; show one, follow, steer or retry it; prune old ones."
    requires_system_checks: Any = ()

    def create_parser(self, prog_name: str, subcommand: str, **kwargs: Any) -> ActionsParser:
        """A parser with one for each action."""
        prog = f"{program(prog_name)} {subcommand}".strip()
        parser = ActionsParser(
            prog=prog,
            description=self.help,
            usage="%(prog)s [ACTION] [ID] [options]",
            epilog=f"{prog} ACTION --help shows what an action takes. `{prog} ID` shows that run.",
            parents=[django_options(prog)],
            called_from_command_line=self._called_from_command_line,
            **kwargs,
        )
        self.add_arguments(parser)
        self._parser = parser
        return parser

    def run_from_argv(self, argv: list[str]) -> None:
        """See TerminalCommand. `retry ID` is `arun NAME --retry-failed ID`, with all options of that."""
        self._called_from_command_line = True
        parser = self.create_parser(argv[0], argv[1])
        what, rest = parser.split(argv[2:])
        if what == "retry" and (number := next((token for token in rest if token.isdecimal()), None)):
            asked = CommandParser(add_help=False, allow_abbrev=False)
            asked.add_argument("--database")
            try:
                name = self._command_of(self._alias(asked.parse_known_args(rest)[0].database, writes=True), int(number))
            except CommandError as error:
                self.stderr.write(str(error))
                sys.exit(error.returncode)
            rest.remove(number)
            Arun().run_from_argv([argv[0], "arun", name, "--retry-failed", number, *rest])
        else:
            super().run_from_argv(argv)

    def add_arguments(self, parser: CommandParser) -> None:
        """See BaseCommand."""
        made = cast("ActionsParser", parser).add_actions(ACTIONS, run=_OF_ONE)
        for name, one in made.items():
            if name in ("show", *_OF_ONE):
                one.add_argument("run", nargs="?", type=whole, metavar="ID", help="the number of the run")
            if name in ("list", "show", "prune"):
                one.add_argument(
                    "--command", metavar="NAME", help="runs of this command only, by name or app_label.name"
                )
            if name in ("list", "show"):
                states = [status.value for status in RunStatus]
                one.add_argument("--status", choices=states, help="runs in this state only")
            if name != "tail":
                more = "; -v 2 adds the output and the traceback" if name == "show" else ""
                one.add_argument("--json", action="store_true", help=f"print JSON{more}")
            one.add_argument("--database", metavar="ALIAS", help="where the runs are kept")
        made["list"].add_argument("--limit", type=whole, metavar="N", help=f"at most N runs (default {LIMIT})")
        made["answer"].add_argument("answer", nargs="?", choices=["yes", "no"], help="to the question")
        made["retry"].add_argument(
            "--only-kind", action="append", metavar="KIND", help="only items with such errors, or of this reason"
        )
        add_limits(made["limits"])
        prune = made["prune"]
        number, day = _read(days, "a number of days from 1"), _read(since, "a date, as 2026-01-31,")
        prune.add_argument("--days", type=number, metavar="N", help="done items and logs that are older than N days")
        prune.add_argument(
            "--before", type=day, metavar="DATE", help="done items and logs from before this day or moment"
        )
        prune.add_argument("--keep-runs", type=number, metavar="DAYS", help="whole runs that ended longer ago")
        prune.add_argument("--dry-run", "--dry_run", action="store_true", help="only count what would be removed")
        prune.add_argument("--yes", action="store_true", help="remove without asking")
        for one in made.values():
            one.own_names = {*one.names} - {*DJANGO_OPTIONS}  # of a run some are rare: here all are shown

    def handle(self, *args: Any, **options: Any) -> None:
        """See BaseCommand."""
        del args
        what = options["what"]
        _check_together(options, self._parser.names_of(what))
        alias = self._alias(options["database"], writes=what in _WRITING)
        try:
            notice_crashes(alias)
            if options.get("command"):
                _check_name(alias, options["command"])
            if what in _STEERING:
                self.write_lines(steered(alias, what, options))
            else:
                self.write_lines(getattr(self, f"_{what}")(alias, options))
        except DatabaseError as error:
            missing = missing_tables(error, alias)
            if missing is None:
                raise
            raise CommandError(str(missing)) from error
        except InvalidCommand as error:
            raise CommandError(str(error), returncode=EXIT_USAGE) from error

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

    def _tail(self, alias: str, options: dict[str, Any]) -> Iterable[str]:
        """CommandError with the exit code that says how the run has ended, where that was not well."""
        self._command_of(alias, options["run"])
        code = Tail(alias, options["run"], self.stdout).follow()
        if code != EXIT_OK and self._called_from_command_line:
            sys.exit(code)  # all was said
        if code != EXIT_OK:
            raise CommandError(f"Run {options['run']} did not succeed.", returncode=code)
        return []

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


def _check_together(options: dict[str, Any], acting: Collection[str]) -> None:
    """CommandError for an option without effect: it would be a wrong answer to what was asked."""
    run, what = options.get("run"), options["what"]
    if run is None and what in _OF_ONE and what != "requeue":
        raise CommandError(f"Name the run: aruns {what} ID", returncode=EXIT_USAGE)
    shows_one = what == "show" and run is not None
    idle = [name for name in _NARROWING if options.get(name) not in (None, False) and (shows_one or name not in acting)]
    if idle:
        told = "names its run" if run is not None else "has no use for it"
        flag = f"--{idle[0].replace('_', '-')}"
        raise CommandError(f"{what} {run or ''} {told}: leave {flag} out.".replace("  ", " "), returncode=EXIT_USAGE)


_NARROWING = ("command", "status", "limit", "only_kind", "days", "before", "keep_runs", "dry_run", "yes")
"""Options of some actions, which `call_command` can give to any."""
