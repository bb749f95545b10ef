"""The arguments of a command on the command line: argparse in, values out."""

from __future__ import annotations

import inspect
from argparse import (
    OPTIONAL,
    REMAINDER,
    SUPPRESS,
    ZERO_OR_MORE,
    Action,
    ArgumentError,
    ArgumentParser,
    ArgumentTypeError,
)
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NoReturn

from async_commander.exceptions import AsyncCommanderError, InvalidCommand
from async_commander.text.names import is_secret_name
from async_commander.text.redactor import HIDDEN

from .annotations import is_ours, label_of
from .arguments import REQUIRED, Argument, arguments_of, check_missing
from .inside_argparse import (
    actions_of,
    exclusive_groups_of,
    fixed_values_of,
    is_help,
    members_of,
    spellings_of,
    verbs_of,
    with_verbs,
)
from .options import DJANGO_OPTIONS, OF_A_CALL, SHARED_OPTIONS
from .values import check_storable, plain_json

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from .hooks import Declaring


_SHORT_ONES = frozenset({"-h", "-v"})
_LONG_ONES = (SHARED_OPTIONS | DJANGO_OPTIONS | {"help"}) - {"stdout", "stderr", "args"}
"""Spellings of shared options, and of Django's; the last three are no options of the command line."""


@dataclass(frozen=True, slots=True)
class ExtraOption:
    """A value that `add_arguments()` brings."""

    name: str
    default: Any
    required: bool
    type: Callable[[str], Any] | None = None

    def restored(self, stored: Any) -> Any:
        """A value as it was before it was kept as JSON, which made a text of what it could not say.

        Where the option's own type does not make the same text again, the value was a text before, too.
        """
        if isinstance(stored, list):
            return [self.restored(member) for member in stored]
        if not isinstance(stored, str) or self.type is None:
            return stored
        try:
            value = self.type(stored)
        except (TypeError, ValueError, ArgumentTypeError):
            return stored
        return value if plain_json(value) == stored else stored


def add_arguments_to(parser: ArgumentParser, cls: type[Declaring]) -> None:
    """Add a command's arguments, and what its `add_arguments()` adds, to a parser, in both spellings.

    Values that are not given do not appear in the namespace. InvalidCommand where two options have one spelling, one
    of them a shared one perhaps.
    """
    extra_options(cls)
    for argument in arguments_of(cls).values():
        name, many = argument.name, argument.kind.members is not None
        words: dict[str, Any] = {"default": SUPPRESS}
        must_be_given = argument.required and argument.from_env() is REQUIRED
        if argument.is_flag:
            group = parser.add_mutually_exclusive_group(required=must_be_given)
            *positive, no = argument.spellings
            negative = [no]
            if argument.default is True:  # the short spelling, and help, are for what changes something
                positive, negative = positive[-1:], [*positive[:-1], no]
            for value, spellings in ((True, positive), (False, negative)):
                shown = SUPPRESS if argument.default is value else _help(argument)
                group.add_argument(*spellings, dest=name, action="store_const", const=value, help=shown, **words)
            continue
        words |= {"type": _converter(argument), "help": _help(argument)}
        if argument.choices:
            words["metavar"] = "{" + ",".join(argument.choices) + "}"
        if argument.positional:
            nargs = {(False, False): OPTIONAL, (False, True): None, (True, False): ZERO_OR_MORE, (True, True): "+"}
            parser.add_argument(name, nargs=nargs[many, must_be_given], **words)
        else:
            words |= {"action": "extend", "nargs": ZERO_OR_MORE} if many else {}
            parser.add_argument(*argument.spellings, dest=name, required=must_be_given, **words)
    _let_add(parser, cls)
    accept_both_spellings(parser)


def check_parser(cls: type[Declaring]) -> None:
    """InvalidCommand where a command's line in the terminal cannot be read, whatever is typed, or has no help."""
    parser = ArgumentParser(add_help=False)
    add_arguments_to(parser, cls)
    try:
        parser.format_help()
    except Exception as error:
        raise InvalidCommand(
            f"{label_of(cls)}: --help cannot be shown: {type(error).__name__}: {error}; a per cent sign in a help text "
            f"of add_arguments() is written %%"
        ) from error


