"""`manage.py aworker`: carries queued runs, without a broker."""

from __future__ import annotations

import logging
import sys
from argparse import ArgumentTypeError
from typing import TYPE_CHECKING, Any

import anyio
from asgiref.sync import async_to_sync, sync_to_async
from django.core.management.base import CommandError, CommandParser
from django.db import connections, router

from async_commander.database.connections import close_all
from async_commander.exceptions import AsyncCommanderError
from async_commander.management.options import seconds, whole
from async_commander.management.terminal_command import TerminalCommand
from async_commander.models import Run
from async_commander.results import EXIT_USAGE
from async_commander.text.clean import plain

if TYPE_CHECKING:
    from async_commander.queues.worker import Worker
    from async_commander.runner.signals import StopRequests

_LEAST = {0: logging.ERROR, 1: logging.INFO, 2: logging.INFO, 3: logging.DEBUG}
WIDTH = 500
CONCURRENCY = 2
SHORTEST = 0.05


class Command(TerminalCommand):
    """Has a Worker take queued runs, the oldest first, until a signal comes or there are no more."""

    help = "Carry the runs that were detached to the queue in the database, the oldest first, until Ctrl-C or SIGTERM."
    _stops: StopRequests | None = None

    def add_arguments(self, parser: CommandParser) -> None:
        """See BaseCommand."""
        parser.add_argument(
            "--concurrency", type=whole, default=CONCURRENCY, metavar="N", help="runs at a time (default %(default)s)"
        )
        parser.add_argument("--burst", action="store_true", help="end when the queue is empty and no run is in hand")
        parser.add_argument("--once", action="store_true", help="carry one run, and end: as --max-runs 1 --burst")
        parser.add_argument("--max-runs", type=whole, metavar="N", help="end after N runs")
        parser.add_argument(
            "--interval",
            type=_interval,
            default=1.0,
            metavar="TIME",
            help="between two looks at an empty queue (default 1 s)",
        )
        parser.add_argument(
            "--engine",
            action="append",
            metavar="PATH",
            help="the queue to take from: `worker`, which is the default, or the dotted path of a WorkerEngine of your "
            "own; may be given again",
        )
        parser.add_argument("--database", metavar="ALIAS", help="where the runs are kept")

    def run_from_argv(self, argv: list[str]) -> None:
        """See TerminalCommand. The handlers of signals come first."""
        from async_commander.runner.signals import install

        self._stops = install()
        super().run_from_argv(argv)

    def handle(self, *args: Any, **options: Any) -> None:
        """See BaseCommand. A signal ends it in order, with exit code 0: the runs in hand wait in their queue again."""
        del args
        ends = options["burst"] or options["once"] or options["max_runs"]
        if self._stops is None and not ends:
            raise CommandError("aworker ends at a signal: by call_command() give burst=True, once=True or max_runs=….")
        from async_commander.runner.entry import has_uvloop
        from async_commander.runner.signals import StopRequests

        try:
            worker = self._worker(options)
        except AsyncCommanderError as error:
            raise CommandError(str(error), returncode=EXIT_USAGE) from error
        if self._stops is None:
            async_to_sync(worker.run)(StopRequests())
            return
        stops = self._stops

        async def work() -> None:
            try:
                await worker.run(stops)
            finally:
                await sync_to_async(close_all)()

        anyio.run(work, backend="asyncio", backend_options={"use_uvloop": has_uvloop()})
        if stops.count > 1 and stops.signal is not None:
            sys.exit(128 + stops.signal)

    def _worker(self, options: dict[str, Any]) -> Worker:
        from async_commander.queues.engine import engine_of
        from async_commander.queues.worker import Worker

        engines = [engine_of(path) for path in options["engine"] or ["worker"]]
        for engine in engines:
            if engine.has_messages:
                raise AsyncCommanderError(f"The queue {engine.name} has workers of its own: start one of these.")
        alias = options["database"] or router.db_for_write(Run)
        if alias not in connections:
            raise AsyncCommanderError(f"There is no database {alias!r}, only {', '.join(connections)}.")
        least = _LEAST[options["verbosity"]]

        def tell(name: str, text: str, level: int) -> None:
            if level >= least:
                self.stderr.write(f"{name}: {plain(text, WIDTH)}", self.style.ERROR if level >= logging.ERROR else str)
                self.stderr.flush()

        return Worker(
            [engine.name for engine in engines],
            alias=alias,
            tell=tell,
            concurrency=options["concurrency"],
            interval=options["interval"],
            burst=options["burst"] or options["once"],
            max_runs=1 if options["once"] else options["max_runs"],
        )


def _interval(text: str) -> float:
    value = seconds(text)
    if value < SHORTEST:
        raise ArgumentTypeError(f"{text!r}: at least {SHORTEST:g} s are needed")
    return value
