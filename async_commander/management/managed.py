"""Plain Django commands whose runs are kept: `ManagedCommand` for new ones, `tracked` for those that are there."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar, overload

from django.core.management.base import BaseCommand, CommandParser

from async_commander.command.inside_argparse import actions_of, spellings_of
from async_commander.exceptions import AsyncCommanderError

from .formatting import would_write

if TYPE_CHECKING:
    from async_commander.database.rehearsal import Figures
    from async_commander.models import Run

    from .plain_runs import CommandRun

Target = TypeVar("Target", bound=Callable[..., Any])

_OPTIONS = {
    "dry_run": "do everything, and roll it back on every database at the end",
    "force": "run also where it has succeeded already",
    "wait": "wait for the end of another process's run, rather than be refused for it",
}
"""What a managed command offers beside its own options, where its author has none of that name."""


class ManagedCommand(BaseCommand):
    """A Django command whose runs are kept: when it began and ended, and how, with its options and its output.

        class Command(ac.ManagedCommand):
            help = "Create the first rows"
            run_once = True

            def execute_command(self, *args, **options):
                self.stdout.write("Creating regions")
                return f"{create_regions()} regions created"

    `execute_command` stands in the place of `handle`. It may be `async def`; what it returns is the run's value. A text
    is written to stdout as well, as Django does it; `call_command` returns anything.
    """

    run_once: ClassVar[bool] = False
    """Once it has succeeded it is skipped, whatever its options. `--force` runs it."""
    single_instance: ClassVar[bool] = False
    """One at a time. A second start is refused with exit code 75; `--wait` waits."""
    provenance: ClassVar[bool] = False
    """Record which objects it writes, of all models; those of a `LoggedModel` are recorded in any case."""
    mail_admins: ClassVar[bool | None] = None
    """Whether ADMINS get a mail for each run that fails or crashes. None: as the settings say."""
    command_name: ClassVar[str | None] = None
    """What its runs are recorded under; `app_label.module` where it says nothing."""
    dry_run = False
    """Whether all that is written now will be rolled back."""
    _run: CommandRun | None = None
    _value: Any = None
    _rehearsed = False
    _would: Figures | None = None
    _offered: frozenset[str] = frozenset()

    def execute_command(self, *args: Any, **options: Any) -> Any:
        """Do the command's work. Options come as they do in Django's `handle`."""
        raise NotImplementedError("subclasses of ManagedCommand must provide an execute_command() method")

    def body(self, *args: Any, **options: Any) -> Any:
        """What is carried out, and kept: `execute_command`. A base class for others may put something around it."""
        return self.execute_command(*args, **options)

    @property
    def record(self) -> Run:
        """The row of this run, read anew. Only while it is under way."""
        if self._run is None:
            raise AsyncCommanderError("self.record exists only while the command runs: use it in execute_command()")
        return self._run.row()

    def create_parser(self, prog_name: str, subcommand: str, **kwargs: Any) -> CommandParser:
        """As Django's, with --dry-run, and --force and --wait where they mean something."""
        parser = super().create_parser(prog_name, subcommand, **kwargs)
        means = {"dry_run": True, "force": self.run_once, "wait": self.run_once or self.single_instance}
        taken = {action.dest for action in actions_of(parser)} | spellings_of(parser).keys()
        offered = [name for name in _OPTIONS if means[name] and not taken & {name, _flag(name)}]
        for name in offered:
            parser.add_argument(_flag(name), action="store_true", dest=name, help=_OPTIONS[name])
        self._offered = frozenset(offered)
        return parser

    def execute(self, *args: Any, **options: Any) -> Any:
        """As Django's; returns what `execute_command` returned, whatever it is."""
        self._value, self._rehearsed = None, False
        super().execute(*args, **options)
        if self._rehearsed and options.get("verbosity", 1) > 0:
            self.stdout.write(self.style.WARNING("DRY RUN: all that was written to databases was rolled back."))
            for line in would_write(self._would or {}):
                self.stdout.write(f"  {line}")
        return self._value

    def handle(self, *args: Any, **options: Any) -> str | None:
        """Carry out `execute_command`, and keep how it went."""
        from .plain_runs import CommandRun

        asked = options.get("dry_run")
        self.dry_run = bool(asked) if "dry_run" in self._offered else asked is True  # an author's own may be a text
        ours = {name: bool(options.get(name)) for name in ("force", "wait") if name in self._offered}
        own = {name: value for name, value in options.items() if name not in self._offered}
        kept = {one: getattr(self, one) for one in ("run_once", "single_instance", "dry_run", "provenance")}
        self._run = CommandRun(self, self.command_name, args, own, **kept, **ours)
        try:
            self._value = self._run.carry_out(functools.partial(self.body, *args, **options))
            self._rehearsed, self._would = self.dry_run and self._run.has_begun, self._run.would
        finally:
            self._run = None
        return self._value if isinstance(self._value, str) else None


def _flag(name: str) -> str:
    return "--" + name.replace("_", "-")


@overload
def tracked(target: Target, /) -> Target: ...


@overload
def tracked(
    *, name: str | None = None, run_once: bool = False, single_instance: bool = False, provenance: bool = False
) -> Callable[[Target], Target]: ...


def tracked(
    target: Callable[..., Any] | None = None,
    /,
    *,
    name: str | None = None,
    run_once: bool = False,
    single_instance: bool = False,
    provenance: bool = False,
) -> Any:
    """Keep the runs of a Django command that is there already, or of any function, `async def` or not.

        @ac.tracked                                    # a command's class, or its handle()
        class Command(BaseCommand): …

        @ac.tracked(name="shop.fill", run_once=True)   # a function: of a script, or of a migration's RunPython
        def fill(apps, schema_editor): …

    Its result is returned, its errors are raised. With `run_once` a second call returns None and does nothing, with
    `single_instance` one that comes too early raises RunLocked (a command: exit code 75). Runs are recorded under
    `name`, else `app_label.module` of a command or a migration, `app_label.function` of anything else. With
    `provenance` each keeps which objects it has written, of all models.
    """
    how = {"run_once": run_once, "single_instance": single_instance, "provenance": provenance}
    return functools.partial(_tracked, name=name, **how) if target is None else _tracked(target, name=name, **how)


def _tracked(target: Any, *, name: str | None, **how: bool) -> Any:
    if isinstance(target, type) and issubclass(target, ManagedCommand):
        raise TypeError(f"{target.__qualname__} is a ManagedCommand: its runs are kept already, leave @ac.tracked out")
    if isinstance(target, type) and issubclass(target, BaseCommand):
        of_class: Any = target
        of_class.handle = _tracked(target.handle, name=name, **how)
        return target
    if not inspect.isfunction(target):
        raise TypeError(
            f"@ac.tracked is for Django's commands and for functions, not for {target!r}. Put @staticmethod and "
            "@classmethod around it."
        )
    if inspect.isgeneratorfunction(target) or inspect.isasyncgenfunction(target):
        raise TypeError(f"@ac.tracked: {target.__qualname__}() has a `yield` in it: its work is done by who iterates")

    if inspect.iscoroutinefunction(target):

        @functools.wraps(target)
        async def carried_out_async(*args: Any, **options: Any) -> Any:
            from .plain_runs import carry_out_async

            return await carry_out_async(target, name, args, options, **how)

        return carried_out_async

    @functools.wraps(target)
    def carried_out(*args: Any, **options: Any) -> Any:
        from .plain_runs import carry_out

        return carry_out(target, name, args, options, **how)

    return carried_out
