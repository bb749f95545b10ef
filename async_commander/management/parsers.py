"""The command line: finding the command's name in it, and reading the rest by that command's own parser."""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from difflib import get_close_matches
from itertools import takewhile
from types import MappingProxyType
from typing import Any, NoReturn

from django.core.management.base import BaseCommand, CommandParser, DjangoHelpFormatter

from async_commander.command.inside_argparse import (
    KeepsDashes,
    actions_of,
    exclusive_groups_of,
    fixed_values_of,
    members_of,
    spellings_of,
    titled_groups_of,
)
from async_commander.command.options import BRINGS_ARGUMENTS, BY_NAME, FEATURES, ON_THE_LINE, SHARED, SharedOption
from async_commander.command.parser import accept_both_spellings
from async_commander.results import EXIT_USAGE

from .options import acting, add_shared, flags_of

DJANGO = "Django's options"
_NO_VALUE = re.compile(r"argument (?:[^/:]+/)*(--[^/:]+): expected (one|at least one) argument")
_VALUE_OF_A_FLAG = re.compile(r"argument (?:[^/:]+/)*([^/:]+): ignored explicit argument (.*)")
RARE_OF_DJANGO = frozenset({"version", "settings", "pythonpath", "force_color", "skip_checks"})
"""Options of Django's that only `--help-all` shows."""

Declare = Callable[[argparse.ArgumentParser], None]


class DjangoOptions(BaseCommand):
    """Makes a parser of nothing but Django's own options, whatever they are in this version, under their own title."""

    requires_system_checks: Any = ()

    def add_base_argument(self, parser: Any, *flags: str, **words: Any) -> None:
        """Put an option of Django's under the title."""
        titled: list[Any] = [group for group in titled_groups_of(parser) if group.title == DJANGO]
        super().add_base_argument(titled[0] if titled else parser.add_argument_group(DJANGO), *flags, **words)

    def add_arguments(self, parser: CommandParser) -> None:
        """Offer `--skip-checks` always: whether there are checks is known once the command is."""
        self.add_base_argument(parser, "--skip-checks", action="store_true", help="Skip system checks.")


def django_options(prog: str) -> CommandParser:
    """A parser to be used as a parent of others."""
    return DjangoOptions().create_parser(prog, "", add_help=False, allow_abbrev=False)


