"""The arguments of a command on the command line: argparse in, values out."""

from __future__ import annotations

from argparse import (
    OPTIONAL,
    REMAINDER,
    SUPPRESS,
    ZERO_OR_MORE,
    Action,
    ArgumentError,
    ArgumentParser,
    ArgumentTypeError,
    _HelpAction,  # argparse has no public names for these two; Django asks for such ones as well
    _SubParsersAction,
)
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NoReturn

from async_commander.exceptions import AsyncCommanderError, InvalidCommand
from async_commander.text.names import is_secret_name
from async_commander.text.redactor import HIDDEN

from .annotations import is_ours
from .arguments import Argument, arguments_of, check_missing, label_of
from .options import DJANGO_OPTIONS, OF_A_CALL, SHARED_OPTIONS
from .values import check_storable, plain_json

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping


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


def add_arguments_to(parser: ArgumentParser, cls: type[Any]) -> None:
    """Add a command's arguments, and what its `add_arguments()` adds, to a parser, in both spellings.

    Values that are not given do not appear in the namespace. InvalidCommand where two options have one spelling, one
    of them a shared one perhaps.
    """
    extra_options(cls)
    for argument in arguments_of(cls).values():
        _add(parser, argument)
    _let_add(parser, cls)
    accept_both_spellings(parser)


def check_parser(cls: type[Any]) -> None:
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


def extra_options(cls: type[Any]) -> dict[str, ExtraOption]:
    """What `add_arguments()` of a class adds, by the names of the values; those of sub-commands too.

    InvalidCommand where it fails, and where a name or a spelling is taken.
    """
    if is_ours(_owner(cls, "add_arguments")):
        return {}
    parser = _own_parser(cls)
    found = {action.dest: _extra(action) for action in _actions(parser) if action.dest not in {None, SUPPRESS}}
    fixed = {name: value for each in _parsers(parser) for name, value in each._defaults.items()}  # noqa: SLF001 - nowhere else
    found = {**{name: ExtraOption(name, value, required=False) for name, value in fixed.items()}, **found}
    taken = found.keys() & (arguments_of(cls).keys() | SHARED_OPTIONS | DJANGO_OPTIONS | OF_A_CALL) - {"args"}
    if taken:
        raise InvalidCommand(
            f"{label_of(cls)}.add_arguments() adds {min(taken)!r}, which is an argument of the class or a shared "
            f"option already; choose another name"
        )
    _check_spellings(cls, parser)
    return found


def spelt_names(cls: type[Any]) -> dict[str, str]:
    """What the values of `add_arguments()` may be called in a call: by their names, or as their options are written.

    `add_argument("--out-file", dest="target")` may be given as `target` and as `out_file`, as in `call_command`.
    """
    extra = extra_options(cls)
    if not extra:
        return {}
    spelt = {
        spelling.lstrip("-").replace("-", "_"): action.dest
        for action in _actions(_own_parser(cls))
        for spelling in action.option_strings
    }
    own = arguments_of(cls)
    return {name: dest for name, dest in spelt.items() if dest in extra and name not in own} | {
        name: name for name in extra
    }


def complete_extra(cls: type[Any], names: Mapping[str, str], given: Mapping[str, Any]) -> dict[str, Any]:
    """The values that `add_arguments()` of a class stands for: given, else what argparse makes of their absence.

    `names` are what they may be called, with the names that they have. What is given is taken as it is, as in
    `call_command`. TypeError for missing ones, InvalidCommand for a value that is none of a required one's choices.
    """
    if not names:
        return {}
    values = {names[name]: value for name, value in given.items() if name in names}
    parser = _own_parser(cls)
    tokens = _require_only_what_is_missing(cls, parser, values)
    try:
        absent = vars(parser.parse_args(tokens))
    except _RefusedError as error:
        raise InvalidCommand(f"{label_of(cls)}: {error}") from None
    values = {**absent, **values}
    for name, value in values.items():
        _check_storable(cls, name, value)
    return values


