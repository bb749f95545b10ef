"""`manage.py arun`: run an async command, or list them all."""

from __future__ import annotations

import shutil
import sys
from contextlib import nullcontext, suppress
from typing import TYPE_CHECKING, Any, NoReturn

from django.core.exceptions import ImproperlyConfigured
from django.core.management.base import CommandError

from async_commander.checks import TAG
from async_commander.command.registry import AmbiguousName, find_clashes, get_command, get_commands, get_runnable
from async_commander.exceptions import CommandNotFound, InvalidCommand
from async_commander.management.completion import COMPLETE, SCRIPTS, completed
from async_commander.management.dispatch import RunCommand
from async_commander.management.listing import BROKEN, Line, list_commands, render
from async_commander.management.parsers import CommandLineParser, Refusal, front_parser
from async_commander.management.terminal_command import program, stdout_on_stderr
from async_commander.results import EXIT_FAILED, EXIT_SIGNAL_BASE, EXIT_USAGE

if TYPE_CHECKING:
    from argparse import Namespace
    from collections.abc import Sequence


class Command(RunCommand):
    """Resolves the name without importing any other command, and lets that command's own parser read the line."""

    help = "Run an async command, or list them all."
    requires_system_checks: Any = ()
    _typed_name = ""

    def create_parser(self, prog_name: str, subcommand: str, **kwargs: Any) -> CommandLineParser:
        """A parser that waits for the command's name."""
        del kwargs
        prog = f"{program(prog_name)} {subcommand}".strip()

        def hand_over(name: str, tokens: Sequence[str]) -> Namespace:
            return self._read(prog, name, tokens)

        return front_parser(prog, self.help, hand_over, shell=self._called_from_command_line)

    def run_from_argv(self, argv: list[str]) -> None:
        """See RunCommand; a shell that asks how a line may go on is answered at once, if at all."""

        def parser_of(name: str) -> CommandLineParser:
            self.use(get_command(name))
            return self.own_parser("arun")

        if argv[2:3] == [COMPLETE]:
            with suppress(Exception, SystemExit):
                front = self.create_parser(argv[0], argv[1])
                for found in completed(argv[3:], front, parser_of):
                    self.stdout.write(found)
            return
        super().run_from_argv(argv)

    def handle(self, *args: Any, **options: Any) -> None:
        """Run the command that was named; else list them all."""
        if self.command_class is not None:
            super().handle(*args, **options)
        elif options["completion"]:
            self.stdout.write(SCRIPTS[options["completion"]].strip())
        elif options["check"]:
            self._check()
        elif options["test_all"]:
            self._try_all(options)
        else:
            self._list(options)

    def _check(self) -> None:
        """A line for each thing that a run needs. Exit code 1 where one is not there, or a command is broken."""
        from async_commander.management.checkup import FAILED, looked_at

        failed = 0
        for line in looked_at():
            failed += line.outcome == FAILED
            self.stdout.write(str(line), self.style.ERROR if line.outcome == FAILED else None)
        self.stdout.flush()
        self.check(tags=[TAG], display_num_errors=True)
        self.stdout.write(f"Commands checked: {len(get_runnable())}.")
        if failed:
            raise CommandError(f"{failed} of these {'is' if failed == 1 else 'are'} not as a run needs it.")

    def _try_all(self, options: dict[str, Any]) -> None:
        """A trial run of every command that has test values. Exit code 1 where one failed, 128+n after signal n."""
        from async_commander.management.summary import to_json
        from async_commander.management.trials import FAILED, Trials, counted, counts_in_words
        from async_commander.runner.signals import install

        shell, shown = self._called_from_command_line, self.stderr if options["verbosity"] >= 2 else None
        try:
            trials = Trials(stops=install() if shell else None, output=shown, database=options["database"])
        except (InvalidCommand, ImproperlyConfigured) as error:
            raise CommandError(str(error)) from error
        width, done = max(map(len, trials.names), default=0), []
        with stdout_on_stderr() if options["json"] and shell else nullcontext():
            for trial in trials:
                done.append(trial)
                if not options["json"]:
                    self.stdout.write(trial.line(width), self.style.ERROR if trial.outcome == FAILED else None)
                    self.stdout.flush()
        if options["json"]:
            self.stdout.write(to_json({**counted(done), "trials": [trial.as_json() for trial in done]}))
            self._is_told = True
        else:
            self.stdout.write(f"\n{counts_in_words(done)}.")
        if trials.stops is not None and trials.stops.signal is not None:
            sys.exit(EXIT_SIGNAL_BASE + trials.stops.signal)
        if counted(done)[FAILED]:
            if not shell:
                raise CommandError(counts_in_words(done), returncode=EXIT_FAILED)
            sys.exit(EXIT_FAILED)

    def _read(self, prog: str, name: str, tokens: Sequence[str]) -> Namespace:
        self._typed_name = name
        try:
            self.use(get_command(name))
            parser = self.own_parser(f"{prog} {name}")
        except (CommandNotFound, AmbiguousName) as error:
            self._refuse(prog, error, EXIT_USAGE, tokens)
        except (InvalidCommand, ImproperlyConfigured) as error:
            self._refuse(prog, error, EXIT_FAILED, tokens)
        options: Namespace = parser.parse_args(tokens)
        # `call_command` asks for these right after parsing: what it was given by keyword must be among them.
        self.stealth_options = parser.names
        return options

    def _refuse(self, prog: str, error: Exception, code: int, tokens: Sequence[str]) -> NoReturn:
        """End before Django's own handling of errors begins, which is once the line was read."""
        if not self._called_from_command_line:
            raise CommandError(str(error), returncode=code) from error
        if "--traceback" in tokens:
            raise error
        self.stderr.write(f"{prog}: {error}")
        raise Refusal(code, str(error))

    def _name(self) -> str:
        return super()._name() or self._typed_name

    def _list(self, options: dict[str, Any]) -> None:
        lines = self._lines()
        if options["json"]:
            from async_commander.management.summary import to_json

            listed = [
                {"name": one.name, "app": one.app_label, "help": one.summary, "broken": one.broken} for one in lines
            ]
            self.stdout.write(to_json(listed))
            return
        width = shutil.get_terminal_size().columns if self.stdout.isatty() else sys.maxsize
        shown = render(lines, prog="manage.py arun", width=width)
        self.write_lines(self._coloured(line) for line in shown)

    def _coloured(self, line: str) -> str:
        if line.startswith("["):
            return self.style.NOTICE(line)
        return self.style.ERROR(line) if f"  {BROKEN}" in line else line

    def _lines(self) -> list[Line]:
        try:
            clashes = find_clashes()
            single = [file for name, file in get_commands().items() if name not in clashes]
        except (InvalidCommand, ImproperlyConfigured) as error:
            raise CommandError(str(error)) from error
        return list_commands(single, [file for files in clashes.values() for file in files])
