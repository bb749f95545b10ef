"""The arguments of a command: annotated attributes, refined by `Option`, checked once per class."""

from __future__ import annotations

import inspect
import os
import re
from dataclasses import dataclass, replace
from difflib import get_close_matches
from functools import cached_property
from typing import TYPE_CHECKING, Any, Final
from weakref import WeakKeyDictionary

from async_commander.exceptions import InvalidCommand
from async_commander.text.names import is_secret_name
from async_commander.text.redactor import HIDDEN

from .annotations import Annotation, annotations_of, is_ours
from .options import DJANGO_OPTIONS, NOT_YET, OF_A_CALL, SHARED_OPTIONS
from .values import Kind, kind_of

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Mapping


class Required:
    """The default of an argument that has none."""

    def __repr__(self) -> str:
        return "required"


REQUIRED: Final = Required()


@dataclass(frozen=True, slots=True, kw_only=True)
class Option:
    """Refines an argument: `file: Annotated[Path, ac.Option(named=True, help="What to import.")]`.

    `short` is one more spelling, "-f" or "f". `named` makes an argument without default a required option, `--file`.
    With `identity=False` another value does not make another run. `secret` keeps the value out of the identity and of
    all that is stored or shown; None goes by the name: `api_token` is secret. `env` names the environment variable that
    gives the value where the call does not. `choices` are the values allowed.
    """

    help: str = ""
    short: str | None = None
    named: bool = False
    identity: bool = True
    secret: bool | None = None
    env: str | None = None
    choices: Collection[Any] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Argument:
    """One argument of one command class."""

    name: str
    kind: Kind
    default: Any
    option: Option
    place: str
    """The class that declares it, for messages."""

    @property
    def required(self) -> bool:
        """Whether there is no default."""
        return self.default is REQUIRED

    @property
    def secret(self) -> bool:
        """See `is_secret`."""
        return is_secret(self)

    @property
    def in_identity(self) -> bool:
        """Whether another value makes another run."""
        return self.option.identity and not self.secret

    @property
    def positional(self) -> bool:
        """Whether the command line takes it by position."""
        return self.required and not self.option.named and not self.secret

    @property
    def is_flag(self) -> bool:
        """Whether the command line has `--name` and `--no-name` for it, and no value."""
        return self.kind.name == "bool" and self.kind.members is None and not self.positional

    @property
    def short(self) -> str | None:
        """The short spelling with its dash."""
        return "-" + self.option.short.removeprefix("-") if self.option.short else None

    @property
    def spellings(self) -> tuple[str, ...]:
        """How the command line writes it: the short one first, if there is one, `--no-name` last; none by position."""
        long = () if self.positional else (f"--{self.name.replace('_', '-')}",)
        no = (f"--no-{self.name.replace('_', '-')}",) if self.is_flag else ()
        return (*((self.short,) if self.short and long else ()), *long, *no)

    @property
    def choices(self) -> tuple[str, ...]:
        """The texts of the values allowed, where they can be counted."""
        kind = self.kind.members or self.kind
        return tuple(str(kind.to_json(kind.accept(each))) for each in self.option.choices or ()) or self.kind.choices

    def accept(self, value: Any) -> Any:
        """A value of Python code, of the command line or of JSON as it is kept; ValueError says found and allowed."""
        try:
            accepted = self.kind.accept(value)
        except ValueError as error:
            raise ValueError(self._hidden(str(error))) from None
        self._check_choice(accepted)
        return accepted

    def accept_member(self, text: str) -> Any:
        """As `accept`, for a text of the command line: one member of a list, the whole value of any other argument."""
        return replace(self, kind=self.kind.members or self.kind).accept_text(text)

    def accept_text(self, text: str | list[str]) -> Any:
        """As `accept`, for what was given as text, which cannot say None."""
        return replace(self, kind=replace(self.kind, optional=False)).accept(text)

    def to_json(self, value: Any) -> Any:
        """What JSON keeps of a value; `accept` takes it back."""
        return self.kind.to_json(value)

    def from_env(self) -> Any:
        """The text in the environment variable `env`, split at commas for a list; REQUIRED where there is none."""
        text = os.environ.get(self.option.env) if self.option.env else None
        if text is None:
            return REQUIRED
        return [each.strip() for each in text.split(",") if each.strip()] if self.kind.members else text

    def _check_choice(self, value: Any) -> None:
        members = value if self.kind.members else [value]
        if self.option.choices is None or value is None or not isinstance(members, list):
            return
        kind = self.kind.members or self.kind
        allowed = [kind.accept(each) for each in self.option.choices]
        wrong = [member for member in members if member not in allowed]
        if wrong:
            raise ValueError(self._hidden(f"found {wrong[0]!r:.80}, allowed: {', '.join(self.choices)}"))

    def _hidden(self, message: str) -> str:
        return f"found {HIDDEN}, allowed: {self.kind.allowed}" if self.secret else message


