"""The arguments of a command: annotated attributes, refined by `Option`, checked once per class."""

from __future__ import annotations

import inspect
import os
import re
from collections.abc import Collection
from dataclasses import dataclass, replace
from difflib import get_close_matches
from functools import cached_property
from typing import TYPE_CHECKING, Any, Final
from weakref import WeakKeyDictionary

from async_commander.exceptions import InvalidCommand
from async_commander.text.names import is_secret_name
from async_commander.text.redactor import HIDDEN

from .annotations import Annotation, annotations_of, is_ours, label_of
from .options import DJANGO_OPTIONS, OF_A_CALL, SHARED_OPTIONS
from .values import Kind, kind_of

if TYPE_CHECKING:
    from collections.abc import Mapping


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
        """Whether a value is hidden everywhere: as its `Option(secret=…)` says, else where a word of its name does."""
        secret = self.option.secret
        return is_secret_name(self.name) if secret is None else secret

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
            if self.option.choices is None or accepted is None:
                return accepted
            kind = self.kind.members or self.kind
            allowed = [kind.accept(each) for each in self.option.choices]
            for member in accepted if self.kind.members else [accepted]:
                if member not in allowed:
                    raise ValueError(f"found {member!r:.80}, allowed: {', '.join(self.choices)}")
        except ValueError as error:
            text = (
                f"found {HIDDEN}, allowed: {', '.join(self.choices) or self.kind.allowed}"
                if self.secret
                else str(error)
            )
            raise ValueError(text) from None
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


_arguments: WeakKeyDictionary[type, Mapping[str, Argument]] = WeakKeyDictionary()


def arguments_of(cls: type) -> Mapping[str, Argument]:
    """The arguments of a command class by name, those of its bases first. InvalidCommand where one cannot be used."""
    if cls in _arguments:
        return _arguments[cls]
    arguments: dict[str, Argument] = {}
    spelt: dict[str, str] = {}
    for annotation in annotations_of(cls).values():
        name, place = annotation.name, label_of(annotation.owner)
        giver = next((base for base in cls.__mro__ if name in vars(base)), object)
        if not is_ours(giver) and isinstance(vars(giver)[name], property | cached_property):
            continue  # a property of the author's takes the argument away; one of ours is a clash
        if not is_ours(annotation.owner):  # a shape may have an argument of a name that is nobody else's
            if name in SHARED_OPTIONS or {name, f"no_{name}"} & DJANGO_OPTIONS:
                raise InvalidCommand(f"{place}: {name!r} is a shared option of every command; choose another name")
            if name in OF_A_CALL:
                raise InvalidCommand(
                    f"{place}: {name!r} is given to the run of any command, as in ac.run(…, {name}=…); choose another "
                    f"name"
                )
            if any(name in vars(base) for base in cls.__mro__ if is_ours(base) and base is not object):
                raise InvalidCommand(
                    f"{place}: {name!r} is an attribute of every command and cannot be an argument; to set it write it "
                    f"without annotation (`{name} = …`), else choose another name"
                )
        arguments[name] = _argument(cls, annotation, giver)
        for spelling in arguments[name].spellings:
            other = spelt.setdefault(spelling, name)
            if other != name:
                raise InvalidCommand(
                    f"{place}: two options have one spelling, {spelling}: {other!r} and {name!r}; rename one of them"
                )
    _arguments[cls] = arguments
    return arguments


def complete(cls: type, given: Mapping[str, Any], also: Collection[str] = ()) -> dict[str, Any]:
    """The value of every argument: given, else from its environment variable, else the default.

    `also` are other names that may be given; they are left out. TypeError for unknown and missing names, as a function
    raises it; InvalidCommand for a value that does not fit.
    """
    known = arguments_of(cls)
    check_names(cls, given, [*known, *also])
    texts = {name: each.from_env() for name, each in known.items() if name not in given}
    check_missing(cls, [name for name, text in texts.items() if text is REQUIRED and known[name].required])
    values = {}
    for name, argument in known.items():
        where = ""
        try:
            if texts.get(name, REQUIRED) is REQUIRED:
                values[name] = argument.accept(given.get(name, argument.default))
            else:
                where = f", from the environment variable {argument.option.env}"
                values[name] = argument.accept_text(texts[name])
        except ValueError as error:
            raise InvalidCommand(f"{argument.place}: argument {name!r}{where}: {error}") from None
    return values


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


def _argument(cls: type, annotation: Annotation, giver: type) -> Argument:
    """One argument with its default, which the class `giver` gives, as it is kept."""
    name, place = annotation.name, label_of(annotation.owner)
    try:
        kind = kind_of(annotation.type)
    except TypeError as error:
        raise InvalidCommand(
            f"{place}: the type of {name!r} cannot be an argument's: {error}; if it is no argument, write "
            f"ClassVar[…], or begin its name with _"
        ) from None
    options = [each for each in annotation.extras if isinstance(each, Option)]
    if Option in annotation.extras or len(options) > 1:
        raise InvalidCommand(
            f"{place}: {name!r} is annotated with {annotation.extras!r:.200}; allowed: one ac.Option(…), with all of it"
        )
    default = inspect.getattr_static(cls, name, REQUIRED)
    argument = Argument(name=name, kind=kind, default=default, option=options[0] if options else Option(), place=place)
    _check_option(argument)
    if default is REQUIRED:
        return argument
    place = label_of(giver)
    if isinstance(default, Option):
        raise InvalidCommand(
            f"{place}: {name!r} has an Option as its default; write `{name}: Annotated[…, ac.Option(…)]`"
        )
    if default is None and not kind.optional:
        raise InvalidCommand(
            f"{place}: {name!r} has the default None; allowed: {kind.allowed}. "
            f"Write `{name}: {kind.name} | None = None`"
        )
    try:
        return replace(argument, default=argument.accept(default))
    except ValueError as error:
        raise InvalidCommand(f"{place}: the default of {name!r} does not fit: {error}") from None


_FIELDS = {
    "help": (str, "a text"),
    "short": (str | None, "a letter"),
    "named": (bool, "True or False"),
    "identity": (bool, "True or False"),
    "secret": (bool | None, "True, False or None"),
    "env": (str | None, "the name of an environment variable"),
}
"""What an `Option` may say."""


def _check_option(argument: Argument) -> None:
    option, what = argument.option, f"{argument.place}: {argument.name!r} has"
    for field, (types, allowed) in _FIELDS.items():
        if not isinstance(value := getattr(option, field), types):
            raise InvalidCommand(f"{what} {field}={value!r:.80}; allowed: {allowed}")
    if option.env is not None and not re.fullmatch(r"[^=\0]+", option.env):
        raise InvalidCommand(f"{what} env={option.env!r}; allowed: the name of an environment variable")
    if option.short is not None and not re.fullmatch(r"-?[a-gi-uw-zA-Z]", option.short):
        raise InvalidCommand(
            f"{what} short={option.short!r}; allowed: a letter, with or without a dash, but not -h and -v"
        )
    if option.short is not None and argument.positional:
        raise InvalidCommand(
            f"{what} short={option.short!r} and is positional; allowed for options: give it a default, or named=True"
        )
    choices: object = option.choices
    if choices is not None and (isinstance(choices, str | bytes) or not isinstance(choices, Collection) or not choices):
        raise InvalidCommand(f"{what} choices={choices!r:.80}; allowed: a list of at least one value")
    try:
        argument.choices  # noqa: B018 - it reads them
    except ValueError as error:
        raise InvalidCommand(f"{argument.place}: a choice of {argument.name!r} does not fit: {error}") from None
