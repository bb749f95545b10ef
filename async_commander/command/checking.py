"""Whether a command class can be used as it is written: its hooks, its arguments, its class attributes."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any

from async_commander.engine.limits import Limits, Retry
from async_commander.exceptions import InvalidCommand

from .arguments import arguments_of, label_of
from .hooks import check_hooks, hooks_of
from .options import ALWAYS_GIVEN, BY_NAME, GIVEN_BY_DJANGO, ON_THE_LINE, RESERVED
from .parser import extra_options

if TYPE_CHECKING:
    from .base import AsyncCommand


def check_class(cls: type[AsyncCommand]) -> None:
    """Raise InvalidCommand, with what was found, what is allowed and what to do, for the first thing that is wrong."""
    check_hooks(cls)
    arguments_of(cls)
    _check_named(cls)
    for name, (allowed, fits) in _ATTRIBUTES.items():
        value = getattr(cls, name)
        if not fits(value):
            raise InvalidCommand(f"{label_of(cls)}: {name} is {value!r:.80}; allowed: {allowed}")
    _refuse_what_is_to_come(cls)
    _check_option_defaults(cls)
    _check_keys(cls, "test_parameters", arguments_of(cls))


def _check_named(cls: type[AsyncCommand]) -> None:
    """A hook that takes values by their names asks for such as there are."""
    for name, hook in hooks_of(cls).items():
        for parameter in hook.named.required if hook.named else ():
            known = [*arguments_of(cls), *extra_options(cls), *sorted(GIVEN_BY_DJANGO), *sorted(ALWAYS_GIVEN)]
            if parameter not in known:
                raise InvalidCommand(
                    f"{label_of(cls)}.{name}() asks for {parameter!r}, which is neither an argument nor an option; "
                    f"allowed: `{name}(self)`, `{name}(self, *args, **options)`, and as parameters {', '.join(known)}"
                )


def _refuse_what_is_to_come(cls: type) -> None:
    """A promise that this release does not keep yet must not be made silently."""
    for name, plain in _TO_COME.items():
        value = getattr(cls, name)
        if bool(value) != bool(plain):
            raise InvalidCommand(
                f"{label_of(cls)}: {name} is {value!r:.80}, which this release does not act on yet; "
                f"allowed: {plain!r}. Leave {name} out."
            )


def _check_option_defaults(cls: type[AsyncCommand]) -> None:
    """`option_defaults` gives shared options values that they can have."""
    for name in cls.option_defaults:
        if name in RESERVED:
            raise InvalidCommand(
                f"{label_of(cls)}: option_defaults names {name!r}, which this release does not act on yet; leave it out"
            )
    _check_keys(cls, "option_defaults", ON_THE_LINE)
    for name, value in cls.option_defaults.items():
        if value is None and BY_NAME[name].bound is None:
            problem = f"{name}=None: leave it out"
        else:
            problem = BY_NAME[name].problem(value)
        if problem:
            raise InvalidCommand(
                f"{label_of(cls)}: option_defaults gives {name!r} a value that does not fit: {problem}"
            )


def _check_keys(cls: type, attribute: str, known: Any) -> None:
    for name in getattr(cls, attribute):
        if name not in known:
            close = get_close_matches(str(name), known, n=1)
            hint = f"did you mean {close[0]!r}?" if close else f"allowed: {', '.join(sorted(known)) or 'none'}"
            raise InvalidCommand(f"{label_of(cls)}: {attribute} names {name!r}, which does not exist; {hint}")


def _is_a(*types: type) -> Callable[[object], bool]:
    return lambda value: isinstance(value, types)


def _is_sequence(value: object) -> bool:
    return isinstance(value, Sequence) and not isinstance(value, str)


_TO_COME: dict[str, Any] = {
    "run_once": False,
    "dependencies": (),
    "always_on": False,
    "single_instance": False,
    "deletes": False,
    "provenance": False,
    "keep_history": True,
}
_YES_OR_NO = ("True or False", _is_a(bool))
_A_DICT = ("a dict of values by name", _is_a(Mapping))
_ATTRIBUTES: dict[str, tuple[str, Callable[[object], bool]]] = {
    "limits": ("ac.Limits(…)", _is_a(Limits)),
    "retry": ("ac.Retry(…)", _is_a(Retry)),
    "help": ("a text", _is_a(str)),
    "dependencies": ("a list", _is_sequence),
    "test_parameters": _A_DICT,
    "test_options": _A_DICT,
    "option_defaults": _A_DICT,
    "run_once": _YES_OR_NO,
    "always_on": _YES_OR_NO,
    "single_instance": _YES_OR_NO,
    "deletes": _YES_OR_NO,
    "provenance": _YES_OR_NO,
    "keep_values": _YES_OR_NO,
    "keep_history": _YES_OR_NO,
    "requires_system_checks": ('"__all__" or a list of tags', lambda value: value == "__all__" or _is_sequence(value)),
    "requires_migrations_checks": _YES_OR_NO,
}