class CommandLineParser(KeepsDashes, CommandParser):
    """Django's parser that suggests what an unknown option may have meant.

    Options are not abbreviated: what works today must not become ambiguous by an option added tomorrow.
    """

    _tokens: Sequence[str] = ()
    own_names: Collection[str] = ()
    """The values that the command declares itself."""
    shows_rare = False
    rare_names: Collection[str] = RARE_OF_DJANGO | {option.name for option in SHARED if option.rare}
    """Options that only `--help-all` shows."""
    siblings: Mapping[str, argparse.ArgumentParser] = MappingProxyType({})
    """Where it reads one of several actions, the parsers of all."""

    def __init__(self, **words: Any) -> None:
        words.setdefault("formatter_class", DjangoHelpFormatter)
        super().__init__(**words | {"allow_abbrev": False})

    def parse_args(  # type: ignore[override]  # argparse's overloads
        self, args: Sequence[str] | None = None, namespace: Any = None
    ) -> Any:
        """Read the command line; anything left over is an error."""
        tokens = self._tokens = list(sys.argv[1:] if args is None else args)
        if is_completed_later(tokens):
            self.require_nothing()
        options, rest = self.parse_known_args(tokens, namespace)
        if rest:
            self.error(self.unknown(rest[0]))
        return options

    @property
    def names(self) -> tuple[str, ...]:
        """What its values are called."""
        return tuple(action.dest for action in actions_of(self))

    def require_nothing(self) -> None:
        """Leave it to the command to miss what is not given: it may be given by keyword, or be a stored run's."""
        for group in exclusive_groups_of(self):
            group.required = False
        for action in actions_of(self):
            action.required = False
            if action.dest in self.own_names:
                action.default = argparse.SUPPRESS
        for name in self.own_names:
            fixed_values_of(self).pop(name, None)

    def unknown(self, token: str) -> str:
        """What to say about a token that nobody takes."""
        flag = token.partition("=")[0]
        if token.isdecimal() and self.siblings and "run" not in self.names:
            return f"To see one run: {self.prog.split()[-2]} {ActionsParser.SHOWS} {token}"
        if not token.startswith("-"):
            return f"one argument too many: {token!r}"
        if any(flag in spellings_of(one) for one in self.siblings.values()):
            return f"{self.prog.rpartition(' ')[2]} has no use for it: leave {flag} out"
        if (name := flag.removeprefix("--").replace("-", "_")) in ON_THE_LINE and BY_NAME[name].needs:
            return f"{flag} has no effect here: this command has no {BY_NAME[name].needs}"
        flags = [known for action in actions_of(self) for known in action.option_strings if known.startswith("--")]
        meant = did_you_mean(flag, flags)
        return f"unknown option {flag}.{meant or ' A value that begins with a dash goes behind --.'}"

    def error(self, message: str) -> NoReturn:
        """End with exit code 2 on the command line; raise CommandError where the command was called by code."""
        found, known = _VALUE_OF_A_FLAG.fullmatch(message), spellings_of(self)
        if found and found[1] in known:  # argparse only says that it ignored the value
            like_it = [
                action for action in actions_of(self) if action.dest == known[found[1]].dest and action.nargs == 0
            ]
            written = " or ".join(_longest(action) for action in like_it)
            message = f"{found[1]} is a flag and takes no value, found {found[2]}: write {written}"
        if lacking := _NO_VALUE.fullmatch(message):
            message += f"; one that begins with a dash is written {lacking[1]}=-…"
        if message.startswith("the following arguments are required"):
            options = [token for token in before_dashes(self._tokens) if re.fullmatch(r"--.+|-[^\d]", token)]
            unknown = [token for token in options if token.partition("=")[0] not in spellings_of(self)]
            message += f"; {self.unknown(unknown[0])}" if unknown else ""
        if not self.called_from_command_line:
            super().error(message)
        self._print_message(f"{self.prog}: {message}\nSee {self.prog} --help\n", sys.stderr)
        raise Refusal(EXIT_USAGE, message)

    def format_help(self) -> str:
        """As argparse's; rare options are left out unless `--help-all` asks for them."""
        rare = {*self.rare_names} - {*self.own_names}
        kept = {action: action.help for action in actions_of(self) if action.dest in rare}
        try:
            for action in () if self.shows_rare else kept:
                action.help = argparse.SUPPRESS
            return super().format_help()
        finally:
            for action, text in kept.items():
                action.help = text


class ActionsParser(CommandLineParser):
    """A line that says what is to be done, `prune --days 30`: each action has a parser, and a help, of its own.

    A number in the place of an action is shown, and a line without one lists. What stands before the action is read
    after it.
    """

    LISTS, SHOWS = "list", "show"

    def add_actions(self, actions: Mapping[str, str], run: Collection[str] = ()) -> dict[str, CommandLineParser]:
        """A parser for each action, with what its help says first; those of `run` take the number of a run."""
        self._actions_by_name: dict[str, CommandLineParser] = {}
        into: Any = self.add_subparsers(
            dest="what", metavar="ACTION", title="actions", prog=self.prog, parser_class=CommandLineParser
        )
        for name, text in actions.items():
            usage = f"{self.prog} {name}{' ID' if name in run else ''} [options]".replace("%", "%%")
            one = into.add_parser(
                name,
                help=text,
                description=f"{text[:1].upper()}{text[1:]}.",
                usage=usage,
                parents=[django_options(self.prog)],
                conflict_handler="resolve",
            )
            one.add_argument("--help-all", action=HelpAll, help="show this message with Django's other options in it")
            one.siblings = self._actions_by_name
            self._actions_by_name[name] = one
        return self._actions_by_name

    def parse_args(  # type: ignore[override]  # argparse's overloads
        self, args: Sequence[str] | None = None, namespace: Any = None
    ) -> Any:
        """Read the line as the action that it names wants it read."""
        tokens = list(sys.argv[1:] if args is None else args)
        name, rest = self.split(tokens)
        if name is None and {"-h", "--help", "--version"} & set(tokens):
            return super().parse_args(tokens, namespace)
        if name is not None and name.isdecimal():
            name, rest = self.SHOWS, [name, *rest]
        name = name or self.LISTS
        if name not in self._actions_by_name:
            known = ", ".join(self._actions_by_name)
            self.error(f"{name!r} is none of {known}, nor a number.{did_you_mean(name, self._actions_by_name)}")
        options = self._actions_by_name[name].parse_args(rest, namespace)
        options.what = name
        return options

    def split(self, tokens: Sequence[str]) -> tuple[str | None, list[str]]:
        """The action, or the number in its place, and the other tokens."""
        parsers = self._actions_by_name.values()
        valued = {flag for one in parsers for flag, action in spellings_of(one).items() if action.nargs != 0}
        return split_name(tokens, valued)

    def names_of(self, action: str) -> set[str]:
        """What the values of an action are called."""
        return set(self._actions_by_name[action].names)


