"""From a line in the terminal to a run: reads the line, builds the command, has it run, reports the end."""

from __future__ import annotations

import getpass
import inspect
import signal
import sys
from argparse import ArgumentParser
from contextlib import ExitStack, nullcontext
from dataclasses import replace
from itertools import takewhile
from typing import TYPE_CHECKING, Any

from django.core.exceptions import ImproperlyConfigured
from django.core.management.base import CommandError

from async_commander.command.annotations import label_of
from async_commander.command.base import check_made, redactor_of
from async_commander.command.declaration import check_acting, declaration_of, filled_in
from async_commander.command.options import BRINGS_ARGUMENTS, BY_NAME, DJANGO_OPTIONS, KEPT
from async_commander.command.parser import add_arguments_to
from async_commander.command.registry import name_of
from async_commander.engine.limits import Limits
from async_commander.exceptions import AsyncCommanderError, InvalidCommand
from async_commander.results import EXIT_USAGE, RunStatus
from async_commander.text.clean import plain

from .options import acting, bounds_in, flags_of, requests_in
from .parsers import CommandLineParser, command_parser
from .refusals import code_of, reason_of, refusal_code, told_where_unreachable
from .steps import Invocation
from .terminal_command import TerminalCommand, program, stdout_on_stderr

if TYPE_CHECKING:
    from collections.abc import Mapping

    from async_commander.command.base import AsyncCommand
    from async_commander.results import RunResult
    from async_commander.runner.request import RunRequest
    from async_commander.runner.signals import StopRequests
    from async_commander.text.redactor import Redactor