def is_secret(argument: Argument) -> bool:
    """Whether a value is hidden everywhere: as its `Option(secret=…)` says, else where a word of its name does."""
    secret = argument.option.secret
    return is_secret_name(argument.name) if secret is None else secret


_arguments: WeakKeyDictionary[type, Mapping[str, Argument]] = WeakKeyDictionary()


def arguments_of(cls: type) -> Mapping[str, Argument]:
    """The arguments of a command class by name, those of its bases first. InvalidCommand where one cannot be used."""
    if cls not in _arguments:
        found = (annotation for annotation in annotations_of(cls).values() if not _is_computed(cls, annotation.name))
        arguments = {annotation.name: _argument(cls, annotation) for annotation in found}
        _check_spellings(arguments.values())
        _arguments[cls] = arguments
    return _arguments[cls]


def complete(cls: type, given: Mapping[str, Any], also: Collection[str] = ()) -> dict[str, Any]:
    """The value of every argument: given, else from its environment variable, else the default.

    `also` are other names that may be given; they are left out. TypeError for unknown and missing names, as a function
    raises it; InvalidCommand for a value that does not fit.
    """
    known = arguments_of(cls)
    check_names(cls, given, [*known, *also])
    found = {name: given[name] if name in given else argument.from_env() for name, argument in known.items()}
    values = {name: known[name].default if value is REQUIRED else value for name, value in found.items()}
    check_missing(cls, [name for name, value in values.items() if value is REQUIRED])
    from_env = {name for name, value in found.items() if name not in given and value is not REQUIRED}
    return {
        name: (_accepted_from_env if name in from_env else _accepted)(known[name], value)
        for name, value in values.items()
    }


def check_names(cls: type, given: Collection[str], known: Collection[str]) -> None:
    """TypeError for the first name that is not known, with the one that was meant."""
    for name in given:
        if name not in known:
            close = get_close_matches(name, known, n=1)
            hint = f"Did you mean {close[0]!r}?" if close else f"Known: {', '.join(known) or 'none'}."
            raise TypeError(f"{label_of(cls)}() got an unexpected keyword argument {name!r}. {hint}")


def by_keyword(cls: type, positional: int) -> str:
    """What to say where so many values were given by position."""
    names = ", ".join(f"{name}=…" for name in [*arguments_of(cls)][:positional])
    remedy = f"write {cls.__name__}({names})" if names else "it declares none"
    return f"{label_of(cls)}() takes its arguments by keyword, found {positional} by position; {remedy}"


def check_missing(cls: type, names: Collection[str]) -> None:
    """TypeError where required arguments are missing."""
    if names:
        wanted = "argument" if len(names) == 1 else "arguments"
        raise TypeError(f"{label_of(cls)}() missing {len(names)} required {wanted}: {', '.join(map(repr, names))}")


def to_json(cls: type, values: Mapping[str, Any]) -> dict[str, Any]:
    """The values of arguments as JSON keeps them, without the secret ones; `cls(**stored)` takes them back."""
    known = arguments_of(cls)
    return {
        name: known[name].to_json(value) for name, value in values.items() if name in known and not known[name].secret
    }


def label_of(cls: type) -> str:
    """A class in messages: module and name."""
    return f"{cls.__module__}.{cls.__qualname__}"


def _accepted(argument: Argument, value: Any) -> Any:
    try:
        return argument.accept(value)
    except ValueError as error:
        raise InvalidCommand(f"{argument.place}: argument {argument.name!r}: {error}") from None


