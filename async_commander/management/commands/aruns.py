"""`manage.py aruns`: the runs that were, and one of them in full."""

from __future__ import annotations

import shutil
from argparse import ArgumentTypeError
from typing import TYPE_CHECKING, Any

from django.core.exceptions import ImproperlyConfigured
from django.core.management import get_commands
from django.core.management.base import CommandError, CommandParser
from django.db import DatabaseError, InterfaceError, OperationalError, connections, router

from async_commander.command.registry import find_command
from async_commander.exceptions import CommandNotFound, InvalidCommand
from async_commander.history.reading import notice_crashes, resumed_among
from async_commander.management.options import whole
from async_commander.management.parsers import did_you_mean
from async_commander.management.run_page import RunPage, page_json
from async_commander.management.runs import as_json, narrowed, table
from async_commander.management.summary import to_json
from async_commander.management.terminal_command import TerminalCommand
from async_commander.models import Run
from async_commander.results import EXIT_FAILED, EXIT_USAGE, RunStatus
from async_commander.runner.plan import missing_tables

if TYPE_CHECKING:
    from collections.abc import Iterable

    from django.db.models import QuerySet

LIMIT = 20
_WHAT = ("list", "show")


class Command(TerminalCommand):
    """Lists runs, newest first, or shows one."""

    help = "List the runs of async commands, newest first, or show one: what failed, and why."
    requires_system_checks: Any = ()

    def add_arguments(self, parser: CommandParser) -> None:
        """See BaseCommand."""
        parser.usage = "%(prog)s [list | [show] [ID]] [options]"
        parser.add_argument(
            "what", nargs="?", type=_what, default="list", help="list, which is the default, show, or the ID to show"
        )
        parser.add_argument(
            "run", nargs="?", type=whole, metavar="ID", help="of the run to show; without it the newest one"
        )
        parser.add_argument("--command", metavar="NAME", help="runs of this command only, by name or app_label.name")
        parser.add_argument("--status", choices=[status.value for status in RunStatus], help="runs in this state only")
        parser.add_argument("--limit", type=whole, metavar="N", help=f"at most N runs (default {LIMIT})")
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
        alias = self._alias(options["database"])
        tell = self._show if options["what"] == "show" else self._list
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

    def _find(self, alias: str, options: dict[str, Any]) -> Run:
        if options["run"] is not None:
            run = _runs(alias).filter(pk=options["run"]).first()
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

    def _alias(self, asked: str | None) -> str:
        """The database to read, which can be reached."""
        alias = asked or router.db_for_read(Run)
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


def _what(text: str) -> str:
    if text.isdecimal():
        return str(whole(text))
    if text not in _WHAT:
        raise ArgumentTypeError(f"{text!r} is neither {' nor '.join(_WHAT)}, nor a number.{did_you_mean(text, _WHAT)}")
    return text


def _runs(alias: str) -> QuerySet[Run]:
    return Run.objects.using(alias)


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
    run, shows = options["run"], options["what"] == "show"
    if run is not None and not shows:
        raise CommandError(f"To see one run: aruns show {run}", returncode=EXIT_USAGE)
    idle = [name for name in ("command", "status") if options[name] and run is not None]
    idle += ["limit"] if options["limit"] is not None and shows else []
    if idle:
        told = "names its run" if run is not None else "shows one run"
        raise CommandError(f"show {run or ''} {told}: leave --{idle[0]} out.".replace("  ", " "), returncode=EXIT_USAGE)
