"""The command line that resumes a run which was named without its arguments."""

from __future__ import annotations

import shlex
from argparse import ArgumentParser
from typing import TYPE_CHECKING, Any

from django.db import router

from async_commander.command.arguments import arguments_of, to_json
from async_commander.command.identity import identity
from async_commander.command.registry import name_of
from async_commander.models import Run

from .steps import HIDDEN

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from async_commander.command.arguments import Argument
    from async_commander.command.base import AsyncCommand


def line_to_resume(command: AsyncCommand, prog: str, run_id: int, database: str | None = None) -> str:
    """The line with the arguments that the run began with; nothing where it is another command's, or has the same."""
    cls = type(command)
    run = _run_of(cls, run_id, database)
    if run is None or run.identity == identity(run.command, to_json(cls, command.parameters)):
        return ""
    return _line(cls, prog, run, database)


def line_to_resume_as_asked(cls: type[AsyncCommand], prog: str, tokens: Sequence[str]) -> str:
    """The same for a line that lacks what the command requires; nothing where it names no run of this command."""
    parser = ArgumentParser(add_help=False, allow_abbrev=False, exit_on_error=False)
    parser.add_argument("--resume-run", "--resume_run", type=int)
    parser.add_argument("--database")
    asked = parser.parse_known_args(tokens)[0]
    run = None if asked.resume_run is None else _run_of(cls, asked.resume_run, asked.database)
    return "" if run is None else _line(cls, prog, run, asked.database)


def _run_of(cls: type[AsyncCommand], run_id: int, database: str | None) -> Run | None:
    runs = Run.objects.using(database or router.db_for_write(Run))
    return runs.filter(command=name_of(cls), pk=run_id).first()


def _line(cls: type[AsyncCommand], prog: str, run: Run, database: str | None) -> str:
    named = ["--resume-run", str(run.pk)] + (["--database", database] if database else [])
    return " ".join(
        [prog, *map(shlex.quote, [*_options(cls, run.parameters), *named, *_positionals(cls, run.parameters)])]
    )


def _options(cls: type[AsyncCommand], stored: Mapping[str, Any]) -> Iterator[str]:
    """The options of the identity that are no defaults, and what must be given anew, a secret, without its value."""
    for name, argument in arguments_of(cls).items():
        if not argument.positional and (argument.required or stored.get(name) != _default(argument)):
            if argument.in_identity and name in stored:
                yield from _option(argument, stored[name])
            elif argument.required:
                yield f"{_long(argument)}={HIDDEN}"


def _positionals(cls: type[AsyncCommand], stored: Mapping[str, Any]) -> list[str]:
    found = [(name in stored, stored.get(name)) for name, each in arguments_of(cls).items() if each.positional]
    tokens = [token for known, value in found for token in (_texts(value) if known else [HIDDEN])]
    return ["--", *tokens] if any(token.startswith("-") for token in tokens) else tokens


def _option(argument: Argument, value: Any) -> Iterator[str]:
    if argument.is_flag:
        yield argument.spellings[-1] if value is False else _long(argument)
    elif value == []:
        yield _long(argument)
    elif value is not None:
        yield from (f"{_long(argument)}={text}" for text in _texts(value))


def _default(argument: Argument) -> Any:
    return None if argument.required else argument.to_json(argument.default)


def _long(argument: Argument) -> str:
    return next(each for each in argument.spellings if each.startswith("--"))


def _texts(value: Any) -> list[str]:
    return [str(each) for each in value] if isinstance(value, list) else [str(value)]