def _accepted_from_env(argument: Argument, value: Any) -> Any:
    try:
        return argument.accept_text(value)
    except ValueError as error:
        where = f"from the environment variable {argument.option.env}"
        raise InvalidCommand(f"{argument.place}: argument {argument.name!r}, {where}: {error}") from None


def _is_computed(cls: type, name: str) -> bool:
    """A property of the author's in the place of an attribute takes the argument away; one of ours is a clash."""
    owner = next((base for base in cls.__mro__ if name in vars(base)), object)
    return not is_ours(owner) and isinstance(vars(owner)[name], property | cached_property)


def _argument(cls: type, annotation: Annotation) -> Argument:
    place = label_of(annotation.owner)
    _check_clash(cls, annotation.name, place)
    argument = Argument(
        name=annotation.name,
        kind=_kind(annotation, place),
        default=inspect.getattr_static(cls, annotation.name, REQUIRED),
        option=next((each for each in annotation.extras if isinstance(each, Option)), Option()),
        place=place,
    )
    _check_option(argument)
    _check_default(argument)
    return argument


def _kind(annotation: Annotation, place: str) -> Kind:
    try:
        return kind_of(annotation.type)
    except TypeError as error:
        raise InvalidCommand(
            f"{place}: the type of {annotation.name!r} cannot be an argument's: {error}; if it is no argument, write "
            f"ClassVar[…], or begin its name with _"
        ) from None


def _check_clash(cls: type, name: str, place: str) -> None:
    if name in SHARED_OPTIONS or {name, f"no_{name}"} & DJANGO_OPTIONS:
        raise InvalidCommand(f"{place}: {name!r} is a shared option of every command; choose another name")
    if name in OF_A_CALL:
        raise InvalidCommand(
            f"{place}: {name!r} is given to the run of any command, as in ac.run(…, {name}=…); choose another name"
        )
    if name in NOT_YET or any(name in vars(base) for base in cls.__mro__ if is_ours(base) and base is not object):
        raise InvalidCommand(
            f"{place}: {name!r} is an attribute of every command and cannot be an argument; to set it write it without "
            f"annotation (`{name} = …`), else choose another name"
        )


def _check_spellings(arguments: Iterable[Argument]) -> None:
    taken: dict[str, Argument] = {}
    for argument in arguments:
        for spelling in argument.spellings:
            other = taken.setdefault(spelling, argument)
            if other is not argument:
                raise InvalidCommand(
                    f"{argument.place}: two options have one spelling, {spelling}: {other.name!r} and "
                    f"{argument.name!r}; rename one of them"
                )


def _check_option(argument: Argument) -> None:
    short, choices = argument.option.short, argument.option.choices
    if short is not None and not re.fullmatch(r"-?[a-gi-uw-zA-Z]", short):
        raise InvalidCommand(
            f"{argument.place}: {argument.name!r} has short={short!r}; allowed: a letter, with or without a dash, but "
            f"not -h and -v"
        )
    if short is not None and argument.positional:
        raise InvalidCommand(
            f"{argument.place}: {argument.name!r} has short={short!r} and is positional; allowed for options: give it "
            f"a default, or named=True"
        )
    if choices is not None and (isinstance(choices, str) or not choices):
        raise InvalidCommand(
            f"{argument.place}: {argument.name!r} has choices={choices!r}; allowed: a list of at least one value"
        )
    _checked(argument, "a choice", lambda: argument.choices)


def _check_default(argument: Argument) -> None:
    if argument.default is None and not argument.kind.optional:
        raise InvalidCommand(
            f"{argument.place}: {argument.name!r} has the default None; allowed: {argument.kind.allowed}. "
            f"Write `{argument.name}: {argument.kind.name} | None = None`"
        )
    if not argument.required:
        _checked(argument, "the default", lambda: argument.accept(argument.default))


def _checked(argument: Argument, what: str, check: Callable[[], object]) -> None:
    try:
        check()
    except ValueError as error:
        raise InvalidCommand(f"{argument.place}: {what} of {argument.name!r} does not fit: {error}") from None