def _require_only_what_is_missing(cls: type, parser: ArgumentParser, values: Mapping[str, Any]) -> list[str]:
    """See that nothing is missing, and let argparse miss nothing of what is given. Returns the sub-commands given."""
    check_missing(cls, [str(action.dest) for action in parser._actions if _is_missing(action, values)])  # noqa: SLF001
    for group in parser._mutually_exclusive_groups:  # noqa: SLF001 - argparse keeps them nowhere else
        _check_group(cls, group, values)
    tokens: list[str] = []
    for action in parser._actions:  # noqa: SLF001 - as Django
        if action.dest not in values:
            action.required = action.required and action.dest != SUPPRESS
            continue
        if action.required and action.choices is not None:
            _check_choice(cls, action, values[action.dest])
        action.required = False
        if isinstance(action, _SubParsersAction) and values[action.dest] in action.choices:
            rest = _require_only_what_is_missing(cls, action.choices[values[action.dest]], values)
            tokens += [values[action.dest], *rest]
    return tokens


def _is_missing(action: Action, values: Mapping[str, Any]) -> bool:
    """Of what a line must have, argparse asks for `nargs="*"` as well, and takes none for an empty list."""
    named = action.dest not in {*values, SUPPRESS}
    return action.required and named and action.nargs not in {ZERO_OR_MORE, OPTIONAL, REMAINDER}


def _check_group(cls: type, group: Any, values: Mapping[str, Any]) -> None:
    """Exactly one of a required group is to be given."""
    if not group.required:
        return
    group.required = False
    members = group._group_actions  # noqa: SLF001 - argparse keeps them nowhere else
    names = list(dict.fromkeys(repr(action.dest) for action in members))
    given = {action.dest for action in members if action.dest in values and values[action.dest] != action.default}
    if not any(action.dest in values for action in members):
        raise TypeError(f"{label_of(cls)}() missing one of {' and '.join(names)}")
    if len(given) > 1:
        raise TypeError(f"{label_of(cls)}() takes one of {' and '.join(names)}, found {len(given)}")


def _check_choice(cls: type, action: Action, value: Any) -> None:
    for member in value if isinstance(value, list | tuple) else [value]:
        if member not in (action.choices or ()):
            allowed = ", ".join(map(str, action.choices or ()))
            raise InvalidCommand(f"{label_of(cls)}: option {action.dest!r}: found {member!r:.80}, allowed: {allowed}")


class _RefusedError(Exception):
    """What argparse has to say about a line."""


class _Parser(ArgumentParser):
    """Raises what it has to say."""

    def error(self, message: str) -> NoReturn:
        """See ArgumentParser."""
        raise _RefusedError(message)


def _own_parser(cls: type[Any]) -> ArgumentParser:
    """A parser of what `add_arguments()` of a class adds, made anew: a default may be a time, a choice a row."""
    parser = _Parser(add_help=False, allow_abbrev=False)
    _let_add(parser, cls)
    return parser


def _let_add(parser: ArgumentParser, cls: type[Any]) -> None:
    try:
        object.__new__(cls).add_arguments(parser)  # whatever the class is like: nothing of it is checked for this
    except ArgumentError as error:
        raise InvalidCommand(f"{label_of(cls)}: two options have one spelling: {error}") from error
    except AsyncCommanderError:
        raise
    except Exception as error:
        raise InvalidCommand(f"{label_of(cls)}.add_arguments() fails: {type(error).__name__}: {error}") from error


def _parsers(parser: ArgumentParser) -> Iterator[ArgumentParser]:
    """A parser and those of its sub-commands."""
    yield parser
    for action in parser._actions:  # noqa: SLF001 - as Django
        if isinstance(action, _SubParsersAction):
            for below in action.choices.values():
                yield from _parsers(below)


