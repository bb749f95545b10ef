"""What `parameter_names` and a static `add_arguments(parser)` say, as arguments: parameters are a run's identity."""

from __future__ import annotations

import inspect
from argparse import ONE_OR_MORE, OPTIONAL, ZERO_OR_MORE, Action, ArgumentParser
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Any, ClassVar
from uuid import UUID

from async_commander.command.annotations import label_of
from async_commander.command.arguments import Option
from async_commander.command.inside_argparse import actions_of
from async_commander.exceptions import InvalidCommand

_TYPES: dict[Any, type] = {
    None: str,
    date.fromisoformat: date,
    datetime.fromisoformat: datetime,
    **{each: each for each in (str, int, float, Decimal, Path, UUID)},
}
"""What argparse calls to read a text, and the type of what it makes."""


def declare_parameters(cls: Any) -> None:
    """Make arguments of a class's parameters, and leave its options to `add_arguments()`.

    InvalidCommand for a parameter that `add_arguments()` does not add, or that is of a type which no run could be known
    by.
    """
    names = tuple(cls.parameter_names)
    written = vars(cls).get("add_arguments")
    if written is None and "parameter_names" in vars(cls):
        written = getattr(cls.add_arguments, "__written__", None)  # a base's, read for other parameters
    if written is None:
        return

    def add_arguments(self: Any, parser: ArgumentParser) -> None:
        with _leaving_out(parser, names):
            written.__get__(self, type(self))(parser)

    add_arguments.__written__ = written  # type: ignore[attr-defined]  # functions carry any attribute
    cls.add_arguments = add_arguments
    every = ArgumentParser(add_help=False)
    written.__get__(object.__new__(cls), cls)(every)
    added = {action.dest: action for action in actions_of(every)}
    for name in names:
        if name not in added:
            known = ", ".join(added) or "nothing"
            raise InvalidCommand(f"{label_of(cls)}: parameter_names has {name!r}; add_arguments() adds {known}")
    in_order = [action for name, action in added.items() if name in names]
    before = {name for base in cls.__mro__[1:] for name in vars(base).get("parameter_names", ())}
    annotations: dict[str, Any] = dict.fromkeys(before - set(names), ClassVar[Any])  # which takes an argument away
    annotations |= {action.dest: _annotation(cls, action) for action in in_order}
    cls.__annotations__ = {**inspect.get_annotations(cls), **annotations}
    for action in in_order:
        if not action.required:
            setattr(cls, action.dest, action.default)


def _annotation(cls: type, action: Action) -> Any:
    place = f"{label_of(cls)}: the parameter {action.dest!r}"
    if type(action).__name__ in ("_StoreTrueAction", "_StoreFalseAction"):
        kind: Any = bool
    elif type(action).__name__ != "_StoreAction":
        raise InvalidCommand(f"{place} is no single value: leave it out of parameter_names, so that it is an option")
    elif action.type not in _TYPES:
        known = ", ".join(each.__name__ for each in dict.fromkeys(_TYPES.values()))
        raise InvalidCommand(
            f"{place} has type={action.type!r}: no run could be known by what that makes. Allowed: {known}; take a "
            "text, and read it in the command."
        )
    else:
        kind = _TYPES[action.type]
    if action.nargs in (ZERO_OR_MORE, ONE_OR_MORE) or isinstance(action.nargs, int):
        kind = list[kind]
    elif action.nargs == OPTIONAL or not action.required:
        kind = kind | None if action.default is None else kind
    return Annotated[
        kind,
        Option(
            help=action.help or "",
            named=bool(action.option_strings),
            secret=False,  # what is a parameter there, is one here: it says which run this is
            choices=None if action.choices is None else list(action.choices),
        ),
    ]


@contextmanager
def _leaving_out(parser: ArgumentParser, names: tuple[str, ...]) -> Iterator[None]:
    """For the block the parser takes these for said already."""
    add, aside = parser.add_argument, ArgumentParser(add_help=False)

    def add_argument(*flags: Any, **words: Any) -> Action:
        action = aside.add_argument(*flags, **words)
        return action if action.dest in names else add(*flags, **words)

    parser.add_argument = add_argument  # type: ignore[method-assign]
    try:
        yield
    finally:
        del parser.add_argument