def extra_options(cls: type[Declaring]) -> dict[str, ExtraOption]:
    """What `add_arguments()` of a class adds, by the names of the values; those of sub-commands too.

    InvalidCommand where it fails, and where a name or a spelling is taken.
    """
    if is_ours(next(base for base in cls.__mro__ if "add_arguments" in vars(base))):
        return {}
    place, parser = f"{label_of(cls)}.add_arguments()", own_parser(cls)
    found = {
        name: ExtraOption(name, value, required=False)
        for each in with_verbs(parser)
        for name, value in fixed_values_of(each).items()
    }
    for action in _all_actions(parser):
        read = action.type if callable(action.type) else None
        default = None if action.default == SUPPRESS else action.default
        try:
            default = read(default) if read and isinstance(default, str) else default
        except Exception as error:
            raise InvalidCommand(
                f"{place}: the default of {action.dest!r} is {default!r:.80}, which its type does not take: {error}"
            ) from error
        if action.dest and action.dest != SUPPRESS:
            found[action.dest] = ExtraOption(action.dest, default, action.required, read)
    taken = found.keys() & (arguments_of(cls).keys() | SHARED_OPTIONS | DJANGO_OPTIONS | OF_A_CALL) - {"args"}
    if taken:
        raise InvalidCommand(
            f"{place} adds {min(taken)!r}, which is an argument of the class or a shared option already; choose "
            f"another name"
        )
    for spelling in (each for action in _all_actions(parser) for each in action.option_strings):
        if spelling in _SHORT_ONES or (spelling[:2] == "--" and spelling[2:].replace("-", "_") in _LONG_ONES):
            raise InvalidCommand(
                f"{place} adds {spelling}, which is a shared option of every command; choose another spelling"
            )
    return found


def spelt_names(cls: type[Declaring]) -> dict[str, str]:
    """What the values of `add_arguments()` may be called in a call: by their names, or as their options are written.

    `add_argument("--out-file", dest="target")` may be given as `target` and as `out_file`, as in `call_command`.
    """
    extra = extra_options(cls)
    if not extra:
        return {}
    spelt = {
        spelling.lstrip("-").replace("-", "_"): action.dest
        for action in _all_actions(own_parser(cls))
        for spelling in action.option_strings
    }
    own = arguments_of(cls)
    return {name: dest for name, dest in spelt.items() if dest in extra and name not in own} | {
        name: name for name in extra
    }


def complete_extra(cls: type[Declaring], names: Mapping[str, str], given: Mapping[str, Any]) -> dict[str, Any]:
    """The values that `add_arguments()` of a class stands for: given, else what argparse makes of their absence.

    `names` are what they may be called, with the names that they have. What is given is taken as it is, as in
    `call_command`. TypeError for missing ones, InvalidCommand for a value that is none of a required one's choices.
    """
    if not names:
        return {}
    values: dict[str, Any] = {}
    for name in given.keys() & names.keys():
        if names[name] in values:
            raise TypeError(f"{label_of(cls)}() got two values for {names[name]!r}: give it by one of its names")
        values[names[name]] = given[name]
    parser = own_parser(cls)
    tokens = _require_only_what_is_missing(cls, parser, values)
    try:
        absent = vars(parser.parse_args(tokens))
    except RefusedError as error:
        raise InvalidCommand(f"{label_of(cls)}: {error}") from None
    values = {**absent, **values}
    for name, value in values.items():
        try:
            for each in value if isinstance(value, list | tuple) else [value]:
                check_storable(each)
        except ValueError as error:
            told = f"found {HIDDEN}" if is_secret_name(name) else error
            raise InvalidCommand(f"{label_of(cls)}: option {name!r}: {told}") from None
    return values


