"""The arguments of a command on the command line: argparse in, values out."""

from __future__ import annotations

from argparse import SUPPRESS, ArgumentError, ArgumentParser, ArgumentTypeError, Namespace
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from async_commander.exceptions import AsyncCommanderError, InvalidCommand

from .annotations import is_ours
from .arguments import DJANGO_OPTIONS, OF_A_CALL, SHARED_OPTIONS, Argument, arguments_of, check_missing, label_of
from .redaction import HIDDEN, is_secret_name
from .values import check_storable, plain_json

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from collections.abc import Set as AbstractSet

    from .base import AsyncCommand


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


def add_arguments_to(parser: ArgumentParser, cls: type[AsyncCommand]) -> None:
    """Add a command's arguments, and what its `add_arguments()` adds, to a parser, in both spellings.

    Values that are not given do not appear in the namespace. InvalidCommand where two options have one spelling, one
    of them a shared one perhaps.
    """
    extra_options(cls)
    for argument in arguments_of(cls).values():
        _add(parser, argument)
    _let_add(parser, cls)
    accept_both_spellings(parser)


def check_parser(cls: type[AsyncCommand]) -> None:
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


def arguments_from(cls: type[AsyncCommand], namespace: Namespace | Mapping[str, Any]) -> dict[str, Any]:
    """What a command is made with, out of everything that was parsed: `cls(**arguments_from(cls, namespace))`."""
    values = vars(namespace) if isinstance(namespace, Namespace) else namespace
    names = declared_names(cls)
    return {name: value for name, value in values.items() if name in names}


def declared_names(cls: type[AsyncCommand]) -> AbstractSet[str]:
    """The names that a class takes by itself, as arguments and from `add_arguments()`; no shared options."""
    return arguments_of(cls).keys() | extra_options(cls).keys()


def extra_options(cls: type[AsyncCommand]) -> dict[str, ExtraOption]:
    """What `add_arguments()` of a class adds, by the names of the values.

    InvalidCommand where it fails, and where a name or a spelling is taken.
    """
    if is_ours(_owner(cls, "add_arguments")):
        return {}
    parser = ArgumentParser(add_help=False)
    found = {each.name: each for each in _let_add(parser, cls) if each.name != SUPPRESS}
    taken = found.keys() & (arguments_of(cls).keys() | SHARED_OPTIONS | DJANGO_OPTIONS | OF_A_CALL)
    if taken:
        raise InvalidCommand(
            f"{label_of(cls)}.add_arguments() adds {min(taken)!r}, which is an argument of the class or a shared "
            f"option already; choose another name"
        )
    _check_spellings(cls, parser)
    return found


def _let_add(parser: ArgumentParser, cls: type[AsyncCommand]) -> list[ExtraOption]:
    """Call `add_arguments()` of a class; what the parser has then."""
    try:
        cls.__new__(cls).add_arguments(parser)
        return [_extra(action) for action in parser._actions]  # noqa: SLF001  as Django
    except ArgumentError as error:
        raise InvalidCommand(f"{label_of(cls)}: two options have one spelling: {error}") from error
    except AsyncCommanderError:
        raise
    except Exception as error:
        raise InvalidCommand(f"{label_of(cls)}.add_arguments() fails: {type(error).__name__}: {error}") from error


def _check_spellings(cls: type, parser: ArgumentParser) -> None:
    for spelling in parser._option_string_actions:  # noqa: SLF001  argparse keeps them nowhere else
        if spelling in _SHORT_ONES or (spelling[:2] == "--" and spelling[2:].replace("-", "_") in _LONG_ONES):
            raise InvalidCommand(
                f"{label_of(cls)}.add_arguments() adds {spelling}, which is a shared option of every command; choose "
                f"another spelling"
            )


def complete_extra(cls: type[AsyncCommand], given: Mapping[str, Any]) -> dict[str, Any]:
    """The values that `add_arguments()` of a class stands for: given, else its defaults. TypeError for missing ones."""
    extra = extra_options(cls)
    check_missing(cls, [name for name, each in extra.items() if each.required and name not in given])
    values = {name: given.get(name, each.default) for name, each in extra.items()}
    for name, value in values.items():
        _check_storable(cls, name, value)
    return values


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
