"""What argparse keeps of a parser under private names: the one place that asks for them.

There are no public ones, so that Django's `call_command` and its parser ask for the same ones. A list is needed of what
an author's `add_arguments()` has added: a call from code gives the values by name, without a line to parse.
"""

from __future__ import annotations

from argparse import (
    Action,
    ArgumentParser,
    HelpFormatter,
    _AppendAction,
    _AppendConstAction,
    _ArgumentGroup,
    _CountAction,
    _ExtendAction,
    _HelpAction,
    _MutuallyExclusiveGroup,
    _StoreAction,
    _StoreConstAction,
    _StoreFalseAction,
    _StoreTrueAction,
    _SubParsersAction,
    _VersionAction,
)
from collections.abc import Iterator, Mapping
from functools import cache
from typing import Any


class KeepsDashes(ArgumentParser):
    """Reads `--name=--` as the value that it is: the argparse of Python 3.11 takes it out."""

    def _get_values(self, action: Action, arg_strings: list[str]) -> Any:
        if action.option_strings and arg_strings == ["--"] and _loses_dashes():
            arg_strings = ["--", "--"]
        return super()._get_values(action, arg_strings)


@cache
def _loses_dashes() -> bool:
    parser = ArgumentParser(add_help=False)
    parser.add_argument("--name", nargs="*")
    read: list[str] = parser.parse_args(["--name=--"]).name
    return read != ["--"]


def actions_of(parser: ArgumentParser) -> list[Action]:
    """What a parser reads: positions and options, in the order in which they were added."""
    return parser._actions


def fixed_values_of(parser: ArgumentParser) -> dict[str, Any]:
    """What `set_defaults()` gave a parser, to be changed in place."""
    return parser._defaults


def spellings_of(parser: ArgumentParser) -> dict[str, Action]:
    """The options of a parser by all that they may be written as, to be added to in place."""
    return parser._option_string_actions


def titled_groups_of(parser: ArgumentParser) -> list[_ArgumentGroup]:
    """The groups under which the help shows options."""
    return parser._action_groups


def exclusive_groups_of(parser: ArgumentParser) -> list[_MutuallyExclusiveGroup]:
    """Groups of options of which a line may have one."""
    return parser._mutually_exclusive_groups


def members_of(group: _MutuallyExclusiveGroup) -> list[Action]:
    """The options of such a group."""
    return group._group_actions


def verbs_of(action: Action) -> Mapping[str, ArgumentParser]:
    """The parsers of an action's sub-commands by name; none where it is no `add_subparsers()`."""
    return action.choices if isinstance(action, _SubParsersAction) else {}


def with_verbs(parser: ArgumentParser) -> Iterator[ArgumentParser]:
    """A parser and those of its sub-commands."""
    yield parser
    for action in actions_of(parser):
        for below in verbs_of(action).values():
            yield from with_verbs(below)


def is_help(action: Action) -> bool:
    """Whether an action is `--help`, or another that ends the process with a text."""
    return isinstance(action, _HelpAction | _VersionAction)


# An author's own class may do anything with what it is given: these know argparse's own ones, and no class below them.


def stores(action: Action) -> bool:
    """Whether it keeps the value, or the list of values, that it is given."""
    return type(action) is _StoreAction


def appends(action: Action) -> str:
    """Where it keeps all that it is given, what of: "values", or "lists" of them."""
    if type(action) is _ExtendAction:
        return "values"
    return ("values" if action.nargs is None else "lists") if type(action) is _AppendAction else ""


def is_flag(action: Action) -> bool:
    """Whether it is given without a value."""
    return type(action) in (_StoreTrueAction, _StoreFalseAction, _StoreConstAction, _AppendConstAction)


def adds_up(action: Action) -> bool:
    """Whether it counts how often it is given."""
    return type(action) is _CountAction


def opens_a_file(action: Action) -> bool:
    """Whether its value is `FileType()`, which argparse will lose some day."""
    return type(action.type).__name__ == "FileType"


def help_of(action: Action) -> str:
    """What the author says of it, with `%(default)s` and the like filled in."""
    return HelpFormatter(prog="arun")._expand_help(action) if action.help else ""