class Refusal(SystemExit):
    """The end of the process before there was a run; `text` says why, for programs: people have read it already."""

    def __init__(self, code: int, text: str) -> None:
        super().__init__(code)
        self.text = text


class HelpAll(argparse.Action):
    """`--help-all`: the help with the rare options in it."""

    def __init__(self, **words: Any) -> None:
        super().__init__(nargs=0, default=argparse.SUPPRESS, **words)

    def __call__(self, parser: argparse.ArgumentParser, *_: Any) -> NoReturn:
        if isinstance(parser, CommandLineParser):
            parser.shows_rare = True
        parser.print_help()
        parser.exit()


def command_parser(
    prog: str, description: str, declare: Declare, shared: Iterable[SharedOption], *, shell: bool
) -> CommandLineParser:
    """The parser of one command: its own arguments as `declare` adds them, the shared options that act, Django's.

    `shell` says that a person typed the line: errors then end the process with exit code 2 instead of raising.
    """
    shared = list(shared)
    own = CommandParser(prog=prog, add_help=False, allow_abbrev=False, called_from_command_line=shell)
    declare(own)
    own_names = {*(action.dest for action in actions_of(own)), *fixed_values_of(own)}
    # Options that a line must have; where any one of a group will do, these together.
    required = [[action] for action in actions_of(own) if action.option_strings and action.required]
    required += [list(members_of(group)) for group in exclusive_groups_of(own) if group.required]
    for options in required:
        mark = "(required)" if len(options) == 1 else f"(required: {' or '.join(map(_longest, options))})"
        for action in options:
            if action.help != argparse.SUPPRESS:
                action.help = f"{action.help or ''} {mark}".lstrip()
    positionals = [action for action in actions_of(own) if not action.option_strings]
    alternatives = [" | ".join(map(_written, options)) for options in required]
    shown = [f"({each})" if " | " in each else each for each in alternatives]
    add_shared(own, shared)
    parser = CommandLineParser(
        prog=prog,
        description=description or None,
        usage="%(prog)s " + " ".join([*map(_written, positionals), *shown, "[options]"]).replace("%", "%%"),
        parents=[own, django_options(prog)],
        called_from_command_line=shell,
    )
    parser.add_argument("--help-all", action=HelpAll, help="show this message with the rare run options in it")
    accept_both_spellings(parser)
    parser.own_names = own_names
    parser.rare_names = RARE_OF_DJANGO | {option.name for option in shared if option.rare}
    if not shell:
        parser.require_nothing()
    return parser