def _require_only_what_is_missing(cls: type[Declaring], parser: ArgumentParser, values: Mapping[str, Any]) -> list[str]:
    """See that nothing is missing, and let argparse miss nothing of what is given. Returns the sub-commands given."""
    # Of what a line must have, argparse asks for `nargs="*"` as well, and takes none for an empty list.
    may_lack, given = {ZERO_OR_MORE, OPTIONAL, REMAINDER}, {*values, SUPPRESS}
    required = [action for action in actions_of(parser) if action.required and action.nargs not in may_lack]
    check_missing(cls, [str(action.dest) for action in required if action.dest not in given])
    for group in exclusive_groups_of(parser):
        if group.required:
            group.required = False
            members = members_of(group)
            names = " and ".join(dict.fromkeys(repr(action.dest) for action in members))
            present = [action for action in members if action.dest in values]
            if not present:
                raise TypeError(f"{label_of(cls)}() missing one of {names}")
            given = {action.dest for action in present if values[action.dest] != action.default}
            if len(given) > 1:
                raise TypeError(f"{label_of(cls)}() takes one of {names}, found {len(given)}")
    tokens: list[str] = []
    for action in actions_of(parser):
        if action.dest not in values:
            action.required = action.required and action.dest != SUPPRESS
            continue
        value = values[action.dest]
        allowed = action.choices if action.required else None
        for member in value if isinstance(value, list | tuple) else [value]:
            if allowed is not None and member not in allowed:
                raise InvalidCommand(
                    f"{label_of(cls)}: option {action.dest!r}: found {member!r:.80}, allowed: "
                    f"{', '.join(map(str, allowed))}"
                )
        action.required = False
        verbs = verbs_of(action)
        if verbs and value in verbs:
            tokens += [value, *_require_only_what_is_missing(cls, verbs[value], values)]
    return tokens


class RefusedError(Exception):
    """What argparse has to say about a line."""


class _Parser(ArgumentParser):
    """Raises what it has to say."""

    def error(self, message: str) -> NoReturn:
        """See ArgumentParser."""
        raise RefusedError(message)


def own_parser(cls: type[Declaring]) -> ArgumentParser:
    """A parser of what `add_arguments()` of a class adds, made anew: a default may be a time, a choice a row."""
    parser = _Parser(add_help=False, allow_abbrev=False)
    _let_add(parser, cls)
    return parser


def _let_add(parser: ArgumentParser, cls: type[Declaring]) -> None:
    try:
        added = object.__new__(cls).add_arguments(parser)  # whatever the class is like: nothing is checked for this
    except ArgumentError as error:
        raise InvalidCommand(f"{label_of(cls)}: two options have one spelling: {error}") from error
    except AsyncCommanderError:
        raise
    except (Exception, SystemExit) as error:
        raise InvalidCommand(f"{label_of(cls)}.add_arguments() fails: {type(error).__name__}: {error}") from error
    if inspect.iscoroutine(added):
        added.close()
        raise InvalidCommand(
            f"{label_of(cls)}.add_arguments() is `async def`; allowed: `def add_arguments(self, parser)`"
        )


def _all_actions(parser: ArgumentParser) -> Iterator[Action]:
    """Everything that a parser reads, its sub-commands' too."""
    for each in with_verbs(parser):
        yield from (action for action in actions_of(each) if not is_help(action))


def accept_both_spellings(parser: ArgumentParser) -> None:
    """Let every option of a parser be written with dashes and with underscores; help shows what it was added with."""
    known = spellings_of(parser)
    for text, action in list(known.items()):
        if text.startswith("--"):
            known.setdefault("--" + text[2:].replace("-", "_"), action)
            known.setdefault("--" + text[2:].replace("_", "-"), action)


def _converter(argument: Argument) -> Callable[[str], Any]:
    def convert(text: str) -> Any:
        try:
            return argument.accept_member(text)
        except ValueError as error:
            raise ArgumentTypeError(str(error)) from None

    return convert


def _help(argument: Argument) -> str:
    shown = argument.to_json(None if argument.required else argument.default)
    silent = argument.secret or isinstance(shown, bool) or shown in (None, "", [])
    default = "" if silent else f"(default: {shown})"
    env = f"(environment: {argument.option.env})" if argument.option.env else ""
    return " ".join(filter(None, (argument.option.help, default, env))).replace("%", "%%")
