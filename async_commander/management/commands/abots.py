"""`manage.py abots`: all commands of the project that are always on, in one process."""

from __future__ import annotations

import logging
import sys
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

import anyio
from django.core.management.base import CommandError, CommandParser

from async_commander.command.arguments import REQUIRED
from async_commander.command.declaration import declaration_of
from async_commander.command.registry import get_command, get_runnable, load_command, name_of
from async_commander.exceptions import AsyncCommanderError
from async_commander.management.log_lines import log_shown
from async_commander.management.terminal_command import TerminalCommand
from async_commander.results import EXIT_FAILED, EXIT_SIGNAL_BASE, EXIT_USAGE
from async_commander.text.clean import plain

if TYPE_CHECKING:
    from async_commander.command.base import AsyncCommand
    from async_commander.runner.signals import StopRequests

_LEAST = {0: logging.ERROR, 1: logging.INFO, 2: logging.INFO, 3: logging.DEBUG}
WIDTH = 500


class Command(TerminalCommand):
    """Finds them, and has a Supervisor keep them running until a signal comes."""

    help = "Run all commands that are always on, each started again by itself, until Ctrl-C or SIGTERM."
    _stops: StopRequests | None = None

    def add_arguments(self, parser: CommandParser) -> None:
        """See BaseCommand."""
        parser.add_argument("names", nargs="*", metavar="NAME", help="only these; by default all that are always on")
        parser.add_argument("--except", dest="left_out", action="append", default=[], metavar="NAME", help="not this")
        parser.add_argument("--list", action="store_true", help="say which these are, and run none")
        parser.add_argument("--database", metavar="ALIAS", help="where ledger and lanes live")

    def run_from_argv(self, argv: list[str]) -> None:
        """See TerminalCommand. The handlers of signals come first."""
        from async_commander.runner.signals import install

        self._stops = install()
        super().run_from_argv(argv)

    def handle(self, *args: Any, **options: Any) -> None:
        """See BaseCommand."""
        del args
        try:
            bots = self._found(options["names"], options["left_out"])
        except AsyncCommanderError as error:
            raise CommandError(str(error), returncode=EXIT_USAGE) from error
        if options["list"]:
            self.write_lines(f"{name_of(cls)}" for cls in bots)
            return
        if self._stops is None:
            raise CommandError("abots runs until a signal ends it: start it from a shell, not by call_command().")
        if not bots:
            raise CommandError("No command is always on: set always_on = True on one.", returncode=EXIT_FAILED)
        self._keep(bots, self._stops, options)
        if self._stops.signal is not None:
            sys.exit(EXIT_SIGNAL_BASE + self._stops.signal)

    def _keep(self, bots: list[type[AsyncCommand]], stops: StopRequests, options: dict[str, Any]) -> None:
        from async_commander.runner.entry import collected_less_often, has_uvloop
        from async_commander.supervisor.bots import Supervisor, reporter_of

        least = _LEAST[options["verbosity"]]

        def tell(name: str, text: str, level: int) -> None:
            if level >= least:
                self.stderr.write(f"{name}: {plain(text, WIDTH)}", self.style.ERROR if level >= logging.ERROR else str)
                self.stderr.flush()

        supervisor = Supervisor(bots, tell=tell, database=options["database"])
        with ExitStack() as stack:
            for cls in bots:
                stack.enter_context(log_shown(name_of(cls), options["verbosity"], reporter_of(name_of(cls), tell)))
            stack.enter_context(collected_less_often())
            anyio.run(supervisor.run, stops, backend="asyncio", backend_options={"use_uvloop": has_uvloop()})

    def _found(self, names: list[str], left_out: list[str]) -> list[type[AsyncCommand]]:
        """The classes; those that cannot be run are named, and left out where nobody asked for them."""
        found, out = [], {name_of(get_command(name)) for name in left_out}
        for name in names:
            cls = get_command(name)
            if not cls.always_on:
                raise AsyncCommanderError(f"{name} is not always on: run it by `arun {name}`, or say always_on = True.")
            if lacking := _lacking(cls):
                raise AsyncCommanderError(f"{name} needs {lacking}: run it by `arun {name} …`.")
            found.append(cls)
        for name, file in {} if names else get_runnable().items():
            try:
                cls = load_command(file)
                declared = declaration_of(cls) if cls.always_on else None
            except AsyncCommanderError as error:
                self.stderr.write(f"{name} is left out. {plain(str(error), WIDTH)}")
                continue
            if declared is None:
                continue
            if lacking := _lacking(cls):
                self.stderr.write(f"{name} is left out: it needs {lacking}. Run it by `arun {name} …`.")
            else:
                found.append(cls)
        return [cls for cls in found if name_of(cls) not in out]


def _lacking(cls: type[AsyncCommand]) -> str:
    """The arguments that have to be given and are not."""
    declared = declaration_of(cls)
    required = [name for name, each in declared.arguments.items() if each.required and each.from_env() is REQUIRED]
    required += [name for name, each in declared.extra.items() if each.required]
    return ", ".join(name for name in required if name not in cls.option_defaults)
