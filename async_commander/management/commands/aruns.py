"""`manage.py aruns`: the runs that were, and one of them in full."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import DatabaseError, connections, router, transaction

from async_commander.engine.results import EXIT_USAGE, RunStatus
from async_commander.history.runs import sweep
from async_commander.management.dispatch import without_colours
from async_commander.management.options import whole
from async_commander.management.pipes import write_lines
from async_commander.management.run_page import RunPage, page_json
from async_commander.management.runs import as_json, newest, table
from async_commander.management.summary import to_json
from async_commander.models import Run
from async_commander.runner.plan import missing_tables

if TYPE_CHECKING:
    from collections.abc import Iterable

    from django.db.models import QuerySet

LIMIT = 20


class Command(BaseCommand):
    """Lists runs, newest first, or shows one."""

    help = "List the runs of async commands, newest first, or show one: what failed, and why."
    requires_system_checks: Any = ()

    def add_arguments(self, parser: CommandParser) -> None:
        """See BaseCommand."""
        parser.usage = "%(prog)s [list | show [ID]] [options]"
        parser.add_argument("what", nargs="?", choices=("list", "show"), default="list", help="list is the default")
        parser.add_argument(
            "run", nargs="?", type=whole, metavar="ID", help="of the run to show; without it the newest one"
        )
        parser.add_argument("--command", metavar="NAME", help="runs of this command only")
        parser.add_argument("--status", choices=[status.value for status in RunStatus], help="runs in this state only")
        parser.add_argument("--limit", type=whole, default=LIMIT, metavar="N", help=f"at most N runs (default {LIMIT})")
        parser.add_argument(
            "--json", action="store_true", help="print JSON; -v 2 adds the output and the traceback to show"
        )
        parser.add_argument("--database", metavar="ALIAS", help="where the runs are kept")

    def execute(self, *args: Any, **options: Any) -> str | None:
        """As Django's; NO_COLOR is honoured."""
        return super().execute(*args, **without_colours(self, options))

    def handle(self, *args: Any, **options: Any) -> None:
        """See BaseCommand."""
        del args
        alias = self._alias(options["database"])
        if options["what"] == "list" and options["run"] is not None:
            raise CommandError(f"To see one run: aruns show {options['run']}", returncode=EXIT_USAGE)
        _notice_crashes(alias)
        tell = self._show if options["what"] == "show" else self._list
        try:
            write_lines(self.stdout, tell(alias, options))
        except DatabaseError as error:
            missing = missing_tables(error, alias)
            if missing is None:
                raise
            raise CommandError(str(missing)) from error

    def _list(self, alias: str, options: dict[str, Any]) -> Iterable[str]:
        runs = newest(_runs(alias), command=options["command"], status=options["status"], limit=options["limit"])
        if options["json"]:
            return [to_json([as_json(run) for run in runs])]
        return table(runs, self.style) if runs else ["No runs."]

    def _show(self, alias: str, options: dict[str, Any]) -> Iterable[str]:
        run, more = self._find(alias, options), options["verbosity"] >= 2
        return [to_json(page_json(run, more=more))] if options["json"] else RunPage(run, self.style, more).lines()

    def _find(self, alias: str, options: dict[str, Any]) -> Run:
        wanted = {name: options[name] for name in ("command", "status") if options[name]}
        if options["run"] is not None:
            wanted["pk"] = options["run"]
        run = _runs(alias).filter(**wanted).order_by("-pk").first()
        if run is None:
            what = f"run {options['run']}" if options["run"] is not None else "such run"
            raise CommandError(f"There is no {what}. The newest are listed by: manage.py aruns")
        return run

    def _alias(self, asked: str | None) -> str:
        alias = asked or router.db_for_read(Run)
        if alias not in connections:
            known = ", ".join(connections)
            raise CommandError(f"There is no database {alias!r}, only {known}.", returncode=EXIT_USAGE)
        return alias


def _runs(alias: str) -> QuerySet[Run]:
    return Run.objects.using(alias)


def _notice_crashes(alias: str) -> None:
    """Runs whose owner is gone are told as crashed. Where one may only read, they are told as they stand."""
    with suppress(DatabaseError), transaction.atomic(using=alias):
        sweep(alias)
