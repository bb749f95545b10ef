"""winidjango's base for Django commands: its built-in options, each with an effect or for the author to read."""

from __future__ import annotations

import signal
import threading
from abc import ABC, abstractmethod
from argparse import ArgumentParser
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, ClassVar, NoReturn

from django.core.management.base import CommandError, CommandParser

from async_commander.management import managed


class ABCBaseCommand(managed.ManagedCommand, ABC):
    """A Django command with built-in options: write `add_command_arguments()` and `handle_command()`."""

    class Options:
        """The names of the built-in options."""

        DRY_RUN = "dry_run"
        FORCE = "force"
        DELETE = "delete"
        YES = "yes"
        TIMEOUT = "timeout"
        BATCH_SIZE = "batch_size"
        THREADS = "threads"
        PROCESSES = "processes"

    _BUILT_IN: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        Options.DRY_RUN: {"action": "store_true", "help": "do everything, and roll it back at the end"},
        Options.FORCE: {"action": "store_true", "help": "go ahead; also where it is to run once, and has"},
        Options.DELETE: {"action": "store_true", "help": "delete what is to be deleted"},
        Options.YES: {"action": "store_true", "help": "answer every question with yes"},
        Options.TIMEOUT: {"type": int, "metavar": "SECONDS", "help": "end the command then, as a failure"},
        Options.BATCH_SIZE: {"type": int, "metavar": "N", "help": "so many items at once"},
        Options.THREADS: {"type": int, "metavar": "N", "help": "so many threads"},
        Options.PROCESSES: {"type": int, "metavar": "N", "help": "so many processes"},
    }

    def add_arguments(self, parser: CommandParser) -> None:
        """The built-in options, and those of the command."""
        self.base_add_arguments(parser)
        self.add_command_arguments(parser)

    def base_add_arguments(self, parser: ArgumentParser) -> None:
        """The built-in options, with dashes as well."""
        for name, words in self._BUILT_IN.items():
            spellings = dict.fromkeys((f"--{name}", f"--{name.replace('_', '-')}"))
            parser.add_argument(*spellings, dest=name, **words)

    @abstractmethod
    def add_command_arguments(self, parser: ArgumentParser) -> None:
        """Add the command's own options."""

    @abstractmethod
    def handle_command(self) -> Any:
        """Do the command's work."""

    def create_parser(self, prog_name: str, subcommand: str, **kwargs: Any) -> CommandParser:
        """See ManagedCommand; `--force` is the built-in one, and passes `run_once` as well."""
        parser = super().create_parser(prog_name, subcommand, **kwargs)
        self._offered |= {self.Options.FORCE}
        return parser

    def body(self, *args: Any, **options: Any) -> Any:
        """`execute_command`, within `--timeout`."""
        with _ended_after(options.get(self.Options.TIMEOUT)):
            return super().body(*args, **options)

    def execute_command(self, *args: Any, **options: Any) -> Any:
        """Keep the options for `get_option()`, and do the work."""
        self.base_handle(*args, **options)
        return self.handle_command()

    def base_handle(self, *args: Any, **options: Any) -> None:
        """Keep what was given."""
        self.args = args
        self.options = options

    def get_option(self, option: str) -> Any:
        """The value of an option, by its name with underscores. KeyError where there is none."""
        return self.options[option]


@contextmanager
def _ended_after(seconds: int | None) -> Iterator[None]:
    """TimeoutError in the block after so many seconds. So does a `signal.alarm()` of its own."""
    if seconds is None:
        yield
        return
    if seconds <= 0:
        raise CommandError(f"--timeout {seconds}: a number of seconds from 1 is needed")
    if threading.current_thread() is not threading.main_thread():
        raise CommandError(f"--timeout {seconds}: only in the main thread of a process can a command be ended by time")

    def ended(*_: Any) -> NoReturn:
        raise TimeoutError(f"the command passed its time-out of {seconds} s")

    before = signal.signal(signal.SIGALRM, ended)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)