def front_parser(prog: str, description: str, hand_over: HandOver, *, shell: bool) -> FrontParser:
    """The parser of `arun` itself, which hands over as soon as it has met a command's name."""
    shared = CommandParser(prog=prog, add_help=False, allow_abbrev=False)
    shared.add_argument("name", nargs="?", metavar="NAME", help="the command to run; none: list them all")
    shared.add_argument(
        "--check", action="store_true", help="look at all that a run needs, and import every command; run none"
    )
    shared.add_argument(
        "--completion", choices=("bash", "zsh", "fish"), help="a script that completes names and options"
    )
    shared.add_argument(
        "--test-all", action="store_true", help="a trial run of every command that has test values, with a report"
    )
    add_shared(shared, acting(FEATURES))
    parser = FrontParser(
        prog=prog,
        description=description,
        usage="%(prog)s [NAME] [options]",
        epilog=f"{prog} NAME --help shows what a command takes itself, and --help-all the rare options as well.",
        parents=[shared, django_options(prog)],
        called_from_command_line=shell,
    )
    parser.hand_over = hand_over
    accept_both_spellings(parser)
    return parser


HandOver = Callable[[str, list[str]], argparse.Namespace]


class FrontParser(CommandLineParser):
    """Knows no command's arguments: it looks for the name, and lets that command's own parser read the rest."""

    hand_over: HandOver

    def parse_args(  # type: ignore[override]  # argparse's overloads
        self, args: Sequence[str] | None = None, namespace: Any = None
    ) -> Any:
        """Read the line as the named command wants it read."""
        tokens = sys.argv[1:] if args is None else args
        valued = {flag for flag, action in spellings_of(self).items() if action.nargs != 0}
        name, rest = split_name(tokens, valued)
        if name is not None:
            return self.hand_over(name, rest)
        options = super().parse_args(tokens, namespace)
        lost = [
            (flags_of(option), value)
            for option in acting(FEATURES)
            if option.name not in ({"json", "database"} if options.test_all else {"json"})
            and (value := getattr(options, option.name)) is not None
        ]
        if lost:
            flag, value = lost[0]
            line = flag if value is True else f"{flag} {value}"
            self.error(f"{flag} is for a run: name the command, as in {self.prog} NAME {line}")
        return options


def is_completed_later(tokens: Iterable[str]) -> bool:
    """Whether a line brings arguments that it does not have: those of a run, or test values."""
    given = {token.partition("=")[0].replace("_", "-") for token in before_dashes(tokens)}
    return not given.isdisjoint({"--test", *(flags_of(BY_NAME[name]) for name in BRINGS_ARGUMENTS)})


def before_dashes(tokens: Iterable[str]) -> Iterable[str]:
    """The tokens that may be options: behind a `--` none is."""
    return takewhile(lambda token: token != "--", tokens)  # noqa: S105 - a token of the command line


def split_name(tokens: Sequence[str], valued: Collection[str]) -> tuple[str | None, list[str]]:
    """The command's name and the other tokens: the name is the first one that is neither an option nor its value.

    `valued` are the options that take the next token as their value.
    """
    skip = False
    for index, word in enumerate(tokens):
        if skip:
            skip = False
        elif word == "--":
            break
        elif word.startswith("-"):
            skip = word in valued
        else:
            return word, [*tokens[:index], *tokens[index + 1 :]]
    return None, list(tokens)


def did_you_mean(word: str, words: Iterable[str]) -> str:
    """` Did you mean …?` with up to three of `words`, or nothing."""
    bare = {known.lstrip("-"): known for known in words}
    close = [bare[match] for match in get_close_matches(word.lstrip("-"), bare, n=3, cutoff=0.7)]
    return f" Did you mean {' or '.join(filter(None, [', '.join(close[:-1]), *close[-1:]]))}?" if close else ""


def _written(action: argparse.Action) -> str:
    """As it stands in the line of usage: `--flag`, `--file FILE`, `name ...`, `[name]`."""
    if action.nargs == 0:
        return _longest(action)
    more = " ..." if action.nargs in {"*", "+", argparse.REMAINDER} else ""
    if action.option_strings:
        name = action.metavar if isinstance(action.metavar, str) else action.dest.upper()
        return f"{_longest(action)} {name}{more}"
    name = action.metavar if isinstance(action.metavar, str) else action.dest
    return f"{name}{more}" if action.required else f"[{name}{more}]"


def _longest(action: argparse.Action) -> str:
    return max(action.option_strings, key=len)