class RunCommand(TerminalCommand):
    """A management command of Django's that runs one async command.

    Exit codes: those of `RunResult.exit_code`, and 2 for wrong usage. Called by `call_command`, it raises CommandError
    (with that `returncode`) for a failed run and returns nothing for any other.
    """

    command_class: type[AsyncCommand] | None = None
    _called_from_command_line = False
    _stops: StopRequests | None = None
    _result: RunResult | None = None
    _is_told = False
    """Whether stdout has the document that `--json` asks for."""
    invocation = Invocation("manage.py arun", ())

    def use(self, command_class: type[AsyncCommand]) -> None:
        """Run this command, with the checks that it asks for. InvalidCommand where its hooks do not fit."""
        declaration_of(command_class)
        self.command_class = command_class
        self.requires_system_checks = command_class.requires_system_checks  # type: ignore[assignment]
        self.requires_migrations_checks = command_class.requires_migrations_checks

    def create_parser(self, prog_name: str, subcommand: str, **kwargs: Any) -> CommandLineParser:
        """The parser of the one command."""
        del kwargs
        self.use(self._chosen())
        return self.own_parser(f"{program(prog_name)} {subcommand}".strip())

    def own_parser(self, prog: str) -> CommandLineParser:
        """The parser of the command in use."""
        command_class = self._chosen()

        def declare(parser: ArgumentParser) -> None:
            add_arguments_to(parser, command_class)

        declared = declaration_of(command_class)
        shared = acting(declared.features, declared.lives_by)
        return command_parser(prog, describe(command_class), declare, shared, shell=self._called_from_command_line)

    def run_from_argv(self, argv: list[str]) -> None:
        """See TerminalCommand."""
        self.invocation = Invocation(f"{program(argv[0])} {argv[1]}", argv[2:])
        super().run_from_argv(argv)

    def _run_line(self, argv: list[str]) -> None:
        try:
            super()._run_line(argv)
        except BaseException as error:
            code = code_of(error)
            if not code or self._is_told:
                raise
            typed = "--json" in takewhile(lambda token: token != "--", argv)  # noqa: S105 - a token of the command line
            if typed or (self.command_class and self.command_class.option_defaults.get("json")):
                from .summary import refusal_document

                self.stdout.write(refusal_document(self._name(), code, reason_of(error)))
            raise

    def _name(self) -> str:
        if self.command_class is None:
            return ""
        try:
            return name_of(self.command_class)
        except (InvalidCommand, ImproperlyConfigured):  # the settings, of which we are about to tell
            return label_of(self.command_class)

    def tell_loss(self, error: Exception) -> bool:
        """See TerminalCommand; after a run the exit code is the run's, which has done its work."""
        result = self._result
        if result is None:
            return super().tell_loss(error)
        kept = f" `aruns show {result.run_id} -v 2` has it." if result.run_id is not None else ""
        self.stderr.write(f"{result.command}: {result.status}, but its output could not be written: {error}.{kept}")
        return False

    def execute(self, *args: Any, **options: Any) -> str | None:
        """See TerminalCommand; signals stop the run in order from here on, checks included."""
        if self._called_from_command_line and self.command_class is not None:
            from async_commander.runner.signals import install

            self._stops = install()
        return super().execute(*args, **options)

    def check(self, *args: Any, **options: Any) -> None:
        """As Django's; from 6.1 on it asks the databases too. Before a run, names of other commands are no matter."""
        from async_commander.checks import checks_for_a_run

        with told_where_unreachable(), checks_for_a_run() if self.command_class is not None else nullcontext():
            super().check(*args, **options)

    def check_migrations(self) -> None:
        """As Django's."""
        with told_where_unreachable():
            super().check_migrations()

    def handle(self, *args: Any, **options: Any) -> None:
        """Run the command and end with its exit code."""
        if args:  # which Django takes out of what was parsed
            options["args"] = list(args)
        try:
            command, request = self._prepared(options)
        except (AsyncCommanderError, TypeError, ValueError) as error:
            code = refusal_code(error) if isinstance(error, AsyncCommanderError) else EXIT_USAGE
            raise CommandError(str(error), returncode=code) from error
        if request.detach:
            self._detach(command, request, options)
        else:
            self._run(command, request, options)

    def _detach(self, command: AsyncCommand, request: RunRequest, options: Mapping[str, Any]) -> None:
        """Leave the run to a worker, and say what it is followed by."""
        from async_commander.queues.engine import engine_of
        from async_commander.queues.retrying import leave
        from async_commander.runner.caller import as_served
        from async_commander.runner.plan import make_plan

        try:
            engine = engine_of()
            handle = leave(make_plan(command, as_served(request), shared=False), engine)
        except AsyncCommanderError as error:
            raise CommandError(str(error), returncode=refusal_code(error)) from error
        run_id, name = handle.run_id, name_of(type(command))
        if options["json"]:
            from .summary import to_json

            document = {"run": run_id, "command": name, "status": RunStatus.QUEUED, "engine": engine.name}
            self.stdout.write(to_json(document))
            self._is_told = True
        elif request.verbosity:
            line = replace(self.invocation, database=request.database).line_to_show(run_id)
            self.stdout.write(f"Run {run_id} of {name} is queued ({engine.name}). To see it:  {line}")

    def _prepared(self, options: dict[str, Any]) -> tuple[AsyncCommand, RunRequest]:
        """The command, and what is asked of its run. What the line leaves out is put into `options`."""
        from async_commander.runner.request import RunRequest

        command_class = self._chosen()
        names = declaration_of(command_class).names
        given = {name: value for name, value in options.items() if value is not None or name in names}
        asked = [name for name in ("resume", *BRINGS_ARGUMENTS) if given.get(name)]
        if len(asked) > 1:
            told = " and ".join(flags_of(BY_NAME[name]) for name in asked)
            raise ValueError(
                f"{told} contradict each other: the newest unfinished run, that one, its dead items, or one like it"
            )
        if run_ids := [given[name] for name in asked if name != "resume"]:
            given = self._with_stored(command_class, given, run_ids[0])
        options |= filled_in(command_class, given, own=not run_ids)
        check_acting(command_class, options)
        progress = options.get("progress")
        if progress is not None and (problem := BY_NAME["progress"].problem(progress)):  # by keyword: no parser saw it
            raise InvalidCommand(f"{problem}.")
        command = command_class(**{name: value for name, value in options.items() if name in names})
        check_made(command)
        request = RunRequest(
            **requests_in(options),
            limits=Limits(**bounds_in(options)),
            verbosity=options["verbosity"],
            no_color=options["no_color"],
            force_color=options["force_color"],
            django={name: options[name] for name in DJANGO_OPTIONS - {"args"} if name in options},
            trigger="terminal" if self._called_from_command_line else "call",
        )
        return command, request

    def _with_stored(self, command_class: type[AsyncCommand], given: dict[str, Any], run_id: int) -> dict[str, Any]:
        """What was given, with what that run was begun with; its secrets are asked for."""
        from async_commander.runner.plan import database_of, lacking_in_words, stored_arguments
        from async_commander.runner.request import RunRequest

        alias = database_of(RunRequest(database=filled_in(command_class, given, own=False).get("database")))
        stored = stored_arguments(command_class, run_id, alias, given)
        if stored.lacking and not (self._called_from_command_line and sys.stdin and sys.stdin.isatty()):
            raise InvalidCommand(lacking_in_words(run_id, stored.lacking))
        asked = {name: asked_for_secret(f"{name}, which run {run_id} does not keep: ") for name in stored.lacking}
        shared = stored.shared if given.get("again") else {}
        return {**shared, **stored.values, **asked, **given}

    def _run(self, command: AsyncCommand, request: RunRequest, options: Mapping[str, Any]) -> None:
        from async_commander.runner.entry import drive_from_call, drive_from_shell

        from .log_lines import log_shown
        from .reporter import open_terminal

        declared, shell = declaration_of(type(command)), self._called_from_command_line
        invocation = replace(
            self.invocation,
            can_resume=KEPT in declared.features and not request.dry_run,
            redact=redactor_of(command),
            database=request.database,
        )
        with ExitStack() as stack:
            if request.json and shell:  # stdout is left to the document
                stack.enter_context(stdout_on_stderr())
            terminal = stack.enter_context(
                open_terminal(
                    self.stdout, self.stderr, options, invocation, counts_items=declared.has_items, shell=shell
                )
            )
            reporter = terminal.reporter
            stack.enter_context(log_shown(name_of(type(command)), request.verbosity, reporter))
            request = replace(request, stdout=terminal.out.file, stderr=terminal.err.file)
            try:
                if shell:
                    result = drive_from_shell(command, request, reporter, stops=self._stops)
                else:
                    result = drive_from_call(command, request, reporter)
            except AsyncCommanderError as error:
                raise CommandError(str(error), returncode=refusal_code(error)) from error
            self._result = result
        self._end(result, options, invocation.redact, told=reporter.result is not None and request.verbosity > 0)

    def _end(self, result: RunResult, options: Mapping[str, Any], redact: Redactor, *, told: bool) -> None:
        """Print the result for programs, which people have read in the summary; leave with the exit code."""
        if options["json"]:
            from .summary import json_document

            self.stdout.write(json_document(result, redact))
            self._is_told = True
        if not self._called_from_command_line:
            if result.locked or result.status is RunStatus.FAILED:
                raise CommandError(result.error, returncode=result.exit_code) from result.failure
            return
        if result.failure is not None and options["traceback"]:
            from async_commander.runner.verdicts import traceback_of

            self.stderr.write(traceback_of(result.failure, redact), str)
        if result.exit_code and not told:
            state = "locked" if result.locked else result.status
            self.stderr.write(f"{result.command}: {state}. {plain(result.error)}".rstrip())
        if result.exit_code:
            sys.exit(result.exit_code)

    def _chosen(self) -> type[AsyncCommand]:
        if self.command_class is None:
            raise CommandError("No command was named.", returncode=EXIT_USAGE)
        return self.command_class


def asked_for_secret(prompt: str) -> str:
    """What a person types unseen. Ctrl-C ends the process here, as there is no run yet to be stopped in order."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        return getpass.getpass(prompt)
    except EOFError:
        raise InvalidCommand("No run was begun: nothing was typed.") from None
    finally:
        signal.signal(signal.SIGINT, before)


def describe(command_class: type[AsyncCommand]) -> str:
    """What `--help` says of a command: its `help`, else its docstring."""
    return command_class.help or inspect.cleandoc(command_class.__doc__ or "")


def as_management_command(command_class: type[AsyncCommand]) -> type[RunCommand]:
    """A class for `manage.py`, `manage.py help` and `call_command`: one line in `shop/management/commands/fetch.py`.

    Command = ac.as_management_command(FetchCommand)
    """
    attributes = {
        "command_class": command_class,
        "help": describe(command_class),
        "__module__": command_class.__module__,
    }
    return type("Command", (RunCommand,), attributes)
