"""Carries out what `managed` declares: a Django command, or a function, as one run."""

from __future__ import annotations

import functools
import inspect
import logging
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from django.apps import apps
from django.core.management.base import BaseCommand, CommandError, OutputWrapper

from async_commander.command.options import DJANGO_OPTIONS
from async_commander.database.rehearsal import Figures
from async_commander.exceptions import AsyncCommanderError
from async_commander.history.exclusive import OnceMet
from async_commander.models import Run
from async_commander.runner.output import Kept
from async_commander.runner.plain import PlainRun, awaited, plan_of
from async_commander.text.redactor import Tail

from .refusals import refusal_code

logger = logging.getLogger("async_commander.run")


class CommandRun:
    """One run of a Django command: its own options are kept, and what it writes; Django's options are not."""

    def __init__(
        self, command: BaseCommand, name: str | None, args: tuple[Any, ...], options: Mapping[str, Any], **how: Any
    ) -> None:
        self._command = command
        self._verbosity = options.get("verbosity", 1)
        asked = {} if self._verbosity == 1 else {"verbosity": self._verbosity}
        given = {one: value for one, value in options.items() if one not in DJANGO_OPTIONS and one != "dry_run"}
        self._plan = plan_of(
            name or name_of_command(type(command)),
            {**given, **({"args": list(args)} if args else {})},
            options={**asked, "run_once": True} if how.get("run_once") else asked,
            trigger="terminal" if getattr(command, "_called_from_command_line", False) else "call",
            sender=type(command),
            **how,
        )
        self._run = PlainRun(self._plan)

    @property
    def has_begun(self) -> bool:
        """Whether there is a run: it was neither skipped nor refused."""
        return self._run.run_id is not None

    @property
    def would(self) -> Figures:
        """What a dry run would have written."""
        return self._run.would

    def row(self) -> Run:
        """The row of the run, read anew."""
        return self._run.row()

    def carry_out(self, body: Callable[[], Any]) -> Any:
        """Run the body. Why it was not run is said in Django's way: a line on stdout, or CommandError."""
        command, output = self._command, self._plan.output

        def work() -> Any:
            value = awaited(body())
            if isinstance(value, str) and value:  # which Django writes to stdout
                output.append(value if value.endswith("\n") else f"{value}\n")
            return value

        try:
            with _kept_output(command, output):
                return self._run.carry_out(work, command.stderr.write)
        except AsyncCommanderError as error:
            if self.has_begun:
                raise
            if not isinstance(error, OnceMet):
                raise CommandError(str(error), returncode=refusal_code(error)) from error
            if self._verbosity > 0:
                command.stdout.write(command.style.WARNING(f"Skipping: {error}"))
            return None


def carry_out(
    function: Callable[..., Any], name: str | None, args: tuple[Any, ...], options: Mapping[str, Any], **how: Any
) -> Any:
    """Call a function, as one run; None where it has happened and was to happen once."""
    body = functools.partial(function, *args, **options)
    if args and isinstance(args[0], BaseCommand):
        said = {one: how[one] or getattr(args[0], one, False) is True for one in how}
        return CommandRun(args[0], name, args[1:], options, **said).carry_out(body)
    given = _bound(function, args, options)
    run = PlainRun(plan_of(name or _name_of_function(function), given, sender=function, **how))
    try:
        return run.carry_out(lambda: awaited(body()), logger.info)
    except OnceMet as met:
        return _skipped(met, run)


async def carry_out_async(
    function: Callable[..., Awaitable[Any]],
    name: str | None,
    args: tuple[Any, ...],
    options: Mapping[str, Any],
    **how: Any,
) -> Any:
    """The same for a coroutine function."""
    given = _bound(function, args, options)
    run = PlainRun(plan_of(name or _name_of_function(function), given, sender=function, **how))
    try:
        return await run.carry_out_async(lambda: function(*args, **options), logger.info)
    except OnceMet as met:
        return _skipped(met, run)


def _skipped(met: OnceMet, run: PlainRun) -> None:
    """It has happened. Raises where it was the body that met another one."""
    if run.run_id is not None:
        raise met
    logger.info("%s", met)


@contextmanager
def _kept_output(command: BaseCommand, memory: Tail) -> Iterator[None]:
    """For the block, what the command writes to its streams is kept, too, and shows no secrets."""
    wrappers: list[Any] = [stream for stream in (command.stdout, command.stderr) if isinstance(stream, OutputWrapper)]
    streams = [wrapper._out for wrapper in wrappers]  # noqa: SLF001 - where Django keeps the stream
    kept = [Kept(stream, memory) for stream in streams]
    for wrapper, stream in zip(wrappers, kept, strict=True):
        wrapper._out = stream  # noqa: SLF001 - likewise
    try:
        yield
    finally:
        for wrapper, stream, before in zip(wrappers, kept, streams, strict=True):
            stream.release()
            wrapper._out = before  # noqa: SLF001 - likewise


def _bound(function: Callable[..., Any], args: tuple[Any, ...], options: Mapping[str, Any]) -> dict[str, Any]:
    """The values of a call by their names; the instance of a method is no value."""
    try:
        values = inspect.signature(function).bind(*args, **options).arguments
    except TypeError:  # the call itself says what is wrong with it
        return dict(options)
    return {name: value for name, value in values.items() if name not in {"self", "cls"}}


def name_of_command(command: type[BaseCommand]) -> str:
    """`app_label.module`; all of the module's name where it is in no app."""
    return _in_its_app(command.__module__, command.__module__.rpartition(".")[2]) or command.__module__


def _name_of_function(function: Callable[..., Any]) -> str:
    """`app_label.function`; of a migration `app_label.module`, for its functions have the same names everywhere."""
    module = function.__module__
    before, _, last = module.rpartition(".")
    name = last if before.endswith(".migrations") else function.__qualname__.replace(".<locals>", "")
    return _in_its_app(module, name) or f"{module}.{name}"


def _in_its_app(module: str, name: str) -> str:
    app = apps.get_containing_app_config(module)
    return "" if app is None else f"{app.label}.{name}"