def _actions(parser: ArgumentParser) -> Iterator[Action]:
    """Everything that a parser reads, its sub-commands' too."""
    for each in _parsers(parser):
        yield from (action for action in each._actions if not isinstance(action, _HelpAction))  # noqa: SLF001 - as Django


def _check_spellings(cls: type, parser: ArgumentParser) -> None:
    for spelling in (each for action in _actions(parser) for each in action.option_strings):
        if spelling in _SHORT_ONES or (spelling[:2] == "--" and spelling[2:].replace("-", "_") in _LONG_ONES):
            raise InvalidCommand(
                f"{label_of(cls)}.add_arguments() adds {spelling}, which is a shared option of every command; choose "
                f"another spelling"
            )


def _check_storable(cls: type, name: str, value: Any) -> None:
    try:
        for each in value if isinstance(value, list | tuple) else [value]:
            check_storable(each)
    except ValueError as error:
        told = f"found {HIDDEN}" if is_secret_name(name) else error
        raise InvalidCommand(f"{label_of(cls)}: option {name!r}: {told}") from None


def accept_both_spellings(parser: ArgumentParser) -> None:
    """Let every option of a parser be written with dashes and with underscores; help shows the one it was added with.

    argparse has no public way to give an option a spelling that its help does not show.
    """
    known = parser._option_string_actions  # noqa: SLF001  see above
    for text, action in list(known.items()):
        if text.startswith("--"):
            known.setdefault("--" + text[2:].replace("-", "_"), action)
            known.setdefault("--" + text[2:].replace("_", "-"), action)


def _owner(cls: type, name: str) -> type:
    return next(base for base in cls.__mro__ if name in vars(base))


def _extra(action: Any) -> ExtraOption:
    default = action.default
    if isinstance(default, str) and callable(action.type) and default != SUPPRESS:
        default = action.type(default)
    read = action.type if callable(action.type) else None
    return ExtraOption(action.dest, None if default == SUPPRESS else default, action.required, read)


def _add(parser: ArgumentParser, argument: Argument) -> None:
    if argument.positional:
        _add_positional(parser, argument)
    elif argument.is_flag:
        _add_flags(parser, argument)
    else:
        _add_option(parser, argument)


def _add_positional(parser: ArgumentParser, argument: Argument) -> None:
    nargs = "+" if argument.kind.members else None
    if not _must_be_given(argument):
        nargs = "*" if argument.kind.members else "?"
    parser.add_argument(
        argument.name,
        nargs=nargs,
        type=_converter(argument),
        metavar=_metavar(argument, argument.name),
        default=SUPPRESS,
        help=_help(argument),
    )


def _add_option(parser: ArgumentParser, argument: Argument) -> None:
    parser.add_argument(
        *argument.spellings,
        dest=argument.name,
        action="extend" if argument.kind.members else "store",
        nargs="*" if argument.kind.members else None,
        type=_converter(argument),
        metavar=_metavar(argument, argument.name.upper()),
        required=_must_be_given(argument),
        default=SUPPRESS,
        help=_help(argument),
    )


def _add_flags(parser: ArgumentParser, argument: Argument) -> None:
    """`--name` and `--no-name`; help shows those that change something."""
    group = parser.add_mutually_exclusive_group(required=_must_be_given(argument))
    *positive, no = argument.spellings
    negative = [no]
    if argument.default is True:
        positive, negative = positive[-1:], [*positive[:-1], *negative]
    for value, spellings in ((True, positive), (False, negative)):
        group.add_argument(
            *spellings,
            dest=argument.name,
            action="store_const",
            const=value,
            default=SUPPRESS,
            help=SUPPRESS if argument.default is value else _help(argument),
        )


def _must_be_given(argument: Argument) -> bool:
    return argument.required and not isinstance(argument.from_env(), str | list)


def _metavar(argument: Argument, name: str) -> str:
    return "{" + ",".join(argument.choices) + "}" if argument.choices else name


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
